"""The token strip: the text in lines of equally wide letters, laid out so that no token is cut in two."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import altair as alt

from components.charts.colours import ACCENT, BACKGROUND, INK, diverging
from components.charts.figure import rows_of

COLUMNS = 104
"""Letters of a line. The font follows the width between its limits, and the line with it."""

_LETTER, _LINE = 0.61, 1.75
"""Advance of a monospace letter and distance of two lines, in font sizes."""


def token_places(tokens: Sequence[str], first: int) -> list[dict[str, Any]]:
    """Where each token stands: position `i`, `text`, and its `line`, `column` and `columns` in letters.

    A token that is longer than a line has one of its own, for its drawing to shorten.
    """
    places: list[dict[str, Any]] = []
    line = column = 0
    for i, token in enumerate(tokens, first):
        columns = min(text_columns(token), COLUMNS)
        if column + columns > COLUMNS:
            line, column = line + 1, 0
        places.append({"i": i, "text": token, "line": line, "column": column, "columns": columns})
        column += columns
    return places


def text_columns(text: str) -> int:
    """Letters that a text takes in a monospace font: two for wide characters, none for combining ones."""
    return max(sum(_columns(character) for character in text), 1)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def letter_size(scale: float) -> str:
    """Vega expression: pixels of the strip's font, for type that is `scale` times as large as usual."""
    return f"clamp(width / {COLUMNS * _LETTER}, {11 * scale}, {16 * scale})"


def strip(attention_title: str, with_dt: bool) -> list[alt.Chart]:
    """The text, each token shaded by how much the pointed row reads it, query and key framed.

    Layers for a view with the table "positions" (`token_places`) and these parameters: `letter`, the
    `letter_size`; `strip_top`, where the strip begins in pixels; `first`, the position of the first token;
    `row` and `key`, what is pointed at; `contents`, `decays` and `dts`, the head's numbers;
    `attention_limit`, where colours are full.
    """
    place = "datum.i - first"
    # Index of (row, this token) in the triangle, row by row.
    entry = f"row * (row + 1) / 2 + {place}"
    read = "contents[datum.entry] * decays[datum.entry]" + (" * datum.dt" if with_dt else "")
    box = {
        "x": f"datum.column * letter * {_LETTER}",
        "x_end": f"(datum.column + datum.columns) * letter * {_LETTER} - 1",
        "y": f"strip_top + datum.line * letter * {_LINE}",
        "y_end": f"datum.y + letter * {_LINE} - 3",
    }
    tokens = (
        rows_of("positions")
        .transform_calculate(**box)
        .transform_calculate(entry=entry, value=f"{place} <= row ? {read} : 0")
    )
    across, down = alt.X("x:Q", scale=None, axis=None), alt.Y("y:Q", scale=None, axis=None)
    shades = tokens.mark_rect(cursor="pointer", cornerRadius=2).encode(
        x=across,
        x2="x_end",
        y=down,
        y2="y_end",
        color=alt.Color("value:Q", scale=diverging("attention_limit"), legend=None),
        tooltip=[
            alt.Tooltip("i:Q", title="position"),
            alt.Tooltip("text:N", title="token"),
            alt.Tooltip("value:Q", title=attention_title, format=".3~g"),
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
        color=alt.condition("abs(datum.value) > attention_limit / 2", alt.value(BACKGROUND), alt.value(INK)),
    )
    frames = (
        tokens.transform_filter(f"row >= 0 && indexof([row, key], {place}) >= 0")
        .mark_rect(fill=None, stroke=ACCENT, strokeWidth=2.5, cornerRadius=2, tooltip=None)
        .encode(x=across, x2="x_end", y=down, y2="y_end")
    )
    return [shades, letters, frames]
