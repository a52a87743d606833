"""Decay curves of one layer: how much of a written token is left, token by token, in every head."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from components.charts.axes import EDGE, FILL_WIDTH, readable_axis, type_scale
from components.charts.colours import ACCENT, BACKGROUND, FAINT, QUIET

_HEIGHT = 260
_SURVIVAL = alt.Scale(domain=[0, 1])
_LEAST_LOG = 1e-3
"""Where the logarithmic axis ends."""
_SURVIVAL_LOG = alt.Scale(type="log", domain=[_LEAST_LOG, 1])


def decay_curves_chart(
    survival: pd.DataFrame, head: int, half_life: float, *, larger: bool = False, log: bool = False
) -> alt.LayerChart:
    """Survival of the first shown token over the tokens after it; `head` in front, the others thin behind.

    `survival` is a `survival_table`, `half_life` that of the head in tokens. Where it lies within the chart
    it is marked, otherwise it is named at the curve's end; those of the other heads are ticks at one half.
    On the axis of `log`, a steady decay is a straight line. `larger` type is for a projector.
    """
    scale = type_scale(larger)
    survivals = _SURVIVAL_LOG if log else _SURVIVAL
    # Zero has no logarithm; what is below the axis leaves it through the lower edge.
    survival = survival.assign(survival=survival["survival"].clip(lower=_LEAST_LOG**2)) if log else survival
    last = max(int(survival["lag"].max()), 1)
    x = alt.X(
        "lag:Q",
        scale=alt.Scale(domain=[0, last], nice=False),
        axis=readable_axis("tokens after writing", scale, tickMinStep=1, format="d", grid=False),
    )
    y = alt.Y(
        "survival:Q",
        scale=survivals,
        axis=readable_axis(
            "survival  L",
            scale,
            values=[1e-3, 1e-2, 1e-1, 1] if log else [0, 0.25, 0.5, 0.75, 1],
            format=".1~g" if log else ".2f",
        ),
    )
    others, of_head = survival[survival["head"] != head], survival[survival["head"] == head]
    halves = others.loc[others["half_life"] <= last, ["head", "half_life"]].drop_duplicates()
    layers = [
        alt.Chart(others)
        .mark_line(strokeWidth=1, stroke=FAINT, tooltip=None, clip=True)
        .encode(x=x, y=y, detail="head:N"),
        alt.Chart(of_head).mark_line(strokeWidth=3, stroke=ACCENT, tooltip=None, clip=True).encode(x=x, y=y),
        alt.Chart(halves.rename(columns={"half_life": "lag"}).assign(survival=0.5))
        .mark_tick(orient="vertical", thickness=2, size=14 * scale, color=QUIET, opacity=0.7, tooltip=None)
        .encode(x=x, y=alt.Y("survival:Q", scale=survivals)),
        alt.Chart(of_head)
        .mark_point(filled=True, size=30 if last <= 60 else 10, color=ACCENT, opacity=1, clip=log)
        .encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("lag:Q", title="tokens after writing"),
                alt.Tooltip("survival:Q", format=".3~g"),
            ],
        ),
    ]
    at_last = float(of_head["survival"].iloc[-1])
    below_curve = at_last / 3 if log else at_last - 0.2 if at_last > 0.7 else 0.9
    layers += _half_life_marks(half_life, last, below_curve, x, survivals, scale)
    return alt.LayerChart(layer=layers).properties(height=_HEIGHT * scale, autosize=FILL_WIDTH, padding=EDGE)


def _half_life_marks(
    half_life: float, last: int, free: float, x: alt.X, survivals: alt.Scale, scale: float
) -> list[alt.Chart]:
    """A dashed line at the half-life and its name; where it would lie outside, the name alone, at `free`."""
    within = half_life <= last
    left_half = half_life < 0.6 * last
    place = {"lag": half_life if within else last, "survival": 0.9 if within else free}
    half = alt.Chart(pd.DataFrame([place]))
    text: dict[str, Any] = {
        "text": f"half-life {half_life:.3g} tokens" + ("" if within else ", longer than the shown text"),
        "align": "left" if left_half else "right",
        "dx": 8 if left_half else -8,
        "fontSize": 14 * scale,
        "tooltip": None,
    }
    at: dict[str, Any] = {"x": x, "y": alt.Y("survival:Q", scale=survivals)}
    name = [
        half.mark_text(stroke=BACKGROUND, strokeWidth=5, **text).encode(**at),  # clear of the curves
        half.mark_text(color=QUIET if within else ACCENT, **text).encode(**at),
    ]
    line = half.mark_rule(stroke=QUIET, strokeDash=[4, 4], strokeWidth=1.5, tooltip=None).encode(x=x)
    return [line, *name] if within else name
