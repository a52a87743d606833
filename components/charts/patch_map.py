"""What patching the residual stream recovers: layers down, positions across, colours round zero."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt
import numpy as np
from jaxtyping import Float32

from components.charts.axes import CANVAS, EDGE, FILL_WIDTH, map_height, readable_axis, type_scale
from components.charts.colours import FAINT
from components.charts.effects import effect_colour
from components.charts.figure import (
    Figure,
    Table,
    built,
    data_only,
    inline,
    read,
    rows_of,
    scene,
    scene_param,
)

_MAX_NAMES = 40
"""Most tokens whose names stand below the map."""


def patch_map_chart(
    tokens: Sequence[str],
    effects: Float32[np.ndarray, "layer position"],
    label: str,
    limit: float,
    *,
    larger: bool = False,
) -> Figure:
    """A cell for each layer and position; `label` names its figure, `limit` is the end of the scale.

    `tokens` are ready for display. Of a long text, their names are in the tooltip alone.
    """
    layers, count = effects.shape
    row, position = (each.ravel() for each in np.indices(effects.shape))
    names = list(tokens) if count <= _MAX_NAMES else [str(at) for at in range(count)]
    tables: dict[str, Table] = {
        "scene": scene(limit=limit),
        "cells": {
            "layer": row,
            "position": position,
            "token": np.array(tokens, dtype=object)[position],
            "effect": effects.ravel(),
        },
        "columns": {"name": names},
    }
    return Figure(_map(label, layers, count <= _MAX_NAMES, larger), tables)


@cache
def _map(label: str, layers: int, has_names: bool, larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    named = {"labelAngle": -90, "labelFont": "monospace", "labelLimit": 120 * scale}
    across = readable_axis(
        "" if has_names else "position",
        scale,
        labelExpr="names[datum.value]",
        ticks=False,
        **(named if has_names else {"labelAngle": 0}),
    )
    cells = (
        rows_of("cells")
        .mark_rect()
        .encode(
            x=alt.X("position:O", axis=across),
            y=alt.Y("layer:O", axis=readable_axis("layer", scale)),
            color=effect_colour(label, scale),
            tooltip=[
                alt.Tooltip("layer:O"),
                alt.Tooltip("position:O"),
                alt.Tooltip("token:N"),
                alt.Tooltip("effect:Q", title=label, format="+.3~r"),
            ],
        )
    )
    # Zero has the page's own colour, and cells cover what is drawn below them.
    outline = (
        inline([{}])
        .mark_rect(fill=None, stroke=FAINT, strokeWidth=1, tooltip=None)
        .encode(x=alt.value(0), x2=alt.value("width"), y=alt.value(0), y2=alt.value("height"))
    )
    return built(
        alt.LayerChart(layer=[cells, outline, *map(data_only, ("scene", "columns"))])
        .add_params(scene_param("limit"), read("names", "columns", "name"))
        .properties(
            height=map_height(layers, scale),
            autosize=FILL_WIDTH,
            padding=EDGE,
            usermeta=CANVAS,
        )
    )
