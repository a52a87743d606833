"""The three linked panels of one head: content C·Bᵀ ∘ decay L = attention M.

All three stand in one Vega view, side by side on one axis of slots (a slot is as wide as a cell). One view
has one width, which follows the page; charts joined by `hconcat` cannot follow it.

Of each panel, two things lie on each other: a picture with one pixel per cell, and the cells themselves,
which draw nothing and only feel the pointer. The cell pointed at becomes the parameter `cell`; what marks it
(frame, query row, key column, figures) is one row of data per panel, computed from that parameter. So a
pointer that moves over 8,256 cells repaints three pictures and a few lines, and nothing runs on the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float32

from components.charts.axes import EDGE, FILL_WIDTH, LABEL_SIZE, readable_axis
from components.charts.colours import (
    ACCENT,
    FAINT,
    INK,
    IS_DARK,
    QUIET,
    amount,
    diverging,
    paint_amount,
    paint_diverging,
)
from components.charts.picture import png_address

_PANELS = ("content", "decay", "attention")
_TITLES = {"content": "content  C·Bᵀ", "decay": "decay  L", "attention": "attention  M"}
_FIELDS = ["i", "j", "query", "key", *_PANELS, "dt"]

_FEWEST_SLOTS = 12
"""A panel is at least this many slots wide, so that the cells of a very short text do not become posters."""

_GAP = 0.14
"""Space between two panels, as a part of a panel's width; holds "∘" and "="."""

_WIDTHS = 3 + 2 * _GAP
"""Width of the whole, in panels."""


def panels_chart(
    cells: pd.DataFrame, tokens: Sequence[str], *, first: int = 0, pointed: tuple[int, int] | None = None
) -> alt.LayerChart:
    """Content, decay and attention of one head as three linked triangles, square at every width.

    `cells` is a `cell_table`, `tokens` the display texts of its positions and `first` the position of the
    first one. `pointed` is the cell (i, j) marked before anyone points. Content and attention each have a
    diverging scale that is symmetric around zero; decay runs from 0 to 1.
    """
    slots = max(len(tokens), _FEWEST_SLOTS)
    frame = _Frame(first, len(tokens), slots)
    pointer = alt.selection_point(
        name="cell",
        on="pointerover",
        clear="dblclick",
        fields=_FIELDS,
        value=_cell_value(cells, pointed),
    )
    feelers = [frame.feeler(place) for place in range(len(_PANELS))]
    feelers[0] = feelers[0].add_params(pointer)
    chart: alt.LayerChart = (
        alt.LayerChart(
            layer=[
                *(_legend(cells[name], name, place) for place, name in enumerate(_PANELS)),
                frame.pictures(cells),
                *frame.edges(),
                *feelers,
                *frame.marks_of_pointed(),
                *frame.words(),
            ],
            data=cells,
        )
        .transform_calculate(i_end="datum.i + 1", j_end="datum.j + 1")
        .resolve_scale(x="independent", y="independent", color="independent")
        .add_params(
            alt.param(name="side", expr=f"width / {_WIDTHS}"),
            alt.param(name="labels", value=list(tokens)),
        )
        .properties(
            height=1,  # the panels hang from the top; their height is the parameter `side`
            autosize=FILL_WIDTH,
            padding=EDGE,
            usermeta={"embedOptions": {"renderer": "canvas"}},
        )
    )
    return chart


def _cell_value(cells: pd.DataFrame, pointed: tuple[int, int] | None) -> Any:
    if pointed is None:
        return alt.Undefined
    row = cells[(cells["i"] == pointed[0]) & (cells["j"] == pointed[1])]
    return row[_FIELDS].astype(object).to_dict("records") or alt.Undefined


def _limit(values: pd.Series[float], name: str) -> float:
    """Where a panel's colour is full."""
    return 1.0 if name == "decay" else float(values.abs().max()) or 1.0


def _picture(cells: pd.DataFrame, name: str, length: int, dark: bool) -> str:
    """One panel as a picture, transparent above the diagonal."""
    matrix: Float32[np.ndarray, "query key"] = np.zeros((length, length), dtype=np.float32)
    matrix[np.tril_indices(length)] = cells[name]
    paint = paint_amount if name == "decay" else paint_diverging
    return png_address(paint(matrix, _limit(cells[name], name), dark))


