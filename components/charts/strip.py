"""The token strip: the text in lines of equally wide letters, laid out so that no token is cut in two.

Of a pooled window it is a map of the text: how each tile begins, in boxes of one width.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from components.charts.colours import ACCENT, BACKGROUND, INK
from components.charts.figure import rows_of
from components.charts.tables import HeadCells
from components.charts.window import in_figures

COLUMNS = 104
"""Letters of a line. The font follows the width between its limits, and the line with it."""

_LETTER, _LINE = 0.61, 1.75
"""Advance of a monospace letter and distance of two lines, in font sizes."""


_BOX, _SMALL_BOX = 13, 8
"""Letters of a tile's box: the small one where there are tiles of queries beside those of keys."""


def strip_table(cells: HeadCells) -> pd.DataFrame:
    """One row for each token or tile of the window, in the order of the text: keys and queries, each once.

    `text` and what is shown of it as `letters`, `at` its first position, its place in the strip (`line`,
    `column` and `columns`, in letters), `key` and `row`, the column and row of the picture that it is, −1 for
    neither, and `i`, the first position of that row. Queries that do not follow the keys stand below them,
    after a line that says where the text goes on.
    """
    keys, rows = cells.keys[["start", "stop", "text"]], cells.queries[["start", "stop", "text"]]
    keys, rows = keys.assign(key=range(len(keys))), rows.assign(row=range(len(rows)))
    if cells.pooled and not cells.window.on_diagonal:  # tiles of different lengths: one text after the other
        parts = [keys.assign(row=-1), rows.assign(key=-1)]
    else:
        both = keys.merge(rows, on=["start", "stop", "text"], how="outer").sort_values("start")
        both = both.fillna({"key": -1, "row": -1}).astype({"key": int, "row": int})
        apart = np.flatnonzero(both["start"].to_numpy()[1:] > both["stop"].to_numpy()[:-1]) + 1
        parts = [both.iloc[slice(*ends)] for ends in pairwise([0, *apart.tolist(), len(both)])]
    box = None if not cells.pooled else _BOX if len(parts) == 1 else _SMALL_BOX
    placed = [_placed(parts[0], box, line=0)]
    for part in parts[1:]:
        line = int(placed[-1]["line"].max()) + 1
        words = f"⋯ queries {in_figures(cells.window.queries)}"
        between = pd.DataFrame([{"start": -1, "stop": -1, "text": words, "key": -1, "row": -1}])
        placed += [_placed(between, None, line), _placed(part, box, line + 1)]
    table = pd.concat(placed, ignore_index=True)
    table["i"] = np.where(table["row"] >= 0, table["start"], -1)
    return table.drop(columns="stop").rename(columns={"start": "at"})


def _placed(part: pd.DataFrame, box: int | None, line: int) -> pd.DataFrame:
    places = pd.DataFrame(token_places(part["text"].tolist(), box), index=part.index)
    return part.join(places).assign(line=places["line"] + line)


def token_places(tokens: Sequence[str], box: int | None = None) -> list[dict[str, Any]]:
    """Where each token stands: the `letters` shown of it, and its `line`, `column` and `columns` in letters.

    A token that is longer than a line has one of its own, for its drawing to shorten. With `box`, each has
    as many letters, the last of them blank.
    """
    places: list[dict[str, Any]] = []
    line = column = 0
    for token in tokens:
        shown = token if box is None else _shortened(token, box - 1)
        columns = min(text_columns(token), COLUMNS) if box is None else box
        if column + columns > COLUMNS:
            line, column = line + 1, 0
        places.append({"letters": shown, "line": line, "column": column, "columns": columns})
        column += columns
    return places


def _shortened(text: str, columns: int) -> str:
    """As much of the beginning of a text as fits."""
    taken = 0
    for place, character in enumerate(text):
        taken += _columns(character)
        if taken > columns:
            return text[:place]
    return text


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


def strip(attention_title: str, colours: alt.Scale) -> list[alt.Chart]:
    """The text, each token or tile shaded by how much the pointed row reads it, query and key framed.

    Layers for a view with the table "text" (`strip_table`) and these parameters: `letter`, the `letter_size`;
    `strip_top`, where the strip begins in pixels; `row` and `key`, what is pointed at; `reach` and `before`,
    how many cells each row has and how many come before it; `attentions`, the head's numbers;
    `attention_limit`, where `colours` are full.
    """
    read = "datum.key >= 0 && row >= 0 && datum.key < reach[row]"
    box = {
        "x": f"datum.column * letter * {_LETTER}",
        "x_end": f"(datum.column + datum.columns) * letter * {_LETTER} - 1",
        "y": f"strip_top + datum.line * letter * {_LINE}",
        "y_end": f"datum.y + letter * {_LINE} - 3",
    }
    tokens = (
        rows_of("text")
        .transform_calculate(**box)
        .transform_calculate(value=f"{read} ? attentions[before[row] + datum.key] : 0")
    )
    across, down = alt.X("x:Q", scale=None, axis=None), alt.Y("y:Q", scale=None, axis=None)
    shades = tokens.mark_rect(cursor="pointer", cornerRadius=2).encode(
        x=across,
        x2="x_end",
        y=down,
        y2="y_end",
        color=alt.Color("value:Q", scale=colours, legend=None),
        tooltip=[
            alt.Tooltip("at:Q", title="position", format=",d"),
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
        text="letters:N",
        color=alt.condition("abs(datum.value) > attention_limit / 2", alt.value(BACKGROUND), alt.value(INK)),
    )
    frames = (
        tokens.transform_filter("row >= 0 && (datum.row === row || datum.key === key)")
        .mark_rect(fill=None, stroke=ACCENT, strokeWidth=2.5, cornerRadius=2, tooltip=None)
        .encode(x=across, x2="x_end", y=down, y2="y_end")
    )
    return [shades, letters, frames]
