"""Tables that the charts draw: one row per mark, numbers straight from `components.ssd`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int
from torch import Tensor

from components.charts.tokens import joined_labels
from components.charts.window import MOST_TILES, Window, in_figures, tiles_of
from components.ssd import (
    SoftmaxTerms,
    SSDTerms,
    content,
    decay,
    effective_attention,
    half_life,
    mean_distance,
    pooled_attention,
    pooled_content,
    pooled_decay,
    pooled_scores,
    pooled_softmax,
    scores,
    softmax_attention,
)

Statistic = Literal["mean", "rms"]

Kind = Literal["ssm", "attention"]
"""Of heads: those of a Mamba-2 mixer, and those of softmax attention, which hybrids have beside them."""
KINDS: tuple[Kind, ...] = get_args(Kind)


class Place(NamedTuple):
    """A layer's heads of one kind."""

    layer: int
    kind: Kind = "ssm"

    def __str__(self) -> str:
        """As "layer 9" or "layer 9, softmax attention"."""
        return f"layer {self.layer}{', softmax attention' if self.kind == 'attention' else ''}"


Terms = SSDTerms | SoftmaxTerms

TILE_LETTERS = 60
"""Of the text of a tile."""

MOST_LAGS = MOST_TILES
"""Points of a decay curve."""


@dataclass(frozen=True, eq=False)
class HeadCells:
    """One head, seen through a window: a row for each tile of queries, a column for each tile of keys.

    In a window of no more than MOST_TILES tokens each tile is one token. `queries` and `keys` have one row
    per tile: its positions `start` to `stop` − 1, its `text`, ready for display, and of keys the mean `dt`.

    `cells` has one row per cell on or below the diagonal, row by row: `row` and `column`, the first query
    position `i` and key position `j`, their texts `query` and `key`, `content` C·B, `decay` L, `attention` M,
    `attention_dt` M·dt, and `dt` of the key. Of larger tiles these are the exact means over the tile, entries
    above the diagonal counting as zero; if `statistic` is "rms", attention is the root mean square.

    Of softmax attention (`kind`), `content` are the scores and `attention` is the pattern; it has no decay
    and no dt.
    """

    window: Window
    statistic: Statistic
    queries: pd.DataFrame
    keys: pd.DataFrame
    cells: pd.DataFrame
    kind: Kind = "ssm"

    @property
    def pooled(self) -> bool:
        """Whether some tile is larger than a token."""
        return self.window.pooled

    @property
    def unsigned(self) -> bool:
        """Whether attention has no sign: that of a softmax, or the root mean square of several entries."""
        return self.kind == "attention" or (self.pooled and self.statistic == "rms")

    def row_of(self, query: int) -> int:
        """The row that holds a query position of the window."""
        return int(np.searchsorted(self.queries["start"], query, side="right")) - 1

    def column_of(self, key: int) -> int:
        """The column that holds a key position of the window."""
        return int(np.searchsorted(self.keys["start"], key, side="right")) - 1

    def row(self, query: int) -> pd.DataFrame:
        """The cells of the row that holds a query position, by column."""
        return self.cells[self.cells["row"] == self.row_of(query)]

    def matrix(self, values: pd.Series[float]) -> Float32[np.ndarray, "row column"]:
        """A column of `cells` as a matrix, zero above the diagonal."""
        matrix = np.zeros((len(self.queries), len(self.keys)), dtype=np.float32)
        matrix[self.cells["row"], self.cells["column"]] = values
        return matrix


