"""A span of the text that is read as one row: what it reads together, or what reads it."""

from __future__ import annotations

import streamlit as st

from explorer.picks import picked
from explorer.resources import Capture


def span_switch() -> None:
    """Which way to read the span, and a way back to a single row."""
    st.session_state.read_by = picked().view.read_by
    st.toggle(
        "What reads it",
        key="read_by",
        on_change=_turn,
        help="The columns of the span, summed: what reads it. Without it the rows: what it reads.",
    )
    st.button("Back to one row", key="let_go", icon=":material/close:", on_click=_let_go)


def span_lists(capture: Capture) -> None:
    """A span in figures, for the keyboard."""
    st.caption("Read several positions as one row: first and last")
    span = picked().span or range(capture.length - 1, capture.length)
    first, last = st.columns(2)
    st.session_state.first_of_span = min(span[0], capture.length - 1)
    st.session_state.last_of_span = min(span[-1], capture.length - 1)
    for column, key, label in ((first, "first_of_span", "First"), (last, "last_of_span", "Last")):
        with column:
            st.number_input(label, 0, capture.length - 1, key=key, on_change=_choose_span)


def _turn() -> None:
    st.session_state.selection = picked().with_view(read_by=bool(st.session_state.read_by))


def _let_go() -> None:
    st.session_state.selection = picked().with_query(picked().query)


def _choose_span() -> None:
    first, last = st.session_state.first_of_span, st.session_state.last_of_span
    if first <= last:
        st.session_state.selection = picked().with_span(range(first, last + 1))
