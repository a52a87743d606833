"""The bars below the text: what the shown row reads, key by key, or the sums of a span of the text.

They are a part of the panels' view, so that hovering a bar marks its cell, and the reverse.
"""

from __future__ import annotations

import altair as alt

from components.charts.axes import readable_axis, x_pixels, y_pixels
from components.charts.colours import ACCENT, FAINT, INK, QUIET
from components.charts.figure import inline, rows_of
from components.charts.panels.geometry import LABEL_LIMIT, MIN_SLOTS, ROW_HEIGHT
from components.charts.panels.look import Look
from components.charts.window import TILE_LABEL_STEP

_LABEL_WIDTH = 13
"""Pixels that a label, turned by 90°, takes from left to right."""


def bar_params(look: Look) -> dict[str, str]:
    """Parameters by name.

    The bars stand in `bar_slots`, on a scale from `bar_low` to `bar_high`: of values or, with logarithmic
    colours, of `look.strength`.
    """
    bounds = {"low": "0" if look.unsigned else "-1", "high": "1"}
    full = "(summed ? sums_limit : attention_limit)"

    def bound(end: str) -> str:
        own = f"(summed ? sums_{end} : row < 0 ? 0 : {end}s[row])"
        return f"logarithmic ? {bounds[end]} : locked && !summed ? {bounds[end]} * attention_limit : {own}"

    return {
        "sums_limit": "max(-sums_low, sums_high) || 1",
        "bar_full": full,
        "bar_count": "summed && read_by ? rows : columns",
        "bar_slots": f"max(bar_count, {MIN_SLOTS})",
        "bar_step": f"step > 1 ? {TILE_LABEL_STEP} : ceil({_LABEL_WIDTH * look.scale} * bar_slots / width)",
        "bar_low": bound("low"),
        "bar_top": bound("high"),
        "bar_high": "bar_top > bar_low ? bar_top : bar_low + 1",
    }


def bars(look: Look) -> list[alt.Chart]:
    """The bars, the frame of the shown key, and words above them."""
    scale = look.scale
    of_row = "row >= 0 && datum.slot < reach[row] ? attentions[before[row] + datum.slot] : null"
    value = f"summed ? datum.sum : {of_row}"

    def height(of: str) -> str:
        """Pixels from the top to the height of a value."""
        at = f"(logarithmic ? {look.strength(of, 'bar_full')} : {of})"
        return (
            f"row_bottom - (clamp({at}, bar_low, bar_high) - bar_low) / (bar_high - bar_low) * {{h}}".format(
                h=ROW_HEIGHT * scale
            )
        )

    across, down = x_pixels("x"), y_pixels("y")
    drawn = (
        rows_of("bars")
        .transform_filter("datum.slot < bar_count")
        .transform_calculate(value=value)
        .transform_filter("isValid(datum.value)")
        .transform_calculate(
            strength=look.strength("datum.value", "bar_full"),
            x="(datum.slot + 0.1) / bar_slots * width",
            x_end="(datum.slot + 0.9) / bar_slots * width",
            y=height("datum.value"),
            y_end=height("0"),
            reader="summed ? (read_by ? query_positions[datum.slot] : span_positions) : query_positions[row]",
            reader_text="summed ? (read_by ? query_texts[datum.slot] : span_text) : query_texts[row]",
            read="summed && read_by ? span_positions : key_positions[datum.slot]",
            read_text="summed && read_by ? span_text : key_texts[datum.slot]",
        )
        # An edge, so that a pale bar still has a height.
        .mark_rect(strokeWidth=1, stroke=FAINT)
        .encode(
            x=across,
            x2="x_end",
            y=down,
            y2="y_end",
            color=alt.Color("strength:Q", scale=look.colours(look.kind.attention), legend=None),
            tooltip=[
                alt.Tooltip("reader:N", title="query i"),
                alt.Tooltip("reader_text:N", title="query token"),
                alt.Tooltip("read:N", title="key j"),
                alt.Tooltip("read_text:N", title="key token"),
                alt.Tooltip("value:Q", title=look.shown_title, format=".3~g"),
            ],
        )
    )
    once = rows_of("scene")
    marked = (
        once.transform_filter("row >= 0 && !summed")
        .transform_calculate(
            x="key / bar_slots * width",
            x_end="(key + 1) / bar_slots * width",
            y="row_top",
            y_end="row_bottom",
        )
        .mark_rect(fill=None, stroke=ACCENT, strokeWidth=1.5, tooltip=None)
        .encode(x=across, x2="x_end", y=down, y2="y_end")
    )
    zero = (
        once.transform_calculate(x="0", x_end="width", y=height("0"))
        .mark_rule(stroke=INK, tooltip=None)
        .encode(x=across, x2="x_end", y=down)
    )
    here = (
        once.transform_filter("row >= 0 && !summed")
        .transform_calculate(x="heres[row] / bar_slots * width", y="row_top", y_end="row_bottom")
        .mark_rule(stroke=ACCENT, strokeDash=[4, 4], strokeWidth=1.5, tooltip=None)
        .encode(x=across, y=down, y2="y_end")
    )
    ends = inline([{"end": "high"}, {"end": "low"}])
    figures = (
        ends.transform_calculate(
            at="datum.end === 'high' ? bar_top : bar_low",
            x="-5",
            y=f"datum.end === 'high' ? row_top + {5 * scale} : row_bottom - {5 * scale}",
        )
        .transform_filter("datum.at !== 0")
        .transform_calculate(text="format(logarithmic ? datum.at * bar_full : datum.at, '.2~g')")
        .mark_text(align="right", baseline="middle", fontSize=11 * scale, color=QUIET, tooltip=None)
        .encode(x=across, y=down, text="text:N")
    )
    title = (
        once.transform_calculate(
            x="0",
            y=f"row_top - {16 * scale}",
            text="summed ? span_title : row < 0 ? '' : 'What query ' + query_positions[row] + '  '"
            " + query_texts[row] + ' reads, ' + (pointing ? 'pointed at' : 'kept')",
        )
        .mark_text(
            align="left",
            baseline="middle",
            fontSize=13 * scale,
            color=INK,
            tooltip=None,
            limit=alt.ExprRef("width"),
        )
        .encode(x=across, y=down, text="text:N")
    )
    return [_labels(scale), drawn, zero, here, marked, figures, title]


def _labels(scale: float) -> alt.Chart:
    """The labels below, on an invisible mark."""
    axis = readable_axis(
        "",
        scale,
        orient="bottom",
        offset=alt.ExprRef("row_bottom - height"),
        values=alt.ExprRef("sequence(0.5, bar_count, bar_step)"),
        labelExpr="summed && read_by ? labels[floor(datum.value)] : key_labels[floor(datum.value)]",
        labelFontSize=alt.ExprRef(f"clamp(width / bar_slots, {11 * scale}, {14 * scale})"),
        labelAngle=-90,
        labelOverlap=False,
        labelLimit=LABEL_LIMIT * scale,
        labelBound=False,
        labelFlush=False,
        grid=False,
        ticks=False,
        domain=False,
    )
    slots = alt.Scale(domain=[0, alt.ExprRef("bar_slots")], nice=False, zero=False)
    carrier: alt.Chart = rows_of("scene").mark_point(size=0, opacity=0, tooltip=None)
    return carrier.encode(x=alt.X("kept_row:Q", scale=slots, axis=axis))
