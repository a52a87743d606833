"""The picked head in words and figures, beside the head map."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from components.charts import MEASURES, Kind, Measure, Place, exactness, heads_like, in_words, power_of_ten
from components.ssd import MEASURED_ROWS
from explorer.passages import link_to
from explorer.picks import chosen, picked
from explorer.resources import Capture, faithfulness

FEW_CELLS = 150_000
"""Of all heads' matrices. Up to here their small pictures are made before the panels: 32 heads of 64 tokens
take 15 ms."""

SMALL_PICTURES = 100_000
"""Heads times tokens. Up to here small pictures of all heads are made unasked."""


def head_facts(capture: Capture, place: Place, head: int, of_head: pd.Series[Any]) -> Callable[[], None]:
    """Say what is known of the head, and that the rest is being computed; what is returned computes it.

    So nothing of another head stands beside this one's panels, which need not wait for the rest either.
    """
    selection = picked()
    st.subheader(f"{str(place).capitalize()}, head {head}", anchor=False)
    if look_for := selection.look_for(place.layer, head, place.kind):
        st.markdown(f":material/visibility: {look_for}")
    with st.container(horizontal=True):
        for measure in reversed(MEASURES):
            if place.kind == "ssm" or not math.isnan(of_head[measure.column]):
                _measure(capture, measure, of_head)
    faithful, alike = st.empty(), st.empty()
    cells = capture.length**2 * len(capture.measures)
    at_once = capture.has_pictures or cells <= FEW_CELLS
    known = _known_faithfulness(capture)
    if place.kind == "attention":
        faithful.caption(
            "Softmax attention: every row is a distribution over the tokens up to it, and nothing decays. "
            "It is computed from the queries and keys that the layer itself compared."
        )
    elif place.layer in known:
        with faithful.container():
            tell_faithfulness(*known[place.layer], place.layer)
    else:
        faithful.markdown(
            ":material/hourglass: **Faithfulness: being computed.** :small[Running the mixer of layer "
            f"{place.layer} once more, to compare its scan output.]"
        )
    if at_once:
        with alike:
            _alike(capture, place, head)
    else:
        alike.caption("Heads like this one are being looked for.")

    def compute() -> None:
        if not at_once:
            with alike:
                _alike(capture, place, head)
        if place.kind == "ssm" and place.layer not in known:  # for this the mixer runs once more
            known[place.layer] = faithfulness(capture.model, capture.prompt, place.layer)
            with faithful.container():
                tell_faithfulness(*known[place.layer], place.layer)

    return compute


def _known_faithfulness(capture: Capture) -> dict[int, tuple[float, float]]:
    """What this session has been told of the layers of this text: errors and tolerances."""
    text = capture.model, capture.prompt
    if st.session_state.get("faithful", ("",))[0] != text:
        st.session_state.faithful = text, {}
    known: dict[int, tuple[float, float]] = st.session_state.faithful[1]
    return known


def tell_faithfulness(error: float, tolerance: float, layer: int, over: str = "") -> None:
    """The verdict, then the figure; `over` which text, if not the prompt."""
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


def _measure(capture: Capture, measure: Measure, of_head: pd.Series[Any]) -> None:
    """One figure of the head, in tokens and in the text's own words."""
    tokens, error = float(of_head[measure.column]), float(of_head.get(f"{measure.column}_error", 0))
    meaning = measure.meaning
    if error > 0:
        meaning += f" From {MEASURED_ROWS} of {capture.length:,} rows; standard error {error:.2g} tokens."
    st.metric(
        measure.label,
        _tokens(tokens),
        delta=(in_words(tokens, capture.spans) if tokens else "") or None,
        delta_color="off",
        delta_arrow="off",
        help=meaning,
    )


def _tokens(count: float) -> str:
    if math.isnan(count):
        return "none"
    return f"{count:.3g} tokens" if math.isfinite(count) else "∞ tokens"


def _alike(capture: Capture, place: Place, head: int) -> None:
    """The heads that read most like this one, each a click away."""
    text = capture.model, capture.prompt
    small = capture.length * len(capture.measures) <= SMALL_PICTURES
    if not small and not capture.has_pictures and st.session_state.get("alike_of") != text:
        st.button(
            "Find heads like this one",
            key="find_alike",
            icon=":material/join_inner:",
            on_click=_ask_for_alike,
            args=text,
        )
        return
    heads = list(capture.measures[["layer", "head", "kind"]].itertuples(index=False, name=None))
    found = heads_like(capture.pictures, heads.index((place.layer, head, place.kind)))
    if not found:
        st.caption("No other head reads where this one does.")
        return
    exact = capture.pictures.shape[-1] == capture.length
    cells = "|attention|, cell by cell" if exact else "attention over tiles, as root mean squares"
    names: dict[tuple[int, int, Kind], str] = {}
    for other, similarity in found:
        layer, index, kind = heads[other]
        shown = math.floor(similarity * 1000 + 1e-3) / 1000  # cut: 1 is said of the same picture alone
        names[heads[other]] = f"L{layer}{' softmax' * (kind == 'attention')} H{index} · {shown:.3f}"
    st.session_state.alike = None
    st.pills(
        "Heads that read alike",
        list(names),
        key="alike",
        format_func=names.__getitem__,
        help=f"The cosine of two heads' {cells}. At 1 they read the same, whatever its sign and size; at 0 "
        "no cell is read by both. Press one to go to it.",
        on_change=_go_to_alike,
    )


def _ask_for_alike(model: str, prompt: str) -> None:
    st.session_state.alike_of = model, prompt


def _go_to_alike() -> None:
    head = chosen("alike", tuple)
    if head is not None:
        st.session_state.selection = picked().with_head(*head)
