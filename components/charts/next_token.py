"""What a model expects next: the most probable tokens, and the one that came."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt
import pandas as pd

from components.charts.axes import CANVAS, EDGE, FILL_WIDTH, readable_axis, type_scale
from components.charts.colours import ACCENT, AMOUNT, BACKGROUND, INK
from components.charts.figure import Figure, Table, built, data_only, read, rows_of, scene, scene_param

_BAR = 21
"""Height of one bar with its space, in pixels."""
_ROWS = 11
"""Room for the ten most probable tokens and another that came."""
_INSIDE = "datum.probability > 0.7"
"""Vega expression: whether a bar is long enough to contain its figure."""


def next_token_table(
    tokens: Sequence[str], probabilities: Sequence[float], came: int | None = None
) -> pd.DataFrame:
    """One row per token, in the order given: `token`, ready for display, `probability`, whether it `came`.

    `came` is the index of the token that followed: one of the most probable, or one listed after them.
    """
    return pd.DataFrame(
        {
            "token": pd.Series(list(tokens), dtype=object),
            "probability": list(probabilities),
            "came": [index == came for index in range(len(tokens))],
        }
    )


def next_token_chart(table: pd.DataFrame, *, larger: bool = False) -> Figure:
    """Bars of a `next_token_table`, from 0 to 1, so that positions compare; the token that came is marked.

    `larger` type is for a projector.
    """
    written = [
        f"{_percent(part)} · came next" if came else _percent(part)
        for part, came in zip(table["probability"], table["came"], strict=True)
    ]
    tables: dict[str, Table] = {
        "scene": scene(slots=max(len(table), _ROWS)),
        "bars": table.assign(slot=range(len(table)), written=written),
    }
    return Figure(_chart(larger), tables)


@cache
def _chart(larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    slots = alt.Scale(domain=[0, alt.ExprRef("slots")], reverse=True, nice=False, zero=False)
    names = readable_axis(
        "",
        scale,
        values=alt.ExprRef("sequence(0.5, length(labels))"),
        labelExpr="labels[floor(datum.value)]",
        labelFont="monospace",
        labelFontSize=13 * scale,
        labelLimit=150 * scale,
        labelOverlap=False,
        minExtent=110 * scale,  # the bars begin at one x, whatever the tokens
        grid=False,
        ticks=False,
        domain=False,
    )
    parts = alt.Scale(domain=[0, 1], nice=False)
    percents = readable_axis("probability", scale, values=[0, 0.25, 0.5, 0.75, 1], format=".0%")
    probability = alt.X("probability:Q", scale=parts, axis=percents)
    bars = rows_of("bars").transform_calculate(
        top="datum.slot + 0.12", bottom="datum.slot + 0.88", middle="datum.slot + 0.5", zero="0", one="1"
    )
    came = alt.when("datum.came")
    drawn = bars.mark_rect(tooltip=None).encode(
        x=probability,
        x2="zero:Q",
        y=alt.Y("top:Q", scale=slots, axis=names),
        y2="bottom",
        color=came.then(alt.value(ACCENT)).otherwise(alt.value(AMOUNT.scheme()[0])),
    )
    # As long as the axis: many bars are too short to hit.
    pointed = bars.mark_rect(opacity=0).encode(
        x=alt.X("zero:Q", scale=parts, axis=percents),
        x2="one:Q",
        y=alt.Y("top:Q", scale=slots, axis=names),
        y2="bottom",
        tooltip=[
            alt.Tooltip("token:N", title="token"),
            alt.Tooltip("probability:Q", format=".4~g"),
            alt.Tooltip("came:N", title="came next"),
        ],
    )
    written = bars.mark_text(
        align=alt.ExprRef(f"{_INSIDE} ? 'right' : 'left'"),
        dx=alt.ExprRef(f"{_INSIDE} ? -6 : 6"),
        fontSize=12 * scale,
        tooltip=None,
    ).encode(
        x=probability,
        y=alt.Y("middle:Q", scale=slots, axis=names),
        text="written:N",
        color=alt.when(f"{_INSIDE} && datum.came")
        .then(alt.value(BACKGROUND))
        .when("datum.came")
        .then(alt.value(ACCENT))
        .otherwise(alt.value(INK)),
    )
    return built(
        alt.LayerChart(layer=[drawn, written, pointed, data_only("scene")])
        .add_params(scene_param("slots"), read("labels", "bars", "token"))
        .properties(height=_BAR * _ROWS * scale, autosize=FILL_WIDTH, padding=EDGE, usermeta=CANVAS)
    )


def _percent(part: float) -> str:
    return f"{100 * part:.3g} %" if part >= 0.001 else "< 0.1 %"
