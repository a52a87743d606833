"""The linked panels of one head, content C·Bᵀ ∘ decay L = attention M, above the text itself.

A head of softmax attention has two of them, scores and attention; words about it stand in the place of the
third, so that the panels of all heads are of one size.

All stand in one Vega view: one view has one width, which follows the page (charts joined by `hconcat` cannot
follow it), and what is pointed at in one place can be marked in all of them without a rerun.

A panel is a picture with one pixel per cell. No mark feels the pointer cell by cell: Vega visits every mark
on each repaint, and 3 × 8,256 invisible ones cost more than all the rest. Instead the parameters `row` and
`key` are computed from where the pointer is, and everything that shows the pointed cell from those two.

Across, the unit is a panel: the one at `place` reaches from `_left(place)` to `_left(place) + 1`. Downwards,
the unit is the side of a panel too. Each is divided into slots, one per row or column.

Of a window on the diagonal the upper triangles are empty and hold titles, figures and legends; any other
window fills its panels, and they move down to make room above (`head_room`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from components.charts.axes import CANVAS, EDGE, FILL_WIDTH, LABEL_SIZE, readable_axis, type_scale
from components.charts.colours import (
    ACCENT,
    AMOUNT,
    FAINT,
    INK,
    IS_DARK,
    QUIET,
    amount,
    amount_levels,
    amount_palette,
    diverging,
    diverging_levels,
    diverging_palette,
)
from components.charts.figure import Figure, built, read, rows_of, scene, scene_param, undrawn
from components.charts.picture import png_address
from components.charts.strip import letter_size, strip, strip_table, text_columns
from components.charts.tables import HeadCells, Kind
from components.charts.window import TILE_LABEL_STEP, in_figures

PICK_QUERY = "query"
"""Name of the point selection; it holds `i`, the first query of the pressed row, or of the pressed text."""

OPEN_WINDOW = "window"
"""Name of the selection that a brush leaves when it is let go: `query_start`, `query_stop`, `key_start` and
`key_stop` of the brushed window, and `brush`, another number each time. Empty if nothing was brushed."""

_PANELS: dict[Kind, tuple[str, ...]] = {
    "ssm": ("content", "decay", "attention"),
    "attention": ("content", "attention"),
}
_TITLES = {
    "ssm": ("content  C·Bᵀ", "decay  L", "attention  M"),
    "attention": ("scores  q·k", "attention  softmax"),
}
_TITLE_WITH_DT = "attention  M·dt"
_ABOUT_SOFTMAX = (
    "Each row of scores, scaled q·k,",
    "becomes a distribution over its",
    "keys: no sign, and a sum of one.",
    "",
    "Nothing decays: all keys are kept,",
    "and one far away can weigh as much",
    "as the one before.",
)

_FEWEST_SLOTS = 12
"""A panel is at least this many slots wide, so that the cells of a very short text do not become posters."""

_GAP = 0.14
"""Space between two panels; holds "∘" and "="."""

_WIDTHS = 3 + 2 * _GAP
"""Width of the whole."""

_DT_HEIGHT = 30
"""Height of the bars of dt, in pixels."""

_ROOM_ABOVE = 84
"""Pixels that titles, figures and legends take above panels that are filled to their corners."""

_FILLED = "(rows / row_slots)"
_FILLED_ACROSS = "(columns / key_slots)"
"""How much of a panel's side the cells take: all of it but for very short texts."""

_BOTTOM = f"(head_room + side * {_FILLED})"
"""Pixels down to the lower edge of the cells."""


