"""The three linked panels of one head: content C·Bᵀ ∘ decay L = attention M.

All three stand in one Vega view of three plots side by side on one axis of "slots" (a slot is the width of
a cell). One view has one width, which follows the page, and one pointer: pointing at a cell sets the
parameter `cell`, and everything that marks it (row, column, frame, figures) is a single row of data computed
from that parameter. No cell is filtered or restyled while the pointer moves, and no rerun is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from components.charts.axes import EDGE, FILL_WIDTH, LABEL_SIZE, readable_axis
from components.charts.colours import ACCENT, FAINT, INK, QUIET, amount, diverging

_PANELS = ("content", "decay", "attention")
_TITLES = {"content": "content  C·Bᵀ", "decay": "decay  L", "attention": "attention  M"}
_FIELDS = ["i", "j", "query", "key", *_PANELS, "dt"]

_FEWEST_SLOTS = 12
"""A panel is at least this many slots wide, so that the cells of a very short text do not grow to posters."""

_GAP = 0.14
"""Space between two panels, as a part of a panel's width; holds "∘" and "="."""


def panels_chart(
    cells: pd.DataFrame, tokens: Sequence[str], *, first: int = 0, pointed: tuple[int, int] | None = None
) -> alt.LayerChart:
    """Content, decay and attention of one head as three linked triangles, square at every width.

    `cells` is a `cell_table`, `tokens` the display texts of its positions and `first` the position of the
    first one. `pointed` is the cell (i, j) marked before anyone points. Content and attention have each a
    diverging scale that is symmetric around zero; decay runs from 0 to 1.
    """
    slots = max(len(tokens), _FEWEST_SLOTS)
    pitch = slots * (1 + _GAP)
    width = slots * (3 + 2 * _GAP)
    rows = alt.Scale(domain=[first, first + slots], range=[0, alt.ExprRef("side")], nice=False, zero=False)

    cell = alt.selection_point(
        name="cell",
        on="pointerover",
        clear="dblclick",
        fields=_FIELDS,
        value=_cell_value(cells, pointed),
    )
    triangles = []
    for place, name in enumerate(_PANELS):
        start = first - place * pitch
        columns = alt.Scale(domain=[start, start + width], nice=False, zero=False)
        triangles.append(
            alt.Chart()
            .mark_rect(strokeWidth=0)
            .encode(
                x=alt.X("j:Q", scale=columns, axis=_key_axis(len(tokens), first, place)),
                x2="j_end",
                y=alt.Y(
                    "i:Q",
                    scale=rows,
                    axis=_token_axis(len(tokens), first, "query i", orient="left") if place == 0 else None,
                ),
                y2="i_end",
                color=alt.Color(f"{name}:Q", scale=_scale(cells[name], name), legend=_legend(place)),
                tooltip=_TOOLTIP,
            )
        )
    triangles[0] = triangles[0].add_params(cell)
    overlay = alt.Scale(domain=[0, width], nice=False, zero=False)
    chart: alt.LayerChart = (
        alt.LayerChart(
            layer=[
                *triangles,
                *_pointed_marks(len(tokens), first, pitch, overlay, rows),
                *_words(slots, pitch, overlay),
            ],
            data=cells,
        )
        .transform_calculate(i_end="datum.i + 1", j_end="datum.j + 1")
        .resolve_scale(x="independent", y="independent", color="independent")
        .add_params(
            alt.param(name="side", expr=f"width / {3 + 2 * _GAP}"),
            alt.param(name="labels", value=list(tokens)),
        )
        .properties(
            height=1,
            autosize=FILL_WIDTH,
            padding=EDGE,
        )
    )
    return chart


_TOOLTIP = [
    alt.Tooltip("i:Q", title="query i"),
    alt.Tooltip("query:N", title="query token"),
    alt.Tooltip("j:Q", title="key j"),
    alt.Tooltip("key:N", title="key token"),
    alt.Tooltip("content:Q", format=".3~g"),
    alt.Tooltip("decay:Q", format=".3~g"),
    alt.Tooltip("attention:Q", format=".3~g"),
    alt.Tooltip("dt:Q", title="dt of key", format=".3~g"),
]


def _cell_value(cells: pd.DataFrame, pointed: tuple[int, int] | None) -> Any:
    if pointed is None:
        return alt.Undefined
    row = cells[(cells["i"] == pointed[0]) & (cells["j"] == pointed[1])]
    return row[_FIELDS].astype(object).to_dict("records") or alt.Undefined


def _scale(values: pd.Series[float], name: str) -> alt.Scale:
    if name == "decay":
        return amount(1.0)
    return diverging(float(values.abs().max()) or 1.0)


def _legend(place: int) -> alt.Legend:
    """A colour bar in the empty upper triangle of the panel at `place`."""
    right = (place * (1 + _GAP) + 1) / (3 + 2 * _GAP)
    return alt.Legend(
        title=None,
        orient="none",
        direction="horizontal",
        legendX=alt.ExprRef(f"width * {right} - 130"),
        legendY=alt.ExprRef("34"),
        gradientLength=120,
        gradientThickness=10,
        tickCount=3,
        format=".3~g",
        labelFontSize=LABEL_SIZE,
        padding=0,
    )


