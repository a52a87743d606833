"""The three linked panels of one head, content C·Bᵀ ∘ decay L = attention M, above the text itself.

All stand in one Vega view: one view has one width, which follows the page (charts joined by `hconcat` cannot
follow it), and what is pointed at in one place can be marked in all of them without a rerun.

A panel is a picture with one pixel per cell. No mark feels the pointer cell by cell: Vega visits every mark
on each repaint, and 3 × 8,256 invisible ones cost more than all the rest. Instead the parameters `row` and
`key` are computed from where the pointer is, and everything that shows the pointed cell from those two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float32

from components.charts.axes import EDGE, FILL_WIDTH, LABEL_SIZE, readable_axis, type_scale
from components.charts.colours import (
    ACCENT,
    AMOUNT,
    BACKGROUND,
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
from components.charts.strip import COLUMNS, text_columns, token_places

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
"""Space between two panels, as a part of a panel's width; holds "∘" and "="."""

_WIDTHS = 3 + 2 * _GAP
"""Width of the whole, in panels."""

_LETTER, _LINE = 0.61, 1.75
"""Advance of a monospace letter and distance of two lines of the strip, in font sizes."""

_DT_HEIGHT = 30
"""Height of the bars of dt, in pixels."""


def panels_chart(
    cells: pd.DataFrame,
    tokens: Sequence[str],
    *,
    first: int = 0,
    pointed: tuple[int, int] | None = None,
    limits: Mapping[str, float] | None = None,
    with_dt: bool = False,
    larger: bool = False,
) -> alt.LayerChart:
    """Content, decay and attention of one head as three linked triangles, and the text they are about.

    `cells` is a `cell_table`, `tokens` the display texts of its positions and `first` the position of the
    first one. `pointed` is the cell (i, j) marked while the pointer is in no triangle. Content and attention
    have diverging scales that are full at ± `limits` ("content" and "attention"), by default at their own
    largest; decay runs from 0 to 1. `with_dt` shows M·dt as attention, and dt below the decay. `larger` is
    type for a projector. A click in a row of a panel or on a token of the text is the selection `PICK_QUERY`.
    """
    own = {"content": cells["content"], "attention": cells["attention_dt" if with_dt else "attention"]}
    full = {name: float(values.abs().max()) or 1.0 for name, values in own.items()} | dict(limits or {})
    frame = _Frame(cells, tokens, first, full | {"decay": 1.0}, with_dt, type_scale(larger))
    pick = alt.selection_point(name=PICK_QUERY, fields=["i"], on="click", clear=False, toggle=False)
    # An interval that begins anew at each movement and is never drawn out: all it does is to say where.
    pointer = alt.selection_interval(
        name="pointer", on="[pointermove, pointerup] > blur", clear=False, translate=False, zoom=False
    )
    feeler, *feelers = frame.feelers()
    chart: alt.LayerChart = (
        alt.LayerChart(
            layer=[
                *frame.legends(),
                frame.pictures(),
                *frame.edges(),
                feeler.add_params(pick, pointer),
                *feelers,
                *(frame.dt_bars() if with_dt else []),
                *frame.marks_of_pointed(),
                *frame.words(),
                *frame.strip(),
            ]
        )
        .resolve_scale(x="independent", y="independent", color="independent")
        .add_params(*frame.params(pointed))
        .properties(
            height=1,  # the panels hang from the top; their height is the parameter `side`
            autosize=FILL_WIDTH,
            padding=EDGE,
            usermeta={"embedOptions": {"renderer": "canvas"}},
        )
    )
    return chart


