"""Marks in every panel at once: the shown cell with its row and column, and a span of the text."""

from __future__ import annotations

import altair as alt

from components.charts.axes import x_pixels, y_pixels
from components.charts.colours import ACCENT
from components.charts.figure import inline
from components.charts.panels.geometry import FILLED
from components.charts.panels.look import Look
from components.charts.strip import STAMP


def marks_of_shown(look: Look) -> list[alt.Chart]:
    """Query row, key column and frame of the shown cell in every panel; and, while the pointer is on another
    row, the kept row, dashed.
    """
    shown = (
        inline(look.each_panel)
        .transform_filter("row >= 0")
        .transform_calculate(
            i="query_starts[row]",
            j="query_stops[row] - query_starts[row] === 1 && key_stops[key] - key_starts[key] === 1"
            " ? key_starts[key] : null",
            stamp=STAMP,
            query="query_positions[row]",
            query_text="query_texts[row]",
            key="key_positions[key]",
            key_text="key_texts[key]",
            **{name: f"{name}s[cell]" for name in look.panels},
            **({"dt": "dts[key]"} if look.kind.step_size else {}),
            left="lefts[datum.panel]",
            x="datum.left + side * key / key_slots",
            x_end="datum.x + side / key_slots",
            row_end="datum.left + side * reach[row] / key_slots",
            y="tops[datum.panel] + side * row / row_slots",
            y_end="datum.y + side / row_slots",
            top="tops[datum.panel] + side * tops_of_keys[key] / row_slots",
            bottom=f"tops[datum.panel] + side * {FILLED}",
        )
    )
    kept = (
        inline(look.each_panel)
        .transform_filter("pointing && kept_row >= 0 && kept_row !== row")
        .transform_calculate(
            left="lefts[datum.panel]",
            row_end="datum.left + side * reach[kept_row] / key_slots",
            y="tops[datum.panel] + side * kept_row / row_slots",
            y_end="datum.y + side / row_slots",
        )
        .mark_rect(fill=None, stroke=ACCENT, strokeWidth=1, strokeDash=[3, 3], tooltip=None)
    )
    band = shown.mark_rect(fill=None, stroke=ACCENT, strokeWidth=1.5, tooltip=None)
    frame = shown.mark_rect(fill="transparent", stroke=ACCENT, strokeWidth=3, cursor="pointer")
    return [
        kept.encode(x=x_pixels("left"), x2="row_end", y=y_pixels("y"), y2="y_end"),
        band.encode(x=x_pixels("left"), x2="row_end", y=y_pixels("y"), y2="y_end"),
        band.encode(x=x_pixels("x"), x2="x_end", y=y_pixels("top"), y2="bottom"),
        frame.encode(
            x=x_pixels("x"),
            x2="x_end",
            y=y_pixels("y"),
            y2="y_end",
            tooltip=[
                alt.Tooltip("query:N", title="query i"),
                alt.Tooltip("query_text:N", title="query token"),
                alt.Tooltip("key:N", title="key j"),
                alt.Tooltip("key_text:N", title="key token"),
                *_figures(look),
            ],
        ),
    ]


def marks_of_span(look: Look) -> list[alt.Chart]:
    """In every panel, the rows of a span of the text or, if it is read, its columns."""
    spans = (
        inline(look.each_panel)
        .transform_filter("summed && span_to > span_from")
        .transform_calculate(
            x="lefts[datum.panel] + (read_by ? side * span_from / key_slots : 0)",
            x_end="lefts[datum.panel] + side * (read_by ? span_to : reach[span_to - 1]) / key_slots",
            y="tops[datum.panel] + side * (read_by ? tops_of_keys[span_from] : span_from) / row_slots",
            y_end=f"tops[datum.panel] + side * (read_by ? {FILLED} : span_to / row_slots)",
        )
        .mark_rect(fill=None, stroke=ACCENT, strokeWidth=1.5, tooltip=None)
    )
    return [spans.encode(x=x_pixels("x"), x2="x_end", y=y_pixels("y"), y2="y_end")]


def _figures(look: Look) -> list[alt.Tooltip]:
    """The numbers of the shown cell."""
    *factors, _ = look.kind.factors
    names = {factor.name: factor.label or factor.name for factor in factors}
    names |= {"dt": "dt of key"} if look.kind.step_size else {}
    names |= {"attention": look.shown_title}
    return [alt.Tooltip(f"{name}:Q", title=title, format=".3~g") for name, title in names.items()]
