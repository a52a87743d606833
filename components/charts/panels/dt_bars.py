"""The dt of each key, as bars below the decay."""

from __future__ import annotations

from typing import Any

import altair as alt

from components.charts.axes import x_pixels, y_pixels
from components.charts.colours import AMOUNT, IS_DARK, QUIET
from components.charts.figure import inline, rows_of
from components.charts.panels.geometry import DT_HEIGHT, FILLED, FILLED_ACROSS
from components.charts.panels.look import Look


def dt_bars(look: Look) -> list[alt.Chart]:
    """The dt of each key below the decay: how strongly it was written; the largest is beside them."""
    base = f"(tops[1] + side * {FILLED} + {DT_HEIGHT * look.scale + 4})"
    bars: alt.Chart = (
        rows_of("keys")
        .transform_window(number="row_number()")
        .transform_calculate(
            x="lefts[1] + side * (datum.number - 1) / key_slots",
            x_end="datum.x + 0.85 * side / key_slots",
            base=base,
            top=f"{base} - datum.dt / dt_limit * {DT_HEIGHT * look.scale}",
        )
        .mark_rect(fill=alt.ExprRef(f"{IS_DARK} ? '{AMOUNT.dark[1]}' : '{AMOUNT.light[1]}'"), tooltip=None)
        .encode(x=x_pixels("x"), x2="x_end", y=y_pixels("base"), y2="top")
    )
    # Beside the bars, in the gap; hidden where stacked panels leave no room there.
    words: list[dict[str, Any]] = [{"line": 0, "up": DT_HEIGHT * look.scale - 8}, {"line": 1, "up": 5}]
    name = (
        inline(words)
        .transform_calculate(
            x=f"lefts[1] + side * {FILLED_ACROSS} + 5",
            y=f"{base} - datum.up",
            text="datum.line === 0 ? 'dt of key j' : 'up to ' + format(dt_limit, '.2~g')",
        )
        .transform_filter("!stacked || columns < key_slots")
        .mark_text(fontSize=12 * look.scale, color=QUIET, baseline="middle", align="left", tooltip=None)
        .encode(x=x_pixels("x"), y=y_pixels("y"), text="text:N")
    )
    return [bars, name]
