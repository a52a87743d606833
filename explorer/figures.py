"""The figures of the page: the head map, the picked head's panels and the decay curves of its layer."""

import math

import pandas as pd
import streamlit as st

from components.charts import (
    MEASURES,
    PICK,
    cell_table,
    decay_curves_chart,
    head_map_chart,
    panels_chart,
    survival_table,
)
from components.demo.presets import PRESETS
from components.ssd import effective_attention
from explorer.resources import Capture, faithfulness
from explorer.selection import Selection

TRUSTED_BELOW = 1e-4
"""Faithfulness above this is flagged: the picture does not rebuild what the model computed."""


def _pick_head() -> None:
    """Take the clicked head; a click that hits none leaves the pick as it is."""
    picked = st.session_state.head_map.selection[PICK]
    if picked:
        st.session_state.selection = st.session_state.selection.with_head(
            int(picked[0]["layer"]), int(picked[0]["head"])
        )


@st.fragment
def head_figures(capture: Capture) -> None:
    """Everything that shows the picked head. A click in the head map reruns this and nothing else."""
    selection: Selection = st.session_state.selection
    layer, head = _existing_head(capture, selection)
    of_head = capture.measures[
        (capture.measures["layer"] == layer) & (capture.measures["head"] == head)
    ].iloc[0]

    map_column, facts_column = st.columns(2, gap="large")
    with map_column:
        measures = {measure.label: measure for measure in MEASURES}
        label = st.segmented_control(
            "Heads coloured by", list(measures), key="measure", default=MEASURES[0].label, required=True
        )
        measure = measures[label]
        st.altair_chart(
            head_map_chart(capture.measures, measure, (layer, head)),
            key="head_map",
            on_select=_pick_head,
            selection_mode=PICK,
            alt=f"Head map: {measure.label.lower()} of every head. Picked: layer {layer}, head {head}.",
        )
    with facts_column:
        _facts(capture, selection, layer, head, of_head["half_life"], of_head["mean_distance"])

    query, key = _strongest_cell(capture, selection, layer, head)
    cells = cell_table(capture.terms[layer], head, capture.tokens, capture.first)
    st.altair_chart(
        panels_chart(cells, capture.tokens, first=capture.first, pointed=(query, key)),
        key="panels",
        alt=_panels_in_words(capture, cells, layer, head, query, key),
    )
    st.caption(
        "Each row is a query position i, each column a key position j that it reads. Zero has the colour of "
        "the page. Column j is not token j alone: a short convolution before the scan mixes tokens j−3 … j."
    )
    if capture.length > len(capture.tokens):
        st.info(
            f"The prompt has {capture.length:,} tokens. Shown are the last {len(capture.tokens)}, "
            f"positions {capture.first:,} to {capture.length - 1:,}.",
            icon=":material/content_cut:",
        )

    st.subheader(f"Decay curves of layer {layer}", anchor=False)
    st.altair_chart(
        decay_curves_chart(survival_table(capture.terms[layer]), head, of_head["half_life"]),
        key="decay_curves",
        alt=(
            f"Survival of the first shown token over the tokens after it, for every head of layer {layer}. "
            f"Head {head} in front, half-life {of_head['half_life']:.3g} tokens."
        ),
    )
    st.caption(
        "What is left, 1, 2, 3 … tokens later, of what the first shown token wrote. The picked head is in "
        "front, the layer's other heads are grey."
    )


def _facts(
    capture: Capture, selection: Selection, layer: int, head: int, half_life: float, mean_distance: float
) -> None:
    """The picked head in words and figures."""
    st.subheader(f"Layer {layer}, head {head}", anchor=False)
    preset = next((p for p in PRESETS if p.prompt == selection.prompt), None)
    if preset and (preset.layer, preset.head) == (layer, head):
        st.markdown(f":material/visibility: {preset.look_for}")
    with st.container(horizontal=True):
        st.metric("Half-life", _tokens(half_life), help=MEASURES[1].meaning)
        st.metric("Mean distance", _tokens(mean_distance), help=MEASURES[0].meaning)
        error = faithfulness(selection.model, selection.prompt, layer)
        st.metric(
            "Faithfulness",
            _power_of_ten(error),
            help="Largest difference between M·dt·x + D·x and the model's own scan output, "
            "as a part of the largest output, over the whole prompt.",
        )
    if error <= TRUSTED_BELOW:
        st.caption(
            f"M·dt·x + D·x rebuilds the model's own scan output of layer {layer} to {_power_of_ten(error)}."
        )
    else:
        st.warning(
            f"M·dt·x + D·x misses the model's own scan output of layer {layer} by {_power_of_ten(error)} "
            f"of its largest value, more than {_power_of_ten(TRUSTED_BELOW)}. Do not trust this picture.",
            icon=":material/warning:",
        )


def _power_of_ten(value: float) -> str:
    """3.1e-07 as 3.1·10⁻⁷."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}·10{str(int(exponent)).translate(_RAISED)}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _tokens(count: float) -> str:
    if math.isnan(count):
        return "none"
    return f"{count:.3g} tokens" if math.isfinite(count) else "∞ tokens"


def _existing_head(capture: Capture, selection: Selection) -> tuple[int, int]:
    """The picked head, or the nearest that this model has."""
    layer = min(capture.terms, key=lambda layer: abs(layer - selection.layer))
    return layer, min(selection.head, capture.terms[layer].heads - 1)


def _strongest_cell(capture: Capture, selection: Selection, layer: int, head: int) -> tuple[int, int]:
    """The marked query (the last, if none is picked or it is not shown) and the key it reads most."""
    last = capture.length - 1
    query = last if selection.query is None else selection.query
    if not capture.first <= query <= last:
        query = last
    row = effective_attention(capture.terms[layer], heads=[head], queries=[query - capture.first])
    return query, int(row[0, 0, 0].abs().argmax()) + capture.first


def _panels_in_words(
    capture: Capture, cells: pd.DataFrame, layer: int, head: int, query: int, key: int
) -> str:
    """What the three panels show now, for those who do not see them."""
    cell = cells[(cells["i"] == query) & (cells["j"] == key)].iloc[0]
    return (
        f"Layer {layer}, head {head}: content times decay is attention, over {len(capture.tokens)} tokens. "
        f"Query {query} {cell['query']} reads key {key} {cell['key']} most: content {cell['content']:.3g}, "
        f"decay {cell['decay']:.3g}, attention {cell['attention']:.3g}."
    )
