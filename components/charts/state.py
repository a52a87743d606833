"""The state over time: its norm after every token, and each token's share of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil, floor, log10
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float32
from torch import Tensor

from components.charts.axes import CANVAS, EDGE, FILL_WIDTH, readable_axis, type_scale
from components.charts.cells import tile_table
from components.charts.colours import ACCENT, FAINT, INK, QUIET, diverging
from components.charts.figure import Figure, Table, built, data_only, read, rows_of, scene, scene_param
from components.charts.slots import along_text, pooled, slot_labels, slot_params, slot_positions, slots_of

_NORM_HEIGHT, _SHARE_HEIGHT = 220, 170
_POWERS = 4
"""Powers of ten below the largest norm, at most, that the axis of norms shows."""


def state_norm_table(norms: Float32[Tensor, "1 head seq"], tokens: Sequence[str]) -> pd.DataFrame:
    """One row per head and token: `norm` of the state of `head` after it, and which token it is.

    `norms` are `state_norms` of all heads of a layer, `tokens` the text, ready for display. For more than
    MAX_TILES tokens, one row per tile, and `norm` is the mean over its tokens. `slot` counts the tokens or
    tiles, whose positions are `start` to `stop` − 1; `text` is how their text begins. Raises ValueError if
    tokens and norms differ in number.
    """
    tiles = _tiles(norms.shape[-1], tokens)
    heads, count = norms.shape[1], len(tiles)
    means = np.add.reduceat(norms[0].double().cpu().numpy(), tiles["start"], axis=1)
    means /= (tiles["stop"] - tiles["start"]).to_numpy()
    repeated = pd.concat([tiles] * heads, ignore_index=True)
    return repeated.assign(
        head=np.repeat(np.arange(heads, dtype=np.int16), count), norm=means.ravel().astype(np.float32)
    )


def state_shares_table(
    shares: Float32[Tensor, "1 1 key"], contributions: Float32[Tensor, "1 1 key"], tokens: Sequence[str]
) -> pd.DataFrame:
    """One row per key position: its signed `share` of the state, and `left`, the norm of its contribution.

    `shares` and `contributions` are the `state_shares` and `state_contributions` of one head, `tokens` the
    text up to the same position, ready for display. For more than MAX_TILES tokens, one row per tile with the
    sums over its tokens. `slot`, `start`, `stop` and `text` as in `state_norm_table`. Raises ValueError if
    tokens and shares differ in number.
    """
    tiles = _tiles(shares.shape[-1], tokens)
    sums = {
        name: np.add.reduceat(values[0, 0].double().cpu().numpy(), tiles["start"]).astype(np.float32)
        for name, values in (("share", shares), ("left", contributions))
    }
    return tiles.assign(**sums)


def _tiles(length: int, tokens: Sequence[str]) -> pd.DataFrame:
    if len(tokens) != length:
        raise ValueError(f"There are {len(tokens)} tokens for {length} positions; give one for each.")
    tiles = tile_table(range(length), tokens)
    return pd.concat([pd.DataFrame({"slot": np.arange(len(tiles), dtype=np.int16)}), tiles], axis="columns")


def state_norm_chart(
    table: pd.DataFrame, head: int, at: int, *, prompt_length: int | None = None, larger: bool = False
) -> Figure:
    """Norm of the state of every head of a layer over the text; `head` in front, a rule at position `at`.

    `table` is a `state_norm_table`. Norms of heads and of moments lie powers of ten apart, so their axis is
    logarithmic, and a steady decay is a straight line; a norm below 10⁻⁴ of the largest leaves it
    through the lower edge. With `prompt_length`, a quiet line marks the end of the prompt, if text follows.
    `larger` type is for a projector. Raises IndexError for a position that does not exist.
    """
    of_head = table[table["head"] == head]
    length = int(of_head["stop"].iloc[-1])
    if not 0 <= at < length:
        raise IndexError(f"There is no position {at}: there are {length}, 0 to {length - 1}.")
    low, high = _norm_limits(table["norm"])
    prompt = prompt_length if prompt_length and prompt_length < length else 0
    edges = [0, *of_head["stop"]]
    tables: dict[str, Table] = {
        "scene": scene(
            picked=head,
            **slots_of(of_head, larger),
            low=low,
            high=high,
            at=int(np.searchsorted(of_head["stop"], at, side="right")),
            prompt=float(np.interp(prompt, edges, np.arange(len(edges)))),
        ),
        # Zero has no logarithm; what is below the axis leaves it through the lower edge.
        "norms": table[["head", "slot"]].assign(norm=table["norm"].clip(lower=low / 100)),
        "ticks": pd.DataFrame({"norm": _ticks(low, high)}),
        "keys": slot_labels(of_head),
        "picked": of_head[["slot", "text"]].assign(positions=slot_positions(of_head), shown=of_head["norm"]),
    }
    return Figure(_norm_chart(pooled(of_head), larger), tables)


def state_shares_chart(table: pd.DataFrame, *, larger: bool = False) -> Figure:
    """Bars of the share of the state that each token holds, in reading order, coloured by sign and size.

    `table` is a `state_shares_table`; see `components.ssd.state_shares` for what a share is. `larger` type is
    for a projector.
    """
    share = table["share"]
    limit = float(share.abs().max()) or 1.0
    low, high = min(float(share.min()), 0), max(float(share.max()), 0)
    tables: dict[str, Table] = {
        "scene": scene(**slots_of(table, larger), limit=limit, low=low, high=high if low < high else limit),
        "shares": table[["slot", "text", "share", "left"]].assign(positions=slot_positions(table)),
        "keys": slot_labels(table),
    }
    return Figure(_shares_chart(pooled(table), larger), tables)


def _norm_limits(norms: pd.Series[float]) -> tuple[float, float]:
    """The ends of the axis: a power of ten apart or more, with room for all norms not too small."""
    finite = norms[np.isfinite(norms)]
    largest = finite.max() if finite.any() else 1.0
    smallest = finite.clip(lower=largest / 10**_POWERS).min() if finite.any() else largest
    high = 1.2 * float(largest)
    return min(float(smallest) / 1.2, high / 10), high


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten within the limits; if these are fewer than three, also two and five times them."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for digits in ((1,), (1, 2, 5)):
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        within = [tick for tick in ticks if low <= tick <= high]
        if len(within) >= 3:
            break
    return within


def _pointed(table: str, *figures: alt.Tooltip, x: alt.X) -> alt.Chart:
    """Tooltips of a token over the full height of the chart: many marks are too small to hit."""
    bands: alt.Chart = (
        rows_of(table).transform_calculate(x="datum.slot", end="datum.slot + 1").mark_rect(opacity=0)
    )
    return bands.encode(x=x, x2="end", tooltip=list(figures))


@cache
def _norm_chart(pooled: bool, larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    x = along_text("x", "position" if pooled else "after token", scale)
    y = alt.Y(
        "norm:Q",
        scale=alt.Scale(type="log", domain=[alt.ExprRef("low"), alt.ExprRef("high")], nice=False),
        axis=readable_axis("norm of the state  ‖S‖", scale, values=alt.ExprRef("ticks"), format="~g"),
    )
    norms = rows_of("norms").transform_calculate(x="datum.slot + 0.5")
    others = norms.transform_filter("datum.head !== picked")
    of_head = norms.transform_filter("datum.head === picked")
    now = rows_of("scene").transform_calculate(x="datum.at + 0.5")
    prompt = rows_of("scene").transform_calculate(x="datum.prompt").transform_filter("prompt > 0")
    words: dict[str, Any] = {"fontSize": 12 * scale, "tooltip": None}
    above = alt.value(-8 * scale)
    # The label is on the side away from "now"; if it lacks room there, the chart may hide it.
    room = f"{80 * scale} * slots / width"
    pointed = _pointed(
        "picked",
        alt.Tooltip("positions:N", title="positions" if pooled else "position"),
        alt.Tooltip("text:N", title="text" if pooled else "token"),
        alt.Tooltip("shown:Q", title="mean norm" if pooled else "norm", format=".3~g"),
        x=x,
    )
    layers = [
        others.mark_line(strokeWidth=1, stroke=FAINT, tooltip=None, clip=True).encode(
            x=x, y=y, detail="head:N"
        ),
        prompt.mark_rule(stroke=QUIET, strokeDash=[2, 4], tooltip=None).encode(x=x),
        now.mark_rule(stroke=ACCENT, strokeDash=[4, 4], strokeWidth=1.5, tooltip=None).encode(x=x),
        of_head.mark_line(strokeWidth=3, stroke=ACCENT, tooltip=None, clip=True).encode(x=x, y=y),
        of_head.transform_filter("datum.slot === at")
        .mark_point(filled=True, size=90, color=ACCENT, opacity=1, tooltip=None, clip=True)
        .encode(x=x, y=y),
        prompt.mark_text(
            color=QUIET,
            text="prompt ends",
            align=alt.ExprRef("leftwards ? 'right' : 'left'"),
            dx=alt.ExprRef("leftwards ? -6 : 6"),
            opacity=alt.ExprRef("covered ? 0 : 1"),
            **words,
        ).encode(x=x, y=above),
        now.mark_text(color=ACCENT, text="now", fontWeight="bold", **words).encode(x=x, y=above),
        pointed,
        data_only("keys"),
        data_only("ticks"),
    ]
    return built(
        alt.LayerChart(layer=layers)
        .add_params(
            *(scene_param(name) for name in ("picked", "low", "high", "at", "prompt")),
            *slot_params(),
            read("ticks", "ticks", "norm"),
            alt.param(name="leftwards", expr=f"at >= prompt || prompt + {room} > slots"),
            alt.param(name="covered", expr=f"leftwards && at < prompt && at + 1 + {room} > prompt"),
        )
        .properties(
            height=_NORM_HEIGHT * scale,
            autosize=FILL_WIDTH,
            padding={**EDGE, "top": 18 * scale},
            usermeta=CANVAS,
        )
    )


@cache
def _shares_chart(pooled: bool, larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    x = along_text("x", "key j", scale)
    bars = (
        rows_of("shares")
        .transform_calculate(x="datum.slot + 0.1", end="datum.slot + 0.9")
        # An edge, so that a pale bar still has a height.
        .mark_rect(stroke=FAINT, strokeWidth=1, tooltip=None)
        .encode(
            x=x,
            x2="end",
            y=alt.Y(
                "share:Q",
                scale=alt.Scale(domain=[alt.ExprRef("low"), alt.ExprRef("high")], nice=True),
                axis=readable_axis("share of the state", scale, tickCount=5, format="~%"),
            ),
            y2=alt.datum(0),
            color=alt.Color("share:Q", scale=diverging("limit"), legend=None),
        )
    )
    pointed = _pointed(
        "shares",
        alt.Tooltip("positions:N", title="key j"),
        alt.Tooltip("text:N", title="key text" if pooled else "key token"),
        alt.Tooltip("share:Q", title="share of the state", format=".3~p"),
        alt.Tooltip("left:Q", title="norms left, summed" if pooled else "norm left", format=".3~g"),
        x=x,
    )
    zero = rows_of("scene").mark_rule(stroke=INK, tooltip=None).encode(y=alt.datum(0))
    return built(
        alt.LayerChart(layer=[bars, zero, pointed, data_only("keys")])
        .add_params(
            *(scene_param(name) for name in ("limit", "low", "high")),
            *slot_params(),
        )
        .properties(height=_SHARE_HEIGHT * scale, autosize=FILL_WIDTH, padding=EDGE, usermeta=CANVAS)
    )
