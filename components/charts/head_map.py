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
    legend_above,
    map_height,
    readable_axis,
    type_scale,
)
from components.charts.colours import ACCENT, BACKGROUND, FAINT, INK, QUIET, ROUND_ZERO, diverging, graded
from components.charts.figure import Figure, Table, built, data_only, read, rows_of, scene, scene_param
from components.charts.heads_table import row_labels
from components.charts.spread import spread_of, spread_round_zero
from components.ssd import KINDS, MEASURES, OF_CELL, Head, Place, Quantity

PICK = "head"
"""Name of the point selection; it holds `layer`, `kind` and `head` of the clicked cell."""


def quantities_in(measures: pd.DataFrame) -> tuple[Quantity, ...]:
    """The quantities that have a column."""
    return tuple(each for each in (*MEASURES.values(), *OF_CELL.values()) if each.name in measures)


def tooltip(quantities: Sequence[Quantity]) -> list[alt.Tooltip]:
    """The tooltip of a head."""
    figures = [alt.Tooltip(f"{each.name}_told:N", title=each.label.lower()) for each in quantities]
    return [alt.Tooltip("layer:O"), alt.Tooltip("what:N", title="kind"), alt.Tooltip("head:O"), *figures]


def told(quantities: Sequence[Quantity]) -> dict[str, str]:
    """Vega expressions for the tooltip: the kind of a head in words, and its figures."""
    words = json.dumps({kind.name: kind.words for kind in KINDS.values()})
    figures = {
        f"{each.name}_told": f"isValid(datum.{each.name}) ? "
        f"format(datum.{each.name}, '{'+' if each.signed else ''}.3~r') : 'none'"
        for each in quantities
    }
    return {"what": f"{words}[datum.kind]", **figures}


def named_kinds(measures: pd.DataFrame) -> tuple[str, ...]:
    """Short names of the kinds in `measures`, without Mamba-2, which has none."""
    present = set(measures["kind"].tolist())
    return tuple(kind.short for kind in KINDS.values() if kind.short and kind.name in present)


def is_named() -> str:
    """Vega expression: whether a head's kind has a short name."""
    return f"indexof({json.dumps([kind.name for kind in KINDS.values() if kind.short])}, datum.kind) >= 0"


def rows_are(named: Sequence[str]) -> str:
    """The title of the rows; it explains the rings, since there may be no room for every label."""
    return f"layer (○ {', '.join(named)})" if named else "layer"


def head_map_chart(
    measures: pd.DataFrame,
    measure: Quantity,
    picked: Head,
    *,
    larger: bool = False,
    left_out: Collection[Place] = (),
) -> Figure:
    """Layers down, heads across; `measures` is a `measure_table`, `picked` the framed head.

    The table may have columns for quantities `OF_CELL`, too; `measure` is any of its quantities. A head
    without it is hollow. `spread_of` chooses between even steps and ratios for the colours; infinite values
    lie beyond the largest of the others; a signed quantity has colours round zero. The frame follows
    `picked`, not the selection, so a click beside the cells removes nothing. `larger` type is for a
    projector. Heads of places that are `left_out` of a page are crossed out.
    """
    values = measures[measure.name]
    spread = spread_round_zero(values) if measure.signed else spread_of(values)
    quantities = quantities_in(measures)
    row, labels = row_labels(measures)
    (layer, kind), head = picked.place, picked.index
    heads = {name: measures[name].to_numpy() for name in ("layer", "kind", "head")}
    at = row[(heads["layer"] == layer) & (heads["kind"] == kind)][:1]
    tables: dict[str, Table] = {
        "scene": scene(low=spread.low, high=spread.high, bend=spread.bend, endless=spread.endless),
        "ticks": {"value": spread.ticks},
        "heads": {
            **heads,
            **{each.name: measures[each.name].to_numpy() for each in quantities},
            "row": row,
            "shown": values.to_numpy().clip(max=spread.high),
        },
        "rows": {"label": labels},
        "picked": {"row": at, "head": [head] * len(at)},
    }
    if left_out:
        places = zip(heads["layer"], heads["kind"], strict=True)
        crossed = np.array([Place(*place) in left_out for place in places])
        tables["crossed"] = {name: column[crossed] for name, column in {**heads, "row": row}.items()}
    named = named_kinds(measures)
    return Figure(_chart(measure, quantities, len(labels), named, larger, bool(left_out)), tables)


@cache
def _chart(
    measure: Quantity,
    quantities: tuple[Quantity, ...],
    rows: int,
    named: tuple[str, ...],
    larger: bool,
    are_crossed: bool,
) -> dict[str, Any]:
    scale = type_scale(larger)
    pick = alt.selection_point(
        name=PICK, fields=["layer", "kind", "head"], on="click", clear=False, toggle=False
    )
    cell = {
        "x": alt.X("head:O", axis=readable_axis("head", scale, labelAngle=0)),
        "y": alt.Y("row:O", axis=readable_axis(rows_are(named), scale, labelExpr="labels[datum.value]")),
    }
    heads = rows_of("heads").transform_calculate(**told(quantities))
    tips = tooltip(quantities)
    number = ROUND_ZERO if measure.signed else "format(datum.value, ',~r')"
    # Zero has the page's own colour, so its cells need an edge.
    stroke, wide = (FAINT, 0.5) if measure.signed else (BACKGROUND, 1)
    hollow = (
        heads.transform_filter("!isValid(datum.shown)")
        .mark_rect(cursor="pointer", fill="transparent", stroke=FAINT, strokeWidth=1)
        .encode(**cell, tooltip=tips)
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
        .encode(**cell, tooltip=tips)
    )
    cells = (
        heads.transform_filter("isValid(datum.shown)")
        .mark_rect(cursor="pointer", stroke=stroke, strokeWidth=wide)
        .encode(
            **cell,
            color=alt.Color(
                "shown:Q",
                scale=diverging("high") if measure.signed else graded("low", "high", "bend"),
                legend=legend_above(
                    f"{measure.label.lower()}, {measure.unit}",
                    scale,
                    values=alt.ExprRef("ticks"),
                    labelExpr=f"endless && datum.value === high ? '∞' : {number}",
                ),
            ),
            tooltip=tips,
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
            height=map_height(rows, scale),
            autosize=FILL_WIDTH,
            padding=EDGE,
        )
    )