def head_cells(
    terms: Terms,
    head: int,
    tokens: Sequence[str],
    window: Window | None = None,
    *,
    statistic: Statistic = "mean",
) -> HeadCells:
    """What a window shows of one head; by default the whole text. See `HeadCells`.

    `terms` and `tokens` are those of the whole text (one), the latter ready for display. Raises ValueError
    when nothing of the window is on or below the diagonal.
    """
    window = window or Window.whole(terms.length)
    seen = window.within(terms.length)
    if seen is None:
        raise ValueError(
            f"{window} shows nothing of {terms.length} tokens: no query in it reads a key in it."
        )
    rows, columns = tiles_of(seen.queries), tiles_of(seen.keys)
    read = np.array([part.stop for part in rows])[:, None] > np.array([part.start for part in columns])
    row, column = np.nonzero(read)
    at: dict[str, Any] = {
        "heads": [head],
        "queries": slice(seen.queries.start, seen.queries.stop),
        "keys": slice(seen.keys.start, seen.keys.stop),
    }
    matrices = (
        _softmax_matrices(terms, seen.pooled, statistic, at)
        if isinstance(terms, SoftmaxTerms)
        else _ssd_matrices(terms, seen.pooled, statistic, at)
    )
    queries, keys = tile_table(rows, tokens), tile_table(columns, tokens)
    if isinstance(terms, SSDTerms):
        dt = terms.dt[0, at["keys"], head].cpu().numpy()
        sums = np.add.reduceat(dt, keys["start"].to_numpy() - seen.keys.start)
        keys["dt"] = (sums / (keys["stop"] - keys["start"])).astype(np.float32)
    cells = pd.DataFrame(
        {
            "row": row.astype(np.int16),
            "column": column.astype(np.int16),
            "i": queries["start"].to_numpy()[row],
            "j": keys["start"].to_numpy()[column],
            "query": queries["text"].to_numpy()[row],
            "key": keys["text"].to_numpy()[column],
            **{name: matrix[0, 0].cpu().numpy()[row, column] for name, matrix in matrices.items()},
            **({"dt": keys["dt"].to_numpy()[column]} if "dt" in keys else {}),
        }
    )
    kind: Kind = "attention" if isinstance(terms, SoftmaxTerms) else "ssm"
    return HeadCells(seen, statistic, queries, keys, cells, kind)


def _ssd_matrices(
    terms: SSDTerms, pooled: bool, statistic: Statistic, at: dict[str, Any]
) -> dict[str, Tensor]:
    if pooled:
        return {
            "content": pooled_content(terms, **at),
            "decay": pooled_decay(terms, **at),
            "attention": pooled_attention(terms, statistic=statistic, **at),
            "attention_dt": pooled_attention(terms, statistic=statistic, include_dt_scaling=True, **at),
        }
    return {
        "content": content(terms, **at),
        "decay": decay(terms, **at),
        "attention": effective_attention(terms, **at),
        "attention_dt": effective_attention(terms, include_dt_scaling=True, **at),
    }


def _softmax_matrices(
    terms: SoftmaxTerms, pooled: bool, statistic: Statistic, at: dict[str, Any]
) -> dict[str, Tensor]:
    if pooled:
        return {
            "content": pooled_scores(terms, **at),
            "attention": pooled_softmax(terms, statistic=statistic, **at),
        }
    return {"content": scores(terms, **at), "attention": softmax_attention(terms, **at)}


def tile_table(tiles: Sequence[range], tokens: Sequence[str]) -> pd.DataFrame:
    """One row per tile: its positions, `start` to `stop` − 1, and how its `text` begins."""
    return pd.DataFrame(
        {
            "start": np.array([tile.start for tile in tiles], dtype=np.int32),
            "stop": np.array([tile.stop for tile in tiles], dtype=np.int32),
            "text": pd.Series([tile_text(tokens, tile) for tile in tiles], dtype=object),
        }
    )


def tile_text(tokens: Sequence[str], tile: range) -> str:
    """How the text of a tile begins; a tile of one token is that token."""
    if len(tile) == 1:
        return tokens[tile.start]
    # A character is of four tokens at most.
    text = joined_labels(tokens[tile.start : min(tile.stop, tile.start + 4 * TILE_LETTERS + 4)])
    return text if len(text) <= TILE_LETTERS else f"{text[:TILE_LETTERS]}…"


