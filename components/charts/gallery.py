"""The gallery: every layer and head of a model at once, each as a small picture; a click picks the head.

All pictures are one image, quick to send and draw; a grid of invisible rectangles above it catches clicks.

The unit is a cell: a picture and the gap to the next. A picture is `dots` pixels of the image wide and the
gap one, transparent, with a hairline in its middle. On the page a cell is `side` pixels wide, a whole number,
so that equal pictures look equal everywhere.
"""

from __future__ import annotations

import json
from functools import cache
from math import isqrt
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float32, Int, Shaped, UInt8

from components.charts.axes import CANVAS, EDGE, FILL_WIDTH, readable_axis, type_scale
from components.charts.colours import ACCENT, FAINT, INK, glaze_levels, glaze_palette
from components.charts.figure import Figure, Table, built, data_only, read, rows_of, scene, scene_param
from components.charts.head_map import is_named, named_kinds, quantities_in, rows_are, told, tooltip
from components.charts.heads_table import row_labels
from components.charts.picture import png_address
from components.ssd import KINDS, Head, Quantity

PICK_FROM_GALLERY = "gallery_head"
"""Name of the point selection; it holds `layer`, `kind` and `head` of the clicked picture."""

_PIXELS = 590_000
"""Pixels that all pictures have together: 576 heads of 32 × 32."""
_MIN_TILES, _MAX_TILES = 8, 64

_PAGE = 1000
"""Width in pixels of the page that the rows of sorted pictures assume."""
_MAX_SIDE = 120
"""Largest side of a cell in pixels, so that a few heads are not huge."""
_MIN_NAMED = 70
"""Least side in pixels of a cell with room for its name."""

_TYPES: dict[str, Any] = {
    "layer": np.int16,
    "kind": "category",
    "head": np.int16,
    "slot": np.int16,
}


