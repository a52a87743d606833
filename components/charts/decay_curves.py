"""Decay curves of one layer: how much of a written token is left, token by token, in every head."""

from __future__ import annotations

from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Int

from components.charts.axes import CANVAS, EDGE, FILL_WIDTH, readable_axis, type_scale
from components.charts.colours import ACCENT, BACKGROUND, FAINT, QUIET
from components.charts.figure import Figure, Table, built, rows_of, scene, scene_param
from components.charts.window import MAX_TILES
from components.ssd import MEASURES, MixerTerms, kind_of

MAX_LAGS = MAX_TILES
"""Points of a decay curve."""

LONG_TIME = 128
"""Above so many tokens, a logarithmic time axis is easier to read."""

_HEIGHT = 260
_MIN_LOG = 1e-3
"""Lower end of the logarithmic axis."""


def survival_table(terms: MixerTerms, key: int = 0) -> pd.DataFrame:
    """One row per head and lag: `survival` L of what position `key` wrote, `lag` tokens later.

    For more than MAX_LAGS tokens, the lags are evenly spread on a logarithmic axis. `half_life` repeats the
    head's, in tokens. Raises ValueError for a kind of head without decay.
    """
    decay, half_life = kind_of(terms).decay, MEASURES["half_life"].of(terms)
    if decay is None or half_life is None:
        raise ValueError(f"Nothing decays in heads of {kind_of(terms).words}.")
    lags = _spread(terms.length - key)
    survival = decay.full(terms, keys=[key], queries=(key + lags).tolist())[0, :, :, 0].cpu().numpy()
    heads, count = survival.shape
    return pd.DataFrame(
        {
            "head": np.repeat(np.arange(heads, dtype=np.int16), count),
            "lag": np.tile(lags.astype(np.int32), heads),
            "survival": survival.ravel(),
            "half_life": np.repeat(half_life.value[0].cpu().numpy(), count),
        }
    )


def decay_curves_chart(
    survival: pd.DataFrame,
    head: int,
    half_life: float,
    *,
    larger: bool = False,
    log: bool = False,
    log_time: bool = False,
) -> Figure:
    """Survival of one token over the tokens after it; `head` in front, the others thin behind.

    `survival` is a `survival_table`, `half_life` that of the head in tokens. A rule marks it within the
    chart; a longer one has a label at the curve's end. Ticks at one half mark those of the other heads.
    On the axis of `log`, a steady decay is a straight line; the axis of `log_time`, which begins one token
    after writing, separates half-lives of one and of ten thousand tokens. `larger` type is for a projector.
    """
    every_lag = survival["lag"].to_numpy()
    last = max(int(every_lag.max()), 1)
    log_time = log_time and last > 1
    first = 1 if log_time else 0
    seen = every_lag >= first
    heads, lags, left, half_lives = (
        survival[name].to_numpy()[seen] for name in ("head", "lag", "survival", "half_life")
    )
    if log:  # Zero has no logarithm; what is below the axis leaves it through the lower edge.
        left = left.clip(min=np.float32(_MIN_LOG**2))
    at_last = float(left[heads == head][-1])
    below_curve = at_last / 3 if log else at_last - 0.2 if at_last > 0.7 else 0.9
    within = half_life <= last
    others, of_others = np.unique(heads, return_index=True)
    halves = half_lives[of_others]
    marked = (halves >= first) & (halves <= last) & (others != head)
    tables: dict[str, Table] = {
        "scene": scene(
            picked=head,
            last=last,
            within=within,
            name=f"half-life {half_life:.3g} tokens" + ("" if within else ", longer than the text"),
            name_lag=max(half_life, first) if within else last,
            name_survival=0.9 if within else below_curve,
        ),
        "survival": {"head": heads, "lag": lags, "survival": left},
        "halves": {"head": others[marked], "lag": halves[marked]},
    }
    return Figure(_chart(log, log_time, larger), tables)


@cache
def _chart(log: bool, log_time: bool, larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    survivals = alt.Scale(type="log", domain=[_MIN_LOG, 1]) if log else alt.Scale(domain=[0, 1])
    ticks = [1e-3, 1e-2, 1e-1, 1] if log else [0, 0.25, 0.5, 0.75, 1]
    lags = alt.Scale(
        type="log" if log_time else "linear",
        domain=[1 if log_time else 0, alt.ExprRef("last")],
        nice=False,
    )
    x = alt.X(
        "lag:Q",
        scale=lags,
        axis=readable_axis("tokens after writing", scale, tickMinStep=1, format=",d", grid=False),
    )
    y = alt.Y(
        "survival:Q",
        scale=survivals,
        axis=readable_axis("survival  L", scale, values=ticks, format=".1~g" if log else ".2f"),
    )
    others = rows_of("survival").transform_filter("datum.head !== picked")
    of_head = rows_of("survival").transform_filter("datum.head === picked")
    half = rows_of("halves").transform_calculate(survival="0.5")
    once = rows_of("scene").transform_calculate(lag="datum.name_lag", survival="datum.name_survival")
    text: dict[str, Any] = {
        "align": alt.ExprRef("leftwards ? 'right' : 'left'"),
        "dx": alt.ExprRef("leftwards ? -8 : 8"),
        "fontSize": 14 * scale,
        "tooltip": None,
    }
    colour = alt.ExprRef(f"within ? {QUIET.expr} : {ACCENT.expr}")
    layers = [
        others.mark_line(strokeWidth=1, stroke=FAINT, tooltip=None, clip=True).encode(
            x=x, y=y, detail="head:N"
        ),
        of_head.mark_line(strokeWidth=3, stroke=ACCENT, tooltip=None, clip=True).encode(x=x, y=y),
        half.mark_tick(
            orient="vertical", thickness=2, size=14 * scale, color=QUIET, opacity=0.7, tooltip=None
        ).encode(x=x, y=y),
        of_head.mark_point(
            filled=True, size=alt.ExprRef("last <= 60 ? 30 : 10"), color=ACCENT, opacity=1, clip=log
        ).encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("lag:Q", title="tokens after writing"),
                alt.Tooltip("survival:Q", format=".3~g"),
            ],
        ),
        once.transform_filter("within")
        .mark_rule(stroke=QUIET, strokeDash=[4, 4], strokeWidth=1.5, tooltip=None)
        .encode(x=x),
        once.mark_text(stroke=BACKGROUND, strokeWidth=5, **text).encode(x=x, y=y, text="name:N"),  # a halo
        once.mark_text(color=colour, **text).encode(x=x, y=y, text="name:N"),
    ]
    return built(
        alt.LayerChart(layer=layers)
        .add_params(
            *(scene_param(name) for name in ("picked", "last", "within", "name_lag")),
            alt.param(
                name="leftwards",
                expr="log(name_lag) >= 0.6 * log(last)" if log_time else "name_lag >= 0.6 * last",
            ),
        )
        .properties(height=_HEIGHT * scale, autosize=FILL_WIDTH, padding=EDGE, usermeta=CANVAS)
    )


def _spread(count: int) -> Int[np.ndarray, " lag"]:
    """Lags from zero to count − 1: all, or at most MAX_LAGS, ever farther apart."""
    if count <= MAX_LAGS:
        return np.arange(count)
    return np.unique(np.concatenate([[0], np.geomspace(1, count - 1, MAX_LAGS - 1).round()]).astype(int))
