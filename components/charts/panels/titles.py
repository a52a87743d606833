"""The words in the panels' view: titles, operators, and the figures of the shown cell."""

from __future__ import annotations

from typing import Any

import altair as alt

from components.charts.axes import x_pixels, y_pixels
from components.charts.colours import ACCENT, INK, QUIET
from components.charts.figure import inline
from components.charts.panels.geometry import GAP
from components.charts.panels.look import Look


def words(look: Look) -> list[alt.Chart]:
    """Titles, operators and the figures of the shown cell, in the empty upper triangles or above."""
    *factors, _ = look.kind.factors
    names, operators = [factor.title for factor in (*factors, look.shown)], look.operators
    titles = [
        {
            "panel": panel,
            "y": 12,
            "y_above": 10,
            "text": name,
            # Stacked panels leave no gap for an operator.
            "after": f"{operators[panel - 1]}  {name}" if panel else name,
        }
        for panel, name in enumerate(names)
    ]
    figures = [
        {"panel": panel, "y": 94, "y_above": 10, "name": name} for panel, name in enumerate(look.panels)
    ]
    notes = [{"panel": panel, "y": 70, "y_above": 70, "name": name} for panel, name in enumerate(look.panels)]
    shown = ", ".join(f"{name}: {name}s[cell]" for name in look.panels)
    sentence = [
        {"panel": 0, "y": 116, "y_above": 38, "of": "row"},
        {"panel": 0, "y": 133, "y_above": 55, "of": "key"},
        {"panel": 0, "y": 150, "y_above": 72, "of": "state"},
    ]
    gaps = [{"panel": panel, "text": text} for panel, text in enumerate(operators)]
    return [
        _beside(
            look,
            titles,
            17,
            INK,
            left_above=True,
            text="stacked && note === '' ? datum.after : datum.text",
            fontWeight="bold",
        ),
        _between(look, gaps, 60.0, 34.0),
        *([_between(look, [{"panel": 1, "text": "· dt"}], 34.0, 20.0)] if look.shown.with_dt else []),
        *(_about(look) if look.kind.about else []),
        _beside(
            look,
            notes,
            12,
            QUIET,
            text="replace(note, '{}', datum.name === 'attention' ? statistic : 'mean')",
        ),
        _beside(
            look,
            figures,
            20,
            ACCENT,
            fontWeight="bold",
            text=f"format({{{shown}}}[datum.name], '.3~g')",
        ).transform_filter("row >= 0"),
        _beside(
            look,
            sentence,
            13,
            ACCENT,
            left_above=True,
            limit=alt.ExprRef(f"side - {140 * look.scale}"),  # up to the cells, or up to the legend
            text="datum.of === 'row' ? 'query ' + query_positions[row] + '  ' + query_texts[row]"
            " : datum.of === 'key' ? 'reads key ' + key_positions[key] + '  ' + key_texts[key]"
            " : pointing ? 'pointed at' : 'kept'",
        ).transform_filter("row >= 0"),
    ]


def _between(look: Look, rows: list[dict[str, Any]], y: float, size: float) -> alt.Chart:
    """Operators in the gap after a `panel`. The mean of a product is not the product of the
    means, so tiles have none.
    """
    words: alt.Chart = (
        inline(rows)
        .transform_filter("note === '' && !stacked")
        .transform_calculate(
            x=f"lefts[datum.panel] + side * {1 + GAP / 2}",
            y=f"tops[datum.panel] - head_room + {y * look.scale}",
        )
        .mark_text(fontSize=size * look.scale, color=QUIET, baseline="middle", align="center", tooltip=None)
    )
    return words.encode(x=x_pixels("x"), y=y_pixels("y"), text="text:N")


def _about(look: Look) -> list[alt.Chart]:
    """Words where a third panel would be."""
    rows = [{"line": line, "text": text} for line, text in enumerate(look.kind.about)]
    words: alt.Chart = (
        inline(rows)
        .transform_calculate(
            x="lefts[2]",
            y=f"tops[2] - head_room + {12 * look.scale} + {18 * look.scale} * datum.line",
        )
        .mark_text(fontSize=13 * look.scale, color=QUIET, baseline="middle", align="left", tooltip=None)
    )
    return [words.encode(x=x_pixels("x"), y=y_pixels("y"), text="text:N")]


def _beside(
    look: Look,
    rows: list[dict[str, Any]],
    size: int,
    colour: Any,
    *,
    left_above: bool = False,
    text: str = "datum.text",
    **mark: Any,
) -> alt.Chart:
    """Text at the right edge of its panel, at `y`; or above it at `y_above`, perhaps at the left edge."""
    at = [row | {y: row[y] * look.scale for y in ("y", "y_above")} for row in rows]
    leftwards = "head_room > 0" if left_above else "false"
    words: alt.Chart = (
        inline(at)
        .transform_calculate(
            x=f"lefts[datum.panel] + ({leftwards} ? 0 : side)",
            height="tops[datum.panel] - head_room + (head_room > 0 ? datum.y_above : datum.y)",
            words=text,
        )
        .mark_text(
            fontSize=size * look.scale,
            color=colour,
            baseline="middle",
            align=alt.ExprRef(f"{leftwards} ? 'left' : 'right'"),
            tooltip=None,
            **mark,
        )
    )
    return words.encode(x=x_pixels("x"), y=y_pixels("height"), text="words:N")
