"""The three linked panels of one head, content C·Bᵀ ∘ decay L = attention M, above the text itself.

All stand in one Vega view: one view has one width, which follows the page (charts joined by `hconcat` cannot
follow it), and what is pointed at in one place can be marked in all of them without a rerun.

A panel is a picture with one pixel per cell. No mark feels the pointer cell by cell: Vega visits every mark
on each repaint, and 3 × 8,256 invisible ones cost more than all the rest. Instead the parameters `row` and
`key` are computed from where the pointer is, and everything that shows the pointed cell from those two.

Across, the unit is a panel: the one at `place` reaches from `_left(place)` to `_left(place) + 1`. Downwards,
the unit is the side of a panel too. Each is divided into `slots`, one per position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float32

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
from components.charts.strip import letter_size, strip, text_columns, token_places

PICK_QUERY = "query"
"""Name of the point selection; it holds `i` of the clicked cell or of the clicked token of the text."""

_PANELS = ("content", "decay", "attention")
_TITLES = {
    "content": "content  C·Bᵀ",
    "decay": "decay  L",
    "attention": "attention  M",
    "attention_dt": "attention  M·dt",
}

_FEWEST_SLOTS = 12
"""A panel is at least this many slots wide, so that the cells of a very short text do not become posters."""

_GAP = 0.14
"""Space between two panels; holds "∘" and "="."""

_WIDTHS = 3 + 2 * _GAP
"""Width of the whole."""

_DT_HEIGHT = 30
"""Height of the bars of dt, in pixels."""

_FILLED = "(length / slots)"
"""How much of a panel's side the triangle takes: all of it but for very short texts."""


def panels_chart(
    cells: pd.DataFrame,
    tokens: Sequence[str],
    *,
    first: int = 0,
    pointed: tuple[int, int] | None = None,
    limits: Mapping[str, float] | None = None,
    with_dt: bool = False,
    larger: bool = False,
) -> Figure:
    """Content, decay and attention of one head as three linked triangles, and the text they are about.

    `cells` is a `cell_table`, `tokens` the display texts of its positions and `first` the position of the
    first one. `pointed` is the cell (i, j) marked while the pointer is in no triangle. Content and attention
    have diverging scales that are full at ± `limits` ("content" and "attention"), by default at their own
    largest; decay runs from 0 to 1. `with_dt` shows M·dt as attention, and dt below the decay. `larger` is
    type for a projector. A click in a row of a panel or on a token of the text is the selection `PICK_QUERY`.
    """
    length = len(tokens)
    values = {name: cells[name] for name in _PANELS} | (
        {"attention": cells["attention_dt"]} if with_dt else {}
    )
    full = {name: float(values[name].abs().max()) or 1.0 for name in _PANELS} | dict(limits or {})
    full["decay"] = 1.0
    dt = cells["dt"].to_numpy()[-length:]  # the last row of the triangle holds them all
    row, key = (-1, -1) if pointed is None else (pointed[0] - first, pointed[1] - first)
    tables = {
        "scene": scene(
            first=first,
            length=length,
            slots=max(length, _FEWEST_SLOTS),
            longest=max(map(text_columns, tokens)),
            content_limit=full["content"],
            attention_limit=full["attention"],
            dt_limit=float(dt.max()) or 1.0,
            kept_row=row,
            kept_key=key,
        ),
        "cells": cells[["content", "decay"]],
        "positions": pd.DataFrame(token_places(tokens, first)).assign(dt=dt),
        "pictures": pd.DataFrame(
            [
                {"left": _left(place)} | _picture(name, values[name], length, full[name])
                for place, name in enumerate(_PANELS)
            ]
        ),
    }
    return Figure(_chart(with_dt, larger), tables)


def _picture(name: str, values: pd.Series[float], length: int, limit: float) -> dict[str, str]:
    """One panel as a picture for either theme, transparent above the diagonal."""
    matrix: Float32[np.ndarray, "query key"] = np.zeros((length, length), dtype=np.float32)
    matrix[np.tril_indices(length)] = values
    if name == "decay":
        levels, palette = amount_levels(matrix), amount_palette
    else:
        levels, palette = diverging_levels(matrix, limit), diverging_palette
    return {theme: png_address(levels, palette(dark=theme == "dark")) for theme in ("light", "dark")}