def panels_chart(
    cells: HeadCells,
    *,
    pointed: tuple[int, int] | None = None,
    limits: Mapping[str, float] | None = None,
    with_dt: bool = False,
    larger: bool = False,
) -> Figure:
    """Content, decay and attention of one head as linked pictures, and the text they are about.

    `pointed` is the pair of positions (i, j) whose cell is marked while the pointer is in no panel. Content
    and attention have diverging scales that are full at ± `limits` ("content" and "attention"), by default
    at their own largest; what has no sign runs from zero, decay from 0 to 1. `with_dt`
    shows M·dt as attention, and dt below the decay. `larger` is type for a projector. A press in a row of a
    panel or on a token of the text is the selection `PICK_QUERY`, a brush in a panel is `OPEN_WINDOW`.
    """
    panels = _PANELS[cells.kind]
    values = {name: cells.cells[name] for name in panels}
    if with_dt:
        values["attention"] = cells.cells["attention_dt"]
    full = {name: float(values[name].abs().max()) or 1.0 for name in panels} | dict(limits or {})
    full["decay"] = 1.0
    row, key = (-1, -1)
    if pointed is not None:
        row, key = cells.row_of(pointed[0]), cells.column_of(pointed[1])
    rows, columns = _labelled(cells.queries, cells.pooled), _labelled(cells.keys, cells.pooled)
    reach = cells.cells.groupby("row").size().to_numpy()
    tables = {
        "scene": scene(
            rows=len(rows),
            columns=len(columns),
            row_slots=max(len(rows), _FEWEST_SLOTS),
            key_slots=max(len(columns), _FEWEST_SLOTS),
            head_room=0 if cells.window.on_diagonal else _ROOM_ABOVE * type_scale(larger),
            step=TILE_LABEL_STEP if cells.pooled else 1,
            note=_note(cells),
            statistic="RMS" if cells.statistic == "rms" else "mean",
            longest=max(map(text_columns, columns["label"])),
            content_limit=full["content"],
            attention_limit=full["attention"],
            dt_limit=float(columns["dt"].max() if with_dt else 0) or 1.0,
            kept_row=row,
            kept_key=key,
        ),
        "cells": pd.DataFrame(values),
        "queries": rows.assign(row=range(len(rows)), reach=reach, before=reach.cumsum() - reach),
        "keys": columns.assign(top=np.searchsorted(reach, np.arange(len(columns)) + 1)),
        "text": strip_table(cells),
        "pictures": pd.DataFrame(
            [
                {"left": _left(place)} | _picture(cells, name, values[name], full[name])
                for place, name in enumerate(panels)
            ]
        ),
    }
    return Figure(_chart(cells.kind, with_dt, cells.unsigned, larger), tables)


def _labelled(tiles: pd.DataFrame, pooled: bool) -> pd.DataFrame:
    """Rows or columns with what stands beside them: `i` to `stop` − 1 as `at`, and `label` for the axis."""
    at = [in_figures(range(*ends)) for ends in zip(tiles["start"], tiles["stop"], strict=True)]
    label = [f"{start:,}" for start in tiles["start"]] if pooled else tiles["text"]
    return tiles.rename(columns={"start": "i"}).assign(at=at, label=label)


def _note(cells: HeadCells) -> str:
    """What a pooled cell is."""
    if not cells.pooled:
        return ""
    sides = [int((tiles["stop"] - tiles["start"]).max()) for tiles in (cells.queries, cells.keys)]
    return f"{{}} over {sides[0]:,} × {sides[1]:,} entries"


def _picture(cells: HeadCells, name: str, values: pd.Series[float], limit: float) -> dict[str, str]:
    """One panel as a picture for either theme, transparent above the diagonal."""
    matrix = cells.matrix(values)
    if name == "decay" or (name == "attention" and cells.unsigned):
        levels, palette = amount_levels(matrix / np.float32(limit)), amount_palette
    else:
        levels, palette = diverging_levels(matrix, limit), diverging_palette
    return {theme: png_address(levels, palette(dark=theme == "dark")) for theme in ("light", "dark")}


