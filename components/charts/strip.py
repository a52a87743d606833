"""The token strip: the text in lines of equally wide letters, laid out so that no token is cut in two.

For a pooled window it is a map of the text: how each tile begins, in boxes of one width.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Container, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from components.charts.axes import x_pixels, y_pixels
from components.charts.cells import HeadCells
from components.charts.colours import ACCENT, QUIET, letters_on
from components.charts.figure import rows_of
from components.charts.window import Window, in_figures, tiles_of

ACROSS = (32, 42, 54, 70, 90, 116, 150, 194, 250, 320)
"""Letters of a line, for views of every width: the text is laid out for each, and a view takes the most
letters that are legible in it. Each line is as wide as the view."""

LETTER, LINE = 0.61, 1.75
"""Advance of a monospace letter and distance of two lines, in font sizes."""

STAMP = "now() + 0 * press_x[0]"
"""Vega expression: a new number at each press, so that pressing the same mark twice fires twice."""

_MIN_LETTER = 12
"""Least font size in pixels, where the view is not narrower than the shortest line."""

_BOX, _SMALL_BOX = 13, 8
"""Letters of a tile's box: the small one if tiles of queries stand beside those of keys."""


def strip_table(cells: HeadCells) -> dict[str, Any]:
    """One row for each token or tile of the window, in the order of the text: keys and queries, each once.

    Columns by name: `text` and the part of it to show, `letters`, on `columns`; positions `at` to `stop` − 1;
    `line_A` and `column_A`, where it stands in letters for each width A of ACROSS; `key` and `row`, its
    column and row in the picture, −1 for none; and `i`, the first position of that row, else −1. Queries
    that do not follow the keys stand below them, after a line that says where the text goes on.

    Cached, and the same for every head: read only.
    """
    return _laid_out(cells.window, tuple(cells.queries["text"]), tuple(cells.keys["text"]))


@lru_cache(maxsize=32)
def _laid_out(window: Window, query_texts: tuple[str, ...], key_texts: tuple[str, ...]) -> dict[str, Any]:
    rows, keys = _tiles(window.queries, query_texts, "row"), _tiles(window.keys, key_texts, "key")
    if window.pooled and not window.on_diagonal:  # tiles of different lengths: one text after the other
        parts = [keys.assign(row=-1), rows.assign(key=-1)]
    else:
        both = keys.merge(rows, on=["start", "stop", "text"], how="outer").sort_values("start")
        both = both.fillna({"key": -1, "row": -1}).astype({"key": int, "row": int})
        apart = np.flatnonzero(both["start"].to_numpy()[1:] > both["stop"].to_numpy()[:-1]) + 1
        parts = [both.iloc[slice(*ends)] for ends in pairwise([0, *apart.tolist(), len(both)])]
    box = None if not window.pooled else _BOX if len(parts) == 1 else _SMALL_BOX
    words = f"⋯ queries {in_figures(window.queries)}"
    between = pd.DataFrame([{"start": -1, "stop": -1, "text": words, "key": -1, "row": -1}])
    table = pd.concat(
        [parts[0], *(each for part in parts[1:] for each in (between, part))], ignore_index=True
    )
    starts = [0, *np.cumsum([len(part) + 1 for part in parts[:-1]])]
    boxed = [box if at >= 0 else None for at in table["start"]]
    letters = [
        text if box is None else _shortened(text, box - 1)
        for text, box in zip(table["text"], boxed, strict=True)
    ]
    columns = [
        text_columns(text) if box is None else box for text, box in zip(table["text"], boxed, strict=True)
    ]
    # A part begins a line of its own, and so do the words before it.
    breaks = {int(start) - before for start in starts[1:] for before in (0, 1)}
    corners: dict[str, Any] = {}
    for across in ACROSS:
        lines, begins = lines_of(columns, across, breaks)
        corners |= {
            f"line_{across}": np.array(lines, np.int16),
            f"column_{across}": np.array(begins, np.int16),
        }
    table = table.assign(letters=letters, columns=np.array(columns, np.int16), **corners)
    table["i"] = np.where(table["row"] >= 0, table["start"], -1)
    table = table.rename(columns={"start": "at"})
    return {str(name): column.to_numpy() for name, column in table.items()}


def _tiles(positions: range, texts: Sequence[str], order: str) -> pd.DataFrame:
    """The tiles of some positions, with their texts and their index in the `order` of rows or columns."""
    tiles = tiles_of(positions)
    ends = {"start": [tile.start for tile in tiles], "stop": [tile.stop for tile in tiles]}
    return pd.DataFrame({**ends, "text": texts, order: range(len(tiles))})


def lines_of(columns: Sequence[int], across: int, breaks: Container[int] = ()) -> tuple[list[int], list[int]]:
    """The line and the first column of each of some tokens on lines of `across` letters; none is cut in two.

    `columns` are their letters. A token longer than a line has it alone, and the chart shortens it.
    At the tokens in `breaks` a new line begins.
    """
    lines, begins = [], []
    line = column = 0
    for index, wide in enumerate(columns):
        if column and (column + wide > across or index in breaks):
            line, column = line + 1, 0
        lines.append(line)
        begins.append(column)
        column += wide
    return lines, begins