@cache
def _chart(with_dt: bool, larger: bool) -> dict[str, Any]:
    """The specification of all panels in this look."""
    view = _View(with_dt, type_scale(larger))
    pick = alt.selection_point(name=PICK_QUERY, fields=["i"], on="click", clear=False, toggle=False)
    # An interval that begins anew at each movement and is never drawn out: all it does is to say where.
    pointer = alt.selection_interval(
        name="pointer", on="[pointermove, pointerup] > blur", clear=False, translate=False, zoom=False
    )
    feeler, *feelers = view.feelers()
    layers = [
        *view.legends(),
        view.pictures(),
        *view.edges(),
        feeler.add_params(pick, pointer),
        *feelers,
        *(view.dt_bars() if with_dt else []),
        *view.marks_of_pointed(),
        *view.words(),
        *strip(view.attention_title, with_dt),
        undrawn("scene"),
        undrawn("cells"),
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


_SIDE: list[Any] = [0, alt.ExprRef("side")]


def _down(field: str) -> alt.Y:
    return alt.Y(f"{field}:Q", scale=alt.Scale(domain=[0, 1], range=_SIDE, nice=False, zero=False), axis=None)


def _inline(rows: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


_PLACES = [{"place": place, "left": _left(place)} for place in range(len(_PANELS))]


class _View:
    """What stands in the view, and where."""

    def __init__(self, with_dt: bool, scale: float) -> None:
        self.with_dt, self.scale = with_dt, scale
        self.attention_title = "attention·dt" if with_dt else "attention"
        self.dt_room = (_DT_HEIGHT + 8) * scale if with_dt else 0.0
        """Pixels below the triangles that the bars of dt take."""
        self.label_size = f"clamp(side / slots, {11 * scale}, {15 * scale})"

    def params(self) -> list[alt.Parameter]:
        """Sizes in pixels, and the row and column (counted from zero) of the pointed cell, −1 for none.

        `pointer_x` and `pointer_y` are the ends in pixels of the interval `pointer`, [now, now].
        """
        of_scene = ("first", "length", "slots", "longest", "content_limit", "attention_limit", "dt_limit")
        scale = self.scale
        labels = f"min({88 * scale}, longest * 0.6 * {self.label_size})"
        names = {
            "side": f"width / {_WIDTHS}",
            "letter": letter_size(scale),
            # below the words too, which a very short text leaves beside its triangles
            "strip_top": f"max(side * {_FILLED} + {self.dt_room + 46 * scale} + {labels}, {150 * scale})",
            "row_under": "floor(pointer_y[1] / side * slots)",
            "key_under": f"floor(pointer_x[1] / side % {1 + _GAP} * slots)",
            "inside": "0 <= key_under && key_under <= row_under && row_under < length",
            "row": "inside ? row_under : kept_row",
            "key": "inside ? key_under : kept_key",
            "cell": "row * (row + 1) / 2 + key",
            "attention": "contents[cell] * decays[cell]" + (" * dts[key]" if self.with_dt else ""),
        }
        return [
            *(scene_param(name) for name in (*of_scene, "kept_row", "kept_key")),
            read("labels", "positions", "text"),
            read("dts", "positions", "dt"),
            read("contents", "cells", "content"),
            read("decays", "cells", "decay"),
            *(alt.param(name=name, expr=expr) for name, expr in names.items()),
        ]

    def legends(self) -> list[alt.Chart]:
        """The colour bars of the panels, in their empty upper triangles. What carries them is invisible."""
        return [self._legend(name, place) for place, name in enumerate(_PANELS)]

    def _legend(self, name: str, place: int) -> alt.Chart:
        limit = f"{name}_limit"
        legend = alt.Legend(
            title=None,
            orient="none",
            direction="horizontal",
            legendX=alt.ExprRef(f"side * {_right(place)} - {120 * self.scale + 10}"),
            legendY=alt.ExprRef(f"{34 * self.scale}"),
            gradientLength=120 * self.scale,
            gradientThickness=10,
            values=[0, 0.5, 1] if name == "decay" else alt.ExprRef(f"[-{limit}, 0, {limit}]"),
            format=".2~r",
            labelFontSize=LABEL_SIZE * self.scale,
            padding=0,
        )
        colours = amount() if name == "decay" else diverging(limit)
        carrier: alt.Chart = _inline([{"value": 0}]).mark_point(size=0, opacity=0, tooltip=None)
        return carrier.encode(color=alt.Color("value:Q", scale=colours, legend=legend))

    def feelers(self) -> list[alt.Chart]:
        """The rows of each panel, open to a click but not drawn, with the panel's token labels."""
        return [self._feeler(place) for place in range(len(_PANELS))]

    def _feeler(self, place: int) -> alt.Chart:
        keys = [alt.ExprRef(f"first + {edge} * slots") for edge in (-_left(place), _WIDTHS - _left(place))]
        queries = [alt.ExprRef("first"), alt.ExprRef("first + slots")]
        feeler: alt.Chart = (
            rows_of("positions")
            .transform_calculate(start="first", end="datum.i + 1")
            .mark_rect(opacity=0, cursor="pointer")
            .encode(
                x=alt.X(
                    "start:Q",
                    scale=alt.Scale(domain=keys, nice=False, zero=False),
                    axis=self._key_axis(place),
                ),
                x2="end",
                y=alt.Y(
                    "i:Q",
                    scale=alt.Scale(domain=queries, range=_SIDE, nice=False, zero=False),
                    axis=self._query_axis() if place == 0 else None,
                ),
                y2="end",
                # No tooltip of their own, but a channel for one, else Vega-Lite shuts them to the pointer.
                tooltip=alt.value(None),
            )
        )
        return feeler

    def _query_axis(self) -> alt.Axis:
        """Tokens left of the first triangle."""
        return self._token_axis(
            "query i",
            orient="left",
            titleAnchor="start",
            titleAlign="center",
            titleY=alt.ExprRef(f"side * 0.5 * {_FILLED}"),
        )

    def _key_axis(self, place: int) -> alt.Axis:
        """Tokens under the triangle at `place`, the title under their middle."""
        return self._token_axis(
            "key j",
            orient="bottom",
            offset=alt.ExprRef(f"side * {_FILLED} + {self.dt_room} - height"),
            labelAngle=-90,
            titleAnchor="start",
            titleAlign="center",
            titleX=alt.ExprRef(f"side * ({_left(place)} + 0.5 * {_FILLED})"),
        )

    def _token_axis(self, title: str, **options: Any) -> alt.Axis:
        """Tokens at the middle of their slots. Vega drops evenly what does not fit; none is cut in two."""
        return readable_axis(
            title,
            self.scale,
            values=alt.ExprRef("sequence(first + 0.5, first + length)"),
            labelExpr="labels[floor(datum.value) - first]",
            labelFontSize=alt.ExprRef(self.label_size),
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
        """The three matrices."""
        extent = alt.ExprRef(f"side * {_FILLED}")
        pictures: alt.Chart = (
            rows_of("pictures")
            .transform_calculate(url=f"{IS_DARK} ? datum.dark : datum.light", top="0")
            .mark_image(
                align="left",
                baseline="top",
                width=extent,
                height=extent,
                aspect=False,
                smooth=False,
                tooltip=None,
            )
            .encode(x=_across("left"), y=_down("top"), url="url:N")
        )
        return pictures

    def edges(self) -> list[alt.Chart]:
        """The left and the lower edge of each triangle."""
        sides = (
            _inline(_PLACES)
            .transform_calculate(top="0", bottom=_FILLED, right=f"datum.left + {_FILLED}")
            .mark_rule(stroke=FAINT, tooltip=None)
        )
        return [
            sides.encode(x=_across("left"), y=_down("top"), y2="bottom"),
            sides.encode(x=_across("left"), x2="right", y=_down("bottom")),
        ]

    def dt_bars(self) -> list[alt.Chart]:
        """The dt of each key below the decay: how strongly it was written; its largest stands beside."""
        base = f"side * {_FILLED} + {_DT_HEIGHT * self.scale + 4}"
        bars: alt.Chart = (
            rows_of("positions")
            .transform_calculate(
                x=f"{_left(1)} + (datum.i - first) / slots",
                x_end="datum.x + 0.85 / slots",
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
            x=f"{_left(1)} + {_FILLED}",
            y=f"{base} - datum.up",
            text="datum.line + (datum.up === 5 ? format(dt_limit, '.2~g') : '')",
        )
        return [bars, name]

    def marks_of_pointed(self) -> list[alt.Chart]:
        """Query row, key column and frame of the pointed cell in every panel."""
        pointed = (
            _inline(_PLACES)
            .transform_filter("row >= 0")
            .transform_calculate(
                i="first + row",
                j="first + key",
                query="labels[row]",
                key="labels[key]",
                content="contents[cell]",
                decay="decays[cell]",
                dt="dts[key]",
                attention="attention",
                x="datum.left + key / slots",
                x_end="datum.x + 1 / slots",
                row_end="datum.left + (row + 1) / slots",
                y="row / slots",
                y_end="(row + 1) / slots",
                top="key / slots",
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
                    alt.Tooltip("i:Q", title="query i"),
                    alt.Tooltip("query:N", title="query token"),
                    alt.Tooltip("j:Q", title="key j"),
                    alt.Tooltip("key:N", title="key token"),
                    alt.Tooltip("content:Q", format=".3~g"),
                    alt.Tooltip("decay:Q", format=".3~g"),
                    alt.Tooltip("dt:Q", title="dt of key", format=".3~g"),
                    alt.Tooltip("attention:Q", title=self.attention_title, format=".3~g"),
                ],
            ),
        ]

    def words(self) -> list[alt.Chart]:
        """Titles, the figures of the pointed cell and the operators, in the empty upper triangles."""
        gaps = [_right(place) + _GAP / 2 for place in (0, 1)]
        names = ["content", "decay", "attention_dt" if self.with_dt else "attention"]
        titles = [{"x": _right(place), "y": 12, "text": _TITLES[name]} for place, name in enumerate(names)]
        operators = [{"x": gaps[0], "y": 60, "text": "∘"}, {"x": gaps[1], "y": 60, "text": "="}]
        times_dt = [{"x": gaps[1], "y": 34, "text": "· dt"}] if self.with_dt else []
        figures = [{"x": _right(place), "y": 92, "name": name} for place, name in enumerate(_PANELS)]
        sentence = [
            {"x": _right(0), "y": 114, "verb": "query ", "place": "row"},
            {"x": _right(0), "y": 131, "verb": "reads key ", "place": "key"},
        ]
        return [
            self._text(titles, 17, INK, align="right", fontWeight="bold"),
            self._text(operators, 34, QUIET, align="center"),
            self._text(times_dt, 20, QUIET, align="center"),
            self._text(figures, 20, ACCENT, align="right", fontWeight="bold")
            .transform_filter("row >= 0")
            .transform_calculate(
                value="datum.name === 'attention' ? attention"
                " : datum.name === 'decay' ? decays[cell] : contents[cell]",
                text="format(datum.value, '.3~g')",
            ),
            self._text(sentence, 13, ACCENT, align="right")
            .transform_filter("row >= 0")
            .transform_calculate(
                at="datum.place === 'row' ? row : key",
                text="datum.verb + (datum.at + first) + '  ' + labels[datum.at]",
            ),
        ]

    def _text(self, rows: list[dict[str, Any]], size: int, colour: Any, **mark: Any) -> alt.Chart:
        """Rows of text in pixels from the top: type keeps its size on every screen."""
        at = [{**row, "y": row["y"] * self.scale} if "y" in row else row for row in rows]
        words: alt.Chart = _inline(at).mark_text(
            fontSize=size * self.scale, color=colour, baseline="middle", tooltip=None, **mark
        )
        return words.encode(x=_across("x"), y=alt.Y("y:Q", scale=None, axis=None), text="text:N")
