"""The row chart: what one query position reads, key by key."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from components.charts.axes import CANVAS, EDGE, FILL_WIDTH, readable_axis, type_scale
from components.charts.colours import ACCENT, FAINT, INK, amount, diverging
from components.charts.figure import Figure, built, rows_of, scene, scene_param, undrawn
from components.charts.slots import along_text, slot_labels, slot_params, slot_places, slots_of
from components.charts.tables import HeadCells
from components.charts.window import in_figures, tiles_of

_HEIGHT = 170

_NAMES = {"attention": "attention  M", "attention_dt": "attention  M·dt"}
_SOFTMAX = "attention  softmax"


def row_chart(
    cells: HeadCells,
    query: int,
    *,
    value: Literal["attention", "attention_dt"] = "attention",
    limit: float | None = None,
    larger: bool = False,
) -> Figure:
    """Bars over the keys that query position `query` reads, coloured as in the panels.

    With `limit` the axis runs from −limit to +limit and colours are full there, so that rows of several heads
    compare; without, the axis fits the row and colours are full at the head's largest. In a pooled window it
    is the row of tiles that holds the query. `larger` type is for a projector.
    """
    keys = cells.keys
    row = cells.row(query).rename(columns={value: "value"})[["column", "query", "key", "value"]]
    full = limit or float(cells.cells[value].abs().max()) or 1.0
    low, high = (
        (-full, full) if limit else (min(float(row["value"].min()), 0), max(float(row["value"].max()), 0))
    )
    if not low < high:
        low, high = -full, full
    if cells.unsigned:
        low = 0
    tile = tiles_of(cells.window.queries)[cells.row_of(query)]
    places = slot_places(keys)
    tables = {
        "scene": scene(**slots_of(keys, larger), limit=full, low=low, high=high),
        "row": row.assign(at=in_figures(tile), place=[places[column] for column in row["column"]]),
        "keys": slot_labels(keys),
        # where the query itself stands, if it is among the keys
        "here": pd.DataFrame({"end": [float(np.clip(cells.column_of(tile[-1]) + 1, 0, len(keys)))]}),
    }
    name = _SOFTMAX if cells.kind == "attention" else _NAMES[value]
    return Figure(_chart(name, cells.unsigned, limit is not None, larger), tables)


@cache
def _chart(name: str, unsigned: bool, locked: bool, larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    colours = amount("limit") if unsigned else diverging("limit")
    values = alt.Scale(domain=[alt.ExprRef("low"), alt.ExprRef("high")], nice=not locked, clamp=True)
    bars = (
        rows_of("row")
        .transform_calculate(start="datum.column + 0.1", end="datum.column + 0.9")
        .mark_rect(stroke=FAINT, strokeWidth=1)  # an edge, so that a pale bar still has a height
        .encode(
            x=along_text("start", "key j", scale),
            x2="end",
            y=alt.Y(
                "value:Q",
                scale=values,
                axis=readable_axis(name, scale, tickCount=5, format=".2~g"),
            ),
            y2=alt.datum(0),
            color=alt.Color("value:Q", scale=colours, legend=None),
            tooltip=[
                alt.Tooltip("at:N", title="query i"),
                alt.Tooltip("query:N", title="query token"),
                alt.Tooltip("place:N", title="key j"),
                alt.Tooltip("key:N", title="key token"),
                alt.Tooltip("value:Q", title=name, format=".3~g"),
            ],
        )
    )
    once = rows_of("scene")
    zero = once.mark_rule(stroke=INK, tooltip=None).encode(y=alt.datum(0))
    here = (
        rows_of("here")
        .mark_rule(stroke=ACCENT, strokeDash=[4, 4], strokeWidth=1.5, tooltip=None)
        .encode(x=along_text("end", "key j", scale))  # the same axis: another's defaults would join it
    )
    return built(
        alt.LayerChart(layer=[bars, zero, here, undrawn("keys")])
        .add_params(
            *(scene_param(name) for name in ("limit", "low", "high")),
            *slot_params(),
        )
        .properties(height=_HEIGHT * scale, autosize=FILL_WIDTH, padding=EDGE, usermeta=CANVAS)
    )
