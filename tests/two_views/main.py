"""A page with two views, each of its own head, on one scale."""

from functools import partial

import streamlit as st

from components.demo.presets import PRESETS
from components.models.catalogue import DEMO
from components.ssd import Head, Place
from explorer.captures import capture
from explorer.head_view import head_view
from explorer.selection import Selection
from explorer.subject import Subject
from explorer.viewer import Viewer

st.set_page_config(layout="wide")
SUBJECTS = {"left": Subject(DEMO, PRESETS[0].prompt), "right": Subject(DEMO, PRESETS[1].prompt)}
LIMITS = {"content": 4.0, "attention": 2.0}

picked: dict[str, Selection] = st.session_state.setdefault(
    "picked", {name: Selection(subject, Head(Place(1), 0)) for name, subject in SUBJECTS.items()}
)


def read(name: str) -> Selection:
    """What a view shows."""
    selection: Selection = st.session_state.picked[name]
    return selection


def pick(name: str, selection: Selection) -> None:
    """Let a view show another selection."""
    st.session_state.picked[name] = selection


def two_views() -> None:
    """The page."""
    for name, column in zip(SUBJECTS, st.columns(2), strict=True):
        shown = capture(SUBJECTS[name])
        viewer = Viewer(partial(read, name), partial(pick, name), shown.heads, shown.length, name, LIMITS)
        with column:
            head_view(viewer, shown)


page = st.Page(two_views, default=True)
st.navigation([page, st.Page("app_pages/how_to_read.py")], position="hidden").run()