def gallery_tiles(heads: int) -> int:
    """Side of each picture in pixels, so that the image of all `heads` is quick to send."""
    return min(max(isqrt(_PIXELS // heads), _MIN_TILES), _MAX_TILES)


def gallery_chart(
    pictures: Float32[np.ndarray, "head tile tile"],
    measures: pd.DataFrame,
    picked: Head,
    *,
    sort: Quantity | None = None,
    locked: bool = False,
    larger: bool = False,
) -> Figure:
    """Pooled |attention| of each head, zero above the diagonal, and the `picked` head framed.

    `measures` is a `measure_table` with a row for each of the `pictures`. They stand at their layer and head
    or, with `sort`, row by row in descending order of that measure. Each reaches full colour at its own
    largest value or, if `locked`, at the largest of its kind. `larger` type is for a projector.
    """
    quantities = quantities_in(measures)
    columns = [each.name for each in quantities]
    heads = measures[["layer", "kind", "head", *columns]].reset_index(drop=True)
    row, layers = row_labels(heads)
    across = int(heads["head"].max()) + 1
    slot = row * across + heads["head"].to_numpy()
    if sort is not None:
        across = _columns(len(heads), across)
        slot = np.empty(len(heads), dtype=np.int64)
        # A head without the measure comes last.
        slot[np.argsort(-measures[sort.name].to_numpy(), kind="stable")] = np.arange(len(heads))
    strengths = _strengths(pictures, measures["kind"].to_numpy() if locked else None)
    tiles = _magnified(glaze_levels(strengths), gallery_tiles(len(heads)))
    dots = tiles.shape[-1]
    address = png_address(_mosaic(tiles, slot, across), glaze_palette())
    # Small types: beside the image, these rows are most of the message to the page.
    heads = heads.assign(slot=slot).astype(_TYPES | dict.fromkeys(columns, np.float32))
    is_picked = (heads[["layer", "kind", "head"]] == [*picked.place, picked.index]).all(axis=1)
    filled = np.bincount(slot // across)
    tables: dict[str, Table] = {
        "scene": scene(across=across, down=len(filled), dots=dots),
        # Half a gap up and to the left: each hairline stands in the middle of its gap.
        "picture": pd.DataFrame([{"left": -0.5 / (dots + 1), "top": -0.5 / (dots + 1), "url": address}]),
        "lines": _lines(filled),
        "heads": heads,
        "picked": heads.loc[is_picked, ["slot"]],
    }
    if sort is None:
        tables["layers"] = pd.DataFrame({"layer": layers})
    return Figure(_chart(sort is not None, quantities, named_kinds(measures), larger), tables)


def _columns(heads: int, per_layer: int) -> int:
    """Pictures in a sorted row: as in a layer, unless they would be too large or too small for the page."""
    return min(max(per_layer, _PAGE // _MAX_SIDE), _PAGE // (gallery_tiles(heads) + 1), heads)


def _strengths(
    pictures: Float32[np.ndarray, "head tile tile"], kinds: Shaped[np.ndarray, " head"] | None
) -> Float32[np.ndarray, "head tile tile"]:
    """Pictures from zero to one, the largest of each or, given their `kinds`, of each kind."""
    limits = pictures.max(axis=(1, 2))
    for kind in set() if kinds is None else set(kinds):
        limits[kinds == kind] = limits[kinds == kind].max()
    return pictures / np.where(limits > 0, limits, np.float32(1))[:, None, None]


def _magnified(levels: UInt8[np.ndarray, "head tile tile"], least: int) -> UInt8[np.ndarray, "head dot dot"]:
    """Enlarges the pictures of a very short text, so that their gaps are as narrow as others'."""
    times = max(least // levels.shape[-1], 1)
    return levels.repeat(times, axis=1).repeat(times, axis=2)


def _mosaic(
    levels: UInt8[np.ndarray, "head dot dot"], slot: Int[np.ndarray, " head"], across: int
) -> UInt8[np.ndarray, "row column"]:
    """All pictures in their slots, counted row by row, with gaps of one pixel above and left of each."""
    pitch = levels.shape[-1] + 1
    down = int(slot.max()) // across + 1
    cells = np.zeros((down * across, pitch, pitch), dtype=np.uint8)
    cells[slot, 1:, 1:] = levels
    rows = cells.reshape(down, across, pitch, pitch).transpose(0, 2, 1, 3)
    return rows.reshape(down * pitch, across * pitch)


def _lines(filled: Int[np.ndarray, " row"]) -> pd.DataFrame:
    """The hairlines around all cells, in cells; `filled` are the cells of each row, from the left."""
    around = np.array([0, *filled, 0])
    level = [
        {"left": 0, "right": right, "top": k, "bottom": k}
        for k, right in enumerate(np.maximum(around[:-1], around[1:]))
    ]
    upright = []
    for k in range(filled.max() + 1):
        # One line through rows that follow each other: where it begins, and where it ends.
        ends = np.flatnonzero(np.diff(np.array([False, *(filled >= k), False]).astype(int)))
        upright += [
            {"left": k, "right": k, "top": top, "bottom": bottom} for top, bottom in ends.reshape(-1, 2)
        ]
    return pd.DataFrame(level + upright, dtype=np.int16)


@cache
def _chart(
    in_order: bool, quantities: tuple[Quantity, ...], named: tuple[str, ...], larger: bool
) -> dict[str, Any]:
    """The specification in this look; pictures that stand `in_order` of a measure have names, not axes."""
    scale = type_scale(larger)
    pick = alt.selection_point(
        name=PICK_FROM_GALLERY, fields=["layer", "kind", "head"], on="click", clear=False, toggle=False
    )
    corner: dict[str, Any] = {
        "x": alt.X("left:Q", scale=_cells("across"), axis=None if in_order else _heads(scale)),
        "y": alt.Y("top:Q", scale=_cells("down"), axis=None if in_order else _layers(scale, named)),
    }
    area = {**corner, "x2": "right", "y2": "bottom"}
    picture = (
        rows_of("picture")
        .mark_image(
            align="left",
            baseline="top",
            width=alt.ExprRef("side * across"),
            height=alt.ExprRef("side * down"),
            aspect=False,
            smooth=alt.ExprRef("side < dots"),  # on a narrow page a line of one pixel must not get lost
            tooltip=None,
        )
        .encode(**corner, url="url:N")
    )
    lines = rows_of("lines").mark_rule(stroke=FAINT, strokeWidth=1, opacity=0.6, tooltip=None).encode(**area)
    feeler = (
        _placed("heads")
        .transform_calculate(**told(quantities))
        .mark_rect(opacity=0, cursor="pointer")
        .encode(**area, tooltip=tooltip(quantities))
        .add_params(pick)
    )
    frame = _placed("picked").mark_rect(fill=None, stroke=ACCENT, strokeWidth=3, tooltip=None).encode(**area)
    labels = _names(scale).encode(**corner) if in_order else data_only("layers")
    rings = [_rings(scale).encode(**corner)] if named else []
    params = [
        *(scene_param(name) for name in ("across", "down", "dots")),
        alt.param(name="side", expr=f"clamp(floor(width / across), 1, {_MAX_SIDE * scale})"),
        *([] if in_order else [read("layers", "layers", "layer")]),
    ]
    return built(
        alt.LayerChart(layer=[picture, lines, labels, *rings, feeler, frame, data_only("scene")])
        .add_params(*params)
        .properties(
            height=1,  # the pictures hang from the top; their height is `side * down`
            # Layout again after the axes take their part of the width, which makes the view less high.
            autosize=alt.AutoSizeParams(**FILL_WIDTH.to_dict(), resize=True),
            padding=EDGE,
            usermeta=CANVAS,
        )
    )


def _cells(count: str) -> alt.Scale:
    """From cells to pixels; the parameter `count` is the number of cells in this direction."""
    pixels: list[Any] = [0, alt.ExprRef(f"side * {count}")]
    return alt.Scale(domain=[0, alt.ExprRef(count)], range=pixels, nice=False, zero=False)


def _heads(scale: float) -> alt.Axis:
    return _numbers(
        "head", "across", "floor(datum.value)", scale, orient="top", labelAngle=0, labelSeparation=4
    )


def _layers(scale: float, named: tuple[str, ...]) -> alt.Axis:
    return _numbers(rows_are(named), "down", "layers[floor(datum.value)]", scale, orient="left")


def _numbers(title: str, count: str, label: str, scale: float, **options: Any) -> alt.Axis:
    """A number at the middle of each row or column."""
    return readable_axis(
        title,
        scale,
        values=alt.ExprRef(f"sequence(0.5, {count})"),
        labelExpr=label,
        labelFlush=False,
        grid=False,
        ticks=False,
        domain=False,
        **options,
    )


def _placed(table: str) -> alt.Chart:
    """The rows of a table with the edges of their cells, in cells."""
    placed: alt.Chart = rows_of(table).transform_calculate(
        left="datum.slot % across",
        right="datum.left + 1",
        top="floor(datum.slot / across)",
        bottom="datum.top + 1",
    )
    return placed


def _names(scale: float) -> alt.Chart:
    """Layer and head in the empty upper triangle of each picture, if that has room for them."""
    labels = json.dumps({kind.name: f" {kind.short}".rstrip() for kind in KINDS.values()})
    names: alt.Chart = (
        _placed("heads")
        .transform_filter(f"side >= {_MIN_NAMED * scale}")
        .transform_calculate(name=f"'L' + datum.layer + {labels}[datum.kind] + ' H' + datum.head")
        .mark_text(
            align="right",
            baseline="top",
            dx=alt.ExprRef("side - 5"),
            dy=5,
            fontSize=11 * scale,
            color=INK,
            tooltip=None,
        )
        .encode(text="name:N")
    )
    return names


def _rings(scale: float) -> alt.Chart:
    """A ring, as in the head map, in pictures of a named kind that have no room for a name."""
    rings: alt.Chart = (
        _placed("heads")
        .transform_filter(f"{is_named()} && side < {_MIN_NAMED * scale}")
        .mark_point(
            size=alt.ExprRef("min(0.06 * side * side, 40)"),
            xOffset=alt.ExprRef("side * 0.72"),
            yOffset=alt.ExprRef("side * 0.28"),
            stroke=INK,
            strokeWidth=1,
            filled=False,
            opacity=1,
            tooltip=None,
        )
    )
    return rings
