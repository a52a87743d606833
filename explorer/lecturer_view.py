"""What a lecturer projects: the question, the answers of the class as they come, then the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from string import ascii_uppercase
from urllib.parse import urlsplit

import numpy as np
import streamlit as st

from components.charts import token_bars_chart
from explorer.class_actions import attempt
from explorer.classes import ClassError, Room, Rooms, in_groups, link_to_class, qr_svg
from explorer.drawing import draw
from explorer.lesson_view import Ask, lesson_view
from explorer.lessons import LESSONS, Language, Progress
from explorer.session import session

LOOK_AGAIN = 1.0
"""Seconds after which the lecturer's browser asks for new answers."""
COUNTDOWNS = (10, 30, 60)
TALLY_HEIGHT = 90
FEW = 4
"""Answers up to which the axis goes at least."""
QR_WIDTH = 260


def lecturer_view(rooms: Rooms, code: str, secret: str, language: Language, address: str) -> None:
    """Draw the step of a class and what leads it. Raises ClassError when the class is over."""
    room = rooms.room(code)
    lesson = LESSONS[min(room.step, len(LESSONS) - 1)]
    progress = session().in_classes.setdefault((code, room.step), Progress())
    if not room.step and not room.revealed and code not in session().begun:
        st.title("Join the class", anchor=False)
        _lobby(rooms, code, address)
        begin = partial(session().begun.add, code)
        st.button("Begin", key="class_begin", icon=":material/play_arrow:", type="primary", on_click=begin)
        return
    st.title(language.words[lesson.name].title, anchor=False)
    _lead(rooms, room, secret, address)
    right = lesson.right() if room.revealed else None
    lesson_view(
        lesson,
        language,
        progress,
        revealed=room.revealed,
        ask=_listed(language),
        below=partial(_tally, rooms, room, len(lesson.words.choices), right),
        larger=True,
    )


def _invitation(code: str, address: str) -> None:
    """Show how to join: the link, its QR code, the code."""
    link = link_to_class(address, code)
    st.image(qr_svg(link), width=QR_WIDTH, alt="QR code of the link below")
    st.markdown(f"## {in_groups(code)}")
    st.code(link, language=None, wrap_lines=True)
    if urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1"):
        st.caption(
            "This link works on this computer only. To invite others, open this page by the address that "
            "your computer has in the network: `mamba2-explorer --class` names it."
        )


def _lead(rooms: Rooms, room: Room, secret: str, address: str) -> None:
    """What moves the class on."""
    code, step = room.code, room.step

    def button(
        words: str, key: str, icon: str, go: Callable[..., object], *args: object, primary: bool = False
    ) -> None:
        st.button(
            words,
            key=key,
            icon=f":material/{icon}:",
            type="primary" if primary else "secondary",
            on_click=attempt,
            args=(go, code, secret, *args),
        )

    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        if step:
            button("Back", "class_back", "arrow_back", rooms.move, step - 1)
        st.markdown(f"Step {step + 1} of {len(LESSONS)}", width="content")
        if step + 1 < len(LESSONS):
            button("Next", "class_next", "arrow_forward", rooms.move, step + 1, primary=room.revealed)
        if room.together:
            if room.revealed:
                button("Hide the answer", "class_hide", "visibility_off", rooms.reveal, False)
            else:
                button("Show the answer", "class_reveal", "visibility", rooms.reveal, True, primary=True)
                with st.popover("Countdown", icon=":material/timer:"):
                    for seconds in COUNTDOWNS:
                        count_down = partial(_count_down, rooms, seconds)
                        button(f"{seconds} s", f"count_{seconds}", "timer", count_down)
                    button("No countdown", "count_off", "timer_off", rooms.count_down, None)
            button("Let each go on alone", "class_alone", "directions_run", rooms.go_together, False)
        else:
            button("Bring all here", "class_together", "groups", rooms.go_together, True, primary=True)
        with st.popover("Join", icon=":material/qr_code:"):
            _invitation(code, address)
        with st.popover("End", icon=":material/stop_circle:"):
            st.markdown("All answers are deleted.")
            button("End the class", "class_end", "delete", rooms.end, primary=True)


def _count_down(rooms: Rooms, seconds: int, code: str, secret: str) -> None:
    rooms.count_down(code, secret, time.time() + seconds)


def _listed(language: Language) -> Ask:
    """The choices by letters, with the right one marked once it is told."""

    def ask(choices: Sequence[str], right: int | None) -> str:
        for index, choice in enumerate(choices):
            mark = ":material/check: " if index == right else ""
            st.markdown(f"{mark}**{ascii_uppercase[index]}** {choice}")
        return "" if right is None else language.frame.answer.format(choice=choices[right])

    return ask


@st.fragment(run_every=LOOK_AGAIN)
def _tally(rooms: Rooms, room: Room, choices: int, right: int | None) -> None:
    """How many chose each, as the answers come; beside the truth once it is told."""
    try:
        now, counts = rooms.room(room.code), rooms.tally(room.code, room.step, choices=choices)
    except ClassError:
        st.rerun()
    letters = ascii_uppercase[:choices]
    said = ", ".join(f"{count} for {letter}" for letter, count in zip(letters, counts, strict=True))
    words = f"**{sum(counts)} of {now.students}** have answered"
    if right is None and now.ends is not None:
        words += f", {max(0, round(now.ends - time.time()))} s left"
    st.markdown(words)
    bars = token_bars_chart(
        letters, np.array(counts, np.float32), "answers", marked=right, height=TALLY_HEIGHT, reach=FEW
    )
    truth = "" if right is None else f" {letters[right]} is right."
    draw(bars, key="tally", alt=f"Answers of the class: {said}.{truth}")


@st.fragment(run_every=LOOK_AGAIN)
def _lobby(rooms: Rooms, code: str, address: str) -> None:
    """How to join, and how many have."""
    try:
        students = rooms.room(code).students
    except ClassError:
        st.rerun()
    left, right = st.columns(2, gap="large", vertical_alignment="center")
    with left:
        _invitation(code, address)
    with right:
        st.markdown(f"# {students}")
        st.markdown("have joined")
