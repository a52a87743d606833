"""What the pointer does in the panels' view: hover a cell, keep a row, brush a window or the text.

Cells have no marks to catch the pointer: Vega visits every mark on each repaint, and 3 × 8,256 invisible ones
cost more than all the rest. Instead expressions compute `row` and `key` from the pointer's position. A mark
under everything catches the pointer everywhere; when it leaves the view, the hover ends.
"""

from __future__ import annotations

from typing import Literal

import altair as alt

from components.charts.axes import x_pixels, y_pixels
from components.charts.colours import ACCENT
from components.charts.figure import rows_of
from components.charts.panels.geometry import FILLED, FILLED_ACROSS, MIN_SLOTS, panel_at
from components.charts.strip import LETTER, LINE, STAMP

PICK_QUERY = "query"
"""Name of the point selection of a clicked row or token: its first query `i`, and `stamp`. A cell of one
query and one key also has that key, `j`."""

OPEN_WINDOW = "window"
"""Name of the selection that fires when a brush ends: `query_start`, `query_stop`, `key_start` and
`key_stop` of the brushed window, and `stamp`. Empty if nothing was brushed."""

OPEN_SPAN = "span"
"""Name of the selection that fires when a brush over the text ends: `span_start`, `span_stop`, `stamp`."""

_MOVED = 4
"""Pixels of movement beyond which a press is a brush."""


def selections() -> list[alt.Parameter]:
    """The selections of the pointer. A release keeps the row under it, except after a brush, whose mark
    covers everything.

    `pointer` and `press` are intervals that restart at each event and stay empty: they only give positions,
    as `pointer_x` and `pointer_y`, [now, now], zero if there is none.
    """
    return [
        alt.selection_point(
            name=PICK_QUERY, fields=["i", "j", "stamp"], on="pointerup", clear=False, toggle=False
        ),
        alt.selection_interval(
            name="pointer",
            on="[pointermove, pointerup] > blur",
            # Vega also fires this when the pointer goes from one mark to the next.
            clear="view:pointerout[event.type === 'pointerout']",
            translate=False,
            zoom=False,
        ),
        alt.selection_interval(
            name="press",
            on="[pointerdown, blur] > blur",
            clear="window:pointerup",
            translate=False,
            zoom=False,
        ),
    ]


def pointed_at(panels: int) -> dict[str, str]:
    """Parameters by name: the row and column of the shown cell, the one under the pointer or the kept one.

    `pointing` says which of them it is. A bar under the pointer stands for the cell of its key.
    """
    x, y = "pointer_x[1]", "pointer_y[1]"
    return {
        "panel_under": panel_at(x, y, panels),
        "row_under": f"floor(({y} - tops[panel_under]) / side * row_slots)",
        "key_under": f"floor(({x} - lefts[panel_under]) / side * key_slots)",
        "inside": f"{x} > 0 && 0 <= row_under && row_under < rows && 0 <= key_under"
        " && key_under < reach[row_under]",
        "bar_under": f"floor({x} / width * max(columns, {MIN_SLOTS}))",
        "on_bar": f"{x} > 0 && span_start < 0 && row_top <= {y} && {y} <= row_bottom && kept_row >= 0"
        " && bar_under < reach[kept_row]",
        "pointing": "inside || on_bar",
        "summed": "span_start >= 0 && !inside",
        "row": "inside ? row_under : kept_row",
        "key": "inside ? key_under : on_bar ? bar_under : kept_key",
        "cell": "before[row] + key",
    }


def brushed(panels: int) -> dict[str, str]:
    """Parameters by name: the extent of a brush, in rows and columns of the panel where it began (`dragged`),
    or in letters of the text (`text_dragged`).
    """
    panel = panel_at("press_x[0]", "press_y[0]", panels)

    def across(x: str) -> str:
        return f"clamp(({x} - lefts[brushed_panel]) / side * key_slots, 0, columns)"

    def down(y: str) -> str:
        return f"clamp(({y} - tops[brushed_panel]) / side * row_slots, 0, rows)"

    # Out of the view the pointer has no position; the start of the press replaces it.
    now_x, now_y = "(pointer_x[1] || press_x[0])", "(pointer_x[1] ? pointer_y[1] : press_y[0])"
    here = {"key": (across("press_x[0]"), across(now_x)), "query": (down("press_y[0]"), down(now_y))}
    most = {"key": "columns", "query": "rows"}
    ends = {
        f"{what}_{end}": expression
        for what, (one, other) in here.items()
        for end, expression in (
            ("from", f"min(floor(min({one}, {other})), {most[what]} - 1)"),
            ("to", f"max(ceil(max({one}, {other})), {what}_from + 1)"),
        )
    }
    moved = f"press_x[0] > 0 && max(abs({now_x} - press_x[0]), abs({now_y} - press_y[0])) > {_MOVED}"
    in_panel = (
        f"inrange(press_x[0] - lefts[brushed_panel], [0, side * {FILLED_ACROSS}])"
        f" && inrange(press_y[0] - tops[brushed_panel], [0, side * {FILLED}])"
    )

    def letters(x: str, y: str) -> str:
        """How many letters precede the point, in reading order."""
        line = f"floor(clamp({y} - strip_top, 0, strip_bottom - strip_top - 1) / (letter * {LINE}))"
        return f"{line} * across + clamp({x} / (letter * {LETTER}), 0, across - 1)"

    one, other = letters("press_x[0]", "press_y[0]"), letters(now_x, now_y)
    return {
        "moved": moved,
        "brushed_panel": panel,
        **ends,
        "dragged": f"moved && {in_panel}",
        "text_dragged": "moved && strip_top <= press_y[0] && press_y[0] < strip_bottom",
        "text_from": f"min({one}, {other})",
        "text_to": f"max({one}, {other})",
    }


