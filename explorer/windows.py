"""Windows onto a long text: opened by a brush, a button or typed numbers; closed by the trail back."""

from __future__ import annotations

from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from components.charts import Window, in_figures, overview_picture, strongest_tile
from explorer.captures import Capture
from explorer.pictures import overview
from explorer.readings import Reading, terms_of_reading
from explorer.viewer import Viewer
from explorer.whole_number import tell_repair, whole_number
from explorer.widgets import number, put

OVERVIEW_WIDTH = 128
"""Pixels of the small picture of the whole text."""

MIN_OPENED = 64
"""Fewest queries and keys to open around the strongest tile."""


def shown_window(viewer: Viewer, capture: Capture) -> Window:
    """The last opened window; the whole text, if none is open."""
    opened = viewer.shown.windows
    return opened[-1] if opened else Window.whole(capture.length)


def below_the_trail(viewer: Viewer, capture: Capture, window: Window, reading: Reading) -> DeltaGenerator:
    """A row for the words about a window. If a window is open or this one is pooled, the trail is above it;
    if one is open, a map of the text beside it.
    """
    if not viewer.shown.windows and not window.pooled:
        return st.container(horizontal=True, vertical_alignment="center")
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        _where_in_the_text(viewer, capture)
        beside = st.container(gap="xsmall")
    with beside.container(horizontal=True, vertical_alignment="center"):
        _trail(viewer, capture, window, reading)
    return beside.container(horizontal=True, vertical_alignment="center")


def _trail(viewer: Viewer, capture: Capture, window: Window, reading: Reading) -> None:
    """Buttons back to the windows around this one, and to the strongest tile."""
    opened = viewer.shown.windows
    names = [f"Whole text, {capture.length:,} tokens", *map(_name, opened)]
    for depth, name in enumerate(names[:-1]):
        st.button(
            name,
            key=viewer.key(f"back_to_{depth}"),
            type="tertiary",
            icon=":material/zoom_out_map:" if depth == 0 else ":material/chevron_right:",
            on_click=_back_to,
            args=(viewer, depth),
        )
    st.markdown(f"**{names[-1]}**", width="content")
    if window.pooled:
        st.button(
            "Open the strongest tile (RMS)",
            key=viewer.key("strongest"),
            icon=":material/center_focus_strong:",
            help="Strongest: of the largest root mean square (RMS) of what is shown.",
            on_click=_open_strongest,
            args=(viewer, capture, window, reading),
        )


def _where_in_the_text(viewer: Viewer, capture: Capture) -> None:
    """A small picture of the whole text, with the opened windows framed."""
    opened, head = viewer.shown.windows, viewer.shown.head
    if opened:
        st.image(
            overview_picture(overview(capture.subject, head), capture.length, opened),
            width=OVERVIEW_WIDTH,
            alt=f"The whole text in {head}, with a frame around {_name(opened[-1])}.",
        )


def window_lists(viewer: Viewer, length: int, window: Window) -> None:
    """A window in numbers, for the keyboard."""
    st.caption("Window: first and last position")
    ends = {
        "first_query": window.queries[0],
        "last_query": window.queries[-1],
        "first_key": window.keys[0],
        "last_key": window.keys[-1],
    }
    columns = st.columns(2)
    for box, (name, position) in enumerate(ends.items()):
        key, label = viewer.key(name), name.replace("_", " ").capitalize()
        put(key, float(position))
        with columns[box % 2]:
            whole_number(label, 0, length - 1, position, key=key, on_change=partial(_choose_window, viewer))
    tell_repair(*map(viewer.key, ends))


def _name(window: Window) -> str:
    if window.on_diagonal:
        return f"positions {in_figures(window.queries)}"
    return f"queries {in_figures(window.queries)} · keys {in_figures(window.keys)}"


def _back_to(viewer: Viewer, depth: int) -> None:
    viewer.on_pick(viewer.shown.back_to(depth))


def _open_strongest(viewer: Viewer, capture: Capture, window: Window, reading: Reading) -> None:
    head = viewer.shown.head
    terms = terms_of_reading(capture.subject, head.place, reading)
    tile = strongest_tile(terms, head.index, window, reading=reading.name)
    viewer.on_pick(viewer.shown.with_window(tile.around(MIN_OPENED, capture.length)))


def _choose_window(viewer: Viewer) -> None:
    """Replace the shown window by the typed one."""
    queries, keys = (
        range(int(number(viewer.key(f"first_{of}")) or 0), int(number(viewer.key(f"last_{of}")) or 0) + 1)
        for of in ("query", "key")
    )
    if len(queries) and len(keys) and queries[-1] >= keys[0]:
        opened = viewer.shown.windows
        before = viewer.shown.back_to(len(opened) - 1 if opened else 0)
        viewer.on_pick(before.with_window(Window(queries, keys)))
