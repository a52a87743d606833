"""Check yourself: a question about each lesson, in a situation that a seed draws from the embedded model."""

from __future__ import annotations

import random
from dataclasses import replace

import streamlit as st

from explorer.address import tell, write_address
from explorer.browser_store import browser_store, has_told, in_browser, put_in_browser
from explorer.frame import pick
from explorer.lesson_view import buttons
from explorer.lesson_words import language_of_visit
from explorer.lessons import LESSONS, Progress
from explorer.lessons.checks import SEEDS, Attempt, question, score_of, seed_of
from explorer.session import session

READING_WIDTH = 720
QUESTIONS = "questions"
"""The parameter of the address that holds the seed. `seed` is that of the page Generate."""
BEST = "best-score"
"""The name of the best score in the browser, which alone keeps it."""

state = session()
tell()
language = language_of_visit()
frame, count = language.frame, len(LESSONS)


def another() -> Attempt:
    """Questions that are not shown now."""
    shown = state.attempt.seed if state.attempt else None
    return Attempt(random.choice([seed for seed in SEEDS if seed != shown]))


def this_attempt() -> Attempt:
    """At the questions that the address names, else at those shown last, else at new ones."""
    wanted = st.query_params.get(QUESTIONS, "")
    seed = seed_of(wanted)
    if seed is not None and (state.attempt is None or seed != state.attempt.seed):
        state.attempt = Attempt(seed)
    elif state.attempt is None or (wanted and seed is None):
        state.attempt = replace(another(), instead=bool(wanted))
    return state.attempt


def try_others() -> None:
    """Begin with other questions."""
    state.attempt = another()
    st.query_params.pop(QUESTIONS, None)


def answer(place: int) -> None:
    """Take an answer; the first one counts."""
    if len(attempt.chosen) == attempt.at and place < len(LESSONS[attempt.at].words.check_choices):
        attempt.chosen.append(place)


def go_on() -> None:
    """Show the next question, or the score."""
    attempt.at = min(attempt.at + 1, len(attempt.chosen))


def tell_best() -> None:
    """Tell the best score of this browser, if it has one."""
    best = score_of(in_browser(BEST))
    if best is not None:
        st.caption(frame.best.format(right=best, count=count))


def ask() -> None:
    """The question, and its answer once the reader has chosen."""
    lesson = LESSONS[attempt.at]
    words, asked = language.words[lesson.name], question(lesson, attempt.seed)
    told = len(attempt.chosen) > attempt.at
    if asked.situation.text:
        st.container(border=True).markdown(asked.situation.text)
    st.markdown(f"**{asked.says(words.check)}**")
    progress = Progress(choice=attempt.chosen[attempt.at] if told else None)
    verdict = buttons(frame, progress, answer)(asked.choices(words), asked.right if told else None)
    if told:
        st.markdown(f"{verdict} {asked.says(words.check_why)}")
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.caption(frame.question.format(number=attempt.at + 1, count=count), width="content")
        if told and st.button(
            frame.explore, key="check_in_explore", icon=":material/grid_on:", type="tertiary"
        ):
            pick(asked.situation.selection)
            st.switch_page("app_pages/explore.py")
        if told:
            st.button(
                frame.next, key="check_next", icon=":material/arrow_forward:", type="primary", on_click=go_on
            )
    if not attempt.chosen:
        if attempt.instead:
            st.caption(f":material/link_off: {frame.no_questions}")
        tell_best()


def tell_score() -> None:
    """How many were right, and the lessons to go back to."""
    st.header(frame.score.format(right=attempt.score, count=count), anchor=False)
    best = score_of(in_browser(BEST))
    if has_told() and (best is None or attempt.score > best):
        put_in_browser(BEST, str(attempt.score))
    tell_best()
    with st.container(gap="xxsmall"):
        for at, lesson in enumerate(LESSONS):
            mark = ":material/check:" if attempt.is_right(at) else ":material/close:"
            title = f"{mark} {lesson.number}. {language.words[lesson.name].title}"
            if st.button(title, key=f"check_step_{at}", type="tertiary"):
                state.step = lesson.name
                st.switch_page("app_pages/lessons.py")
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.button(
            frame.others, key="check_others", icon=":material/refresh:", type="primary", on_click=try_others
        )
        st.page_link("app_pages/lessons.py", label=frame.lessons, icon=":material/school:")


with st.container(width=READING_WIDTH):
    st.title(frame.check, anchor=False)
    attempt = this_attempt()
    if attempt.at < count:
        ask()
    else:
        tell_score()
write_address(**{QUESTIONS: str(attempt.seed)})
browser_store()
