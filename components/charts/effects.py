"""What edits do to a prediction: by head as a map, by token as bars. Blue is above zero, red below."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32

from components.charts.axes import (
    CANVAS,
    EDGE,
    FILL_WIDTH,
    legend_above,
    map_height,
    readable_axis,
    type_scale,
)
from components.charts.colours import (
    ACCENT,
    BACKGROUND,
    FAINT,
    INK,
    NEGATIVE,
    POSITIVE,
    QUIET,
    ROUND_ZERO,
    diverging,
)
from components.charts.figure import Figure, Table, built, data_only, read, rows_of, scene, scene_param
from components.charts.head_map import PICK, is_named, named_kinds, rows_are, told
from components.charts.heads_table import row_labels
from components.charts.spread import MIN_EFFECT, largest_effect
from components.ssd import Head

_BARS_HEIGHT = 120
_SCATTER_HEIGHT = 220
_MAX_NAMES = 80
"""Most tokens whose names stand below their bars."""


def effect_map_chart(
    heads: pd.DataFrame,
    effects: Float32[np.ndarray, " head"],
    control: Float32[np.ndarray, " head"] | None,
    picked: Head,
    label: str,
    *,
    estimated: Bool[np.ndarray, " head"] | None = None,
    limit: float | None = None,
    larger: bool = False,
) -> Figure:
    """Layers down, heads across, as in the head map: colours are the effect of each head, round zero.

    `heads` has the columns `layer`, `kind` and `head` of a `measure_table`. `control` is the effect of a
    random change of the same size, which the tooltip tells; NaN where there is none. A head without an effect
    (NaN) is hollow, and one whose effect is `estimated` a small square. `label` names the effect. `limit` is
    the end of the scale, by default the largest effect.
    """
    row, labels = row_labels(heads)
    (layer, kind), head = picked.place, picked.index
    at = row[((heads["layer"] == layer) & (heads["kind"] == kind)).to_numpy()][:1]
    tables: dict[str, Table] = {
        "scene": scene(limit=largest_effect(effects) if limit is None else limit),
        "heads": {
            **{name: heads[name].to_numpy() for name in ("layer", "kind", "head")},
            "row": row,
            "effect": effects,
            **({} if control is None else {"control": control}),
            **({} if estimated is None else {"estimated": estimated}),
        },
        "rows": {"label": labels},
        "picked": {"row": at, "head": [head] * len(at)},
    }
    has = control is not None, estimated is not None
    return Figure(_map(label, len(labels), named_kinds(heads), *has, larger), tables)


def effect_colour(label: str, scale: float) -> alt.Color:
    """Of the column `effect`: red and blue round zero up to the parameter `limit`, with a legend."""
    return alt.Color(
        "effect:Q",
        scale=diverging("limit"),
        legend=legend_above(label, scale, values=alt.ExprRef("[-limit, 0, limit]"), labelExpr=ROUND_ZERO),
    )


@cache
def _map(
    label: str, rows: int, named: tuple[str, ...], has_control: bool, has_estimates: bool, larger: bool
) -> dict[str, Any]:
    scale = type_scale(larger)
    pick = alt.selection_point(
        name=PICK, fields=["layer", "kind", "head"], on="click", clear=False, toggle=False
    )
    cell = {
        "x": alt.X("head:O", axis=readable_axis("head", scale, labelAngle=0)),
        "y": alt.Y("row:O", axis=readable_axis(rows_are(named), scale, labelExpr="labels[datum.value]")),
    }
    tooltip = [
        alt.Tooltip("layer:O"),
        alt.Tooltip("what:N", title="kind"),
        alt.Tooltip("head:O"),
        alt.Tooltip("effect_told:N", title=label),
        *([alt.Tooltip("known:N", title="known")] if has_estimates else []),
        *([alt.Tooltip("control_told:N", title="random change of that size")] if has_control else []),
    ]
    figures = {
        f"{name}_told": f"isValid(datum.{name}) ? format(datum.{name}, '+.3~r') : 'none'"
        for name in ("effect", "control")
    }
    heads = rows_of("heads").transform_calculate(
        what=told(())["what"], known="datum.estimated ? 'as an estimate' : 'exactly'", **figures
    )
    hollow = (
        heads.transform_filter("!isValid(datum.effect)")
        .mark_rect(cursor="pointer", fill="transparent", stroke=FAINT, strokeWidth=1)
        .encode(**cell, tooltip=tooltip)
    )
    shown = heads.transform_filter("isValid(datum.effect)")
    cells = (
        shown.transform_filter("!datum.estimated")
        .mark_rect(cursor="pointer", stroke=FAINT, strokeWidth=0.5)
        .encode(
            **cell,
            color=effect_colour(label, scale),
            tooltip=tooltip,
        )
        .add_params(pick)
    )
    small = (
        shown.transform_filter("datum.estimated")
        .mark_rect(cursor="pointer", width={"band": 0.5}, height={"band": 0.5})
        .encode(**cell, color=alt.Color("effect:Q", scale=diverging("limit")), tooltip=tooltip)
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
        .encode(**cell, tooltip=tooltip)
    )
    frame = rows_of("picked").mark_rect(fill=None, stroke=ACCENT, strokeWidth=3, tooltip=None).encode(**cell)
    return built(
        alt.LayerChart(
            layer=[
                cells,
                *([small] if has_estimates else []),
                hollow,
                rings,
                frame,
                *map(data_only, ("rows", "scene")),
            ]
        )
        .add_params(scene_param("limit"), read("labels", "rows", "label"))
        .properties(
            height=map_height(rows, scale),
            autosize=FILL_WIDTH,
            padding=EDGE,
        )
    )


def token_bars_chart(
    tokens: Sequence[str],
    values: Float32[np.ndarray, " token"],
    label: str,
    *,
    control: Float32[np.ndarray, " token"] | None = None,
    marked: int | None = None,
    height: int = _BARS_HEIGHT,
    compared: str = "random change of that size",
    reach: float = MIN_EFFECT,
    larger: bool = False,
) -> Figure:
    """A bar for each token of a text, up for positive values and down for negative.

    `control` are marks to compare with, by default of a random change of the same size: `compared` says what
    they are. `marked` is a position to point out. Of a long text, the names of tokens are in the tooltip
    alone. `height` is that of the bars, in pixels; their axis goes up to `reach` or further.
    """
    count = len(tokens)
    names = list(tokens) if count <= _MAX_NAMES else [""] * count
    drawn = control if control is not None else np.full(count, np.nan, np.float32)
    both = np.concatenate([values, drawn])
    ends = float(np.nanmin(both)), float(np.nanmax(both))
    tables: dict[str, Table] = {
        "scene": scene(count=count, low=min(0.0, *ends), high=max(reach, *ends)),
        "bars": {
            "position": np.arange(count),
            "token": list(tokens),
            "name": names,
            "value": values,
            "control": drawn,
            "marked": [position == marked for position in range(count)],
        },
    }
    angle = None if count > _MAX_NAMES else -90 if max(map(len, names)) > 1 else 0
    return Figure(_bars(label, control is not None and compared, angle, height, larger), tables)


@cache
def _bars(
    label: str, compared: str | Literal[False], angle: int | None, height: int, larger: bool
) -> dict[str, Any]:
    scale = type_scale(larger)
    across = alt.Scale(domain=[0, alt.ExprRef("count")], nice=False, zero=False)
    named = {
        "values": alt.ExprRef("sequence(0.5, count)"),
        "labelExpr": "names[floor(datum.value)]",
        "labelAngle": angle,
        "labelFont": "monospace",
        "labelLimit": 90 * scale,
        "labelOverlap": False,
        "ticks": False,
    }
    axis = readable_axis(
        "position" if angle is None else "", scale, grid=False, **({} if angle is None else named)
    )
    upwards = alt.Scale(domain=[alt.ExprRef("low"), alt.ExprRef("high")], nice=True, zero=True)
    tooltip = [
        alt.Tooltip("position:O"),
        alt.Tooltip("token:N"),
        alt.Tooltip("value_told:N", title=label),
        *([alt.Tooltip("control_told:N", title=compared)] if compared else []),
    ]
    figures = {
        f"{name}_told": f"isValid(datum.{name}) ? format(datum.{name}, '.3~r') : 'none'"
        for name in ("value", "control")
    }
    bars = rows_of("bars").transform_calculate(
        left="datum.position + 0.1",
        right="datum.position + 0.9",
        first="datum.position",
        after="datum.position + 1",
        nothing="0",
        bottom="low",
        top="high",
        **figures,
    )
    value_axis = readable_axis(label, scale, tickCount=4, titleLimit=220 * scale)
    colour = (
        alt.when("datum.value < 0")
        .then(alt.value(NEGATIVE.scheme()[0]))
        .otherwise(alt.value(POSITIVE.scheme()[0]))
    )
    drawn = bars.mark_rect(tooltip=None).encode(
        x=alt.X("left:Q", scale=across, axis=axis),
        x2="right",
        y=alt.Y("value:Q", scale=upwards, axis=value_axis),
        y2="nothing:Q",
        color=colour,
    )
    controls = (
        bars.transform_filter("isValid(datum.control)")
        .mark_rule(stroke=QUIET, strokeWidth=2, tooltip=None)
        .encode(
            x=alt.X("left:Q", scale=across, axis=axis),
            x2="right",
            y=alt.Y("control:Q", scale=upwards, axis=value_axis),
        )
    )
    marked = (
        bars.transform_filter("datum.marked")
        .mark_rect(fill=None, stroke=ACCENT, strokeWidth=2, tooltip=None, clip=True)
        .encode(
            x=alt.X("first:Q", scale=across, axis=axis),
            x2="after",
            y=alt.Y("bottom:Q", scale=upwards, axis=value_axis),
            y2="top:Q",
        )
    )
    pointed = bars.mark_rect(opacity=0, clip=True).encode(
        x=alt.X("first:Q", scale=across, axis=axis),
        x2="after",
        y=alt.Y("bottom:Q", scale=upwards, axis=value_axis),
        y2="top:Q",
        tooltip=tooltip,
    )
    return built(
        alt.LayerChart(layer=[drawn, *([controls] if compared else []), marked, pointed, data_only("scene")])
        .add_params(*map(scene_param, ("count", "low", "high")), read("names", "bars", "name"))
        .properties(height=height * scale, autosize=FILL_WIDTH, padding=EDGE, usermeta=CANVAS)
    )


def scatter_chart(
    tokens: Sequence[str],
    measure: Float32[np.ndarray, " token"],
    effect: Float32[np.ndarray, " token"],
    names: tuple[str, str],
    *,
    larger: bool = False,
) -> Figure:
    """A point for each token: a measure of how it is read, against what cutting it does.

    `names` of the measure and of the effect title the axes.
    """
    tables: dict[str, Table] = {
        "scene": scene(count=len(tokens)),
        "points": {
            "position": np.arange(len(tokens)),
            "token": list(tokens),
            "measure": measure,
            "effect": effect,
        },
    }
    return Figure(_scatter(*names, larger), tables)


@cache
def _scatter(measure: str, effect: str, larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    points = (
        rows_of("points")
        .mark_point(filled=True, size=60 * scale, opacity=0.8, color=POSITIVE.scheme()[0])
        .encode(
            x=alt.X("measure:Q", axis=readable_axis(measure, scale, tickCount=5)),
            y=alt.Y("effect:Q", axis=readable_axis(effect, scale, tickCount=5)),
            tooltip=[
                alt.Tooltip("position:O"),
                alt.Tooltip("token:N"),
                alt.Tooltip("measure:Q", title=measure, format=".3~r"),
                alt.Tooltip("effect:Q", title=effect, format=".3~r"),
            ],
        )
    )
    return built(
        alt.LayerChart(layer=[points, data_only("scene")]).properties(
            height=_SCATTER_HEIGHT * scale, autosize=FILL_WIDTH, padding=EDGE
        )
    )


def memory_chart(
    probabilities: Float32[np.ndarray, " width"], marked: int, *, larger: bool = False
) -> Figure:
    """The probability of an answer against how many tokens every head may read, from 0 on; one marked."""
    tables: dict[str, Table] = {
        "scene": scene(last=len(probabilities) - 1),
        "widths": {"width": np.arange(len(probabilities)), "probability": probabilities},
        "marked": {"width": [marked], "probability": probabilities[[marked]]},
    }
    return Figure(_memory(larger), tables)


@cache
def _memory(larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    across = alt.Scale(domain=[0, alt.ExprRef("last")], nice=False, zero=False)
    place: dict[str, Any] = {
        "x": alt.X(
            "width:Q",
            scale=across,
            axis=readable_axis("memory window w, tokens", scale, tickCount=8, format="d"),
        ),
        "y": alt.Y(
            "probability:Q",
            scale=alt.Scale(domain=[0, 1]),
            axis=readable_axis(
                "probability of the answer", scale, tickCount=5, titleLimit=220 * scale, format=".0%"
            ),
        ),
        "tooltip": [
            alt.Tooltip("width:Q", title="w"),
            alt.Tooltip("probability:Q", title="probability", format=".2%"),
        ],
    }
    blue = POSITIVE.scheme()[0]
    line = rows_of("widths").mark_line(
        color=blue, strokeWidth=2, point=alt.OverlayMarkDef(filled=True, size=24 * scale, color=blue)
    )
    mark = rows_of("marked").mark_point(shape="circle", size=140 * scale, stroke=ACCENT, strokeWidth=3)
    return built(
        alt.LayerChart(layer=[line.encode(**place), mark.encode(**place), data_only("scene")])
        .add_params(scene_param("last"))
        .properties(height=_SCATTER_HEIGHT * scale, autosize=FILL_WIDTH, padding=EDGE)
    )
