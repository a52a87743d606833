"""A span of the text that is read as one row: what it reads together, or what reads it."""

from __future__ import annotations

from functools import partial

import streamlit as st

from explorer.switches import toggle
from explorer.viewer import Viewer
from explorer.whole_number import tell_repair, whole_number
from explorer.widgets import number, put


def span_switch(viewer: Viewer) -> None:
    """A switch for how to read the span, and a button back to one row."""
    toggle(
        viewer,
        "read_by",
        "What reads it",
        "On: what reads the span, the sum of its columns. Off: what it reads, the sum of its rows.",
    )
    st.button(
        "Back to one row",
        key=viewer.key("let_go"),
        icon=":material/close:",
        on_click=_let_go,
        args=(viewer,),
    )


def span_lists(viewer: Viewer, length: int) -> None:
    """A span in numbers, for the keyboard."""
    st.caption("Read several positions as one row: first and last")
    span = viewer.shown.span or range(length - 1, length)
    first, last = st.columns(2)
    keys = viewer.key("first_of_span"), viewer.key("last_of_span")
    for key, column, label, position in zip(
        keys, (first, last), ("First", "Last"), (span[0], span[-1]), strict=True
    ):
        put(key, float(position))
        with column:
            whole_number(
                label, 0, length - 1, position, key=key, on_change=partial(_choose_span, viewer, keys)
            )
    tell_repair(*keys)


def _let_go(viewer: Viewer) -> None:
    viewer.on_pick(viewer.shown.with_query(viewer.shown.query))


def _choose_span(viewer: Viewer, keys: tuple[str, str]) -> None:
    first, last = (int(number(key) or 0) for key in keys)
    if first <= last:
        viewer.on_pick(viewer.shown.with_span(range(first, last + 1)))