def _legend(values: pd.Series[float], name: str, place: int) -> alt.Chart:
    """The colour bar of a panel, in its empty upper triangle. The mark that carries it is invisible."""
    limit = _limit(values, name)
    right = (place * (1 + _GAP) + 1) / _WIDTHS
    legend = alt.Legend(
        title=None,
        orient="none",
        direction="horizontal",
        legendX=alt.ExprRef(f"width * {right} - 130"),
        legendY=alt.ExprRef("34"),
        gradientLength=120,
        gradientThickness=10,
        values=[0, 0.5, 1] if name == "decay" else [-limit, 0, limit],
        format=".2~r",
        labelFontSize=LABEL_SIZE,
        padding=0,
    )
    scale = amount(limit) if name == "decay" else diverging(limit)
    carrier: alt.Chart = alt.Chart(alt.InlineData(values=[{"value": 0}])).mark_point(
        size=0, opacity=0, tooltip=None
    )
    return carrier.encode(color=alt.Color("value:Q", scale=scale, legend=legend))


class _Frame:
    """Where things are: `length` positions from `first` on, in panels of `slots` slots."""

    def __init__(self, first: int, length: int, slots: int) -> None:
        self.first, self.length, self.slots = first, length, slots
        self.pitch = slots * (1 + _GAP)
        self.rows = alt.Scale(
            domain=[first, first + slots], range=[0, alt.ExprRef("side")], nice=False, zero=False
        )
        self.columns = alt.Scale(domain=[0, slots * _WIDTHS], nice=False, zero=False)
        self.lefts = [place * self.pitch for place in range(len(_PANELS))]
        self.rights = [left + slots for left in self.lefts]

    def x(self, field: str) -> alt.X:
        """Slots from the left edge of the first panel."""
        return alt.X(f"{field}:Q", scale=self.columns, axis=None)

    def y(self, field: str) -> alt.Y:
        """Query positions."""
        return alt.Y(f"{field}:Q", scale=self.rows, axis=None)

    def feeler(self, place: int) -> alt.Chart:
        """The cells of one panel, open to the pointer but not drawn, with the panel's token labels."""
        start = self.first - place * self.pitch
        keys = alt.Scale(domain=[start, start + self.slots * _WIDTHS], nice=False, zero=False)
        queries = self._query_axis() if place == 0 else None
        feeler: alt.Chart = (
            alt.Chart()
            .mark_rect(opacity=0)
            .encode(
                x=alt.X("j:Q", scale=keys, axis=self._key_axis(place)),
                x2="j_end",
                y=alt.Y("i:Q", scale=self.rows, axis=queries),
                y2="i_end",
                # No tooltip of their own, but a channel for one, else Vega-Lite shuts them to the pointer.
                tooltip=alt.value(None),
            )
        )
        return feeler

    @property
    def _filled(self) -> float:
        """How much of a panel's side the triangle takes: all of it but for very short texts."""
        return self.length / self.slots

    def _query_axis(self) -> alt.Axis:
        """Tokens left of the first triangle."""
        return self._token_axis(
            "query i",
            orient="left",
            titleAnchor="start",
            titleAlign="center",
            titleY=alt.ExprRef(f"side * {0.5 * self._filled}"),
        )

    def _key_axis(self, place: int) -> alt.Axis:
        """Tokens under the triangle at `place`, the title under their middle."""
        middle = (place * (1 + _GAP) + 0.5 * self._filled) / _WIDTHS
        return self._token_axis(
            "key j",
            orient="bottom",
            offset=alt.ExprRef(f"side * {self._filled} - height"),
            labelAngle=-90,
            titleAnchor="start",
            titleAlign="center",
            titleX=alt.ExprRef(f"width * {middle}"),
        )

    def _token_axis(self, title: str, **options: Any) -> alt.Axis:
        """Tokens at the middle of their slots. Vega drops evenly what does not fit; none is cut in two."""
        return readable_axis(
            title,
            values=[self.first + place + 0.5 for place in range(self.length)],
            labelExpr=f"labels[floor(datum.value) - {self.first}]",
            labelFontSize=alt.ExprRef(f"clamp(side / {self.slots}, 11, 15)"),
            labelSeparation=-2,
            labelLimit=88,
            labelBound=False,
            labelFlush=False,
            grid=False,
            ticks=False,
            domain=False,
            **options,
        )

    def pictures(self, cells: pd.DataFrame) -> alt.Chart:
        """The three matrices."""
        panels = [
            {
                "left": left,
                "top": self.first,
                "light": _picture(cells, name, self.length, dark=False),
                "dark": _picture(cells, name, self.length, dark=True),
            }
            for left, name in zip(self.lefts, _PANELS, strict=True)
        ]
        extent = alt.ExprRef(f"side * {self._filled}")
        pictures: alt.Chart = (
            alt.Chart(alt.InlineData(values=panels))
            .transform_calculate(url=f"{IS_DARK} ? datum.dark : datum.light")
            .mark_image(
                align="left",
                baseline="top",
                width=extent,
                height=extent,
                aspect=False,
                smooth=False,
                tooltip=None,
            )
            .encode(x=self.x("left"), y=self.y("top"), url="url:N")
        )
        return pictures

    def edges(self) -> list[alt.Chart]:
        """The left and the lower edge of each triangle."""
        sides = alt.Chart(
            alt.InlineData(
                values=[
                    {"left": left, "right": left + self.length, "top": self.first, "bottom": self._bottom}
                    for left in self.lefts
                ]
            )
        ).mark_rule(stroke=FAINT, tooltip=None)
        return [
            sides.encode(x=self.x("left"), y=self.y("top"), y2="bottom"),
            sides.encode(x=self.x("left"), x2="right", y=self.y("bottom")),
        ]

    @property
    def _bottom(self) -> int:
        return self.first + self.length

    def marks_of_pointed(self) -> list[alt.Chart]:
        """Query row, key column and frame of the pointed cell in every panel."""
        pointed = (
            alt.Chart(alt.InlineData(values=[{"left": left} for left in self.lefts]))
            .transform_filter("isValid(cell.i)")
            .transform_calculate(
                **{field: f"cell.{field}[0]" for field in _FIELDS},
                x=f"datum.left + datum.j - {self.first}",
                x_end="datum.x + 1",
                row_end=f"datum.left + datum.i + 1 - {self.first}",
                y_end="datum.i + 1",
                bottom=f"{self._bottom}",
            )
        )
        band = pointed.mark_rect(fill=None, stroke=ACCENT, strokeWidth=1.5, tooltip=None)
        frame = pointed.mark_rect(fill="transparent", stroke=ACCENT, strokeWidth=3)
        return [
            band.encode(x=self.x("left"), x2="row_end", y=self.y("i"), y2="y_end"),
            band.encode(x=self.x("x"), x2="x_end", y=self.y("j"), y2="bottom"),
            frame.encode(
                x=self.x("x"),
                x2="x_end",
                y=self.y("i"),
                y2="y_end",
                tooltip=[
                    alt.Tooltip("i:Q", title="query i"),
                    alt.Tooltip("query:N", title="query token"),
                    alt.Tooltip("j:Q", title="key j"),
                    alt.Tooltip("key:N", title="key token"),
                    alt.Tooltip("content:Q", format=".3~g"),
                    alt.Tooltip("decay:Q", format=".3~g"),
                    alt.Tooltip("attention:Q", format=".3~g"),
                    alt.Tooltip("dt:Q", title="dt of key", format=".3~g"),
                ],
            ),
        ]

    def words(self) -> list[alt.Chart]:
        """Titles, the figures of the pointed cell and the two operators, in the empty upper triangles."""
        titles = [
            {"x": x, "y": 12, "text": _TITLES[name]} for x, name in zip(self.rights, _PANELS, strict=True)
        ]
        operators = [
            {"x": x + self.slots * _GAP / 2, "y": 60, "text": sign}
            for x, sign in zip(self.rights, "∘=", strict=False)
        ]
        figures = [{"x": x, "y": 92, "name": name} for x, name in zip(self.rights, _PANELS, strict=True)]
        sentence = [
            {"x": self.rights[0], "y": 114, "verb": "query ", "position": "i", "token": "query"},
            {"x": self.rights[0], "y": 131, "verb": "reads key ", "position": "j", "token": "key"},
        ]
        return [
            self._text(titles, 17, INK, align="right", fontWeight="bold"),
            self._text(operators, 34, QUIET, align="center"),
            self._text(figures, 20, ACCENT, align="right", fontWeight="bold")
            .transform_filter("isValid(cell.i)")
            .transform_calculate(text="format(cell[datum.name][0], '.3~g')"),
            self._text(sentence, 13, ACCENT, align="right")
            .transform_filter("isValid(cell.i)")
            .transform_calculate(text="datum.verb + cell[datum.position][0] + '  ' + cell[datum.token][0]"),
        ]

    def _text(self, rows: list[dict[str, Any]], size: int, colour: Any, **mark: Any) -> alt.Chart:
        words: alt.Chart = alt.Chart(alt.InlineData(values=rows)).mark_text(
            fontSize=size, color=colour, baseline="middle", tooltip=None, **mark
        )
        return words.encode(
            x=self.x("x"),
            y=alt.Y("y:Q", scale=None, axis=None),  # pixels: type keeps its size on every screen
            text="text:N",
        )
