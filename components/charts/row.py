"""The row chart: what one query position reads, key by key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil
from typing import Any, Literal

import altair as alt
import pandas as pd

from components.charts.axes import CANVAS, EDGE, FILL_WIDTH, readable_axis, type_scale
from components.charts.colours import ACCENT, FAINT, INK, diverging
from components.charts.figure import Figure, built, read, rows_of, scene, scene_param, undrawn

_HEIGHT = 170
_WIDTH = 1000
"""Width in pixels for which the labels are thinned out; the chart itself follows the page."""
_FEWEST_SLOTS = 12
"""The chart is at least this many keys wide, so that the bars of a very short text stay bars."""

_NAMES = {"attention": "attention  M", "attention_dt": "attention  M·dt"}


def row_chart(
    cells: pd.DataFrame,
    tokens: Sequence[str],
    query: int,
    *,
    first: int = 0,
    value: Literal["attention", "attention_dt"] = "attention",
    limit: float | None = None,
    larger: bool = False,
) -> Figure:
    """Signed bars over the key positions j that query position `query` reads, coloured as in the panels.

    `cells` is a `cell_table`, `tokens` and `first` those of `panels_chart`. With `limit` the axis runs from
    −limit to +limit and colours are full there, so that rows of several heads compare; without, the axis fits
    the row and colours are full at the head's largest. `larger` type is for a projector.
    """
    length, slots = len(tokens), max(len(tokens), _FEWEST_SLOTS)
    row = cells[cells["i"] == query].rename(columns={value: "value"})[["i", "j", "query", "key", "value"]]
    full = limit or float(cells[value].abs().max()) or 1.0
    low, high = (
        (-full, full) if limit else (min(float(row["value"].min()), 0), max(float(row["value"].max()), 0))
    )
    if not low < high:
        low, high = -full, full
    facts = {"first": first, "length": length, "slots": slots, "read_by": query}
    # Labels are thinned out evenly here: what Vega drops as overlapping depends on the text.
    facts["every"] = ceil(slots * 13 * type_scale(larger) / _WIDTH)
    tables = {
        "scene": scene(**facts, limit=full, low=low, high=high),
        "row": row,
        "positions": pd.DataFrame({"text": list(tokens)}),
    }
    return Figure(_chart(value, limit is not None, larger), tables)


@cache
def _chart(value: str, locked: bool, larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    positions = alt.Scale(domain=[alt.ExprRef("first"), alt.ExprRef("first + slots")], nice=False, zero=False)
    values = alt.Scale(domain=[alt.ExprRef("low"), alt.ExprRef("high")], nice=not locked, clamp=True)
    keys = readable_axis(
        "key j",
        scale,
        values=alt.ExprRef("sequence(first + 0.5, first + length, every)"),
        labelExpr="labels[floor(datum.value) - first]",
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
        .transform_calculate(start="datum.j + 0.1", end="datum.j + 0.9")
        .mark_rect(stroke=FAINT, strokeWidth=1)  # an edge, so that a pale bar still has a height
        .encode(
            x=alt.X("start:Q", scale=positions, axis=keys),
            x2="end",
            y=alt.Y(
                "value:Q",
                scale=values,
                axis=readable_axis(_NAMES[value], scale, tickCount=5, format=".2~r"),
            ),
            y2=alt.datum(0),
            color=alt.Color("value:Q", scale=diverging("limit"), legend=None),
            tooltip=[
                alt.Tooltip("i:Q", title="query i"),
                alt.Tooltip("query:N", title="query token"),
                alt.Tooltip("j:Q", title="key j"),
                alt.Tooltip("key:N", title="key token"),
                alt.Tooltip("value:Q", title=_NAMES[value], format=".3~g"),
            ],
        )
    )
    once = rows_of("scene")
    zero = once.mark_rule(stroke=INK, tooltip=None).encode(y=alt.datum(0))
    here = (
        once.transform_calculate(end="datum.read_by + 1")
        .mark_rule(stroke=ACCENT, strokeDash=[4, 4], strokeWidth=1.5, tooltip=None)
        .encode(x=alt.X("end:Q", scale=positions, axis=keys))  # one axis: another's defaults would join it
    )
    return built(
        alt.LayerChart(layer=[bars, zero, here, undrawn("positions")])
        .add_params(
            *(scene_param(name) for name in ("first", "length", "slots", "every", "limit", "low", "high")),
            read("labels", "positions", "text"),
        )
        .properties(height=_HEIGHT * scale, autosize=FILL_WIDTH, padding=EDGE, usermeta=CANVAS)
    )