def window_brush(scale: float) -> list[alt.Chart]:
    """The band of a brush in a panel; and, over everything, the mark whose selection holds its window."""
    once = rows_of("scene").transform_filter("dragged")
    band = once.transform_calculate(
        x="lefts[brushed_panel] + side * key_from / key_slots",
        x_end="lefts[brushed_panel] + side * key_to / key_slots",
        y="tops[brushed_panel] + side * query_from / row_slots",
        y_end="tops[brushed_panel] + side * query_to / row_slots",
    )
    cover = once.transform_calculate(
        query_start="query_starts[query_from]",
        query_stop="query_stops[query_to - 1]",
        key_start="key_starts[key_from]",
        key_stop="key_stops[key_to - 1]",
        stamp=STAMP,
    )
    fields = ["query_start", "query_stop", "key_start", "key_stop", "stamp"]
    return [_band(band), _cover(cover, scale, OPEN_WINDOW, fields)]


def text_brush(scale: float) -> list[alt.Chart]:
    """The same for the text: the brushed tokens, and the mark that holds their `span_start`, `span_stop`."""
    tokens = (
        rows_of("text")
        .transform_filter("text_dragged && datum.at >= 0")
        .transform_calculate(first="datum['line_' + across] * across + datum['column_' + across]")
        .transform_filter("datum.first <= text_to && text_from < datum.first + datum.columns")
    )
    band = tokens.transform_calculate(
        x=f"datum['column_' + across] * letter * {LETTER}",
        x_end=f"datum.x + datum.columns * letter * {LETTER} - 1",
        y=f"strip_top + datum['line_' + across] * letter * {LINE}",
        y_end=f"datum.y + letter * {LINE} - 3",
    )
    cover = tokens.transform_aggregate(span_start="min(at)", span_stop="max(stop)").transform_calculate(
        stamp=STAMP
    )
    # Without tokens the aggregate still has a row.
    cover = cover.transform_filter("isValid(datum.span_start)")
    return [_band(band), _cover(cover, scale, OPEN_SPAN, ["span_start", "span_stop", "stamp"])]


def ground(scale: float) -> alt.Chart:
    """The mark under everything, which catches the pointer where no other mark is."""
    return _over_all(rows_of("scene"), scale, "default")


def _band(marks: alt.Chart) -> alt.Chart:
    band: alt.Chart = marks.mark_rect(
        fill=ACCENT, fillOpacity=0.25, stroke=ACCENT, strokeWidth=2, tooltip=None
    ).encode(x=x_pixels("x"), x2="x_end", y=y_pixels("y"), y2="y_end")
    return band


def _cover(marks: alt.Chart, scale: float, name: str, fields: list[str]) -> alt.Chart:
    let_go = alt.selection_point(name=name, fields=fields, on="pointerup", clear=False, toggle=False)
    return _over_all(marks, scale, "crosshair").add_params(let_go)


def _over_all(marks: alt.Chart, scale: float, cursor: Literal["default", "crosshair"]) -> alt.Chart:
    """An invisible mark that fills the view, including labels at its left."""
    all_over: alt.Chart = (
        marks.transform_calculate(left=f"{-30 * scale}", right="width", top="0", bottom="view_bottom")
        .mark_rect(opacity=0, cursor=cursor)
        .encode(
            x=x_pixels("left"),
            x2="right",
            y=y_pixels("top"),
            y2="bottom",
            # No tooltip, but a channel for one: without it Vega-Lite makes the mark ignore the pointer.
            tooltip=alt.value(None),
        )
    )
    return all_over