def row_table(cells: HeadCells, query: int) -> pd.DataFrame:
    """What the query position `query` reads, one row per key position in their order, with readable names.

    Columns: key position, key token, content, decay, dt, attention, attention·dt; of softmax attention key
    position, key token, score, attention. In a pooled window, what the tile of that query reads, one row per
    tile of keys: their positions, and how their text begins.
    """
    names = {"j": "key position", "key": "key token", "attention_dt": "attention·dt"}
    row = cells.row(query)
    if cells.pooled:
        names |= {"j": "key positions", "key": "key text"}
        ranges = [range(*ends) for ends in zip(cells.keys["start"], cells.keys["stop"], strict=True)]
        row = row.assign(j=[in_figures(ranges[column]) for column in row["column"]])
    columns = ["j", "key", "content", "decay", "dt", "attention", "attention_dt"]
    if cells.kind == "attention":
        columns, names = ["j", "key", "content", "attention"], names | {"content": "score"}
    return row[columns].rename(columns=names).reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class SpanSums:
    """A span of the text as one row: what its `positions` read together or, if `read_by`, what reads them.

    `sums` has an entry for each tile of a window's keys, Σᵢ M[i, j] over the span's queries i; or, if
    `read_by`, for each tile of its queries, Σⱼ M[i, j] over the span's keys j. Of a larger tile it is the
    mean over its positions. `text` is how the span begins.
    """

    positions: range
    read_by: bool
    sums: Float32[np.ndarray, " tile"]
    text: str

    @property
    def title(self) -> str:
        """What the sums are."""
        figures = in_figures(self.positions)
        several = len(self.positions) > 1
        if self.read_by:
            return f"What reads {figures}  {self.text}{': the sum of these columns' if several else ''}"
        return f"What {figures}  {self.text} read{': the sum of these rows' if several else 's'}"

    @property
    def strongest(self) -> int:
        """The tile with the largest sum, of either sign."""
        return int(np.abs(self.sums).argmax())


def span_sums(
    terms: Terms,
    head: int,
    tokens: Sequence[str],
    positions: range,
    window: Window,
    *,
    read_by: bool = False,
    with_dt: bool = False,
) -> SpanSums:
    """The sums of attention, or of M·dt, over a span of positions, for the tiles of a window. See `SpanSums`.

    ValueError if the text has not all of the positions.
    """
    if not len(positions) or positions.start < 0 or positions.stop > terms.length:
        raise ValueError(f"{positions} is no span of a text of {terms.length} tokens.")
    queries, keys = (window.queries, positions) if read_by else (positions, window.keys)
    at: dict[str, Any] = {"queries": slice(queries.start, queries.stop), "keys": slice(keys.start, keys.stop)}
    means = (
        _pooled(terms, with_dt, heads=[head], tiles=MOST_TILES, statistic="mean", **at)[0, 0].cpu().numpy()
    )
    sizes = np.array([len(tile) for tile in tiles_of(positions)], dtype=np.float64)
    summed = means @ sizes if read_by else sizes @ means
    return SpanSums(positions, read_by, summed.astype(np.float32), tile_text(tokens, positions))


def strongest_tile(terms: Terms, head: int, window: Window, *, with_dt: bool = False) -> Window:
    """The tile of a window with the largest root mean square of attention, or of M·dt.

    Tile maxima cannot be had without building M; the RMS is what is called strongest.
    """
    at: dict[str, Any] = {
        "heads": [head],
        "queries": slice(window.queries.start, window.queries.stop),
        "keys": slice(window.keys.start, window.keys.stop),
    }
    strength = _pooled(terms, with_dt, statistic="rms", **at)[0, 0]
    row, column = divmod(int(strength.argmax()), strength.shape[1])
    return Window(tiles_of(window.queries)[row], tiles_of(window.keys)[column])


def attention_tiles(
    terms: Terms, tiles: int, *, heads: Sequence[int] | None = None
) -> Float32[np.ndarray, "head tile tile"]:
    """Small pictures of the whole text: the root mean square of attention over tiles, head by head."""
    return _pooled(terms, False, heads=heads, tiles=tiles, statistic="rms")[0].cpu().numpy()


