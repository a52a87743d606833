"""One head through a window of a text: a row for each cell of its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from components.charts.tokens import joined_labels
from components.charts.window import Window, in_figures, tiles_of
from components.ssd import Factor, Kind, MixerTerms, Statistic, kind_of

TILE_LETTERS = 60
"""Most letters that a tile shows of its text."""


@dataclass(frozen=True, eq=False)
class HeadCells:
    """One head, seen through a window: a row for each tile of queries, a column for each tile of keys.

    In a window of no more than MAX_TILES tokens each tile is one token. `queries` and `keys` have one row
    per tile: its positions `start` to `stop` − 1, its `text`, ready for display, and of keys the mean `dt`.

    `columns` have one entry per cell on or below the diagonal, row by row: `row` and `column`, the first
    query position `i` and key position `j`, their texts `query` and `key`, `content` C·B, `decay` L,
    `attention` M, `attention_dt` M·dt, and `dt` of the key. For larger tiles these are the exact means over
    the tile, with zero above the diagonal; if `statistic` is "rms", attention is the root mean square.

    Other kinds of heads have other factors instead of content and decay, and perhaps no dt: for softmax
    attention, `content` is the scores and `attention` the pattern.

    `reading` names the one of the kind's readings that is `shown` instead of attention; "" for attention.
    Those that need more than the terms have a column, of their name, only if shown. If they leave out the
    skip, `queries` has it in their unit, the mean of each tile.
    """

    window: Window
    statistic: Statistic
    queries: pd.DataFrame
    keys: pd.DataFrame
    columns: Mapping[str, Any]
    kind: Kind
    reading: str = ""

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The columns as a table, which takes longer to make than they do."""
        return pd.DataFrame(dict(self.columns))

    @property
    def shown(self) -> Factor:
        """Attention, or the reading that is shown instead."""
        return self.kind.reading(self.reading)

    @property
    def values(self) -> Float32[np.ndarray, " cell"]:
        """What is shown: one of the columns."""
        values: Float32[np.ndarray, " cell"] = self.columns[self.shown.name]
        return values

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the tables, about: four for each entry. Heads share the texts."""
        return 4 * (self.queries.size + self.keys.size + len(self.columns) * len(self.columns["row"]))

    @property
    def pooled(self) -> bool:
        """Whether some tile is larger than a token."""
        return self.window.pooled

    @property
    def unsigned(self) -> bool:
        """Whether what is shown has no sign: by its nature, or as the root mean square of several entries."""
        return not self.shown.signed or (self.pooled and self.statistic == "rms")

    def row_of(self, query: int) -> int:
        """The row that holds a query position of the window."""
        return int(np.searchsorted(self.queries["start"], query, side="right")) - 1

    def column_of(self, key: int) -> int:
        """The column that holds a key position of the window."""
        return int(np.searchsorted(self.keys["start"], key, side="right")) - 1

    def cells_of_row(self, row: int) -> slice:
        """Where the cells of a row are in the columns."""
        return slice(*np.searchsorted(self.columns["row"], (row, row + 1)).tolist())

    def row(self, query: int) -> pd.DataFrame:
        """The cells of the row that holds a query position, by column."""
        its_cells = self.cells_of_row(self.row_of(query))
        return pd.DataFrame({name: each[its_cells] for name, each in self.columns.items()})

    def most_read(self, query: int) -> int:
        """The key that a query position reads most, by the size of what is shown; of a pooled window, the
        first of its tile.
        """
        row = self.cells_of_row(self.row_of(query))
        return int(self.columns["j"][row][np.abs(self.values[row]).argmax()])

    def matrix(self, values: Float32[np.ndarray, " cell"]) -> Float32[np.ndarray, "row column"]:
        """One of the columns as a matrix, zero above the diagonal."""
        matrix = np.zeros((len(self.queries), len(self.keys)), dtype=np.float32)
        matrix[self.columns["row"], self.columns["column"]] = values
        return matrix


def head_cells(
    terms: MixerTerms,
    head: int,
    tokens: Sequence[str],
    window: Window | None = None,
    *,
    statistic: Statistic = "mean",
    reading: str = "",
) -> HeadCells:
    """The cells of one head in a window, by default the whole text. See `HeadCells`.

    `terms` and `tokens` are those of one whole text, `tokens` ready for display. `reading` names what is
    shown instead of attention; the terms have to be those that it needs. Raises ValueError if no cell of the
    window is on or below the diagonal.
    """
    window = window or Window.whole(terms.length)
    seen = window.within(terms.length)
    if seen is None:
        raise ValueError(
            f"{window} shows nothing of {terms.length} tokens: no query in it reads a key in it."
        )
    kind = kind_of(terms)
    shown = kind.reading(reading)
    at_hand = (each for each in kind.readings if each.needs == "terms")
    drawn = dict.fromkeys((*kind.factors, *at_hand, shown))
    matrices = {
        factor.name: factor.of(terms, tiles=seen.tiles, statistic=statistic, heads=[head], **seen.slices)
        for factor in drawn
    }
    queries, keys = tile_table(seen.queries, tokens), tile_table(seen.keys, tokens)
    if kind.step_size is not None:
        dt = kind.step_size(terms)[0, seen.slices["keys"], head].cpu().numpy()
        keys = keys.assign(dt=_means(dt, keys))
    if shown.skip is not None:
        skip = shown.skip(terms, heads=[head], queries=seen.slices["queries"])[0, 0].cpu().numpy()
        queries = queries.assign(skip=_means(skip, queries))
    places = _cell_places(seen, tuple(queries["text"]), tuple(keys["text"]))
    row, column = places["row"], places["column"]
    values = {name: matrix[0, 0].cpu().numpy()[row, column] for name, matrix in matrices.items()}
    if "dt" in keys:
        values["dt"] = keys["dt"].to_numpy()[column]
    return HeadCells(seen, statistic, queries, keys, {**places, **values}, kind, reading)


def _means(values: Float32[np.ndarray, " position"], tiles: pd.DataFrame) -> Float32[np.ndarray, " tile"]:
    """The mean over each tile of values of all their positions."""
    starts, stops = tiles["start"].to_numpy(), tiles["stop"].to_numpy()
    means: Float32[np.ndarray, " tile"] = np.add.reduceat(values, starts - starts[0]) / (stops - starts)
    return means.astype(np.float32)


def tile_table(positions: range, tokens: Sequence[str]) -> pd.DataFrame:
    """One row per tile of some positions: its own, `start` to `stop` − 1, and how its `text` begins.

    Cached, and the same for every head: read only.
    """
    return _tile_table(positions, tuple(tokens[positions.start : positions.stop]))


@lru_cache(maxsize=64)
def _tile_table(positions: range, tokens: Sequence[str]) -> pd.DataFrame:
    tiles, first = tiles_of(positions), positions.start
    texts = [tile_text(tokens, range(tile.start - first, tile.stop - first)) for tile in tiles]
    return pd.DataFrame(
        {
            "start": np.array([tile.start for tile in tiles], dtype=np.int32),
            "stop": np.array([tile.stop for tile in tiles], dtype=np.int32),
            "text": pd.Series(texts, dtype=object),
        }
    )


@lru_cache(maxsize=64)
def _cell_places(window: Window, queries: tuple[str, ...], keys: tuple[str, ...]) -> dict[str, Any]:
    """The columns that all heads share: where each cell is, and the texts of its tiles."""
    rows, columns = tiles_of(window.queries), tiles_of(window.keys)
    first, last = np.array([part.start for part in columns]), np.array([part.stop for part in rows])
    row, column = np.nonzero(last[:, None] > first)
    return {
        "row": row.astype(np.int16),
        "column": column.astype(np.int16),
        "i": np.array([part.start for part in rows], dtype=np.int32)[row],
        "j": first.astype(np.int32)[column],
        "query": np.array(queries, dtype=object)[row],
        "key": np.array(keys, dtype=object)[column],
    }


def tile_text(tokens: Sequence[str], tile: range) -> str:
    """How the text of a tile begins; a tile of one token is that token."""
    if len(tile) == 1:
        return tokens[tile.start]
    # A character has at most four tokens.
    text = joined_labels(tokens[tile.start : min(tile.stop, tile.start + 4 * TILE_LETTERS + 4)])
    return text if len(text) <= TILE_LETTERS else f"{text[:TILE_LETTERS]}…"


def row_table(cells: HeadCells, query: int) -> pd.DataFrame:
    """What the query position `query` reads, one row per key position in their order, with readable names.

    Columns: key position, key token, and the factors of the kind of head: content, decay, dt, attention,
    attention·dt; or score, attention. In a pooled window, what the tile of that query reads, one row per tile
    of keys: their positions, and how their text begins.
    """
    *factors, attention = cells.kind.factors
    last = [attention, *(each for each in cells.kind.readings if each.name in cells.columns)]
    names = {"j": "key position", "key": "key token"}
    names |= {factor.name: factor.label or factor.name for factor in (*factors, *last)}
    row = cells.row(query)
    if cells.pooled:
        names |= {"j": "key positions", "key": "key text"}
        ranges = [range(*ends) for ends in zip(cells.keys["start"], cells.keys["stop"], strict=True)]
        row = row.assign(j=[in_figures(ranges[column]) for column in row["column"]])
    dt = ["dt"] if "dt" in row else []
    columns = ["j", "key", *(factor.name for factor in factors), *dt, *(factor.name for factor in last)]
    return row[columns].rename(columns=names).reset_index(drop=True)