def letters_across(scale: float) -> str:
    """Vega expression: letters of a line, one of ACROSS, for type `scale` times as large as usual."""
    fewest, *more = ACROSS
    expression = str(fewest)
    for across in more:
        expression = f"width >= {across * LETTER * _MIN_LETTER * scale} ? {across} : ({expression})"
    return expression


def _shortened(text: str, columns: int) -> str:
    """As much of the beginning of a text as fits, ending in "…" if that is not all of it."""
    widths = _columns(text)
    if sum(widths) <= columns:
        return text
    taken = 0
    for index, wide in enumerate(widths):
        taken += wide
        if taken > columns - 1:
            return f"{text[:index]}…"
    return text


def text_columns(text: str) -> int:
    """Letters that a text takes in a monospace font: two for wide ones, none for combining ones."""
    return max(sum(_columns(text)), 1)


def _columns(text: str) -> list[int]:
    """Letters that each character of a text takes."""
    columns: list[int] = []
    for character in text:
        if character == _AS_EMOJI and columns and columns[-1]:
            columns[-1] = 2
        if unicodedata.category(character) in {"Mn", "Me", "Cf"} or _joins(character):
            columns.append(0)
        else:
            columns.append(2 if unicodedata.east_asian_width(character) in "WF" else 1)
    return columns


_AS_EMOJI = "\ufe0f"
"""The variation selector that asks for a character as an emoji, which is wide."""


def _joins(character: str) -> bool:
    """Whether a character of a letter's category merges into the one before."""
    # Vowels and finals of Hangul syllables that are written in parts; skin tones.
    return "\u1160" <= character <= "\u11ff" or "\U0001f3fb" <= character <= "\U0001f3ff"


def strip(
    attention_title: str,
    of_row: str,
    colours: alt.Scale,
    strength: Callable[[str, str], str],
    scale: float,
    *,
    signed: bool,
) -> list[alt.Chart]:
    """The text, each token or tile shaded by how much the shown row reads it, query and key framed; or shaded
    by the sums of a span, and the span framed.

    Layers for a view with the table "text" (`strip_table`), the head's numbers as lists, and the parameters
    of `components.charts.panels`: where the strip begins, how many letters are `across` it, and the shown
    cell. `strength` builds the Vega expression of a value's position on the scale `colours`, which is
    diverging if `signed`. `of_row` stands between the text and the query of the row, such as "read by".
    """
    read = "datum.key >= 0 && row >= 0 && datum.key < reach[row]"
    slot = "(read_by ? datum.row : datum.key)"
    box = {
        "x": f"datum['column_' + across] * letter * {LETTER}",
        "x_end": f"min((datum['column_' + across] + datum.columns) * letter * {LETTER} - 1, width)",
        "y": f"strip_top + datum['line_' + across] * letter * {LINE}",
        "y_end": f"datum.y + letter * {LINE} - 3",
        "stamp": STAMP,
        "value": f"summed ? ({slot} >= 0 ? sums[{slot}] || 0 : 0)"
        f" : {read} ? attentions[before[row] + datum.key] : 0",
    }
    tokens = (
        rows_of("text")
        .transform_calculate(**box)
        .transform_calculate(strength=strength("datum.value", "bar_full"))
        .transform_calculate(ink=letters_on("datum.strength", signed=signed))
    )
    across, down = x_pixels("x"), y_pixels("y")
    shades = tokens.mark_rect(cursor="pointer", cornerRadius=2).encode(
        x=across,
        x2="x_end",
        y=down,
        y2="y_end",
        color=alt.Color("strength:Q", scale=colours, legend=None),
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
        limit=alt.ExprRef("width"),
        dy=alt.ExprRef(f"letter * {LINE / 2} - 1.5"),
        tooltip=None,
    ).encode(
        x=across,
        y=down,
        text="letters:N",
        color=alt.Color("ink:N", scale=None),
    )
    framed = "summed ? datum.at >= span_start && datum.stop <= span_stop"
    framed += " : row >= 0 && (datum.row === row || datum.key === key)"
    frames = (
        tokens.transform_filter(framed)
        .mark_rect(fill=None, stroke=ACCENT, strokeWidth=2.5, cornerRadius=2, tooltip=None)
        .encode(x=across, x2="x_end", y=down, y2="y_end")
    )
    title = (
        rows_of("scene")
        .transform_calculate(
            x="0",
            y=f"strip_top - {12 * scale}",
            text="'The text' + (summed ? ', shaded by the sums of the span' : row < 0 ? ''"
            f" : ', {of_row} query ' + query_positions[row] + (pointing ? ', pointed at' : ', kept'))",
        )
        .mark_text(
            align="left",
            baseline="middle",
            fontSize=13 * scale,
            color=QUIET,
            tooltip=None,
            limit=alt.ExprRef("width"),
        )
        .encode(x=across, y=down, text="text:N")
    )
    return [shades, letters, frames, title]