def _key_axis(length: int, first: int, place: int) -> alt.Axis:
    """Tokens under the panel at `place`, its title under their middle."""
    middle = (place * (1 + _GAP) + 0.5) / (3 + 2 * _GAP)
    return _token_axis(
        length,
        first,
        "key j",
        orient="bottom",
        offset=alt.ExprRef("side - height"),
        labelAngle=-90,
        titleAnchor="start",
        titleAlign="center",
        titleX=alt.ExprRef(f"width * {middle}"),
    )


def _token_axis(length: int, first: int, title: str, **options: Any) -> alt.Axis:
    """Tokens at the middle of their slots. Vega drops evenly what does not fit; no token is cut in two."""
    return readable_axis(
        title,
        values=[first + place + 0.5 for place in range(length)],
        labelExpr=f"labels[floor(datum.value) - {first}]",
        labelFontSize=alt.ExprRef(f"clamp(side / {max(length, _FEWEST_SLOTS)}, 11, 15)"),
        labelSeparation=-2,
        labelLimit=88,
        labelBound=False,
        labelFlush=False,
        grid=False,
        ticks=False,
        domain=False,
        **options,
    )


def _pointed_marks(
    length: int, first: int, pitch: float, columns: alt.Scale, rows: alt.Scale
) -> list[alt.Chart]:
    """Query row, key column and frame of the pointed cell in every panel, and the edges of the triangles."""
    panels = alt.InlineData(values=[{"place": place} for place in range(len(_PANELS))])
    edges = (
        alt.Chart(panels)
        .mark_rule(stroke=FAINT, tooltip=None)
        .transform_calculate(
            left=f"datum.place * {pitch}", right=f"datum.place * {pitch} + {length}", top=f"{first}"
        )
    )
    bottom = first + length
    pointed = (
        alt.Chart(panels)
        .transform_filter("isValid(cell.i)")
        .transform_calculate(
            i="cell.i[0]",
            j="cell.j[0]",
            left=f"datum.place * {pitch}",
            x="datum.left + datum.j - " + str(first),
            x_end="datum.x + 1",
            row_end=f"datum.left + datum.i + 1 - {first}",
            y_end="datum.i + 1",
            bottom=f"{bottom}",
        )
        .mark_rect(fill=None, stroke=ACCENT, strokeWidth=1.5, tooltip=None)
    )

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=columns, axis=None)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=rows, axis=None)

    return [
        edges.encode(x=x("left"), y=y("top"), y2=alt.datum(bottom)),
        edges.encode(x=x("left"), x2="right", y=alt.Y(datum=bottom, scale=rows, axis=None)),
        pointed.encode(x=x("left"), x2="row_end", y=y("i"), y2="y_end"),
        pointed.encode(x=x("x"), x2="x_end", y=y("j"), y2="bottom"),
        pointed.mark_rect(fill=None, stroke=ACCENT, strokeWidth=3, tooltip=None).encode(
            x=x("x"), x2="x_end", y=y("i"), y2="y_end"
        ),
    ]


def _words(slots: int, pitch: float, columns: alt.Scale) -> list[alt.Chart]:
    """Titles, the figures of the pointed cell and the two operators, in the empty upper triangles."""

    def text(rows: list[dict[str, Any]], size: int, colour: Any, **mark: Any) -> alt.Chart:
        words: alt.Chart = alt.Chart(alt.InlineData(values=rows)).mark_text(
            fontSize=size, color=colour, baseline="middle", tooltip=None, **mark
        )
        return words.encode(
            x=alt.X("x:Q", scale=columns, axis=None),
            y=alt.Y("y:Q", scale=None, axis=None),  # pixels: type keeps its size on every screen
            text="text:N",
        )

    right = [place * pitch + slots for place in range(len(_PANELS))]
    titles = [{"x": x, "y": 12, "text": _TITLES[name]} for x, name in zip(right, _PANELS, strict=True)]
    operators = [
        {"x": right[place] + slots * _GAP / 2, "y": 60, "text": sign} for place, sign in enumerate("∘=")
    ]
    figures = [{"x": x, "y": 92, "name": name} for x, name in zip(right, _PANELS, strict=True)]
    return [
        text(titles, 17, INK, align="right", fontWeight="bold"),
        text(operators, 34, QUIET, align="center"),
        text(figures, 20, ACCENT, align="right", fontWeight="bold")
        .transform_filter("isValid(cell.i)")
        .transform_calculate(text="format(cell[datum.name][0], '.3~g')"),
        text(
            [
                {"x": right[0], "y": 114, "label": "query ", "at": "i", "token": "query"},
                {"x": right[0], "y": 131, "label": "reads key ", "at": "j", "token": "key"},
            ],
            12,
            ACCENT,
            align="right",
        )
        .transform_filter("isValid(cell.i)")
        .transform_calculate(text="datum.label + cell[datum.at][0] + ' ' + cell[datum.token][0]"),
    ]
