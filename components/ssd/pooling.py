"""Exact statistics of M over tiles, in time linear in the text and without building M.

With the names of `components.ssd.terms`. Take rows a ≤ i < b and columns c ≤ j < d that all come before them,
d ≤ a. The decay from j to i goes through the last column, e = d − 1, and the first row:

    L[i,j] = r[i] · g · c[j]      r[i] = exp(cum[i] − cum[a])
                                  g    = exp(cum[a] − cum[e])
                                  c[j] = exp(cum[e] − cum[j])

All three are at most one, so nothing overflows, and the sums over the tile separate:

    Σ M[i,j]  = g  · ⟨Σ r[i] C[i] ,       Σ c[j] B[j]⟩
    Σ M[i,j]² = g² · ⟨Σ r[i]² C[i] C[i]ᵀ , Σ c[j]² B[j] B[j]ᵀ⟩

(the second inner product is that of matrices, entry by entry). With dt scaling, c[j] carries dt[j].

The text is cut into *leaves* so that every tile is made of whole leaves and no leaf is longer than
`LEAF_POSITIONS`. Two leaves either follow each other, and separate, or are the same, and are computed
directly. The sums of leaves, decayed, add up to those of tiles, so each is computed once.

Derived from state-space duality, Dao & Gu 2024, arXiv 2405.21060, section 6 (block decomposition).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise

import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from components.ssd.attention import effective_attention, position_range, resolve
from components.ssd.terms import SSDTerms

# The figures below are of `python -m benchmarks.tricks`, on two cores.

DIRECT_ENTRIES = {"mean": 512 * 512, "rms": 2048 * 2048}
"""A window with no more entries of M is computed entry by entry. At 512 tokens, means of separate sums take
1.1 times as long, at 1,024 half as long. RMS of 24 heads takes 2.3 times as long at 1,024, and as long at
2,048. For RMS, entry by entry is more accurate too: over single entries, a sum of squares that separates has
lost half of its digits where C·B cancels."""

DIRECT_BYTES = 2**25
"""Memory of the rows of M that are computed at a time."""

_MAX_LOG = 140.0
"""exp of half of this, times a few thousand, is still a number of float32."""

_LEAVES_AT_A_TIME = 64
"""Leaves whose weighted vectors are in memory at a time. RMS over 131,072 tokens takes 347 MB; with all at a
time it takes 604 MB, and up to 1.4 times as long."""

LEAF_POSITIONS = 128
"""Longer leaves cost more where they are computed directly, shorter ones where they are added up. At 131,072
tokens, 256 take 1.7 (RMS) to 4 times (mean) as long, and 64 take 0.7 to 0.8 times, in twice the memory; at
16,384, 64 take up to 1.3 times as long."""


def tile_edges(length: int, tiles: int) -> Int64[Tensor, " edge"]:
    """Where tiles begin and end: [min(tiles, length) + 1] positions, the first 0 and the last `length`.

    Tiles differ in length by one position at most. Raises ValueError when there is no tile or no position.
    """
    if tiles < 1 or length < 1:
        raise ValueError(f"{length} positions cannot be cut into {tiles} tiles; both have to be at least 1.")
    count = min(tiles, length)
    return torch.arange(count + 1) * length // count


def check_statistic(statistic: str) -> None:
    """Raise ValueError for anything but "mean" or "rms"."""
    if statistic not in ("mean", "rms"):
        raise ValueError(f"There is no statistic {statistic!r}: it is 'mean' or 'rms'.")


def pooled_attention(
    terms: SSDTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    tiles: int = 128,
    queries: slice | None = None,
    keys: slice | None = None,
    statistic: str = "mean",
    include_dt_scaling: bool = False,
) -> Float32[Tensor, "batch heads query_tiles key_tiles"]:
    """Mean or root mean square of M over each tile of a window; entries above the diagonal count as zero.

    `queries` and `keys` are slices of positions without a step; None means all. Each is cut at
    `tile_edges(length of the slice, tiles)`. With `include_dt_scaling` it is M·dt. Memory: for one head at a
    time, two vectors (mean) or two matrices state × state (RMS) per leaf of up to 128 positions. IndexError
    when a head does not exist, ValueError for a window without positions or another statistic.
    """
    check_statistic(statistic)
    rows, columns = (
        position_range("queries", queries, terms.length),
        position_range("keys", keys, terms.length),
    )
    # Rows that a hook replaced do not separate.
    if len(rows) * len(columns) <= DIRECT_ENTRIES[statistic] or terms.edited_attention:
        return pooled_directly(
            partial(effective_attention, include_dt_scaling=include_dt_scaling),
            terms,
            heads=heads,
            tiles=tiles,
            queries=queries,
            keys=keys,
            statistic=statistic,
        )
    chosen, window = resolve("head", heads, terms.heads), _Window.of(rows, columns, tiles)
    power = 1 if statistic == "mean" else 2
    sums = _separable_sums(terms, chosen, window, power, include_dt_scaling)
    return _statistic_of(sums, window, power)


def pooled_directly(
    entries: Callable[..., Float32[Tensor, "batch heads queries keys"]],
    terms: SSDTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    tiles: int = 128,
    queries: slice | None = None,
    keys: slice | None = None,
    statistic: str = "mean",
) -> Float32[Tensor, "batch heads query_tiles key_tiles"]:
    """Mean or root mean square over each tile of any matrix, from all its entries, some rows at a time.

    `entries` takes terms, heads, queries and keys, as `effective_attention` does; other arguments and errors
    as for `pooled_attention`. Work: every entry of the window on or below the diagonal.
    """
    check_statistic(statistic)
    power = 1 if statistic == "mean" else 2
    window = _Window.of(
        position_range("queries", queries, terms.length),
        position_range("keys", keys, terms.length),
        tiles,
    )
    chosen = resolve("head", heads, terms.heads)
    return _statistic_of(_direct_sums(entries, terms, chosen, window, power), window, power)


def _statistic_of(
    sums: Float32[Tensor, "batch head row column"], window: _Window, power: int
) -> Float32[Tensor, "batch head row column"]:
    """Means or root mean squares, in place of the sums of each tile."""
    area = window.rows.diff()[:, None] * window.columns.diff()
    sums /= area.to(sums.device)
    return sums if power == 1 else sums.clamp_(min=0).sqrt_()


def pooled_content(
    terms: SSDTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    tiles: int = 128,
    queries: slice | None = None,
    keys: slice | None = None,
) -> Float32[Tensor, "batch heads query_tiles key_tiles"]:
    """Mean of C Bᵀ over each tile of a window; arguments and errors as for `pooled_attention`.

    It is M where nothing decays. The mean of M is not the product of the means of its factors.
    """
    still = torch.zeros((), dtype=torch.float64, device=terms.cum_log_decay.device)
    undecayed = replace(terms, cum_log_decay=still.expand_as(terms.cum_log_decay), edited_attention=())
    return pooled_attention(undecayed, heads=heads, tiles=tiles, queries=queries, keys=keys)


def pooled_decay(
    terms: SSDTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    tiles: int = 128,
    queries: slice | None = None,
    keys: slice | None = None,
) -> Float32[Tensor, "batch heads query_tiles key_tiles"]:
    """Mean of L over each tile of a window; arguments and errors as for `pooled_attention`.

    It is M where every query matches every key, C·B = 1.
    """
    batch, seq = terms.dt.shape[:2]
    one = terms.B.new_ones(()).expand(batch, seq, 1, 1)
    matching = replace(terms, B=one, C=one, edited_attention=terms.edited_decay)
    return pooled_attention(matching, heads=heads, tiles=tiles, queries=queries, keys=keys)


def _direct_sums(
    entries: Callable[..., Float32[Tensor, "batch heads queries keys"]],
    terms: SSDTerms,
    heads: Int64[Tensor, " head"],
    window: _Window,
    power: int,
) -> Float32[Tensor, "batch head row column"]:
    """Σ M^power over each tile, from all the entries of M, some rows at a time."""
    device = terms.dt.device
    first, last = int(window.columns[0]), int(window.columns[-1])
    each = torch.eye(len(window.columns) - 1, dtype=torch.float32)
    to_columns = each.repeat_interleave(window.columns.diff(), dim=0).to(device)
    tile_of_row = _tile_of(window.rows).to(device)
    out = terms.dt.new_zeros(len(terms.dt), len(heads), len(window.rows) - 1, len(window.columns) - 1)
    step = max(1, DIRECT_BYTES // (4 * len(terms.dt) * max(len(heads), 1) * (last - first)))
    for start in range(int(window.rows[0]), int(window.rows[-1]), step):
        stop = min(start + step, int(window.rows[-1]))
        reached = min(last, stop)
        if reached <= first:
            continue
        M = entries(terms, heads=heads.tolist(), queries=slice(start, stop), keys=slice(first, reached))
        M = M if power == 1 else M.square_()
        which = slice(start - int(window.rows[0]), stop - int(window.rows[0]))
        out.index_add_(2, tile_of_row[which], M @ to_columns[: reached - first])
    return out


def _separable_sums(
    terms: SSDTerms, heads: Int64[Tensor, " head"], window: _Window, power: int, with_dt: bool
) -> Float32[Tensor, "batch head row column"]:
    """Σ M^power over each tile, from sums over rows and sums over columns."""
    out = terms.dt.new_empty(len(terms.dt), len(heads), len(window.rows) - 1, len(window.columns) - 1)
    entries = terms.B.shape[-1] ** power
    # Once for all heads: fresh memory costs as much as filling it.
    room = (
        out.new_empty(len(window.row_tile), entries),
        out.new_empty(len(window.column_tile), entries),
    )
    for b in range(len(terms.dt)):
        leaves: dict[int, _Leaves] = {}
        for chosen, head in enumerate(heads.tolist()):
            group = head // terms.heads_per_group
            if group not in leaves:
                leaves = {group: _Leaves.of(terms, window, b, group, power)}
            out[b, chosen] = _sums(terms, window, leaves[group], room, b, head, power, with_dt)
    return out


@dataclass(frozen=True)
class _Window:
    """The positions of a picture, cut into tiles and leaves. Leaves are numbered from the left."""

    rows: Int64[Tensor, " row_edge"]
    columns: Int64[Tensor, " column_edge"]
    starts: Int64[Tensor, " leaf"]
    stops: Int64[Tensor, " leaf"]

    @staticmethod
    def of(queries: range, keys: range, tiles: int) -> _Window:
        rows = queries.start + tile_edges(len(queries), tiles)
        columns = keys.start + tile_edges(len(keys), tiles)
        edges = torch.cat([rows, columns]).unique()
        parts = [
            start + tile_edges(stop - start, -(-(stop - start) // LEAF_POSITIONS))
            for start, stop in pairwise(edges.tolist())
            if start in queries or start in keys  # and not between two windows far apart
        ]
        return _Window(
            rows, columns, torch.cat([part[:-1] for part in parts]), torch.cat([part[1:] for part in parts])
        )

    @cached_property
    def row_leaves(self) -> slice:
        """The leaves of the rows."""
        return self._leaves(self.rows[0], self.rows[-1])

    @cached_property
    def column_leaves(self) -> slice:
        """The leaves of the columns."""
        return self._leaves(self.columns[0], self.columns[-1])

    @cached_property
    def own_leaves(self) -> slice:
        """The leaves of both rows and columns."""
        rows, columns = self.row_leaves, self.column_leaves
        start = max(rows.start, columns.start)
        return slice(start, max(start, min(rows.stop, columns.stop)))

    @cached_property
    def row_tile(self) -> Int64[Tensor, " row_leaf"]:
        """The tile of each leaf of the rows."""
        return _tile_of(torch.searchsorted(self.starts, self.rows))

    @cached_property
    def column_tile(self) -> Int64[Tensor, " column_leaf"]:
        """The tile of each leaf of the columns."""
        return _tile_of(torch.searchsorted(self.starts, self.columns))

    @cached_property
    def crossings(self) -> list[tuple[int, slice, slice]]:
        """Tiles of rows that the diagonal crosses: their row leaves, and the column leaves before the last of
        these in the column tiles that it crosses. Counted from the first row leaf and column leaf.
        """
        found = []
        for tile, (start, stop) in enumerate(pairwise(self.rows.tolist())):
            rows = self._leaves(start, stop)
            whole = int((self.columns[1:] <= start).sum())  # tiles of columns that lie before all rows
            if whole == len(self.columns) - 1:
                continue
            first = int(torch.searchsorted(self.starts, self.columns[whole]))
            columns = slice(first, min(rows.stop - 1, self.column_leaves.stop))
            if columns.start < columns.stop:
                first_row, first_column = self.row_leaves.start, self.column_leaves.start
                found.append(
                    (
                        tile,
                        slice(rows.start - first_row, rows.stop - first_row),
                        slice(columns.start - first_column, columns.stop - first_column),
                    )
                )
        return found

    def _leaves(self, start: Tensor | int, stop: Tensor | int) -> slice:
        return slice(*torch.searchsorted(self.starts, torch.tensor([int(start), int(stop)])).tolist())


@dataclass(frozen=True)
class _Leaves:
    """What all heads of a group share: B and C of each leaf, padded to equal length, and C Bᵀ of its own."""

    positions: Int64[Tensor, "leaf position"]
    padding: Bool[Tensor, "leaf position"]
    B: Float32[Tensor, "leaf position state"]
    C: Float32[Tensor, "leaf position state"]
    own: Float32[Tensor, "own_leaf position position"]
    """(C Bᵀ)^power on and below the diagonal, zero above."""

    @staticmethod
    def of(terms: SSDTerms, window: _Window, b: int, group: int, power: int) -> _Leaves:
        lengths = window.stops - window.starts
        offsets = torch.arange(int(lengths.max()))
        padding = offsets >= lengths[:, None]
        positions = torch.where(padding, window.starts[:, None], window.starts[:, None] + offsets)
        positions = positions.to(terms.B.device)
        B, C = terms.B[b, positions, group], terms.C[b, positions, group]
        own = (C[window.own_leaves] @ B[window.own_leaves].mT).tril_()
        return _Leaves(positions, padding, B, C, own if power == 1 else own.square_())


def _sums(
    terms: SSDTerms,
    window: _Window,
    leaves: _Leaves,
    room: tuple[Float32[Tensor, "row_leaf entry"], Float32[Tensor, "column_leaf entry"]],
    b: int,
    head: int,
    power: int,
    with_dt: bool,
) -> Float32[Tensor, "row column"]:
    """Σ M^power over each tile, for one head. `room` holds the sums of leaves."""
    device = leaves.B.device
    cum: Float64[Tensor, " seq"] = terms.cum_log_decay[b, head]
    at = cum[leaves.positions.to(cum.device)]
    filled = ~leaves.padding.to(device)
    dt = terms.dt[b, leaves.positions, head] if with_dt else filled
    first, last = cum[window.starts.to(cum.device)], cum[window.stops.to(cum.device) - 1]
    row = (at - first[:, None]).exp_().to(device, torch.float32).mul_(filled)
    column = (last[:, None] - at).clamp_(max=0).exp_().to(device, torch.float32).mul_(dt).mul_(filled)

    row_sums, column_sums = (
        _leaf_sums(vectors[which], weights[which], space, power)
        for vectors, weights, which, space in (
            (leaves.C, row, window.row_leaves, room[0]),
            (leaves.B, column, window.column_leaves, room[1]),
        )
    )
    row_first, column_last = first[window.row_leaves], last[window.column_leaves]
    tile_first = cum[window.rows[:-1].to(cum.device)]
    tile_last = cum[window.columns[1:].to(cum.device) - 1]
    total = _separated(
        _tile_sums(row_sums, window.row_tile, (row_first - tile_first[window.row_tile]) * power),
        _tile_sums(column_sums, window.column_tile, (tile_last[window.column_tile] - column_last) * power),
        tile_first,
        tile_last,
        window.columns[1:] <= window.rows[:-1, None],
        power,
    )
    row_starts, column_stops = window.starts[window.row_leaves], window.stops[window.column_leaves]
    for tile, rows, columns in window.crossings:
        pairs = _separated(
            row_sums[rows],
            column_sums[columns],
            row_first[rows],
            column_last[columns],
            column_stops[columns] <= row_starts[rows, None],
            power,
        )
        total[tile].index_add_(0, window.column_tile[columns].to(device), pairs.sum(dim=0))
    own = window.own_leaves
    if own.start < own.stop:
        tiles = [
            tile[own.start - leaves_of.start : own.stop - leaves_of.start].to(device)
            for tile, leaves_of in (
                (window.row_tile, window.row_leaves),
                (window.column_tile, window.column_leaves),
            )
        ]
        sums = _own_sums(leaves.own, at[own], filled[own], (dt * filled)[own].float(), power)
        total.index_put_(tuple(tiles), sums, accumulate=True)
    return total


def _leaf_sums(
    vectors: Float32[Tensor, "leaf position state"],
    weights: Float32[Tensor, "leaf position"],
    room: Float32[Tensor, "leaf entry"],
    power: int,
) -> Float32[Tensor, "leaf entry"]:
    """Σ w·v of each leaf, or Σ w²·v·vᵀ, flat, in `room`."""
    state = vectors.shape[-1]
    for some in torch.arange(len(vectors)).split(_LEAVES_AT_A_TIME):
        part = slice(int(some[0]), int(some[-1]) + 1)
        if power == 1:
            torch.bmm(weights[part, None], vectors[part], out=room[part, None])
        else:
            weighted = vectors[part] * weights[part, :, None]
            torch.bmm(weighted.mT, weighted, out=room[part].view(-1, state, state))
    return room


def _tile_of(first_leaves: Int64[Tensor, " edge"]) -> Int64[Tensor, " leaf"]:
    """The tile of each leaf, from the first leaf of each tile."""
    return torch.repeat_interleave(torch.arange(len(first_leaves) - 1), first_leaves.diff())


def _tile_sums(
    sums: Float32[Tensor, "leaf entry"], tile: Int64[Tensor, " leaf"], log_decay: Float64[Tensor, " leaf"]
) -> Float32[Tensor, "tile entry"]:
    """The sums of leaves, decayed, added up to those of tiles."""
    counts = tile.bincount().tolist()
    if len(counts) == len(tile):
        return sums
    decay = log_decay.exp().to(sums.device, torch.float32)
    return torch.stack([d @ part for d, part in zip(decay.split(counts), sums.split(counts), strict=True)])


def _separated(
    row_sums: Float32[Tensor, "row entry"],
    column_sums: Float32[Tensor, "column entry"],
    first: Float64[Tensor, " row"],
    last: Float64[Tensor, " column"],
    before: Bool[Tensor, "row column"],
    power: int,
) -> Float32[Tensor, "row column"]:
    """g^power · ⟨row sum, column sum⟩ where the column comes before the row, zero elsewhere."""
    log_decay = (first[:, None] - last) * power
    decay = log_decay.masked_fill_(~before.to(log_decay.device), -torch.inf).exp_()
    decay = decay.to(row_sums.device, torch.float32)
    return decay.mul_(row_sums @ column_sums.mT)


def _own_sums(
    own: Float32[Tensor, "leaf position position"],
    at: Float64[Tensor, "leaf position"],
    filled: Bool[Tensor, "leaf position"],
    weights: Float32[Tensor, "leaf position"],
    power: int,
) -> Float32[Tensor, " leaf"]:
    """Σ M^power of each leaf with itself: `own` is its (C Bᵀ)^power, `weights` of its columns dt or one.

    Between the ends of a leaf the decay separates too, as long as both factors fit into float32.
    """
    least = at.min(dim=1).values
    middle = (least + at[:, 0])[:, None] / 2
    row = ((at - middle) * power).exp_().to(own.device, torch.float32).mul_(filled)
    column = ((middle - at) * power).exp_().to(own.device, torch.float32).mul_(weights**power)
    sums = ((own @ column[..., None])[..., 0] * row).sum(dim=1)
    steep = ((at[:, 0] - least) * power > _MAX_LOG).nonzero()[:, 0]
    later = torch.ones(own.shape[1:], dtype=torch.bool, device=at.device).triu(1)
    for some in steep.split(_LEAVES_AT_A_TIME):
        difference = (at[some, :, None] - at[some, None, :]) * power
        beyond = ~filled[some, :, None].to(at.device)
        L = difference.masked_fill_(later | beyond, -torch.inf).float().exp_().to(own.device)
        L *= own[some]
        sums[some] = (L @ (weights[some] ** power)[..., None]).sum(dim=(1, 2))
    return sums
