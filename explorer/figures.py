"""The figures of the page: the head map, the picked head's panels, the picked row, the decay curves."""

from __future__ import annotations

import math
from typing import Any, Literal

import pyarrow as pa
import streamlit as st

from components.charts import (
    MEASURES,
    PICK,
    PICK_QUERY,
    Figure,
    cell_table,
    decay_curves_chart,
    head_in_words,
    head_map_chart,
    locked_limits,
    panels_chart,
    row_chart,
    row_table,
    survival_table,
)
from explorer.live_alt import live_alt
from explorer.resources import Capture, faithfulness, use_threads
from explorer.selection import Selection
from explorer.sharing import export_menu, share_menu, write_url

TRUSTED_BELOW = 1e-4
"""Faithfulness above this is flagged: the picture does not rebuild what the model computed."""


HEAD_MAP = "A measure of every head, layer by layer."
PANELS = "Content, decay and attention of the picked head, and the text."
ROW = "What the picked query reads at each key position."
DECAY_CURVES = "Survival of the first shown token in every head of the picked layer."
"""The `alt` of each chart, until `live_alt` says what it shows now."""


def picked() -> Selection:
    """What this session has picked."""
    selection: Selection = st.session_state.selection
    return selection


def _pick_head() -> None:
    """Take the clicked head; a click that hits none leaves the pick as it is."""
    cell = st.session_state.head_map.selection[PICK]
    if cell:
        st.session_state.selection = picked().with_head(int(cell[0]["layer"]), int(cell[0]["head"]))


def _choose_head() -> None:
    """Take the head from the two lists, which a keyboard reaches."""
    st.session_state.selection = picked().with_head(st.session_state.layer, st.session_state.head)


def _pick_query() -> None:
    """Take the clicked row; a click that hits none leaves the pick as it is."""
    row = st.session_state.panels.selection[PICK_QUERY]
    if row:
        st.session_state.selection = picked().with_query(int(row[0]["i"]))


def _choose_query() -> None:
    st.session_state.selection = picked().with_query(st.session_state.query)


def _choose_measure() -> None:
    st.session_state.selection = picked().with_view(measure=st.session_state.measure)


def _switch(name: str) -> None:
    st.session_state.selection = picked().with_view(**{name: st.session_state[name]})


def draw(figure: Figure, alt: str, **options: Any) -> None:
    """Draw a figure. While its chart stays the same, the browser keeps the view and changes its tables."""
    # Without what pandas would note of itself, which is as long as a short table.
    tables = {
        name: pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata()
        for name, table in figure.tables.items()
    }
    st.vega_lite_chart({**figure.chart, "datasets": tables}, alt=alt, **options)


def _toggle(name: str, label: str, meaning: str) -> bool:
    """A switch of the view."""
    st.session_state[name] = getattr(picked().view, name)
    return st.toggle(label, key=name, help=meaning, on_change=_switch, args=(name,))


@st.fragment
def head_figures(capture: Capture) -> None:
    """Everything that shows the picked head. Picking another reruns this and nothing else."""
    use_threads(0)  # matrices of one head
    layer, head = _existing_head(capture, picked())
    of_head = capture.measures[
        (capture.measures["layer"] == layer) & (capture.measures["head"] == head)
    ].iloc[0]
    map_column, facts_column = st.columns(2, gap="large")
    with map_column:
        _head_map(capture, layer, head)
    with facts_column:
        facts = st.container()
    if picked().view.large:
        st.html("<style>html { font-size: 20px; }</style>")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _pick_menu(capture, layer, head, _existing_query(capture, picked()))
        _toggle(
            "dt",
            "Times dt",
            "Shows M·dt, what the scan really adds up. A dark cell can be pale because its key was never "
            "written (dt), is forgotten (decay), or does not match (content).",
        )
        _toggle(
            "locked",
            "Lock scale",
            "One colour scale for every head of every layer; a weak head is pale on it.",
        )
        _toggle("large", "Projector", "Larger type.")
    head_panels(capture, layer, head, float(of_head["half_life"]))
    _decay_curves(capture, layer, head, float(of_head["half_life"]))
    # Last: for this the mixer runs once more, and the pictures need not wait for it.
    with facts:
        _facts(capture, layer, head, of_head["half_life"], of_head["mean_distance"])


def _head_map(capture: Capture, layer: int, head: int) -> None:
    measures = {measure.column: measure for measure in MEASURES}
    st.session_state.measure = picked().view.measure
    st.segmented_control(
        "Heads coloured by",
        list(measures),
        key="measure",
        format_func=lambda column: measures[column].label,
        on_change=_choose_measure,
        required=True,
    )
    measure = measures[st.session_state.measure]
    draw(
        head_map_chart(capture.measures, measure, (layer, head), larger=picked().view.large),
        key="head_map",
        on_select=_pick_head,
        selection_mode=PICK,
        alt=HEAD_MAP,
    )
    st.caption("Click a cell to see its head.")


