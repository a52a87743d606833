"""The values of widgets by their keys, read with a check of their type.

A browser may send anything that has the form of a widget's value (see `explorer.wire`), so callers say which
type they expect.
"""

from __future__ import annotations

from typing import TypeVar

import streamlit as st

Option = TypeVar("Option")


def chosen(key: str, kind: type[Option]) -> Option | None:
    """The value of a widget if it has this type, else None: a list may hold a text that is no option."""
    value = st.session_state.get(key)
    return value if isinstance(value, kind) else None


def number(key: str) -> float | None:
    """The value of a box for a number; None where it is empty."""
    value = st.session_state.get(key)
    return float(value) if isinstance(value, int | float) else None


def put(key: str, value: object) -> None:
    """Set the value of a widget that is drawn after this, or in the next run."""
    st.session_state[key] = value


def put_first(key: str, value: object) -> None:
    """As `put`, for a widget that has no value yet."""
    st.session_state.setdefault(key, value)


def forget(key: str) -> None:
    """Remove a widget's value."""
    st.session_state.pop(key, None)


def pressed(chart: str, selection: str) -> object:
    """The points of a chart's selection, as the browser sent them."""
    return st.session_state[chart].selection.get(selection)


def told_by(component: str, event: str) -> object:
    """The last value of a component's event, as the browser sent it; None once its page has been left."""
    return st.session_state.get(component, {}).get(event)
