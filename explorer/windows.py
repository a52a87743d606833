"""Windows onto a long text: opened by a brush, a button or in figures; left by the trail that led to them."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from components.charts import Window, in_figures, overview_picture, strongest_tile
from components.ssd import Place
from explorer.captures import Capture, terms_of
from explorer.picks import picked
from explorer.pictures import overview
from explorer.whole_number import tell_repair, whole_number

OVERVIEW_WIDTH = 128
"""Pixels of the small picture of the whole text."""

MIN_OPENED = 64
"""Tokens around the strongest tile that are opened with it, at least."""


def shown_window(capture: Capture) -> Window:
    """The last opened window, as far as the text fills it; the whole text, if none is open."""
    opened = picked().windows
    found = opened[-1].within(capture.length) if opened else None
    return found or Window.whole(capture.length)


def below_the_trail(capture: Capture, place: Place, head: int, window: Window) -> DeltaGenerator:
    """A row for the words about a window. If it is a part of the text or is pooled, the trail is above it and
    a map of the text beside it.
    """
    if not picked().windows and not window.pooled:
        return st.container(horizontal=True, vertical_alignment="center")
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        _where_in_the_text(capture, place, head)
        beside = st.container(gap="xsmall")
    with beside.container(horizontal=True, vertical_alignment="center"):
        _trail(capture, place, head, window)
    return beside.container(horizontal=True, vertical_alignment="center")


def _trail(capture: Capture, place: Place, head: int, window: Window) -> None:
    """The windows that led here, each a click back, and the way to the strongest tile."""
    opened = picked().windows
    names = [f"Whole text, {capture.length:,} tokens", *map(_name, opened)]
    for depth, name in enumerate(names[:-1]):
        st.button(
            name,
            key=f"back_to_{depth}",
            type="tertiary",
            icon=":material/zoom_out_map:" if depth == 0 else ":material/chevron_right:",
            on_click=_back_to,
            args=(depth,),
        )
    st.markdown(f"**{names[-1]}**", width="content")
    if window.pooled:
        st.button(
            "Open the strongest tile (RMS)",
            key="strongest",
            icon=":material/center_focus_strong:",
            help="Strongest: of the largest root mean square (RMS) of attention or, with Times dt, of M·dt.",
            on_click=_open_strongest,
            args=(capture, place, head, window),
        )


def _where_in_the_text(capture: Capture, place: Place, head: int) -> None:
    """A small picture of the whole text, with the opened windows framed."""
    opened = picked().windows
    if opened:
        st.image(
            overview_picture(overview(capture.model, capture.prompt, place, head), capture.length, opened),
            width=OVERVIEW_WIDTH,
            alt=f"The whole text in {place}, head {head}; framed in it {_name(opened[-1])}.",
        )


def window_lists(capture: Capture, window: Window) -> None:
    """A window in figures, for the keyboard."""
    st.caption("Window: first and last position")
    ends = {
        "first_query": window.queries[0],
        "last_query": window.queries[-1],
        "first_key": window.keys[0],
        "last_key": window.keys[-1],
    }
    columns = st.columns(2)
    for place, (name, position) in enumerate(ends.items()):
        st.session_state[name] = float(position)
        label = name.replace("_", " ").capitalize()
        with columns[place % 2]:
            whole_number(label, 0, capture.length - 1, position, key=name, on_change=_choose_window)
    tell_repair(*ends)


def _name(window: Window) -> str:
    if window.on_diagonal:
        return f"positions {in_figures(window.queries)}"
    return f"queries {in_figures(window.queries)} · keys {in_figures(window.keys)}"


def _back_to(depth: int) -> None:
    st.session_state.selection = picked().back_to(depth)


def _open_strongest(capture: Capture, place: Place, head: int, window: Window) -> None:
    tile = strongest_tile(terms_of(capture, place), head, window, with_dt=picked().view.dt)
    st.session_state.selection = picked().with_window(tile.around(MIN_OPENED, capture.length))


def _choose_window() -> None:
    """Take the figures in place of the window that is shown."""
    state = st.session_state
    queries = range(int(state.first_query), int(state.last_query) + 1)
    keys = range(int(state.first_key), int(state.last_key) + 1)
    if len(queries) and len(keys) and queries[-1] >= keys[0]:
        opened = picked().windows
        state.selection = (
            picked().back_to(len(opened) - 1 if opened else 0).with_window(Window(queries, keys))
        )
