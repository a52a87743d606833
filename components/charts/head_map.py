"""The head map: one cell per layer and head, coloured by a measure; a click picks the head.

A layer of a hybrid may hold softmax attention, alone or beside its mixer: it has a row of its own, and rings
in its cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import altair as alt
import pandas as pd

from components.charts.axes import (
    EDGE,
    FILL_WIDTH,
    LABEL_SIZE,
    LEGIBLE,
    TITLE_SIZE,
    readable_axis,
    type_scale,
)
from components.charts.colours import ACCENT, BACKGROUND, FAINT, INK, graded
from components.charts.figure import Figure, built, read, rows_of, scene, scene_param, undrawn
from components.charts.spread import spread_of
from components.charts.tables import Kind

PICK = "head"
"""Name of the point selection; it holds `layer`, `kind` and `head` of the clicked cell."""

_CELL_HEIGHT, _LEAST_HEIGHT, _MOST_HEIGHT = 26, 104, 416


@dataclass(frozen=True)
class Measure:
    """A figure per head that the map can show: its column in a `measure_table`, its name and its meaning."""

    column: str
    label: str
    meaning: str


MEASURES = (
    Measure(
        "mean_distance", "Mean distance", "Tokens between a query and what it reads, weighted by |attention|."
    ),
    Measure("half_life", "Half-life", "Tokens after which half of what was written is left, at the mean dt."),
)


TOOLTIP = (
    alt.Tooltip("layer:O"),
    alt.Tooltip("what:N", title="kind"),
    alt.Tooltip("head:O"),
    alt.Tooltip("mean_distance:Q", title="mean distance", format=".3~r"),
    alt.Tooltip("halved:N", title="half-life"),
)
"""What is told of a head that is pointed at."""
TOLD = {
    "what": "datum.kind === 'attention' ? 'softmax attention' : 'Mamba-2'",
    "halved": "datum.kind === 'attention' ? 'none' : format(datum.half_life, '.3~r')",
}
"""Vega expressions for it: the kind of a head in words, and its half-life."""


def row_labels(measures: pd.DataFrame) -> tuple[pd.Series[int], list[str]]:
    """The row of each head, and the names of the rows: a layer's heads of one kind have a row.

    Down the model, of a layer with both kinds the mixer first; as "7", or "7 softmax".
    """
    pairs = list(zip(measures["layer"].tolist(), measures["kind"].tolist(), strict=True))
    places = sorted(set(pairs), key=lambda place: (place[0], place[1] == "attention"))
    order = {place: row for row, place in enumerate(places)}
    row = pd.Series([order[place] for place in pairs], measures.index)
    return row, [f"{layer} softmax" if kind == "attention" else str(layer) for layer, kind in places]


def rows_are(with_softmax: bool) -> str:
    """The title of the rows; it explains the rings, since there may be no room for every label."""
    return "layer (○ softmax)" if with_softmax else "layer"


def head_map_chart(
    measures: pd.DataFrame, measure: Measure, picked: tuple[int, Kind, int], *, larger: bool = False
) -> Figure:
    """Layers down, heads across; `measures` is a `measure_table`, `picked` the framed (layer, kind, head).

    A head without the measure is hollow. Values that span more than a power of ten are coloured by ratio, and
    infinite ones stand beyond the largest of the others. The frame is drawn from `picked`, not from the
    selection, so a click beside the cells takes nothing away.
    `larger` type is for a projector.
    """
    values = measures[measure.column]
    spread = spread_of(values)
    row, labels = row_labels(measures)
    layer, kind, head = picked
    at = row[(measures["layer"] == layer) & (measures["kind"] == kind)]
    tables = {
        "scene": scene(low=spread.low, high=spread.high, bend=spread.bend, endless=spread.endless),
        "ticks": pd.DataFrame({"value": spread.ticks}),
        "heads": measures.assign(row=row, shown=values.clip(upper=spread.high).where(values.notna(), None)),
        "rows": pd.DataFrame({"label": labels}),
        "picked": pd.DataFrame({"row": at[:1], "head": head}),
    }
    with_softmax = bool((measures["kind"] == "attention").any())
    return Figure(_chart(measure.label, len(labels), with_softmax, larger), tables)


@cache
def _chart(label: str, rows: int, with_softmax: bool, larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    pick = alt.selection_point(
        name=PICK, fields=["layer", "kind", "head"], on="click", clear=False, toggle=False
    )
    place = {
        "x": alt.X("head:O", axis=readable_axis("head", scale, labelAngle=0)),
        "y": alt.Y(
            "row:O", axis=readable_axis(rows_are(with_softmax), scale, labelExpr="labels[datum.value]")
        ),
    }
    heads = rows_of("heads").transform_calculate(**TOLD)
    hollow = (
        heads.transform_filter("!isValid(datum.shown)")
        .mark_rect(cursor="pointer", fill="transparent", stroke=FAINT, strokeWidth=1)
        .encode(**place, tooltip=[*TOOLTIP])
    )
    rings = (
        heads.transform_filter("datum.kind === 'attention'")
        .mark_point(
            size=alt.ExprRef("min(60, 0.16 * pow(min(bandwidth('x'), bandwidth('y')), 2))"),
            fill=BACKGROUND,
            stroke=INK,
            strokeWidth=1,
            opacity=1,
            cursor="pointer",
        )
        .encode(**place, tooltip=[*TOOLTIP])
    )
    cells = (
        heads.transform_filter("isValid(datum.shown)")
        .mark_rect(cursor="pointer", stroke=BACKGROUND, strokeWidth=1)
        .encode(
            **place,
            color=alt.Color(
                "shown:Q",
                scale=graded("low", "high", "bend"),
                legend=alt.Legend(
                    title=f"{label.lower()}, tokens",
                    orient="top",
                    direction="horizontal",
                    gradientLength=180,
                    gradientThickness=10,
                    values=alt.ExprRef("ticks"),
                    labelExpr="endless && datum.value === high ? '∞' : format(datum.value, ',~r')",
                    labelFontSize=LABEL_SIZE * scale,
                    titleFontSize=TITLE_SIZE * scale,
                    titlePadding=4,
                    labelPadding=2,
                    offset=4,
                    padding=0,
                    **LEGIBLE,
                ),
            ),
            tooltip=[*TOOLTIP],
        )
        .add_params(pick)
    )
    frame = rows_of("picked").mark_rect(fill=None, stroke=ACCENT, strokeWidth=3, tooltip=None).encode(**place)
    return built(
        alt.LayerChart(layer=[cells, hollow, rings, frame, *map(undrawn, ("rows", "ticks", "scene"))])
        .add_params(
            *map(scene_param, ("low", "high", "bend", "endless")),
            read("labels", "rows", "label"),
            read("ticks", "ticks", "value"),
        )
        .properties(
            height=min(max(rows * _CELL_HEIGHT * scale, _LEAST_HEIGHT), _MOST_HEIGHT),
            autosize=FILL_WIDTH,
            padding=EDGE,
        )
    )
