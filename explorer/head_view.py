"""Everything on the page that shows the picked head."""

from __future__ import annotations

from functools import partial

import streamlit as st

from components.ssd import KINDS, Place
from explorer.captures import Capture, holds, layer_of
from explorer.decay_curves import decay_curves
from explorer.facts import head_facts, tell_notes
from explorer.maps import gallery, head_lists, head_map
from explorer.panels import existing_query, head_panels
from explorer.picks import chosen, picked
from explorer.selection import nearest_head
from explorer.switches import switches
from explorer.text_span import span_lists
from explorer.threads import use_threads
from explorer.waiting import wait_for
from explorer.windows import shown_window, window_lists


@st.fragment
def head_view(capture: Capture) -> None:
    """Everything that shows the picked head. Picking another reruns this and nothing else."""
    use_threads(0)  # matrices of one head
    place, head = nearest_head(picked(), capture.heads)
    st.session_state.selection = picked().with_head(place.layer, head, place.kind)
    if not holds(capture, place):
        wait_for(
            ("layer", capture.model, capture.prompt, str(place)),
            partial(layer_of, capture.model, capture.prompt, place),
            f"Running the prompt once more, for {place}",
            _stop_layer,
        )
    st.session_state.seen = place.layer, head, place.kind
    of_head = capture.measures_of(place, head)
    map_column, facts_column = st.columns(2, gap="large")
    with map_column:
        head_map(capture, place, head)
    with facts_column:
        compute_facts = head_facts(capture, place, head, of_head)
        tell_notes(capture.notes)
    if picked().view.large:
        st.html("<style>html { font-size: 20px; }</style>")
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        _pick_menu(capture, place, head)
        switches(place)
    if picked().view.gallery:
        gallery(capture, place, head)
    head_panels(capture, place, head, float(of_head["half_life"]))
    if KINDS[place.kind].decay:
        decay_curves(capture, place, head, float(of_head["half_life"]))
    compute_facts()


def _stop_layer() -> None:
    """Go back to the head whose layer was there."""
    st.session_state.selection = picked().with_head(*st.session_state.get("seen", (0, 0)))


def _pick_menu(capture: Capture, place: Place, head: int) -> None:
    """What a click or a brush picks, once more for the keyboard. It is filled when it opens, as all menus."""
    menu = st.popover("Pick from lists", icon=":material/list:", key="lists", on_change="rerun")
    if not menu.open:
        return
    window = shown_window(capture)
    st.session_state.query = existing_query(window)
    with menu:
        head_lists(capture.heads, place, head, ("layer", "head"))
        st.selectbox(
            "Query position i",
            window.queries,
            key="query",
            format_func=lambda i: f"{i}  {capture.tokens[i]}",
            on_change=_choose_query,
            args=(st.session_state.query,),
        )
        window_lists(capture, window)
        span_lists(capture)


def _choose_query(shown: int) -> None:
    query = chosen("query", int)
    if query is not None and query != shown:
        st.session_state.selection = picked().with_query(query)
