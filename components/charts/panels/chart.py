"""The linked panels of one head, content C·Bᵀ ∘ decay L = attention M, above the text itself.

Each factor of the head's kind has a panel. A head of softmax attention has two, scores and attention;
words about it take the room of the third, so that the panels of all heads have one size.

All panels share one Vega view: its width follows the page (charts joined by `hconcat` cannot follow it), and
hovering a cell in one panel marks it in all without a rerun. A panel is a picture with one pixel per cell.
`geometry` computes positions and sizes, `pointer` handles the pointer, and `matrices`, `marks`, `titles`,
`dt_bars`, `bars` and `components.charts.strip` draw; all of them take the `Look`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float32

from components.charts.axes import CANVAS, EDGE, FILL_WIDTH, type_scale
from components.charts.cells import HeadCells
from components.charts.colours import (
    amount_levels,
    amount_palette,
    diverging_levels,
    diverging_palette,
    strength,
)
from components.charts.figure import Figure, Table, built, data_only, read, scene, scene_param
from components.charts.panels.bars import bar_params, bars
from components.charts.panels.dt_bars import dt_bars
from components.charts.panels.geometry import MIN_SLOTS, ROOM_ABOVE, layout
from components.charts.panels.look import Look
from components.charts.panels.marks import marks_of_shown, marks_of_span
from components.charts.panels.matrices import edges, legends, pictures, pressable_rows
from components.charts.panels.pointer import brushed, ground, pointed_at, selections, text_brush, window_brush
from components.charts.panels.titles import words
from components.charts.picture import png_address
from components.charts.strip import ACROSS, strip, strip_table, text_columns
from components.charts.sums import SpanSums
from components.charts.window import TILE_LABEL_STEP, in_figures
from components.ssd import Factor


def panels_chart(
    cells: HeadCells,
    *,
    pointed: tuple[int, int] | None = None,
    limits: Mapping[str, float] | None = None,
    with_bars: bool = False,
    span: SpanSums | None = None,
    logarithmic: bool = False,
    larger: bool = False,
    with_brushes: bool = True,
) -> Figure:
    """Content, decay and attention of one head as linked pictures, and the text below them.

    `pointed` is the pair of positions (i, j) of the kept cell, shown while the pointer is on no cell or bar.
    Content and attention have diverging scales that are full at ± `limits` ("content" and "attention"), by
    default at their own largest; unsigned factors start at zero, decay ends at 1. `logarithmic` colours show
    weak values too. The last panel, and what follows it, are of the `reading` of the cells; dt stands below
    the decay where that has it. `with_bars` adds bars of the shown row; with `span`, of its sums while the
    pointer is on no cell. `larger` type is for a projector.

    A click in a row of a panel or on a token fires the selection `PICK_QUERY`, a brush in a panel
    `OPEN_WINDOW`, and `with_bars` one over the text `OPEN_SPAN`. Where nobody answers them, leave out the
    brushes: a drag then draws nothing.
    """
    look = Look(cells.kind, cells.shown, cells.unsigned, with_bars, logarithmic, larger, with_brushes)
    factors = cells.kind.factors
    values = {factor.name: cells.columns[factor.name] for factor in factors}
    values["attention"] = attention = cells.values
    full = {name: float(np.abs(entries).max()) or 1.0 for name, entries in values.items()} | dict(
        limits or {}
    )
    full |= {factor.name: factor.limit for factor in factors if factor.limit is not None}
    row, key = (-1, -1)
    if pointed is not None:
        row, key = cells.row_of(pointed[0]), cells.column_of(pointed[1])
    rows, columns = _labelled(cells.queries, cells.pooled), _labelled(cells.keys, cells.pooled)
    reach = np.bincount(cells.columns["row"])
    text = strip_table(cells)
    before = reach.cumsum() - reach
    drawn = [_picture(cells, look, each, values[each.name], full[each.name]) for each in factors]
    tables: dict[str, Table] = {
        "scene": scene(
            rows=len(cells.queries),
            columns=len(cells.keys),
            row_slots=max(len(cells.queries), MIN_SLOTS),
            key_slots=max(len(cells.keys), MIN_SLOTS),
            head_room=0 if cells.window.on_diagonal else ROOM_ABOVE * type_scale(larger),
            step=TILE_LABEL_STEP if cells.pooled else 1,
            note=_note(cells),
            statistic="RMS" if cells.statistic == "rms" else "mean",
            longest=max(map(text_columns, columns["label"])),
            **{f"{factor.name}_limit": full[factor.name] for factor in factors if factor.limit is None},
            dt_limit=float(np.max(columns["dt"]) if look.shown.with_dt else 0) or 1.0,
            kept_row=row,
            kept_key=key,
            locked=limits is not None,
            logarithmic=logarithmic,
            **_span_facts(cells, span),
            **{f"lines_{across}": int(np.max(text[f"line_{across}"])) + 1 for across in ACROSS},
        ),
        "cells": values,
        "queries": {
            **rows,
            "row": np.arange(len(cells.queries)),
            "reach": reach,
            "before": before,
            "low": np.minimum(np.minimum.reduceat(attention, before), 0),
            "high": np.maximum(np.maximum.reduceat(attention, before), 0),
            # where the query itself stands, if it is among the keys
            "here": np.searchsorted(columns["i"], rows["stop"] - 1, side="right"),
        },
        "keys": {**columns, "top": np.searchsorted(reach, np.arange(len(cells.keys)) + 1)},
        "text": text,
        "pictures": {
            "panel": np.arange(len(factors)),
            "light": [light for light, _ in drawn],
            "dark": [dark for _, dark in drawn],
        },
    }
    if with_bars:
        slots = max(len(cells.queries), len(cells.keys))
        sums = np.full(slots, np.nan, dtype=np.float32)
        if span is not None:
            sums[: len(span.sums)] = span.sums
        tables["bars"] = {"slot": np.arange(slots, dtype=np.int16), "sum": sums}
    return Figure(_chart(look), tables)


def _labelled(tiles: pd.DataFrame, pooled: bool) -> dict[str, Any]:
    """Rows or columns with their positions `i` to `stop` − 1 in figures, `at`, and the axis `label`."""
    columns: dict[str, Any] = {str(name): column.to_numpy() for name, column in tiles.items()}
    columns["i"] = columns.pop("start")
    starts, stops = columns["i"].tolist(), columns["stop"].tolist()
    columns["at"] = [in_figures(range(*ends)) for ends in zip(starts, stops, strict=True)]
    columns["label"] = [f"{start:,}" for start in starts] if pooled else columns["text"]
    return columns


def _note(cells: HeadCells) -> str:
    """The size of a pooled cell in words."""
    if not cells.pooled:
        return ""
    sides = [int((tiles["stop"] - tiles["start"]).max()) for tiles in (cells.queries, cells.keys)]
    return f"{{}} over {sides[0]:,} × {sides[1]:,} entries"


def _span_facts(cells: HeadCells, span: SpanSums | None) -> dict[str, Any]:
    """For the scene: the span whose sums the bars show, and their range. `span_from` to `span_to` are its
    rows or, if `read_by`, its columns.
    """
    if span is None:
        numbers = dict.fromkeys(("span_from", "span_to", "sums_low", "sums_high"), 0.0)
        words = dict.fromkeys(("span_title", "span_positions", "span_text"), "")
        return {"span_start": -1, "span_stop": -1, "read_by": False} | numbers | words
    tiles = cells.keys if span.read_by else cells.queries
    return {
        "span_from": int(np.searchsorted(tiles["stop"], span.positions.start, side="right")),
        "span_to": int(np.searchsorted(tiles["start"], span.positions.stop, side="left")),
        "span_start": span.positions.start,
        "span_stop": span.positions.stop,
        "read_by": span.read_by,
        "sums_low": min(float(span.sums.min()), 0.0),
        "sums_high": max(float(span.sums.max()), 0.0),
        "span_title": span.title,
        "span_positions": in_figures(span.positions),
        "span_text": span.text,
    }


def _picture(
    cells: HeadCells, look: Look, factor: Factor, values: Float32[np.ndarray, " cell"], limit: float
) -> tuple[str, str]:
    """One panel as a picture for a light and a dark page, transparent above the diagonal."""
    matrix = cells.matrix(values)
    if look.logarithmic:
        matrix, limit = strength(matrix, limit), 1.0
    if look.is_unsigned(factor):
        levels, palette = amount_levels(matrix / np.float32(limit)), amount_palette
    else:
        levels, palette = diverging_levels(matrix, limit), diverging_palette
    return png_address(levels, palette(dark=False)), png_address(levels, palette(dark=True))


@cache
def _chart(look: Look) -> dict[str, Any]:
    """The specification of the view in this look."""
    scale, panels = look.scale, len(look.panels)
    first_panel, *other_panels = pressable_rows(look)
    drawn = [
        ground(scale),
        *legends(look),
        pictures(look),
        *edges(look),
        first_panel.add_params(*selections()),
        *other_panels,
        *(dt_bars(look) if look.shown.with_dt else []),
        *marks_of_span(look),
        *marks_of_shown(look),
        *words(look),
        *strip(
            look.shown_title,
            look.of_row,
            look.colours(look.kind.attention),
            look.strength,
            scale,
            signed=not look.unsigned,
        ),
        *(bars(look) if look.with_bars else []),
        *(window_brush(scale) if look.with_brushes else []),
        *(text_brush(scale) if look.with_brushes and look.with_bars else []),
        *(
            data_only(table)
            for table in ("scene", "cells", "queries", "keys", *(["bars"] if look.with_bars else []))
        ),
    ]
    expressions = layout(look) | pointed_at(panels) | bar_params(look)
    expressions |= brushed(panels) if look.with_brushes else {}
    return built(
        alt.LayerChart(layer=drawn)
        .resolve_scale(x="independent", y="independent", color="independent")
        .add_params(
            *_of_tables(look),
            *(alt.param(name=name, expr=expression) for name, expression in expressions.items()),
        )
        .properties(
            height=1,  # the layout starts at the top, and its height depends on the width
            autosize=FILL_WIDTH,
            padding=EDGE,
            usermeta=CANVAS,
        )
    )


_SCENE = (
    *("rows", "columns", "row_slots", "key_slots", "head_room", "step", "note", "statistic", "longest"),
    *("dt_limit", "kept_row", "kept_key", "locked", "logarithmic"),
    *("span_start", "span_stop", "span_title", "span_positions", "span_text"),
    *("span_from", "span_to", "read_by", "sums_low", "sums_high"),
)


def _of_tables(look: Look) -> list[alt.Parameter]:
    """Parameters with the columns of the tables."""
    lists = {
        "labels": ("queries", "label"),
        "query_texts": ("queries", "text"),
        "query_positions": ("queries", "at"),
        "query_starts": ("queries", "i"),
        "query_stops": ("queries", "stop"),
        "reach": ("queries", "reach"),
        "before": ("queries", "before"),
        "lows": ("queries", "low"),
        "highs": ("queries", "high"),
        "heres": ("queries", "here"),
        "key_labels": ("keys", "label"),
        "key_texts": ("keys", "text"),
        "key_positions": ("keys", "at"),
        "key_starts": ("keys", "i"),
        "key_stops": ("keys", "stop"),
        "tops_of_keys": ("keys", "top"),
        **{f"{factor.name}s": ("cells", factor.name) for factor in look.kind.factors},
    }
    if look.kind.step_size is not None:
        lists["dts"] = ("keys", "dt")
    # Without bars there are no sums.
    sums = read("sums", "bars", "sum") if look.with_bars else alt.param(name="sums", expr="[]")
    facts = [*_SCENE, *(f"{factor.name}_limit" for factor in look.kind.factors if factor.limit is None)]
    return [*map(scene_param, facts), *(read(name, *column) for name, column in lists.items()), sums]