@cache
def _chart(kind: Kind, with_dt: bool, unsigned: bool, larger: bool) -> dict[str, Any]:
    """The specification of all panels in this look."""
    view = _View(kind, with_dt, unsigned, type_scale(larger))
    # When it is pressed, not when it is clicked: letting go of a brush is a click too.
    pick = alt.selection_point(name=PICK_QUERY, fields=["i"], on="pointerdown", clear=False, toggle=False)
    # Intervals that begin anew at each event and are never drawn out: all they do is to say where.
    pointer = alt.selection_interval(
        name="pointer", on="[pointermove, pointerup] > blur", clear=False, translate=False, zoom=False
    )
    press = alt.selection_interval(
        name="press", on="[pointerdown, blur] > blur", clear="window:pointerup", translate=False, zoom=False
    )
    feeler, *feelers = view.feelers()
    layers = [
        *view.legends(),
        view.pictures(),
        *view.edges(),
        feeler.add_params(pick, pointer, press),
        *feelers,
        *(view.dt_bars() if with_dt else []),
        *view.marks_of_pointed(),
        *view.words(),
        *strip(view.attention_title, view.attention_colours()),
        *view.brush(),
        undrawn("scene"),
        undrawn("cells"),
        undrawn("queries"),
        undrawn("keys"),
    ]
    return built(
        alt.LayerChart(layer=layers)
        .resolve_scale(x="independent", y="independent", color="independent")
        .add_params(*view.params())
        .properties(
            height=1,  # the panels hang from the top; their height is the parameter `side`
            autosize=FILL_WIDTH,
            padding=EDGE,
            usermeta=CANVAS,
        )
    )


def _left(place: int) -> float:
    return place * (1 + _GAP)


def _right(place: int) -> float:
    return _left(place) + 1


def _across(field: str) -> alt.X:
    return alt.X(f"{field}:Q", scale=alt.Scale(domain=[0, _WIDTHS], nice=False, zero=False), axis=None)


_SIDE: list[Any] = [alt.ExprRef("head_room"), alt.ExprRef("head_room + side")]


def _down(field: str) -> alt.Y:
    return alt.Y(f"{field}:Q", scale=alt.Scale(domain=[0, 1], range=_SIDE, nice=False, zero=False), axis=None)


