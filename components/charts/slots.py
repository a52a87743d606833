"""A text from left to right: a slot for each token or, of a long text, each tile, with its label below."""

from __future__ import annotations

from math import ceil

import altair as alt
import pandas as pd

from components.charts.axes import readable_axis, type_scale
from components.charts.figure import read, scene_param
from components.charts.window import TILE_LABEL_STEP, in_figures

_WIDTH = 1000
"""Width in pixels that the thinning of labels assumes; a chart itself follows the page."""
_MIN_SLOTS = 12
"""A chart is at least this many slots wide, so that the bars of a very short text stay bars."""


def pooled(tiles: pd.DataFrame) -> bool:
    """Whether some tile, `start` to `stop` − 1, is larger than a token."""
    return bool(((tiles["stop"] - tiles["start"]) > 1).any())


def slots_of(tiles: pd.DataFrame, larger: bool) -> dict[str, int]:
    """For a "scene": `length` tokens or tiles, room for `slots`, and a label for one in `every`."""
    slots = max(len(tiles), _MIN_SLOTS)
    # This thins out labels evenly: what Vega drops as overlapping depends on the text.
    every = TILE_LABEL_STEP if pooled(tiles) else ceil(slots * 13 * type_scale(larger) / _WIDTH)
    return {"length": len(tiles), "slots": slots, "every": every}


def slot_labels(tiles: pd.DataFrame) -> pd.DataFrame:
    """The table "keys": each token's text, or each tile's first position."""
    labels = [f"{start:,}" for start in tiles["start"]] if pooled(tiles) else tiles["text"].tolist()
    return pd.DataFrame({"label": labels})


def slot_positions(tiles: pd.DataFrame) -> list[str]:
    """The positions of each tile in figures."""
    return [in_figures(range(*ends)) for ends in zip(tiles["start"], tiles["stop"], strict=True)]


def slot_params() -> list[alt.Parameter]:
    """Parameters of a view with `along_text`, from the tables "scene" and "keys"."""
    return [*map(scene_param, ("length", "slots", "every")), read("labels", "keys", "label")]


def along_text(field: str, title: str, scale: float) -> alt.X:
    """The text from left to right: the field counts slots, and labels stand under their middle."""
    axis = readable_axis(
        title,
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
    slots = alt.Scale(domain=[0, alt.ExprRef("slots")], nice=False, zero=False)
    return alt.X(f"{field}:Q", scale=slots, axis=axis)
