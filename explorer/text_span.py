"""A span of the text that is read as one row: what it reads together, or what reads it."""

from __future__ import annotations

import streamlit as st

from explorer.captures import Capture
from explorer.picks import picked
from explorer.whole_number import tell_repair, whole_number


def span_switch() -> None:
    """Which way to read the span, and a way back to a single row."""
    st.session_state.read_by = picked().view.read_by
    st.toggle(
        "What reads it",
        key="read_by",
        on_change=_turn,
        help="On: what reads the span, the sum of its columns. Off: what it reads, the sum of its rows.",
    )
    st.button("Back to one row", key="let_go", icon=":material/close:", on_click=_let_go)


def span_lists(capture: Capture) -> None:
    """A span in figures, for the keyboard."""
    st.caption("Read several positions as one row: first and last")
    span = picked().span or range(capture.length - 1, capture.length)
    first, last = st.columns(2)
    most = capture.length - 1
    ends = {"first_of_span": (first, "First", span[0]), "last_of_span": (last, "Last", span[-1])}
    for key, (column, label, position) in ends.items():
        st.session_state[key] = float(min(position, most))
        with column:
            whole_number(label, 0, most, min(position, most), key=key, on_change=_choose_span)
    tell_repair(*ends)


def _turn() -> None:
    st.session_state.selection = picked().with_view(read_by=bool(st.session_state.read_by))


def _let_go() -> None:
    st.session_state.selection = picked().with_query(picked().query)


def _choose_span() -> None:
    first, last = int(st.session_state.first_of_span), int(st.session_state.last_of_span)
    if first <= last:
        st.session_state.selection = picked().with_span(range(first, last + 1))
