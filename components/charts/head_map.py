"""The head map: one cell per layer and head, coloured by a measure; a click picks the head.

A layer of a hybrid may hold heads of several kinds: each kind has a row of its own, and those other than
Mamba-2 have rings in their cells.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

import altair as alt
import numpy as np
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
from components.charts.colours import ACCENT, BACKGROUND, FAINT, INK, QUIET, graded
from components.charts.figure import Figure, Table, built, data_only, read, rows_of, scene, scene_param
from components.charts.heads_table import row_labels
from components.charts.spread import spread_of
from components.ssd import KINDS, MEASURES, Head, Measure, Place

PICK = "head"
"""Name of the point selection; it holds `layer`, `kind` and `head` of the clicked cell."""

_CELL_HEIGHT, _MIN_HEIGHT, _MAX_HEIGHT = 26, 104, 416


def tooltip() -> list[alt.Tooltip]:
    """The tooltip of a head."""
    figures = [alt.Tooltip(f"{name}_told:N", title=each.label.lower()) for name, each in MEASURES.items()]
    return [alt.Tooltip("layer:O"), alt.Tooltip("what:N", title="kind"), alt.Tooltip("head:O"), *figures]


def told() -> dict[str, str]:
    """Vega expressions for the tooltip: the kind of a head in words, and its figures."""
    words = json.dumps({kind.name: kind.words for kind in KINDS.values()})
    figures = {
        f"{name}_told": f"isValid(datum.{name}) ? format(datum.{name}, '.3~r') : 'none'" for name in MEASURES
    }
    return {"what": f"{words}[datum.kind]", **figures}


def named_kinds(measures: pd.DataFrame) -> tuple[str, ...]:
    """Short names of the kinds in `measures`, without Mamba-2, which has none."""
    present = set(measures["kind"].unique())
    return tuple(kind.short for kind in KINDS.values() if kind.short and kind.name in present)


def is_named() -> str:
    """Vega expression: whether a head's kind has a short name."""
    return f"indexof({json.dumps([kind.name for kind in KINDS.values() if kind.short])}, datum.kind) >= 0"


def rows_are(named: Sequence[str]) -> str:
    """The title of the rows; it explains the rings, since there may be no room for every label."""
    return f"layer (○ {', '.join(named)})" if named else "layer"


def head_map_chart(
    measures: pd.DataFrame,
    measure: Measure,
    picked: Head,
    *,
    larger: bool = False,
    left_out: Collection[Place] = (),
) -> Figure:
    """Layers down, heads across; `measures` is a `measure_table`, `picked` the framed head.

    A head without the measure is hollow. `spread_of` chooses between even steps and ratios for the colours;
    infinite values lie beyond the largest of the others. The frame follows `picked`, not the selection, so a
    click beside the cells removes nothing. `larger` type is for a projector. Heads of places that are
    `left_out` of a page are crossed out.
    """
    values = measures[measure.name]
    spread = spread_of(values)
    row, labels = row_labels(measures)
    (layer, kind), head = picked.place, picked.index
    at = row[((measures["layer"] == layer) & (measures["kind"] == kind)).to_numpy()][:1]
    tables: dict[str, Table] = {
        "scene": scene(low=spread.low, high=spread.high, bend=spread.bend, endless=spread.endless),
        "ticks": {"value": spread.ticks},
        "heads": {
            **{name: measures[name].to_numpy() for name in ("layer", "kind", "head", *MEASURES)},
            "row": row,
            "shown": values.to_numpy().clip(max=spread.high),
        },
        "rows": {"label": labels},
        "picked": {"row": at, "head": [head] * len(at)},
    }
    if left_out:
        places = zip(measures["layer"], measures["kind"], strict=True)
        crossed = np.array([Place(*place) in left_out for place in places])
        of_heads = ("layer", "kind", "head")
        tables["crossed"] = {
            **{name: measures[name].to_numpy()[crossed] for name in of_heads},
            "row": row[crossed],
        }
    named = named_kinds(measures)
    return Figure(_chart(measure.label, measure.unit, len(labels), named, larger, bool(left_out)), tables)


@cache
def _chart(
    label: str, unit: str, rows: int, named: tuple[str, ...], larger: bool, are_crossed: bool
) -> dict[str, Any]:
    scale = type_scale(larger)
    pick = alt.selection_point(
        name=PICK, fields=["layer", "kind", "head"], on="click", clear=False, toggle=False
    )
    cell = {
        "x": alt.X("head:O", axis=readable_axis("head", scale, labelAngle=0)),
        "y": alt.Y("row:O", axis=readable_axis(rows_are(named), scale, labelExpr="labels[datum.value]")),
    }
    heads = rows_of("heads").transform_calculate(**told())
    hollow = (
        heads.transform_filter("!isValid(datum.shown)")
        .mark_rect(cursor="pointer", fill="transparent", stroke=FAINT, strokeWidth=1)
        .encode(**cell, tooltip=tooltip())
    )
    rings = (
        heads.transform_filter(is_named())
        .mark_point(
            size=alt.ExprRef("min(60, 0.16 * pow(min(bandwidth('x'), bandwidth('y')), 2))"),
            fill=BACKGROUND,
            stroke=INK,
            strokeWidth=1,
            opacity=1,
            cursor="pointer",
        )
        .encode(**cell, tooltip=tooltip())
    )
    cells = (
        heads.transform_filter("isValid(datum.shown)")
        .mark_rect(cursor="pointer", stroke=BACKGROUND, strokeWidth=1)
        .encode(
            **cell,
            color=alt.Color(
                "shown:Q",
                scale=graded("low", "high", "bend"),
                legend=alt.Legend(
                    title=f"{label.lower()}, {unit}",
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
            tooltip=tooltip(),
        )
        .add_params(pick)
    )
    missing = rows_of("crossed")
    crosses = [
        missing.mark_rect(cursor="not-allowed", fill=BACKGROUND, opacity=0.9).encode(
            **cell, tooltip=alt.value("This layer is left out of this page.")
        ),
        missing.mark_text(text="×", fontSize=LABEL_SIZE * scale, color=QUIET, tooltip=None).encode(**cell),
    ]
    frame = rows_of("picked").mark_rect(fill=None, stroke=ACCENT, strokeWidth=3, tooltip=None).encode(**cell)
    return built(
        alt.LayerChart(
            layer=[
                *(cells, hollow, rings, *(crosses if are_crossed else []), frame),
                *map(data_only, ("rows", "ticks", "scene")),
            ]
        )
        .add_params(
            *map(scene_param, ("low", "high", "bend", "endless")),
            read("labels", "rows", "label"),
            read("ticks", "ticks", "value"),
        )
        .properties(
            height=min(max(rows * _CELL_HEIGHT * scale, _MIN_HEIGHT), _MAX_HEIGHT),
            autosize=FILL_WIDTH,
            padding=EDGE,
        )
    )
