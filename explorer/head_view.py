"""Everything on a page that shows the picked head."""

from __future__ import annotations

from functools import partial

import streamlit as st

from components.ssd import KINDS, Head
from explorer.captures import Capture, holds, layer_of
from explorer.decay_curves import decay_curves
from explorer.facts import head_facts, tell_notes
from explorer.maps import gallery, head_lists, head_map, maps_in_words
from explorer.panels import HEAD_VIEW, existing_query, head_panels
from explorer.session import session
from explorer.switches import larger_type, switches
from explorer.text_span import span_lists
from explorer.threads import use_threads
from explorer.viewer import Viewer
from explorer.waiting import wait_for
from explorer.widgets import chosen, put
from explorer.windows import shown_window, window_lists

NO_KEY = -1
"""In the list of keys: none is picked."""


@st.fragment(key=HEAD_VIEW)
def head_view(viewer: Viewer, capture: Capture) -> None:
    """Draw everything that shows the picked head. Picking another reruns only this fragment.

    A page can have several, with viewers of different names.
    """
    use_threads(0)  # matrices of one head
    place = viewer.shown.head.place
    if not holds(capture, place):
        wait_for(
            ("layer", capture.subject, place),
            partial(layer_of, capture.subject, place),
            f"Running the prompt once more, for {place}",
            partial(_go_back, viewer),
            button=viewer.key("stop_layer"),
        )
    session().heads[viewer.name] = viewer.shown.head
    map_column, facts_column = st.columns(2, gap="large")
    with map_column:
        heads = head_map(viewer, capture)
    with facts_column:
        compute_facts = head_facts(viewer, capture)
        tell_notes(capture.notes)
    larger_type(viewer)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        _pick_menu(viewer, capture)
        switches(viewer)
    if viewer.shown.view.gallery:
        gallery(viewer, capture, heads)
    head_panels(viewer, capture, maps_in_words(viewer, heads))
    if KINDS[place.kind].decay:
        decay_curves(viewer, capture)
    compute_facts()


def _go_back(viewer: Viewer) -> None:
    """Go back to the last head drawn; without one, to the first of the model."""
    first = Head(next(iter(viewer.heads)), 0)
    viewer.on_pick(viewer.shown.with_head(session().heads.get(viewer.name, first)))


def _pick_menu(viewer: Viewer, capture: Capture) -> None:
    """The picks of clicks and brushes as lists, for the keyboard. Like all menus, filled when it opens."""
    menu = st.popover("Pick from lists", icon=":material/list:", key=viewer.key("lists"), on_change="rerun")
    if not menu.open:
        return
    window = shown_window(viewer, capture)
    query = existing_query(viewer, window)
    put(viewer.key("query"), query)
    key = viewer.shown.key if viewer.shown.cell else None
    put(viewer.key("key"), NO_KEY if key is None else key)
    with menu:
        head_lists(viewer)
        st.selectbox(
            "Query position i",
            window.queries,
            key=viewer.key("query"),
            format_func=lambda i: f"{i}  {capture.tokens[i]}",
            on_change=_choose_query,
            args=(viewer, query),
        )
        read = range(window.keys.start, min(window.keys.stop, query + 1))
        st.selectbox(
            "Key position j",
            [NO_KEY, *sorted({*read, *([] if key is None else [key])})],
            key=viewer.key("key"),
            format_func=lambda j: "none: the whole row" if j == NO_KEY else f"{j}  {capture.tokens[j]}",
            on_change=_choose_key,
            args=(viewer, query, key),
        )
        window_lists(viewer, capture.length, window)
        span_lists(viewer, capture.length)


def _choose_query(viewer: Viewer, shown: int) -> None:
    query = chosen(viewer.key("query"), int)
    if query is not None and query != shown:
        viewer.on_pick(viewer.shown.with_query(query))


def _choose_key(viewer: Viewer, query: int, shown: int | None) -> None:
    """Pick the cell of the shown row and the key in the list, unless the list showed it."""
    given = chosen(viewer.key("key"), int)
    if given is None or given == (NO_KEY if shown is None else shown):
        return
    viewer.on_pick(viewer.shown.with_cell(query, None if given == NO_KEY else given))
