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

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from components.ssd.attention import effective_attention, resolve
from components.ssd.terms import SSDTerms

DIRECT_ENTRIES = 2048 * 2048
"""A window with no more entries of M is computed entry by entry, which is then faster. It is more accurate
too: over single entries, a sum of squares that separates has lost half of its digits where C·B cancels."""

DIRECT_BYTES = 2**25
"""Memory of the rows of M that are computed at a time."""

LEAF_POSITIONS = 128
"""Longer leaves cost more where they are computed directly, shorter ones where they are added up."""


def tile_edges(length: int, tiles: int) -> Int64[Tensor, " edge"]:
    """Where tiles begin and end: [min(tiles, length) + 1] positions, the first 0 and the last `length`.

    Tiles differ in length by one position at most. Raises ValueError when there is no tile or no position.
    """
    if tiles < 1 or length < 1:
        raise ValueError(f"{length} positions cannot be cut into {tiles} tiles; both have to be at least 1.")
    count = min(tiles, length)
    return torch.arange(count + 1) * length // count


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
    if statistic not in ("mean", "rms"):
        raise ValueError(f"There is no statistic {statistic!r}: it is 'mean' or 'rms'.")
    chosen = resolve("head", heads, terms.heads)
    rows, columns = _range("queries", queries, terms.length), _range("keys", keys, terms.length)
    power = 1 if statistic == "mean" else 2
    window = _Window.of(rows, columns, tiles)
    if len(rows) * len(columns) <= DIRECT_ENTRIES:
        out = _direct_sums(terms, chosen, window, power, include_dt_scaling)
    else:
        out = _separable_sums(terms, chosen, window, power, include_dt_scaling)
    area = window.rows.diff()[:, None] * window.columns.diff()
    out /= area.to(out.device)
    return out if power == 1 else out.clamp_(min=0).sqrt_()


