"""All heads of a model: the head map, the gallery, and the lists that pick as a click does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import streamlit as st

from components.charts import PICK, PICK_FROM_GALLERY, gallery_chart, head_map_chart
from components.ssd import MEASURES, Place
from explorer import hand
from explorer.captures import Capture
from explorer.drawing import draw
from explorer.passages import Passage, link_to
from explorer.picks import choose_head, head_of, picked, pressed
from explorer.pictures import small_pictures
from explorer.switches import choose

PASSAGES: dict[str, Passage] = {"mean_distance": "distance", "half_life": "half-life"}
"""Of "How to read this", about a measure."""

HEAD_MAP = "A measure of every head, layer by layer."
GALLERY = "A small picture of the attention of every head."
"""The `alt` of each chart, until `live_alt` says what it shows now."""


def _pick_head(chart: str, selection: str) -> None:
    """Take the head clicked in a chart; a click that hits none leaves the pick as it is."""
    if head := head_of(pressed(chart, selection)):
        st.session_state.selection = picked().with_head(*head)


def _move_head(heads: Mapping[Place, int], place: Place, head: int) -> None:
    """Go to another head by the arrow keys: layers down, heads across, as the head map has them."""
    moves = hand.moves("head_map")
    down = list(heads)
    place = down[min(max(down.index(place) + moves.down, 0), len(down) - 1)]
    head = min(max(head + moves.right, 0), heads[place] - 1)
    st.session_state.selection = picked().with_head(place.layer, head, place.kind)


def head_map(capture: Capture, place: Place, head: int) -> None:
    """Every head as a cell, coloured by a measure."""
    st.session_state.measure = picked().view.measure
    st.segmented_control(
        "Heads coloured by",
        list(MEASURES),
        key="measure",
        format_func=lambda name: MEASURES[name].label,
        on_change=choose,
        args=("measure",),
        required=True,
    )
    measure = MEASURES[st.session_state.measure]
    draw(
        head_map_chart(
            capture.measures, measure, (place.layer, place.kind, head), larger=picked().view.large
        ),
        key="head_map",
        on_select=partial(_pick_head, "head_map", PICK),
        selection_mode=PICK,
        alt=HEAD_MAP,
    )
    hand.listen("head_map", partial(_move_head, capture.heads, place, head))
    st.caption("Click a cell to see its head, or go there by the arrow keys.")
    if passage := PASSAGES.get(measure.name):
        link_to(passage, "the head map")


def gallery(capture: Capture, place: Place, head: int) -> None:
    """Every head at once."""
    st.session_state.sort = picked().view.sort
    st.segmented_control(
        "Gallery sorted by",
        ["", *MEASURES],
        key="sort",
        format_func=lambda name: MEASURES[name].label if name else "Layer and head",
        on_change=choose,
        args=("sort",),
        required=True,
    )
    figure = gallery_chart(
        small_pictures(capture),
        capture.measures,
        (place.layer, place.kind, head),
        sort=MEASURES.get(picked().view.sort),
        locked=picked().view.locked,
        larger=picked().view.large,
    )
    draw(
        figure,
        key="gallery_of_heads",
        on_select=partial(_pick_head, "gallery_of_heads", PICK_FROM_GALLERY),
        selection_mode=PICK_FROM_GALLERY,
        alt=GALLERY,
    )
    scale = "one scale for all of a kind" if picked().view.locked else "each on its own scale"
    st.caption(
        f"Root mean square of attention over tiles of the whole text, {scale}. "
        "Click a picture to see its head."
    )


def head_lists(
    heads: Mapping[Place, int],
    place: Place,
    head: int,
    keys: tuple[str, str],
    widths: tuple[int | Literal["stretch"], int | Literal["stretch"]] = ("stretch", "stretch"),
) -> None:
    """The list of layers, by kind, and that of a layer's heads, as on all pages; `heads` counts those."""
    st.session_state.update(zip(keys, (place, head), strict=True))
    told: dict[str, Any] = {"on_change": choose_head, "args": (*keys, place, head)}
    layers = {each: str(each).removeprefix("layer ") for each in heads}
    st.selectbox("Layer", heads, key=keys[0], format_func=layers.__getitem__, width=widths[0], **told)
    st.selectbox("Head", range(heads[place]), key=keys[1], width=widths[1], **told)
