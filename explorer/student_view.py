"""What a student of a class sees: the step where the class is, or their own."""

from __future__ import annotations

import time

import streamlit as st

from explorer.class_actions import attempt
from explorer.classes import ClassError, Room, Rooms
from explorer.lesson_view import buttons, lesson_view
from explorer.lessons import LESSONS, Language, Progress
from explorer.session import session

LOOK_AGAIN = 1.5
"""Seconds after which a student's browser asks whether the class has moved on."""


def student_view(rooms: Rooms, code: str, student: str, language: Language) -> None:
    """Draw the step of a student who has joined, and follow the class. Raises ClassError when it is over."""
    room = rooms.room(code)
    step = rooms.join(code, student)[1]
    lesson, frame = LESSONS[min(step, len(LESSONS) - 1)], language.frame
    progress = _progress(code, step, rooms.chosen(code, student, step))
    told = progress.choice is not None
    revealed = room.revealed if room.together else told
    is_open = room.takes_answers(time.time())

    def answer(choice: int) -> None:
        choices = len(lesson.words.choices)
        attempt(lambda: rooms.answer(code, student, step, choice, choices=choices))

    st.title(language.words[lesson.name].title, anchor=False)
    lesson_view(
        lesson,
        language,
        progress,
        revealed=revealed,
        ask=buttons(frame, progress, answer, open=is_open),
    )
    if room.together and not revealed and (told or not is_open):
        st.info(frame.waiting if told else frame.late, icon=":material/hourglass:")
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        if not room.together and step:
            _step_button(frame.back, "step_back", "arrow_back", rooms, code, student, step - 1)
        st.caption(frame.step.format(number=lesson.number, count=len(LESSONS)), width="content")
        if not room.together and progress.reached >= lesson.goals and step + 1 < len(LESSONS):
            _step_button(frame.next, "step_next", "arrow_forward", rooms, code, student, step + 1)
    follow(rooms, room, language if room.together and not revealed else None)


def follow(rooms: Rooms, shown: Room, language: Language | None) -> None:
    """Run the page again when the class is no longer as shown; until then count down, in a `language`."""
    was_open = shown.takes_answers(time.time())

    @st.fragment(run_every=LOOK_AGAIN)
    def look() -> None:
        try:
            now = rooms.room(shown.code)
        except ClassError:
            st.rerun()
        if _state(now) != _state(shown) or now.takes_answers(time.time()) != was_open:
            st.rerun()
        left = None if now.ends is None else now.ends - time.time()
        if language is not None and left is not None and left > 0:
            st.caption(f":material/timer: {language.frame.seconds.format(seconds=round(left))}")

    look()


def _state(room: Room) -> tuple[object, ...]:
    """What changes what a student sees."""
    return room.step, room.together, room.revealed, room.ends


def _progress(code: str, step: int, choice: int | None) -> Progress:
    """How far this student is. The class keeps the answer, this session the rest."""
    progress = session().in_classes.setdefault((code, step), Progress())
    progress.choice = choice
    return progress


def _step_button(words: str, key: str, icon: str, rooms: Rooms, code: str, student: str, to: int) -> None:
    args = (rooms.at, code, student, to)
    st.button(words, key=key, icon=f":material/{icon}:", on_click=attempt, args=args)
