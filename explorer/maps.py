"""All heads of a model: the head map, the gallery, and the lists that pick as a click does."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
import streamlit as st
from jaxtyping import Float32

from components.charts import PICK, PICK_FROM_GALLERY, gallery_chart, head_map_chart
from components.ssd import MEASURES, OF_CELL, Head, Place, Quantity
from explorer import hand
from explorer.captures import Capture
from explorer.drawing import draw, plain
from explorer.passages import Passage, link_to
from explorer.picked_cell import Heads, all_heads
from explorer.picks import head_of
from explorer.pictures import pictures_of_reading, small_pictures
from explorer.readings import Reading, picked_reading, show_attention
from explorer.selection import View
from explorer.switches import choice
from explorer.viewer import Viewer
from explorer.waiting import wait_for
from explorer.widgets import chosen, pressed, put

PASSAGES: dict[str, Passage] = {"mean_distance": "distance", "half_life": "half-life"}
"""Passages of "How to read this", by measure."""

GALLERY_TOKENS = 512
"""Longest text with small pictures of contributions: they take work for each head and pair of tokens."""

HEAD_MAP = "A measure of every head, layer by layer."
GALLERY = "A small picture of the attention of every head."
"""The initial `alt` of each chart; `live_alt` replaces it."""


def _pick_head(viewer: Viewer, chart: str, selection: str) -> None:
    """Pick the head clicked in a chart; a click that hits none changes nothing."""
    if head := head_of(pressed(chart, selection)):
        viewer.on_pick(viewer.shown.with_head(head))


def _move_head(viewer: Viewer) -> None:
    """Go to another head by the arrow keys: layers down, heads across, as in the head map."""
    moves, head = hand.moves(viewer.key("head_map")), viewer.shown.head
    down = list(viewer.heads)
    place = down[min(max(down.index(head.place) + moves.down, 0), len(down) - 1)]
    index = min(max(head.index + moves.right, 0), viewer.heads[place] - 1)
    viewer.on_pick(viewer.shown.with_head(Head(place, index)))


def _labels() -> dict[str, str]:
    """The labels of all quantities of heads, by name."""
    return {name: each.label for name, each in {**MEASURES, **OF_CELL}.items()}


def _colouring(view: View, heads: Heads) -> Quantity:
    """What colours the head map: what is chosen or, if heads have no such quantity now, the usual one."""
    return heads.quantity(view.measure) or MEASURES[View.measure]


def head_map(viewer: Viewer, capture: Capture) -> Heads:
    """Draw every head as a cell, coloured by a measure. Returns the heads."""
    choice(viewer, "measure", "Heads coloured by", _labels())
    heads, shown = all_heads(viewer, capture), viewer.shown
    measure = _colouring(shown.view, heads)
    key = viewer.key("head_map")
    draw(
        head_map_chart(heads.table, measure, shown.head, larger=shown.view.large),
        key=key,
        on_select=partial(_pick_head, viewer, key, PICK),
        selection_mode=PICK,
        alt=HEAD_MAP,
    )
    hand.listen(key, partial(_move_head, viewer))
    instead = f"The map shows {measure.label.lower()} instead." if measure.name != shown.view.measure else ""
    if words := " ".join(filter(None, (heads.words, instead))):
        st.caption(plain(words))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Click a cell to see its head, or use the arrow keys.", width="content")
        st.button(
            "Sort the gallery by it",
            key=viewer.key("sort_gallery"),
            type="tertiary",
            icon=":material/sort:",
            disabled=shown.view.gallery and shown.view.sort == measure.name,
            help="Small pictures of all heads, those with the largest figure first.",
            on_click=_sort_gallery,
            args=(viewer, measure),
        )
    if passage := PASSAGES.get(measure.name):
        link_to(passage, "the head map")
    return heads


def _sort_gallery(viewer: Viewer, measure: Quantity) -> None:
    viewer.on_pick(viewer.shown.with_view(gallery=True, sort=measure.name))


def gallery(viewer: Viewer, capture: Capture, heads: Heads) -> None:
    """Every head as a small picture."""
    choice(viewer, "sort", "Gallery sorted by", {"": "Layer and head", **_labels()})
    shown = viewer.shown
    reading, pictures, why_not = _gallery_pictures(viewer, capture)
    if why_not:
        st.text(why_not)
    sort = heads.quantity(shown.view.sort)
    figure = gallery_chart(
        pictures,
        heads.table,
        shown.head,
        sort=sort,
        locked=shown.view.locked,
        larger=shown.view.large,
    )
    key = viewer.key("gallery_of_heads")
    draw(
        figure,
        key=key,
        on_select=partial(_pick_head, viewer, key, PICK_FROM_GALLERY),
        selection_mode=PICK_FROM_GALLERY,
        alt=GALLERY,
    )
    scale = "one scale for all of a kind" if shown.view.locked else "each on its own scale"
    shown_of = [reading.of(place) for place in capture.places]
    what = next((each.label for each in shown_of if each.name == reading.name), "attention")
    lacking = reading.name and any(each.name != reading.name for each in shown_of)
    st.caption(
        f"Root mean square of {what} over tiles of the whole text, {scale}. "
        f"{'Heads of other kinds have none, and their pictures stay empty. ' if lacking else ''}"
        f"{'Sorted by layer and head instead. ' if shown.view.sort and sort is None else ''}"
        "Click a picture to see its head."
    )


def _gallery_pictures(
    viewer: Viewer, capture: Capture
) -> tuple[Reading, Float32[np.ndarray, "head tile tile"], str]:
    """The small pictures: of contributions where these are picked, else of attention. And a sentence if these
    are none.
    """
    reading, _ = picked_reading(viewer, capture)  # the panels say why, if it is not what was picked
    if all(reading.of(place).needs == "terms" for place in capture.places):
        return Reading(), small_pictures(capture), ""
    if capture.length > GALLERY_TOKENS:
        why_not = (
            f"The gallery has pictures of contributions for texts of at most {GALLERY_TOKENS} tokens, and "
            f"this one has {capture.length:,}. It shows attention."
        )
        return Reading(), small_pictures(capture), why_not
    try:
        wait_for(
            ("gallery", capture.subject, reading),
            partial(pictures_of_reading, capture, reading),
            "Reading the contributions of all heads",
            partial(show_attention, viewer),
            button=viewer.key("stop_gallery"),
        )
        return reading, pictures_of_reading(capture, reading), ""
    except ValueError as error:
        return Reading(), small_pictures(capture), f"The gallery shows attention. {error}"


def maps_in_words(viewer: Viewer, heads: Heads) -> dict[str, str]:
    """What the head map and the gallery show, by the chart's key within the view."""
    shown = viewer.shown
    measure, sort = _colouring(shown.view, heads), heads.quantity(shown.view.sort)
    order = f", sorted by {sort.label.lower()}" if sort else ""
    of_cell = f" {heads.words}" if heads.words else ""
    picked = f"{of_cell} Picked: {shown.head}."
    return {
        "head_map": f"Head map: {measure.label.lower()} of every head.{picked}",
        "gallery_of_heads": f"Gallery: small pictures of {len(heads.table)} heads{order}.{picked}",
    }


def head_lists(
    viewer: Viewer,
    widths: tuple[int | Literal["stretch"], int | Literal["stretch"]] = ("stretch", "stretch"),
) -> None:
    """The lists of layers, by kind, and of a layer's heads."""
    shown = viewer.shown.head
    keys = viewer.key("layer"), viewer.key("head")
    for key, value in zip(keys, (shown.place, shown.index), strict=True):
        put(key, value)
    told: dict[str, Any] = {"on_change": _choose_head, "args": (viewer, shown)}
    layers = {each: str(each).removeprefix("layer ") for each in viewer.heads}
    st.selectbox("Layer", layers, key=keys[0], format_func=layers.__getitem__, width=widths[0], **told)
    st.selectbox("Head", range(viewer.heads[shown.place]), key=keys[1], width=widths[1], **told)


def _choose_head(viewer: Viewer, shown: Head) -> None:
    """Pick the head in the lists, unless they showed it: removed lists send their values once more."""
    place, index = chosen(viewer.key("layer"), Place), chosen(viewer.key("head"), int)
    if place is not None and index is not None and Head(place, index) != shown:
        viewer.on_pick(viewer.shown.with_head(Head(place, index)))
