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
COUNTDOWNS = (30, 60, 120)
TALLY_HEIGHT = 110
QR_WIDTH = 260


def lecturer_view(rooms: Rooms, code: str, secret: str, language: Language, address: str) -> None:
    """Draw the step of a class and what leads it. Raises ClassError when the class is over."""
    room = rooms.room(code)
    lesson = LESSONS[min(room.step, len(LESSONS) - 1)]
    progress = session().in_classes.setdefault((code, room.step), Progress())
    st.title(language.words[lesson.name].title, anchor=False)
    _lead(rooms, room, secret, address)
    lesson_view(
        lesson,
        language,
        progress,
        revealed=room.revealed,
        ask=_tally(rooms, room, language),
        larger=True,
    )


def invite(code: str, address: str) -> None:
    """Show how to join: the link, its QR code, the code."""
    link = link_to_class(address, code)
    with st.container(key="qr", width=QR_WIDTH):
        st.html(qr_svg(link).replace("<svg", '<svg role="img" aria-label="QR code of the link below"', 1))
    st.markdown(f"Code of the class: **{in_groups(code)}**")
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
            invite(code, address)
        with st.popover("End", icon=":material/stop_circle:"):
            st.markdown("All answers are deleted.")
            button("End the class", "class_end", "delete", rooms.end, primary=True)


def _count_down(rooms: Rooms, seconds: int, code: str, secret: str) -> None:
    rooms.count_down(code, secret, time.time() + seconds)


def _tally(rooms: Rooms, room: Room, language: Language) -> Ask:
    """The choices, and how many chose each: live, and beside the truth once it is told."""

    def ask(choices: Sequence[str], right: int | None) -> str:
        letters = ascii_uppercase[: len(choices)]
        for index, (letter, choice) in enumerate(zip(letters, choices, strict=True)):
            mark = ":material/check: " if index == right else ""
            st.markdown(f"{mark}**{letter}** {choice}")

        @st.fragment(run_every=LOOK_AGAIN)
        def look() -> None:
            try:
                now = rooms.room(room.code)
                counts = rooms.tally(room.code, room.step, choices=len(choices))
            except ClassError:
                st.rerun()
            said = ", ".join(f"{count} for {letter}" for letter, count in zip(letters, counts, strict=True))
            answered = f"{sum(counts)} of {now.students} have answered"
            left = None if now.ends is None else max(0, round(now.ends - time.time()))
            st.markdown(answered if left is None or right is not None else f"{answered} · {left} s left")
            draw(
                token_bars_chart(
                    list(letters), np.array(counts, np.float32), "answers", marked=right, height=TALLY_HEIGHT
                ),
                key="tally",
                alt=f"Answers of the class: {said}."
                + ("" if right is None else f" {letters[right]} is right."),
            )

        look()
        return "" if right is None else language.frame.answer.format(choice=choices[right])

    return ask