def _short(values: pd.Series[float]) -> list[float | None]:
    """Values to five digits, as a page reads them; what is not finite becomes null."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]


class _Frame:
    """Where things are: the positions from `first` on, in panels of `slots` slots."""

    def __init__(
        self,
        cells: pd.DataFrame,
        tokens: Sequence[str],
        first: int,
        limits: Mapping[str, float],
        with_dt: bool,
        scale: float,
    ) -> None:
        self.cells, self.tokens, self.first, self.limits = cells, list(tokens), first, limits
        self.with_dt, self.scale = with_dt, scale
        self.length = len(self.tokens)
        self.slots = max(self.length, _FEWEST_SLOTS)
        self.pitch = self.slots * (1 + _GAP)
        self.rows = alt.Scale(
            domain=[first, first + self.slots], range=[0, alt.ExprRef("side")], nice=False, zero=False
        )
        self.columns = alt.Scale(domain=[0, self.slots * _WIDTHS], nice=False, zero=False)
        self.lefts = [place * self.pitch for place in range(len(_PANELS))]
        self.rights = [left + self.slots for left in self.lefts]

    def params(self, pointed: tuple[int, int] | None) -> list[alt.Parameter]:
        """Sizes in pixels, and the row and column (counted from zero) of the pointed cell, −1 for none.

        `pointer_x` and `pointer_y` are the ends in pixels of the interval `pointer`, [now, now].
        """
        row, key = (-1, -1) if pointed is None else (pointed[0] - self.first, pointed[1] - self.first)
        slot = f"pointer_x[1] / width * {self.slots * _WIDTHS} % {self.pitch}"
        inside = f"0 <= key_under && key_under <= row_under && row_under < {self.length}"
        names = {
            "side": f"width / {_WIDTHS}",
            "letter": f"clamp(width / {COLUMNS * _LETTER}, {11 * self.scale}, {16 * self.scale})",
            # below the words too, which a very short text leaves beside its triangles
            "strip_top": f"max(side * {self._filled} + {self._below}, {150 * self.scale})",
            "row_under": f"floor(pointer_y[1] / side * {self.slots})",
            "key_under": f"floor({slot})",
            "row": f"{inside} ? row_under : {row}",
            "key": f"{inside} ? key_under : {key}",
            "cell": "row * (row + 1) / 2 + key",
            "attention": "contents[cell] * decays[cell]" + (" * dts[key]" if self.with_dt else ""),
        }
        # As one expression each: Altair checks and copies every element of a value, many times over.
        numbers = {
            "contents": _short(self.cells["content"]),
            "decays": _short(self.cells["decay"]),
            "dts": _short(self._dt),
        }
        return [
            alt.param(name="labels", value=self.tokens),
            *(alt.param(name=name, expr=json.dumps(values)) for name, values in numbers.items()),
            *(alt.param(name=name, expr=expr) for name, expr in names.items()),
        ]

    @property
    def _dt(self) -> pd.Series[float]:
        """The dt of each position: the last row of the triangle holds them all."""
        return self.cells["dt"].iloc[-self.length :]

    def _values(self, name: str) -> pd.Series[float]:
        return self.cells["attention_dt" if name == "attention" and self.with_dt else name]

    @property
    def _dt_room(self) -> float:
        return (_DT_HEIGHT + 8) * self.scale if self.with_dt else 0.0

    @property
    def _label_size(self) -> str:
        return f"clamp(side / {self.slots}, {11 * self.scale}, {15 * self.scale})"

    @property
    def _below(self) -> str:
        """Pixels between the triangles and the strip: dt, token labels, title."""
        longest = max(map(text_columns, self.tokens))
        labels = f"min({88 * self.scale}, {longest * 0.6} * {self._label_size})"
        return f"{self._dt_room} + {labels} + {46 * self.scale}"

    def legends(self) -> list[alt.Chart]:
        """The colour bars of the panels, in their empty upper triangles. What carries them is invisible."""
        return [self._legend(name, place) for place, name in enumerate(_PANELS)]

    def _legend(self, name: str, place: int) -> alt.Chart:
        limit = self.limits[name]
        right = (place * (1 + _GAP) + 1) / _WIDTHS
        legend = alt.Legend(
            title=None,
            orient="none",
            direction="horizontal",
            legendX=alt.ExprRef(f"width * {right} - {120 * self.scale + 10}"),
            legendY=alt.ExprRef(f"{34 * self.scale}"),
            gradientLength=120 * self.scale,
            gradientThickness=10,
            values=[0, 0.5, 1] if name == "decay" else [-limit, 0, limit],
            format=".2~r",
            labelFontSize=LABEL_SIZE * self.scale,
            padding=0,
        )
        colours = amount(limit) if name == "decay" else diverging(limit)
        carrier: alt.Chart = alt.Chart(alt.InlineData(values=[{"value": 0}])).mark_point(
            size=0, opacity=0, tooltip=None
        )
        return carrier.encode(color=alt.Color("value:Q", scale=colours, legend=legend))

    def x(self, field: str) -> alt.X:
        """Slots from the left edge of the first panel."""
        return alt.X(f"{field}:Q", scale=self.columns, axis=None)

    def y(self, field: str) -> alt.Y:
        """Query positions."""
        return alt.Y(f"{field}:Q", scale=self.rows, axis=None)

    def feelers(self) -> list[alt.Chart]:
        """The rows of each panel, open to a click but not drawn, with the panel's token labels."""
        return [self._feeler(place) for place in range(len(_PANELS))]

    def _feeler(self, place: int) -> alt.Chart:
        start = self.first - place * self.pitch
        keys = alt.Scale(domain=[start, start + self.slots * _WIDTHS], nice=False, zero=False)
        positions = np.arange(self.first, self.first + self.length)
        rows = pd.DataFrame({"i": positions, "start": self.first, "end": positions + 1})
        feeler: alt.Chart = (
            alt.Chart(rows)
            .transform_calculate(i_end="datum.i + 1")
            .mark_rect(opacity=0, cursor="pointer")
            .encode(
                x=alt.X("start:Q", scale=keys, axis=self._key_axis(place)),
                x2="end",
                y=alt.Y("i:Q", scale=self.rows, axis=self._query_axis() if place == 0 else None),
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
            offset=alt.ExprRef(f"side * {self._filled} + {self._dt_room} - height"),
            labelAngle=-90,
            titleAnchor="start",
            titleAlign="center",
            titleX=alt.ExprRef(f"width * {middle}"),
        )

    def _token_axis(self, title: str, **options: Any) -> alt.Axis:
        """Tokens at the middle of their slots. Vega drops evenly what does not fit; none is cut in two."""
        return readable_axis(
            title,
            self.scale,
            values=[self.first + place + 0.5 for place in range(self.length)],
            labelExpr=f"labels[floor(datum.value) - {self.first}]",
            labelFontSize=alt.ExprRef(self._label_size),
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
        panels = [
            {
                "left": left,
                "top": self.first,
                "light": self._picture(name, dark=False),
                "dark": self._picture(name, dark=True),
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

    def _picture(self, name: str, dark: bool) -> str:
        """One panel as a picture, transparent above the diagonal."""
        matrix: Float32[np.ndarray, "query key"] = np.zeros((self.length, self.length), dtype=np.float32)
        matrix[np.tril_indices(self.length)] = self._values(name)
        paint = paint_amount if name == "decay" else paint_diverging
        return png_address(paint(matrix, self.limits[name], dark))

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

    def dt_bars(self) -> list[alt.Chart]:
        """The dt of each key below the decay: how strongly it was written; its largest stands beside."""
        largest = float(self._dt.max())
        rows = [
            {"x": self.lefts[1] + place, "dt": value or 0} for place, value in enumerate(_short(self._dt))
        ]
        base = f"side * {self._filled} + {_DT_HEIGHT * self.scale + 4}"
        bars: alt.Chart = (
            alt.Chart(alt.InlineData(values=rows))
            .transform_calculate(
                x_end="datum.x + 0.85",
                base=base,
                top=f"{base} - datum.dt / {largest or 1} * {_DT_HEIGHT * self.scale}",
            )
            .mark_rect(
                fill=alt.ExprRef(f"{IS_DARK} ? '{AMOUNT.dark[1]}' : '{AMOUNT.light[1]}'"), tooltip=None
            )
            .encode(x=self.x("x"), x2="x_end", y=alt.Y("base:Q", scale=None, axis=None), y2="top")
        )
        end = self.lefts[1] + self.length
        words = [
            {"x": end, "text": "dt of key j", "up": _DT_HEIGHT * self.scale - 8},
            {"x": end, "text": f"up to {largest:.2g}", "up": 5},
        ]
        name = self._text(words, 12, QUIET, align="left", dx=5).transform_calculate(y=f"{base} - datum.up")
        return [bars, name]

    def marks_of_pointed(self) -> list[alt.Chart]:
        """Query row, key column and frame of the pointed cell in every panel."""
        pointed = (
            alt.Chart(alt.InlineData(values=[{"left": left} for left in self.lefts]))
            .transform_filter("row >= 0")
            .transform_calculate(
                i=f"row + {self.first}",
                j=f"key + {self.first}",
                query="labels[row]",
                key="labels[key]",
                content="contents[cell]",
                decay="decays[cell]",
                dt="dts[key]",
                attention="attention",
                x="datum.left + key",
                x_end="datum.x + 1",
                row_end="datum.left + row + 1",
                i_end="datum.i + 1",
                bottom=f"{self._bottom}",
            )
        )
        band = pointed.mark_rect(fill=None, stroke=ACCENT, strokeWidth=1.5, tooltip=None)
        frame = pointed.mark_rect(fill="transparent", stroke=ACCENT, strokeWidth=3, cursor="pointer")
        return [
            band.encode(x=self.x("left"), x2="row_end", y=self.y("i"), y2="i_end"),
            band.encode(x=self.x("x"), x2="x_end", y=self.y("j"), y2="bottom"),
            frame.encode(
                x=self.x("x"),
                x2="x_end",
                y=self.y("i"),
                y2="i_end",
                tooltip=[
                    alt.Tooltip("i:Q", title="query i"),
                    alt.Tooltip("query:N", title="query token"),
                    alt.Tooltip("j:Q", title="key j"),
                    alt.Tooltip("key:N", title="key token"),
                    alt.Tooltip("content:Q", format=".3~g"),
                    alt.Tooltip("decay:Q", format=".3~g"),
                    alt.Tooltip("dt:Q", title="dt of key", format=".3~g"),
                    alt.Tooltip(
                        "attention:Q", title="attention·dt" if self.with_dt else "attention", format=".3~g"
                    ),
                ],
            ),
        ]

    def words(self) -> list[alt.Chart]:
        """Titles, the figures of the pointed cell and the operators, in the empty upper triangles."""
        gaps = [right + self.slots * _GAP / 2 for right in self.rights]
        names = ["content", "decay", "attention_dt" if self.with_dt else "attention"]
        titles = [
            {"x": x, "y": 12, "text": _TITLES[name]} for x, name in zip(self.rights, names, strict=True)
        ]
        operators = [{"x": gaps[0], "y": 60, "text": "∘"}, {"x": gaps[1], "y": 60, "text": "="}]
        times_dt = [{"x": gaps[1], "y": 34, "text": "· dt"}] if self.with_dt else []
        figures = [{"x": x, "y": 92, "name": name} for x, name in zip(self.rights, _PANELS, strict=True)]
        sentence = [
            {"x": self.rights[0], "y": 114, "verb": "query ", "place": "row"},
            {"x": self.rights[0], "y": 131, "verb": "reads key ", "place": "key"},
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
                text=f"datum.verb + (datum.at + {self.first}) + '  ' + labels[datum.at]",
            ),
        ]

    def strip(self) -> list[alt.Chart]:
        """The text, each token shaded by how much the pointed row reads it, query and key framed."""
        limit = self.limits["attention"]
        # Index of (row, this token) in the triangle, row by row.
        place = f"datum.i - {self.first}"
        entry = f"row * (row + 1) / 2 + {place}"
        read = "contents[datum.entry] * decays[datum.entry]" + (f" * dts[{place}]" if self.with_dt else "")
        box = {
            "x": f"datum.column * letter * {_LETTER}",
            "x_end": f"(datum.column + datum.columns) * letter * {_LETTER} - 1",
            "y": f"strip_top + datum.line * letter * {_LINE}",
            "y_end": f"datum.y + letter * {_LINE} - 3",
        }
        tokens = (
            alt.Chart(pd.DataFrame(token_places(self.tokens, self.first)))
            .transform_calculate(**box)
            .transform_calculate(
                entry=entry,
                value=f"{place} <= row ? {read} : 0",
            )
        )
        across, down = alt.X("x:Q", scale=None, axis=None), alt.Y("y:Q", scale=None, axis=None)
        shades = tokens.mark_rect(cursor="pointer", cornerRadius=2).encode(
            x=across,
            x2="x_end",
            y=down,
            y2="y_end",
            color=alt.Color("value:Q", scale=diverging(limit), legend=None),
            tooltip=[
                alt.Tooltip("i:Q", title="position"),
                alt.Tooltip("text:N", title="token"),
                alt.Tooltip("value:Q", title="attention·dt" if self.with_dt else "attention", format=".3~g"),
            ],
        )
        letters = tokens.mark_text(
            align="left",
            baseline="middle",
            font="monospace",
            fontSize=alt.ExprRef("letter"),
            limit=alt.ExprRef(f"{COLUMNS * _LETTER} * letter"),
            dy=alt.ExprRef(f"letter * {_LINE / 2} - 1.5"),
            tooltip=None,
        ).encode(
            x=across,
            y=down,
            text="text:N",
            color=alt.condition(f"abs(datum.value) > {limit / 2}", alt.value(BACKGROUND), alt.value(INK)),
        )
        frames = (
            tokens.transform_filter(f"row >= 0 && indexof([row, key], {place}) >= 0")
            .mark_rect(fill=None, stroke=ACCENT, strokeWidth=2.5, cornerRadius=2, tooltip=None)
            .encode(x=across, x2="x_end", y=down, y2="y_end")
        )
        return [shades, letters, frames]

    def _text(self, rows: list[dict[str, Any]], size: int, colour: Any, **mark: Any) -> alt.Chart:
        """Rows of text in pixels from the top: type keeps its size on every screen."""
        at = [{**row, "y": row["y"] * self.scale} if "y" in row else row for row in rows]
        words: alt.Chart = alt.Chart(alt.InlineData(values=at)).mark_text(
            fontSize=size * self.scale, color=colour, baseline="middle", tooltip=None, **mark
        )
        return words.encode(x=self.x("x"), y=alt.Y("y:Q", scale=None, axis=None), text="text:N")