def _direct_sums(
    terms: SSDTerms, heads: Int64[Tensor, " head"], window: _Window, power: int, with_dt: bool
) -> Float32[Tensor, "batch head row column"]:
    """Σ M^power over each tile, from all the entries of M, some rows at a time."""
    device = terms.dt.device
    first, last = int(window.columns[0]), int(window.columns[-1])
    to_columns = torch.eye(len(window.columns) - 1).repeat_interleave(window.columns.diff(), dim=0).to(device)
    tile_of_row = _tile_of(window.rows).to(device)
    out = torch.zeros(len(terms.dt), len(heads), len(window.rows) - 1, len(window.columns) - 1, device=device)
    step = max(1, DIRECT_BYTES // (4 * len(terms.dt) * len(heads) * (last - first)))
    for start in range(int(window.rows[0]), int(window.rows[-1]), step):
        stop = min(start + step, int(window.rows[-1]))
        reached = min(last, stop)
        if reached <= first:
            continue
        M = effective_attention(
            terms,
            heads=heads.tolist(),
            queries=slice(start, stop),
            keys=slice(first, reached),
            include_dt_scaling=with_dt,
        )
        M = M if power == 1 else M.square_()
        which = slice(start - int(window.rows[0]), stop - int(window.rows[0]))
        out.index_add_(2, tile_of_row[which], M @ to_columns[: reached - first])
    return out


def _separable_sums(
    terms: SSDTerms, heads: Int64[Tensor, " head"], window: _Window, power: int, with_dt: bool
) -> Float32[Tensor, "batch head row column"]:
    """Σ M^power over each tile, from sums over rows and sums over columns."""
    out = torch.empty(
        len(terms.dt), len(heads), len(window.rows) - 1, len(window.columns) - 1, device=terms.dt.device
    )
    for b in range(len(terms.dt)):
        leaves: dict[int, _Leaves] = {}
        for place, head in enumerate(heads.tolist()):
            group = head // terms.heads_per_group
            if group not in leaves:
                leaves = {group: _Leaves.of(terms, window, b, group)}
            out[b, place] = _sums(terms, window, leaves[group], b, head, power, with_dt)
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

    def leaf(self, positions: Int64[Tensor, " position"]) -> Int64[Tensor, " position"]:
        """The leaves that begin at these positions, or next after them."""
        return torch.searchsorted(self.starts, positions)


@dataclass(frozen=True)
class _Leaves:
    """What all heads of a group share: positions, B and C of each leaf, padded to equal length."""

    positions: Int64[Tensor, "leaf position"]
    padding: Bool[Tensor, "leaf position"]
    B: Float32[Tensor, "leaf position state"]
    C: Float32[Tensor, "leaf position state"]

    @staticmethod
    def of(terms: SSDTerms, window: _Window, b: int, group: int) -> _Leaves:
        starts, lengths = window.starts, window.stops - window.starts
        offsets = torch.arange(int(lengths.max()))
        padding = offsets >= lengths[:, None]
        positions = torch.where(padding, starts[:, None], starts[:, None] + offsets).to(terms.B.device)
        return _Leaves(positions, padding, terms.B[b, positions, group], terms.C[b, positions, group])


def _sums(
    terms: SSDTerms, window: _Window, leaves: _Leaves, b: int, head: int, power: int, with_dt: bool
) -> Float32[Tensor, "row column"]:
    """Σ M^power over each tile, for one head."""
    device = leaves.B.device
    cum: Float64[Tensor, " seq"] = terms.cum_log_decay[b, head]
    at = cum[leaves.positions.to(cum.device)]
    padding = leaves.padding.to(cum.device)
    first, last = cum[window.starts.to(cum.device)], cum[window.stops.to(cum.device) - 1]
    row = (at - first[:, None]).exp().masked_fill(padding, 0).to(device, torch.float32)
    column = (last[:, None] - at).exp().masked_fill(padding, 0).to(device, torch.float32)
    dt = terms.dt[b, leaves.positions, head] if with_dt else None
    if dt is not None:
        column = column * dt

    wanted_rows = slice(int(window.leaf(window.rows[:1])), int(window.leaf(window.rows[-1:])))
    wanted_columns = slice(int(window.leaf(window.columns[:1])), int(window.leaf(window.columns[-1:])))
    row_sums = _leaf_sums(leaves.C[wanted_rows], row[wanted_rows], power)
    column_sums = _leaf_sums(leaves.B[wanted_columns], column[wanted_columns], power)
    row_tile = _tile_of(window.leaf(window.rows) - wanted_rows.start)
    column_tile = _tile_of(window.leaf(window.columns) - wanted_columns.start)
    row_first, column_last = first[wanted_rows], last[wanted_columns]
    tile_first = cum[window.rows[:-1].to(cum.device)]
    tile_last = cum[window.columns[1:].to(cum.device) - 1]
    before = window.columns[1:] <= window.rows[:-1, None]

    total = _separated(
        _tile_sums(row_sums, row_tile, (row_first - tile_first[row_tile]) * power),
        _tile_sums(column_sums, column_tile, (tile_last[column_tile] - column_last) * power),
        tile_first,
        tile_last,
        before,
        power,
    )
    # Tiles that the diagonal crosses: pairs of leaves that follow each other, and leaves met by themselves.
    crossed = ~before & (window.columns[:-1] < window.rows[1:, None])
    row_leaf = torch.arange(wanted_rows.start, wanted_rows.stop)
    column_leaf = torch.arange(wanted_columns.start, wanted_columns.stop)
    for tile in crossed.any(dim=1).nonzero()[:, 0].tolist():
        in_row = (row_tile == tile).nonzero()[:, 0]
        in_column = crossed[tile][column_tile].nonzero()[:, 0]
        in_column = in_column[column_leaf[in_column] < row_leaf[in_row[-1]]]
        if not len(in_column):
            continue
        pairs = _separated(
            row_sums[in_row],
            column_sums[in_column],
            row_first[in_row],
            column_last[in_column],
            column_leaf[in_column] < row_leaf[in_row, None],
            power,
        )
        total[tile].index_add_(0, column_tile[in_column].to(device), pairs.sum(dim=0))
    both = slice(max(wanted_rows.start, wanted_columns.start), min(wanted_rows.stop, wanted_columns.stop))
    if both.start < both.stop:
        own = _own_sums(leaves, both, at[both], None if dt is None else dt[both], power)
        tile_row = row_tile[both.start - wanted_rows.start : both.stop - wanted_rows.start]
        tile_column = column_tile[both.start - wanted_columns.start : both.stop - wanted_columns.start]
        total.index_put_((tile_row.to(device), tile_column.to(device)), own, accumulate=True)
    return total


def _leaf_sums(
    vectors: Float32[Tensor, "leaf position state"], weights: Float32[Tensor, "leaf position"], power: int
) -> Float32[Tensor, "leaf entry"]:
    """Σ w·v of each leaf, or Σ w²·v·vᵀ, flat."""
    if power == 1:
        return (weights[:, None] @ vectors)[:, 0]
    weighted = vectors * weights[..., None]
    return (weighted.mT @ weighted).flatten(1)


def _tile_of(first_leaves: Int64[Tensor, " edge"]) -> Int64[Tensor, " leaf"]:
    """The tile of each leaf, from the first leaf of each tile."""
    return torch.repeat_interleave(torch.arange(len(first_leaves) - 1), first_leaves.diff())


def _tile_sums(
    sums: Float32[Tensor, "leaf entry"], tile: Int64[Tensor, " leaf"], log_decay: Float64[Tensor, " leaf"]
) -> Float32[Tensor, "tile entry"]:
    """The sums of leaves, decayed, added up to those of tiles."""
    count = int(tile[-1]) + 1
    if count == len(tile):
        return sums
    decayed = sums * log_decay.exp().to(sums.device, torch.float32)[:, None]
    return sums.new_zeros(count, sums.shape[1]).index_add_(0, tile.to(sums.device), decayed)


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
    log_decay = log_decay.masked_fill(~before.to(log_decay.device), -torch.inf)
    return (row_sums @ column_sums.mT).mul_(log_decay.exp().to(row_sums.device, torch.float32))


def _own_sums(
    leaves: _Leaves,
    which: slice,
    at: Float64[Tensor, "leaf position"],
    dt: Float32[Tensor, "leaf position"] | None,
    power: int,
) -> Float32[Tensor, " leaf"]:
    """Σ M^power of each leaf with itself, entry by entry."""
    M = leaves.C[which] @ leaves.B[which].mT
    padding = leaves.padding[which].to(at.device)
    later = torch.ones(M.shape[1:], dtype=torch.bool, device=at.device).triu(1)
    difference = (at[:, :, None] - at[:, None, :]).masked_fill_(later | padding[:, :, None], -torch.inf)
    M *= difference.float().exp_().to(M.device)
    if dt is not None:
        M *= dt[:, None]
    return M.sum(dim=(1, 2)) if power == 1 else M.square_().sum(dim=(1, 2))


def _range(what: str, positions: slice | None, length: int) -> range:
    found = range(length)[positions or slice(None)]
    if found.step != 1 or not len(found):
        raise ValueError(
            f"{what}={positions} is no window of {length} positions: give a slice without a step, such as "
            f"slice(0, {length}), that holds one position at least."
        )
    return found
