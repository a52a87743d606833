"""The picked head in words and numbers, beside the head map."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import streamlit as st

from components.charts import exactness, heads_like, in_words, power_of_ten
from components.ssd import KINDS, MEASURED_ROWS, MEASURES, Head, Measure
from explorer.captures import Capture
from explorer.passages import link_to
from explorer.pictures import (
    SMALL_PICTURES,
    faithfulness,
    has_small_pictures,
    small_pictures,
)
from explorer.session import session
from explorer.viewer import Viewer
from explorer.widgets import chosen, put

FEW_CELLS = 150_000
"""Of all heads' matrices. Up to here, small pictures are computed before the panels: 32 heads of 64 tokens
take 15 ms."""


def head_facts(viewer: Viewer, capture: Capture) -> Callable[[], None]:
    """Show what is known about the head, and placeholders. Returns a function that fills them.

    So no facts about another head stay beside this one's panels, and the panels do not wait for the rest.
    """
    head = viewer.shown.head
    place, kind = head.place, KINDS[head.place.kind]
    st.subheader(str(head).capitalize(), anchor=False)
    if look_for := viewer.shown.look_for:
        st.markdown(f":material/visibility: {look_for}")
    with st.container(horizontal=True):
        heads_of_kind = [each for each in capture.measured if each.place.kind == place.kind]
        for measure in reversed(MEASURES.values()):
            if not all(math.isnan(capture.measured[each][measure.name]) for each in heads_of_kind):
                _measure(capture, measure, capture.measured[head])
    faithful, alike = st.empty(), st.empty()
    cells = capture.length**2 * len(capture.measures)
    at_once = has_small_pictures(capture) or cells <= FEW_CELLS
    known = capture.faithful.get(place.layer)
    over = " as the edited run computes it" if capture.subject.edits else ""
    if kind.note:
        faithful.caption(kind.note)
    elif known is not None:
        with faithful.container():
            tell_faithfulness(*known, place.layer, over)
    else:
        faithful.markdown(
            ":material/hourglass: **Faithfulness: being computed.** :small[Running the mixer of layer "
            f"{place.layer} once more, to compare its scan output.]"
        )
    if at_once:
        with alike:
            _alike(viewer, capture)
    else:
        alike.caption("Looking for heads like this one.")

    def compute() -> None:
        if not at_once:
            with alike:
                _alike(viewer, capture)
        if not kind.note and known is None:  # this runs the mixer again
            error, tolerance = faithfulness(capture, place.layer)
            with faithful.container():
                tell_faithfulness(error, tolerance, place.layer, over)

    return compute


def tell_faithfulness(error: float, tolerance: float, layer: int, over: str = "") -> None:
    """Show the verdict and the error; `over` names the text, if not the prompt."""
    if error <= tolerance:
        st.markdown(
            f":material/verified: **Faithfulness: {exactness(error, tolerance)}**  \n"
            f":small[M·dt·x + D·x rebuilds the model's own scan output of layer {layer}{over}. The largest "
            f"difference is {power_of_ten(error)} of its largest value.]"
        )
    else:
        st.warning(
            f"**Faithfulness: {exactness(error, tolerance)}.** M·dt·x + D·x misses the model's own scan "
            f"output of layer {layer}{over} by {power_of_ten(error)} of its largest value, more than "
            f"{power_of_ten(tolerance)}. Do not trust this picture.",
            icon=":material/warning:",
        )
    link_to("faithfulness", "faithfulness")


def _measure(capture: Capture, measure: Measure, of_head: Mapping[Hashable, Any]) -> None:
    """Show one measure of the head; tokens also as words, sentences or paragraphs."""
    value, error = float(of_head[measure.name]), float(of_head[f"{measure.name}_error"])
    meaning = measure.meaning
    if error > 0:
        rows = f"{MEASURED_ROWS} of {capture.length:,} rows"
        meaning += f" From {rows}; standard error {error:.2g} {measure.unit}."
    st.metric(
        measure.label,
        _figure(value, measure.unit),
        delta=(in_words(value, capture.spans) if value and measure.unit == "tokens" else "") or None,
        delta_color="off",
        delta_arrow="off",
        help=meaning,
    )


def _figure(count: float, unit: str) -> str:
    if math.isnan(count):
        return "none"
    return f"{count:.3g} {unit}" if math.isfinite(count) else f"∞ {unit}"


def _alike(viewer: Viewer, capture: Capture) -> None:
    """Show the heads that read most like this one, to click."""
    small = capture.length * len(capture.measures) <= SMALL_PICTURES
    if not small and not has_small_pictures(capture) and capture.subject not in session().alike_asked:
        st.button(
            "Find heads like this one",
            key=viewer.key("find_alike"),
            icon=":material/join_inner:",
            on_click=session().alike_asked.add,
            args=(capture.subject,),
        )
        return
    heads = list(capture.measured)
    found = heads_like(small_pictures(capture), heads.index(viewer.shown.head))
    if not found:
        st.caption("No other head reads where this one does.")
        return
    exact = small_pictures(capture).shape[-1] == capture.length
    cells = "|attention|, cell by cell" if exact else "attention over tiles, as root mean squares"
    names: dict[Head, str] = {}
    for other, similarity in found:
        layer, kind = heads[other].place
        shown = math.floor(similarity * 1000 + 1e-3) / 1000  # cut: only the same picture shows 1
        names[heads[other]] = (
            f"{f'L{layer} {KINDS[kind].short}'.rstrip()} H{heads[other].index} · {shown:.3f}"
        )
    key = viewer.key("alike")
    put(key, None)
    st.pills(
        "Heads that read alike",
        list(names),
        key=key,
        format_func=names.__getitem__,
        help=f"The cosine of two heads' {cells}. At 1 they read the same, whatever its sign and size; at 0 "
        "no cell is read by both. Press one to go to it.",
        on_change=_go_to_alike,
        args=(viewer,),
    )


def _go_to_alike(viewer: Viewer) -> None:
    head = chosen(viewer.key("alike"), Head)
    if head is not None:
        viewer.on_pick(viewer.shown.with_head(head))


def tell_notes(notes: Sequence[str]) -> None:
    """Show what a reader should know about the computation, if there is anything."""
    if not notes:
        return
    with st.expander(
        "Parts of this model are computed in an unexpected way, by design of its code or by a fault in it. "
        "What is shown is what the code computes.",
        icon=":material/info:",
    ):
        for note in notes:
            st.text(note)