def _inline(rows: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


class _View:
    """What stands in the view, and where."""

    def __init__(self, kind: Kind, with_dt: bool, unsigned: bool, scale: float) -> None:
        self.kind, self.with_dt, self.unsigned, self.scale = kind, with_dt, unsigned, scale
        self.panels = _PANELS[kind]
        self.places = [{"place": place, "left": _left(place)} for place in range(len(self.panels))]
        self.attention_title = "attention·dt" if with_dt else "attention"
        self.dt_room = (_DT_HEIGHT + 8) * scale if with_dt else 0.0
        """Pixels below the pictures that the bars of dt take."""

    def params(self) -> list[alt.Parameter]:
        """Sizes in pixels, and the row and column of the pointed cell, −1 for none.

        `pointer_x` and `pointer_y` are the ends in pixels of the interval `pointer`, [now, now].
        """
        of_scene = [
            "rows",
            "columns",
            "row_slots",
            "key_slots",
            "head_room",
            "step",
            "note",
            "statistic",
            "longest",
        ]
        of_scene += ["content_limit", "attention_limit", "dt_limit", "kept_row", "kept_key"]
        scale = self.scale
        labels = f"min({88 * scale}, longest * 0.6 * {self._label_size('key')})"
        names = {
            "side": f"width / {_WIDTHS}",
            "letter": letter_size(scale),
            # below the words too, which a very short text leaves beside its triangles
            "strip_top": f"max({_BOTTOM} + {self.dt_room + 46 * scale} + {labels}, {150 * scale})",
            "row_under": "floor((pointer_y[1] - head_room) / side * row_slots)",
            "key_under": f"floor(pointer_x[1] / side % {1 + _GAP} * key_slots)",
            "inside": "0 <= row_under && row_under < rows && 0 <= key_under && key_under < reach[row_under]"
            f" && pointer_x[1] < side * {_right(len(self.panels) - 1)}",
            "row": "inside ? row_under : kept_row",
            "key": "inside ? key_under : kept_key",
            "cell": "before[row] + key",
        }
        lists = {
            "labels": ("queries", "label"),
            "query_texts": ("queries", "text"),
            "query_places": ("queries", "at"),
            "query_starts": ("queries", "i"),
            "query_stops": ("queries", "stop"),
            "reach": ("queries", "reach"),
            "before": ("queries", "before"),
            "key_labels": ("keys", "label"),
            "key_texts": ("keys", "text"),
            "key_places": ("keys", "at"),
            "key_starts": ("keys", "i"),
            "key_stops": ("keys", "stop"),
            "tops": ("keys", "top"),
            **{f"{name}s": ("cells", name) for name in self.panels},
        }
        if self.kind == "ssm":
            lists["dts"] = ("keys", "dt")
        return [
            *(scene_param(name) for name in of_scene),
            *(read(name, *column) for name, column in lists.items()),
            *(alt.param(name=name, expr=expr) for name, expr in (names | self._brushed()).items()),
        ]

    def _brushed(self) -> dict[str, str]:
        """What the brush covers, in rows and columns of the panel where it began; `dragged`: whether any."""
        place = f"floor(press_x[0] / side / {1 + _GAP})"

        def across(x: str) -> str:
            return f"clamp(({x} / side - {place} * {1 + _GAP}) * key_slots, 0, columns)"

        def down(y: str) -> str:
            return f"clamp(({y} - head_room) / side * row_slots, 0, rows)"

        here = {
            "key": (across("press_x[0]"), across("pointer_x[1]")),
            "query": (down("press_y[0]"), down("pointer_y[1]")),
        }
        most = {"key": "columns", "query": "rows"}
        ends = {
            f"{what}_{end}": expression
            for what, (one, other) in here.items()
            for end, expression in (
                ("from", f"min(floor(min({one}, {other})), {most[what]} - 1)"),
                ("to", f"max(ceil(max({one}, {other})), {what}_from + 1)"),
            )
        }
        pressed = (
            f"press_x[0] > 0 && {place} < {len(self.panels)}"
            f" && press_x[0] / side % {1 + _GAP} <= {_FILLED_ACROSS}"
            f" && head_room <= press_y[0] && press_y[0] <= {_BOTTOM}"
        )
        moved = "max(abs(pointer_x[1] - press_x[0]), abs(pointer_y[1] - press_y[0])) > 4"
        return {"brushed_panel": place, **ends, "dragged": f"{pressed} && {moved}"}

    def _label_size(self, what: str) -> str:
        """Type of the labels of rows or of columns ("key")."""
        return f"clamp(side / {what}_slots, {11 * self.scale}, {15 * self.scale})"

    def attention_colours(self) -> alt.Scale:
        """Those of the third panel and of the text."""
        return amount("attention_limit") if self.unsigned else diverging("attention_limit")

    def legends(self) -> list[alt.Chart]:
        """The colour bars of the panels, beside their titles. What carries them is invisible."""
        return [self._legend(name, place) for place, name in enumerate(self.panels)]

    def _legend(self, name: str, place: int) -> alt.Chart:
        limit = "1" if name == "decay" else f"{name}_limit"
        colours = {"content": diverging(limit), "decay": amount(limit)}.get(name, self.attention_colours())
        least = "0" if name == "decay" or (name == "attention" and self.unsigned) else f"-{limit}"
        legend = alt.Legend(
            title=None,
            orient="none",
            direction="horizontal",
            legendX=alt.ExprRef(f"side * {_right(place)} - {120 * self.scale + 10}"),
            legendY=alt.ExprRef(f"{34 * self.scale}"),
            gradientLength=120 * self.scale,
            gradientThickness=10,
            values=alt.ExprRef(f"[{least}, ({least} + {limit}) / 2, {limit}]"),
            format=".2~g",
            labelFontSize=LABEL_SIZE * self.scale,
            padding=0,
        )
        carrier: alt.Chart = _inline([{"value": 0}]).mark_point(size=0, opacity=0, tooltip=None)
        return carrier.encode(color=alt.Color("value:Q", scale=colours, legend=legend))

    def feelers(self) -> list[alt.Chart]:
        """The rows of each panel, open to a press but not drawn, with the panel's labels."""
        return [self._feeler(place) for place in range(len(self.panels))]

    def _feeler(self, place: int) -> alt.Chart:
        keys = [alt.ExprRef(f"{edge} * key_slots") for edge in (-_left(place), _WIDTHS - _left(place))]
        feeler: alt.Chart = (
            rows_of("queries")
            .transform_calculate(start="0", end="datum.reach", low="datum.row + 1")
            .mark_rect(opacity=0, cursor="pointer")
            .encode(
                x=alt.X(
                    "start:Q",
                    scale=alt.Scale(domain=keys, nice=False, zero=False),
                    axis=self._key_axis(place),
                ),
                x2="end",
                y=alt.Y(
                    "row:Q",
                    scale=alt.Scale(
                        domain=[0, alt.ExprRef("row_slots")], range=_SIDE, nice=False, zero=False
                    ),
                    axis=self._query_axis() if place == 0 else None,
                ),
                y2="low",
                # No tooltip of their own, but a channel for one, else Vega-Lite shuts them to the pointer.
                tooltip=alt.value(None),
            )
        )
        return feeler

    def _query_axis(self) -> alt.Axis:
        """Rows left of the first panel."""
        return self._tile_axis(
            "query i",
            "row",
            "rows",
            "labels",
            orient="left",
            titleAnchor="start",
            titleAlign="center",
            titleY=alt.ExprRef(f"head_room + side * 0.5 * {_FILLED}"),
        )

    def _key_axis(self, place: int) -> alt.Axis:
        """Columns under the panel at `place`, the title under their middle."""
        return self._tile_axis(
            "key j",
            "key",
            "columns",
            "key_labels",
            orient="bottom",
            offset=alt.ExprRef(f"{_BOTTOM} + {self.dt_room} - height"),
            labelAngle=-90,
            titleAnchor="start",
            titleAlign="center",
            titleX=alt.ExprRef(f"side * ({_left(place)} + 0.5 * {_FILLED_ACROSS})"),
        )

    def _tile_axis(self, title: str, what: str, count: str, labels: str, **options: Any) -> alt.Axis:
        """Labels at the middle of their slots. Vega drops evenly what does not fit; none is cut in two."""
        return readable_axis(
            title,
            self.scale,
            values=alt.ExprRef(f"sequence(0.5, {count}, step)"),
            labelExpr=f"{labels}[floor(datum.value)]",
            labelFontSize=alt.ExprRef(self._label_size(what)),
            labelSeparation=-2,
            labelLimit=88 * self.scale,
            labelBound=False,
            labelFlush=False,
            grid=False,
            ticks=False,
            domain=False,
            **options,
        )

    def pictures(self) -> alt.Chart:
        """The matrices."""
        pictures: alt.Chart = (
            rows_of("pictures")
            .transform_calculate(url=f"{IS_DARK} ? datum.dark : datum.light", top="0")
            .mark_image(
                align="left",
                baseline="top",
                width=alt.ExprRef(f"side * {_FILLED_ACROSS}"),
                height=alt.ExprRef(f"side * {_FILLED}"),
                aspect=False,
                smooth=False,
                tooltip=None,
            )
            .encode(x=_across("left"), y=_down("top"), url="url:N")
        )
        return pictures

    def edges(self) -> list[alt.Chart]:
        """The left and the lower edge of each picture."""
        sides = (
            _inline(self.places)
            .transform_calculate(top="0", bottom=_FILLED, right=f"datum.left + {_FILLED_ACROSS}")
            .mark_rule(stroke=FAINT, tooltip=None)
        )
        return [
            sides.encode(x=_across("left"), y=_down("top"), y2="bottom"),
            sides.encode(x=_across("left"), x2="right", y=_down("bottom")),
        ]

    def dt_bars(self) -> list[alt.Chart]:
        """The dt of each key below the decay: how strongly it was written; its largest stands beside."""
        base = f"{_BOTTOM} + {_DT_HEIGHT * self.scale + 4}"
        bars: alt.Chart = (
            rows_of("keys")
            .transform_window(place="row_number()")
            .transform_calculate(
                x=f"{_left(1)} + (datum.place - 1) / key_slots",
                x_end="datum.x + 0.85 / key_slots",
                base=base,
                top=f"{base} - datum.dt / dt_limit * {_DT_HEIGHT * self.scale}",
            )
            .mark_rect(
                fill=alt.ExprRef(f"{IS_DARK} ? '{AMOUNT.dark[1]}' : '{AMOUNT.light[1]}'"), tooltip=None
            )
            .encode(x=_across("x"), x2="x_end", y=alt.Y("base:Q", scale=None, axis=None), y2="top")
        )
        words = [
            {"line": "dt of key j", "up": _DT_HEIGHT * self.scale - 8},
            {"line": "up to ", "up": 5},
        ]
        name = self._text(words, 12, QUIET, align="left", dx=5).transform_calculate(
            x=f"{_left(1)} + {_FILLED_ACROSS}",
            y=f"{base} - datum.up",
            text="datum.line + (datum.up === 5 ? format(dt_limit, '.2~g') : '')",
        )
        return [bars, name]

    def marks_of_pointed(self) -> list[alt.Chart]:
        """Query row, key column and frame of the pointed cell in every panel."""
        pointed = (
            _inline(self.places)
            .transform_filter("row >= 0")
            .transform_calculate(
                i="query_starts[row]",
                query="query_places[row]",
                query_text="query_texts[row]",
                key="key_places[key]",
                key_text="key_texts[key]",
                **{name: f"{name}s[cell]" for name in self.panels},
                **({"dt": "dts[key]"} if self.kind == "ssm" else {}),
                x="datum.left + key / key_slots",
                x_end="datum.x + 1 / key_slots",
                row_end="datum.left + reach[row] / key_slots",
                y="row / row_slots",
                y_end="(row + 1) / row_slots",
                top="tops[key] / row_slots",
                bottom=_FILLED,
            )
        )
        band = pointed.mark_rect(fill=None, stroke=ACCENT, strokeWidth=1.5, tooltip=None)
        frame = pointed.mark_rect(fill="transparent", stroke=ACCENT, strokeWidth=3, cursor="pointer")
        return [
            band.encode(x=_across("left"), x2="row_end", y=_down("y"), y2="y_end"),
            band.encode(x=_across("x"), x2="x_end", y=_down("top"), y2="bottom"),
            frame.encode(
                x=_across("x"),
                x2="x_end",
                y=_down("y"),
                y2="y_end",
                tooltip=[
                    alt.Tooltip("query:N", title="query i"),
                    alt.Tooltip("query_text:N", title="query token"),
                    alt.Tooltip("key:N", title="key j"),
                    alt.Tooltip("key_text:N", title="key token"),
                    *self._figures(),
                ],
            ),
        ]

    def _figures(self) -> list[alt.Tooltip]:
        """The numbers of the pointed cell."""
        attention = alt.Tooltip("attention:Q", title=self.attention_title, format=".3~g")
        if self.kind == "attention":
            return [alt.Tooltip("content:Q", title="score", format=".3~g"), attention]
        return [
            alt.Tooltip("content:Q", format=".3~g"),
            alt.Tooltip("decay:Q", format=".3~g"),
            alt.Tooltip("dt:Q", title="dt of key", format=".3~g"),
            attention,
        ]

    def words(self) -> list[alt.Chart]:
        """Titles, operators and the figures of the pointed cell, in the empty upper triangles or above."""
        gaps = [_right(place) + _GAP / 2 for place in (0, 1)]
        names = list(_TITLES[self.kind])
        names[-1] = _TITLE_WITH_DT if self.with_dt else names[-1]
        titles = [{"place": place, "y": 12, "y_above": 10, "text": name} for place, name in enumerate(names)]
        figures = [
            {"place": place, "y": 94, "y_above": 10, "name": name} for place, name in enumerate(self.panels)
        ]
        notes = [
            {"place": place, "y": 70, "y_above": 70, "name": name} for place, name in enumerate(self.panels)
        ]
        pointed = ", ".join(f"{name}: {name}s[cell]" for name in self.panels)
        sentence = [
            {"place": 0, "y": 116, "y_above": 38, "verb": "query ", "of": "row"},
            {"place": 0, "y": 133, "y_above": 55, "verb": "reads key ", "of": "key"},
        ]
        operators = [{"x": gaps[0], "y": 60, "text": "∘"}, {"x": gaps[1], "y": 60, "text": "="}]
        about: list[dict[str, Any]] = []
        if self.kind == "attention":
            operators = [{"x": gaps[0], "y": 60, "text": "→"}]
            about = [{"x": _left(2), "y": 12 + 18 * n, "text": text} for n, text in enumerate(_ABOUT_SOFTMAX)]
        times_dt = [{"x": gaps[1], "y": 34, "text": "· dt"}] if self.with_dt else []
        return [
            self._beside(titles, 17, INK, left_above=True, fontWeight="bold"),
            # The mean of a product is not the product of the means.
            self._text(operators, 34, QUIET, align="center").transform_filter("note === ''"),
            self._text(times_dt, 20, QUIET, align="center").transform_filter("note === ''"),
            *([self._text(about, 13, QUIET, align="left")] if about else []),
            self._beside(
                notes,
                12,
                QUIET,
                text="replace(note, '{}', datum.name === 'attention' ? statistic : 'mean')",
            ),
            self._beside(
                figures,
                20,
                ACCENT,
                fontWeight="bold",
                text=f"format({{{pointed}}}[datum.name], '.3~g')",
            ).transform_filter("row >= 0"),
            self._beside(
                sentence,
                13,
                ACCENT,
                left_above=True,
                limit=alt.ExprRef(f"side - {140 * self.scale}"),
                text="datum.verb + (datum.of === 'row' ? query_places[row] + '  ' + query_texts[row]"
                " : key_places[key] + '  ' + key_texts[key])",
            ).transform_filter("row >= 0"),
        ]

    def brush(self) -> list[alt.Chart]:
        """What is brushed; and, over everything, what holds its window while the pointer is let go."""
        once = rows_of("scene").transform_filter("dragged")
        edge = f"brushed_panel * {1 + _GAP}"
        band = once.transform_calculate(
            x=f"{edge} + key_from / key_slots",
            x_end=f"{edge} + key_to / key_slots",
            y="query_from / row_slots",
            y_end="query_to / row_slots",
        ).mark_rect(fill=ACCENT, fillOpacity=0.25, stroke=ACCENT, strokeWidth=2, tooltip=None)
        let_go = alt.selection_point(
            name=OPEN_WINDOW,
            fields=["query_start", "query_stop", "key_start", "key_stop", "brush"],
            on="pointerup",
            clear=False,
            toggle=False,
        )
        cover = (
            once.transform_calculate(
                query_start="query_starts[query_from]",
                query_stop="query_stops[query_to - 1]",
                key_start="key_starts[key_from]",
                key_stop="key_stops[key_to - 1]",
                brush="now()",
                left=f"{-30 * self.scale}",
                right=f"width + {EDGE['right']}",
                top="0",
                bottom="strip_top",
            )
            .mark_rect(opacity=0)
            .encode(
                x=alt.X("left:Q", scale=None, axis=None),
                x2="right",
                y=alt.Y("top:Q", scale=None, axis=None),
                y2="bottom",
                tooltip=alt.value(None),
            )
            .add_params(let_go)
        )
        return [band.encode(x=_across("x"), x2="x_end", y=_down("y"), y2="y_end"), cover]

    def _beside(
        self,
        rows: list[dict[str, Any]],
        size: int,
        colour: Any,
        *,
        left_above: bool = False,
        text: str = "datum.text",
        **mark: Any,
    ) -> alt.Chart:
        """Text at the right edge of its panel, at `y`; or above it at `y_above`, perhaps at the left edge."""
        at = [
            {**row, "right": _right(row["place"]), "left": _left(row["place"])}
            | {y: row[y] * self.scale for y in ("y", "y_above")}
            for row in rows
        ]
        leftwards = "head_room > 0" if left_above else "false"
        words: alt.Chart = (
            _inline(at)
            .transform_calculate(
                x=f"{leftwards} ? datum.left : datum.right",
                height="head_room > 0 ? datum.y_above : datum.y",
                words=text,
            )
            .mark_text(
                fontSize=size * self.scale,
                color=colour,
                baseline="middle",
                align=alt.ExprRef(f"{leftwards} ? 'left' : 'right'"),
                tooltip=None,
                **mark,
            )
        )
        return words.encode(x=_across("x"), y=alt.Y("height:Q", scale=None, axis=None), text="words:N")

    def _text(self, rows: list[dict[str, Any]], size: int, colour: Any, **mark: Any) -> alt.Chart:
        """Rows of text in pixels from the top: type keeps its size on every screen."""
        at = [{**row, "y": row["y"] * self.scale} if "y" in row else row for row in rows]
        words: alt.Chart = _inline(at).mark_text(
            fontSize=size * self.scale, color=colour, baseline="middle", tooltip=None, **mark
        )
        return words.encode(x=_across("x"), y=alt.Y("y:Q", scale=None, axis=None), text="text:N")
