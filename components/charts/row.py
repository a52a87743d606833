"""The row chart: what one query position reads, key by key."""

from __future__ import annotations

from functools import cache
from math import ceil
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from components.charts.axes import CANVAS, EDGE, FILL_WIDTH, readable_axis, type_scale
from components.charts.colours import ACCENT, FAINT, INK, amount, diverging
from components.charts.figure import Figure, built, read, rows_of, scene, scene_param, undrawn
from components.charts.tables import HeadCells
from components.charts.window import TILE_LABEL_STEP, in_figures, tiles_of

_HEIGHT = 170
_WIDTH = 1000
"""Width in pixels for which the labels are thinned out; the chart itself follows the page."""
_FEWEST_SLOTS = 12
"""The chart is at least this many keys wide, so that the bars of a very short text stay bars."""

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
    length, slots = len(keys), max(len(keys), _FEWEST_SLOTS)
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
    labels = [f"{start:,}" for start in keys["start"]] if cells.pooled else keys["text"]
    places = [in_figures(range(*ends)) for ends in zip(keys["start"], keys["stop"], strict=True)]
    # Labels are thinned out evenly here: what Vega drops as overlapping depends on the text.
    every = TILE_LABEL_STEP if cells.pooled else ceil(slots * 13 * type_scale(larger) / _WIDTH)
    tables = {
        "scene": scene(length=length, slots=slots, every=every, limit=full, low=low, high=high),
        "row": row.assign(at=in_figures(tile), place=[places[column] for column in row["column"]]),
        "keys": pd.DataFrame({"text": labels}),
        # where the query itself stands, if it is among the keys
        "here": pd.DataFrame({"end": [float(np.clip(cells.column_of(tile[-1]) + 1, 0, length))]}),
    }
    name = _SOFTMAX if cells.kind == "attention" else _NAMES[value]
    return Figure(_chart(name, cells.unsigned, limit is not None, larger), tables)


@cache
def _chart(name: str, unsigned: bool, locked: bool, larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    positions = alt.Scale(domain=[0, alt.ExprRef("slots")], nice=False, zero=False)
    colours = amount("limit") if unsigned else diverging("limit")
    values = alt.Scale(domain=[alt.ExprRef("low"), alt.ExprRef("high")], nice=not locked, clamp=True)
    keys = readable_axis(
        "key j",
        scale,
        values=alt.ExprRef("sequence(0.5, length, every)"),
        labelExpr="labels[floor(datum.value)]",
        labelOverlap=False,
        labelFontSize=alt.ExprRef(f"clamp(width / slots, {11 * scale}, {14 * scale})"),
        labelAngle=-90,
        labelLimit=88 * scale,
        labelBound=False,
        labelFlush=False,
        grid=False,
        ticks=False,
    )
    bars = (
        rows_of("row")
        .transform_calculate(start="datum.column + 0.1", end="datum.column + 0.9")
        .mark_rect(stroke=FAINT, strokeWidth=1)  # an edge, so that a pale bar still has a height
        .encode(
            x=alt.X("start:Q", scale=positions, axis=keys),
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
        .encode(x=alt.X("end:Q", scale=positions, axis=keys))  # one axis: another's defaults would join it
    )
    return built(
        alt.LayerChart(layer=[bars, zero, here, undrawn("keys")])
        .add_params(
            *(scene_param(name) for name in ("length", "slots", "every", "limit", "low", "high")),
            read("labels", "keys", "text"),
        )
        .properties(height=_HEIGHT * scale, autosize=FILL_WIDTH, padding=EDGE, usermeta=CANVAS)
    )