def _pooled(terms: Terms, with_dt: bool, **at: Any) -> Float32[Tensor, "batch head row column"]:
    """Attention over tiles, whichever kind it is."""
    if isinstance(terms, SoftmaxTerms):
        return pooled_softmax(terms, **at)
    return pooled_attention(terms, include_dt_scaling=with_dt, **at)


def locked_limits(
    layers: Mapping[Place, Terms],
    window: Window | None = None,
    *,
    with_dt: bool = False,
    statistic: Statistic = "mean",
) -> dict[str, float]:
    """Largest |content| and |attention| (|M·dt| if `with_dt`) over all heads of all given layers in a window.

    `layers` maps a layer's index and kind to its terms (one text). One such pair of limits makes the colours
    of different heads of a kind comparable. In a pooled window it is the largest of the tiles.
    """
    limits = {"content": 0.0, "attention": 0.0}
    for terms in layers.values():
        seen = (window or Window.whole(terms.length)).within(terms.length)
        if seen is None:
            continue
        at: dict[str, Any] = {
            "queries": slice(seen.queries.start, seen.queries.stop),
            "keys": slice(seen.keys.start, seen.keys.stop),
        }
        if isinstance(terms, SoftmaxTerms):
            matrices = _softmax_matrices(terms, seen.pooled, statistic, at)
        else:
            of_groups = range(0, terms.heads, terms.heads_per_group)  # heads of a group share their content
            matched, read = (
                (pooled_content, partial(pooled_attention, statistic=statistic))
                if seen.pooled
                else (content, effective_attention)
            )
            matrices = {
                "content": matched(terms, heads=of_groups, **at),
                "attention": read(terms, include_dt_scaling=with_dt, **at),
            }
        limits = {name: max(limits[name], float(matrix.abs().max())) for name, matrix in matrices.items()}
    return limits


def measure_table(layers: Mapping[Place, Terms]) -> pd.DataFrame:
    """One row per head: `layer`, `kind`, `head`, and `half_life` and `mean_distance`, in tokens, of all text.

    `mean_distance_error` is the standard error of the latter; zero where it is exact. Softmax attention does
    not decay: its half-life is NaN. `layers` maps a layer's index and kind to its terms (one text).
    """
    parts = []
    for (layer, kind), terms in layers.items():
        distance = mean_distance(terms)
        half = half_life(terms)[0].cpu().numpy() if isinstance(terms, SSDTerms) else np.nan
        parts.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "kind": kind,
                    "head": np.arange(terms.heads),
                    "half_life": np.float32(half),
                    "mean_distance": distance.value[0].cpu().numpy(),
                    "mean_distance_error": distance.error[0].cpu().numpy(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def survival_table(terms: SSDTerms, key: int = 0) -> pd.DataFrame:
    """One row per head and lag: `survival` L of what position `key` wrote, `lag` tokens later.

    Of more than MOST_LAGS tokens, lags that are evenly spread on a logarithmic axis. `half_life` repeats the
    head's, in tokens.
    """
    lags = _spread(terms.length - key)
    survival = decay(terms, keys=[key], queries=(key + lags).tolist())[0, :, :, 0].cpu().numpy()
    heads, count = survival.shape
    return pd.DataFrame(
        {
            "head": np.repeat(np.arange(heads, dtype=np.int16), count),
            "lag": np.tile(lags.astype(np.int32), heads),
            "survival": survival.ravel(),
            "half_life": np.repeat(half_life(terms)[0].cpu().numpy(), count),
        }
    )


def _spread(count: int) -> Int[np.ndarray, " lag"]:
    """Lags from zero to count − 1: all, or MOST_LAGS of them at most, ever farther apart."""
    if count <= MOST_LAGS:
        return np.arange(count)
    return np.unique(np.concatenate([[0], np.geomspace(1, count - 1, MOST_LAGS - 1).round()]).astype(int))
