"""The panels: pictures of the matrices, their edges, labels and legends, and the rows to click."""

from __future__ import annotations

from typing import Any

import altair as alt

from components.charts.axes import LABEL_SIZE, readable_axis, x_pixels, y_pixels
from components.charts.colours import FAINT, IS_DARK, QUIET, value_at_expr
from components.charts.figure import inline, rows_of
from components.charts.panels.geometry import (
    FILLED,
    FILLED_ACROSS,
    dt_room,
    label_limit,
    label_size,
)
from components.charts.panels.look import Look
from components.charts.strip import STAMP
from components.ssd import Factor


def legends(look: Look) -> list[alt.Chart]:
    """The colour bars of the panels, beside their titles, on invisible marks."""
    return [_legend(look, factor, panel) for panel, factor in enumerate(look.kind.factors)]


def _legend(look: Look, factor: Factor, panel: int) -> alt.Chart:
    limit = f"{factor.name}_limit" if factor.limit is None else f"{factor.limit:g}"
    # In a triangle it ends above the cells.
    length = f"clamp(side - {62 * look.scale + 20}, 50, {120 * look.scale})"
    value = value_at_expr("datum.value", limit, logarithmic=look.logarithmic)
    legend = alt.Legend(
        title=None,
        orient="none",
        direction="horizontal",
        legendX=alt.ExprRef(f"lefts[{panel}] + side - {length} - 10"),
        legendY=alt.ExprRef(f"tops[{panel}] - head_room + {34 * look.scale}"),
        gradientLength=alt.ExprRef(length),
        gradientThickness=10,
        values=[0, 0.5, 1] if look.is_unsigned(factor) else [-1, 0, 1],
        labelExpr=f"format({value}, '.2~g')",
        labelFontSize=LABEL_SIZE * look.scale,
        labelColor=QUIET,
        padding=0,
    )
    carrier: alt.Chart = inline([{"value": 0}]).mark_point(size=0, opacity=0, tooltip=None)
    return carrier.encode(color=alt.Color("value:Q", scale=look.colours(factor), legend=legend))


def pressable_rows(look: Look) -> list[alt.Chart]:
    """The clickable, invisible rows of each panel, with the panel's labels."""
    return [_pressable(look, panel) for panel in range(len(look.panels))]


def _pressable(look: Look, panel: int) -> alt.Chart:
    wide = [alt.ExprRef(f"lefts[{panel}]"), alt.ExprRef(f"lefts[{panel}] + side")]
    high = [alt.ExprRef(f"tops[{panel}]"), alt.ExprRef(f"tops[{panel}] + side")]
    rows: alt.Chart = (
        rows_of("queries")
        .transform_calculate(start="0", end="datum.reach", low="datum.row + 1", stamp=STAMP)
        .mark_rect(opacity=0, cursor="pointer")
        .encode(
            x=alt.X(
                "start:Q",
                scale=alt.Scale(domain=[0, alt.ExprRef("key_slots")], range=wide, nice=False, zero=False),
                axis=_key_axis(look, panel),
            ),
            x2="end",
            y=alt.Y(
                "row:Q",
                scale=alt.Scale(domain=[0, alt.ExprRef("row_slots")], range=high, nice=False, zero=False),
                axis=_query_axis(look, panel),
            ),
            y2="low",
            # No tooltip, but a channel for one: without it Vega-Lite makes the marks ignore the pointer.
            tooltip=alt.value(None),
        )
    )
    return rows


def _query_axis(look: Look, panel: int) -> alt.Axis:
    """Row labels left of the first panel, or of every panel if they are stacked."""
    here = "true" if panel == 0 else "stacked"
    return _tile_axis(
        look,
        "query i",
        "row",
        f"{here} ? rows : 0",
        "labels",
        orient="left",
        titleAnchor="start",
        titleAlign="center",
        titleY=alt.ExprRef(f"tops[{panel}] + side * 0.5 * {FILLED}"),
        titleOpacity=alt.ExprRef(f"{here} ? 1 : 0"),
        labelLimit=alt.ExprRef(label_limit(look)),
    )


def _key_axis(look: Look, panel: int) -> alt.Axis:
    """Column labels under the panel number `panel`, the title under their middle."""
    below = f"stacked && {panel} !== 1 ? 0 : {dt_room(look)}"
    return _tile_axis(
        look,
        "key j",
        "key",
        "columns",
        "key_labels",
        orient="bottom",
        offset=alt.ExprRef(f"tops[{panel}] + side * {FILLED} + ({below}) - height"),
        labelAngle=-90,
        titleAnchor="start",
        titleAlign="center",
        titleX=alt.ExprRef(f"lefts[{panel}] + side * 0.5 * {FILLED_ACROSS}"),
        labelLimit=alt.ExprRef(label_limit(look)),
    )


def _tile_axis(look: Look, title: str, what: str, count: str, labels: str, **options: Any) -> alt.Axis:
    """Labels at the middle of their slots. Vega drops evenly those that do not fit; none is cut in two."""
    return readable_axis(
        title,
        look.scale,
        values=alt.ExprRef(f"sequence(0.5, {count}, step)"),
        labelExpr=f"{labels}[floor(datum.value)]",
        labelFontSize=alt.ExprRef(label_size(what, look)),
        labelSeparation=-2,
        labelBound=False,
        labelFlush=False,
        grid=False,
        ticks=False,
        domain=False,
        **options,
    )


def pictures(look: Look) -> alt.Chart:
    """The pictures of the matrices."""
    pictures: alt.Chart = (
        rows_of("pictures")
        .transform_calculate(
            url=f"{IS_DARK} ? datum.dark : datum.light", x="lefts[datum.panel]", y="tops[datum.panel]"
        )
        .mark_image(
            align="left",
            baseline="top",
            width=alt.ExprRef(f"side * {FILLED_ACROSS}"),
            height=alt.ExprRef(f"side * {FILLED}"),
            aspect=False,
            smooth=False,
            tooltip=None,
        )
        .encode(x=x_pixels("x"), y=y_pixels("y"), url="url:N")
    )
    return pictures


def edges(look: Look) -> list[alt.Chart]:
    """The left and the lower edge of each picture."""
    sides = (
        inline(look.each_panel)
        .transform_calculate(
            left="lefts[datum.panel]",
            right=f"datum.left + side * {FILLED_ACROSS}",
            top="tops[datum.panel]",
            bottom=f"datum.top + side * {FILLED}",
        )
        .mark_rule(stroke=FAINT, tooltip=None)
    )
    return [
        sides.encode(x=x_pixels("left"), y=y_pixels("top"), y2="bottom"),
        sides.encode(x=x_pixels("left"), x2="right", y=y_pixels("bottom")),
    ]