def _pick_menu(capture: Capture, layer: int, head: int, query: int) -> None:
    """What a click picks, once more for the keyboard. Like every menu, it is filled when it opens."""
    menu = st.popover("Pick from lists", icon=":material/list:", key="lists", on_change="rerun")
    if not menu.open:
        return
    st.session_state.layer, st.session_state.head, st.session_state.query = layer, head, query
    with menu:
        st.selectbox("Layer", list(capture.terms), key="layer", on_change=_choose_head)
        st.selectbox("Head", list(range(capture.terms[layer].heads)), key="head", on_change=_choose_head)
        st.selectbox(
            "Query position i",
            range(capture.first, capture.length),
            key="query",
            format_func=lambda i: f"{i}  {capture.tokens[i - capture.first]}",
            on_change=_choose_query,
        )


@st.fragment
def head_panels(capture: Capture, layer: int, head: int, half_life: float) -> None:
    """The three panels and the picked row of one head. Picking another row reruns this and nothing else."""
    use_threads(0)  # matrices of one head
    selection = picked()
    view = selection.view
    query = _existing_query(capture, selection)
    cells = cell_table(capture.terms[layer], head, capture.tokens, capture.first)
    value: Literal["attention", "attention_dt"] = "attention_dt" if view.dt else "attention"
    row = cells[cells["i"] == query]
    key = int(row["j"].iloc[int(row[value].abs().to_numpy().argmax())])
    words = head_in_words(cells, layer, head, half_life, query, with_dt=view.dt)
    limits = locked_limits(capture.terms, with_dt=view.dt) if view.locked else None
    panels = panels_chart(
        cells,
        capture.tokens,
        first=capture.first,
        pointed=(query, key),
        limits=limits,
        with_dt=view.dt,
        larger=view.large,
    )
    st.markdown(_plain(words))
    draw(panels, key="panels", on_select=_pick_query, selection_mode=PICK_QUERY, alt=PANELS)
    st.caption(
        "Each row is a query position i, each column a key position j that it reads. Point at a cell to see "
        "it everywhere, click it to keep its row. Zero has the colour of the page. Column j is not token j "
        "alone: a short convolution before the scan mixes tokens j−3 … j."
    )
    if capture.length > len(capture.tokens):
        st.info(
            f"The prompt has {capture.length:,} tokens. Shown are the last {len(capture.tokens)}, "
            f"positions {capture.first:,} to {capture.length - 1:,}.",
            icon=":material/content_cut:",
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        as_table = st.toggle("Row as a table", key="as_table")
        share_menu(selection)
        export_menu(selection, capture, layer, head, panels)
    draw(
        row_chart(
            cells,
            capture.tokens,
            query,
            first=capture.first,
            value=value,
            limit=limits["attention"] if limits else None,
            larger=view.large,
        ),
        key="row",
        alt=ROW,
    )
    if as_table:
        st.dataframe(row_table(cells, query), hide_index=True, alt=f"What query {query} reads.")
    measure = next(measure for measure in MEASURES if measure.column == view.measure)
    live_alt(
        {
            HEAD_MAP: f"Head map: {measure.label.lower()} of every head. Picked: layer {layer}, head {head}.",
            PANELS: words,
            ROW: f"What query {query} reads at each key position. {words}",
            DECAY_CURVES: "Survival of the first shown token over the tokens after it, for every head of "
            f"layer {layer}. Head {head} in front, half-life {half_life:.3g} tokens.",
        }
    )
    write_url(selection)


def _decay_curves(capture: Capture, layer: int, head: int, half_life: float) -> None:
    view = picked().view
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"Decay curves of layer {layer}", anchor=False, width="content")
        _toggle("log", "Logarithmic", "Survival on a logarithmic scale: a constant decay is a straight line.")
    draw(
        decay_curves_chart(
            survival_table(capture.terms[layer]), head, half_life, log=view.log, larger=view.large
        ),
        key="decay_curves",
        alt=DECAY_CURVES,
    )
    st.caption(
        "What is left, 1, 2, 3 … tokens later, of what the first shown token wrote. The picked head is in "
        "front, the layer's other heads are grey."
    )


def _facts(capture: Capture, layer: int, head: int, half_life: float, mean_distance: float) -> None:
    """The picked head in figures."""
    selection = picked()
    st.subheader(f"Layer {layer}, head {head}", anchor=False)
    preset = selection.preset
    if preset and (preset.layer, preset.head) == (layer, head):
        st.markdown(f":material/visibility: {preset.look_for}")
    error = faithfulness(selection.model, selection.prompt, layer)
    with st.container(horizontal=True):
        st.metric("Half-life", _tokens(half_life), help=MEASURES[1].meaning)
        st.metric("Mean distance", _tokens(mean_distance), help=MEASURES[0].meaning)
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


def _plain(words: str) -> str:
    """Text as Markdown that shows just this text: every ASCII punctuation mark may be escaped."""
    return "".join(f"\\{mark}" if mark in _PUNCTUATION else mark for mark in words)


_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


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


def _existing_query(capture: Capture, selection: Selection) -> int:
    """The picked query position; the last, if none is picked or it is not shown."""
    last = capture.length - 1
    query = last if selection.query is None else selection.query
    return query if capture.first <= query <= last else last
