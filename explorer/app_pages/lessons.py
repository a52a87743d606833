"""Lessons that ask first: predict, see the live value, change it."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from explorer.address import tell, write_address
from explorer.browser_store import browser_store
from explorer.frame import pick
from explorer.lesson_progress import is_done, keep_progress, progress_in
from explorer.lesson_view import buttons, lesson_view
from explorer.lesson_words import language_of_visit
from explorer.lessons import LESSONS, compute_ahead
from explorer.session import session

READING_WIDTH = 1180
CHECK = "app_pages/check_yourself.py"

state = session()
tell()
language = language_of_visit()
frame = language.frame
by_name = {lesson.name: lesson for lesson in LESSONS}
wanted = st.query_params.get("step", "") or state.step
lesson = by_name.get(wanted, LESSONS[0])
state.step = lesson.name
progress = progress_in(lesson)
at = LESSONS.index(lesson)


def go(name: str) -> None:
    """Show another step."""
    state.step = st.query_params["step"] = name


def answer(choice: int) -> None:
    """Take an answer; the first one counts."""
    if progress.choice is None and choice < len(lesson.words.choices):
        progress.choice = choice


def step_button(words: str, key: str, to: int, icon: str, kind: Literal["primary", "secondary"]) -> None:
    """A button that shows another step."""
    st.button(words, key=key, icon=f":material/{icon}:", type=kind, on_click=go, args=(LESSONS[to].name,))


def link_to_class() -> None:
    """A link to the page of classes."""
    st.page_link("app_pages/classroom.py", label=frame.classroom, icon=":material/groups:")


with st.container(width=READING_WIDTH):
    st.title(language.words[lesson.name].title, anchor=False)
    ask = buttons(frame, progress, answer)
    revealed = progress.choice is not None
    scene = lesson_view(lesson, language, progress, revealed=revealed, ask=ask)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        if at:
            step_button(frame.back, "step_back", at - 1, "arrow_back", "secondary")
        steps = st.popover(frame.step.format(number=at + 1, count=len(LESSONS)), type="tertiary")
        with steps, st.container(gap=None):
            for each in LESSONS:
                mark = ":material/check: " if is_done(each) else ""
                st.button(
                    f"{mark}{each.number}. {language.words[each.name].title}",
                    key=f"step_{each.number}",
                    type="tertiary",
                    on_click=go,
                    args=(each.name,),
                )
        with steps:
            st.page_link(CHECK, label=frame.check, icon=":material/quiz:")
            link_to_class()
        if not (at or revealed):
            link_to_class()
        if revealed and st.button(
            frame.explore, key="lesson_in_explore", icon=":material/grid_on:", type="tertiary"
        ):
            pick(scene.selection)
            st.switch_page("app_pages/explore.py")
        if is_done(lesson) and at + 1 < len(LESSONS):
            step_button(frame.next, "step_next", at + 1, "arrow_forward", "primary")
        elif is_done(lesson) and st.button(frame.check, key="check", icon=":material/quiz:", type="primary"):
            st.switch_page(CHECK)
write_address(step=lesson.name)
keep_progress()
browser_store()
compute_ahead()
