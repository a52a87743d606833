"""Softmax attention of one layer, as hybrids have it beside their Mamba-2 mixers, for any window of a text.

For query position i and key position j ≤ i of a head h that reads group g = h // (heads / groups):

    E[i,j] = scale · ⟨q[i,h], k[j,g]⟩               scores
    P[i,j] = exp(E[i,j]) / Σ_{k≤i} exp(E[i,k])      attention, a distribution in each row

Source: Vaswani et al. 2017, arXiv 1706.03762, eq. 1; grouped queries, Ainslie et al. 2023, arXiv 2305.13245.
Entries with j > i, and those of padding, are exactly zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

from components.ssd.attention import content, position_range, resolve
from components.ssd.edited import EditedRows, put_rows
from components.ssd.pooling import check_statistic, pooled_content, tile_edges
from components.ssd.terms import SSDTerms

BLOCK_BYTES = 2**23
"""Memory of the rows of P that are computed at a time. A quarter takes 1.02 to 1.11 times as long, and
four times as much is not faster for sure, 0.95 to 1.07 times (`python -m benchmarks.tricks`)."""

_MAX_ROWS = 64
"""Rows of one head whose scores are one product. 16 take 1.2 times as long, 256 1.1 times."""


@dataclass(frozen=True, eq=False)
class SoftmaxTerms:
    """What one layer of softmax attention compares.

    `q` and `k` are as the layer compares them, after rotary embedding and any multiplier, in the model's
    precision; everything that follows from them is computed in float32. `valid` is False at padding, which
    neither reads nor is read; None without padding. `edited` are rows of P that a hook replaced in the run;
    all functions that return P use them.
    """

    kind: ClassVar[str] = "softmax"

    q: Float[Tensor, "batch seq head dim"]
    k: Float[Tensor, "batch seq group dim"]
    scale: float
    valid: Bool[Tensor, "batch seq"] | None = None
    edited: tuple[EditedRows, ...] = ()

    def detached(self) -> SoftmaxTerms:
        """The same terms, detached from the graph."""
        edited = tuple(rows.detached() for rows in self.edited)
        return replace(self, q=self.q.detach(), k=self.k.detach(), edited=edited)

    def lengthened(self, length: int) -> SoftmaxTerms:
        """The terms with the text padded to `length` by tokens that neither read nor are read."""
        more = length - self.length
        q, k = (F.pad(each, (0, 0, 0, 0, 0, more)) for each in (self.q, self.k))
        valid = (
            self.q.new_ones(self.batch, self.length, dtype=torch.bool) if self.valid is None else self.valid
        )
        return replace(self, q=q, k=k, valid=F.pad(valid, (0, more)))

    @property
    def batch(self) -> int:
        """Number of texts."""
        return self.q.shape[0]

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.q.shape[1]

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.q.shape[2]

    @property
    def heads_per_group(self) -> int:
        """How many heads read the same keys."""
        return self.heads // self.k.shape[2]


def softmax_attention(
    terms: SoftmaxTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    queries: slice | Sequence[int] | None = None,
    keys: slice | Sequence[int] | None = None,
) -> Float32[Tensor, "batch heads queries keys"]:
    """P, the attention pattern; arguments and errors as for `effective_attention`.

    A row needs the scores of all keys before it, and no other row, so only a window's rows are computed.
    Memory: the output and a constant.
    """
    head_index = resolve("head", heads, terms.heads)
    query_index = resolve("query position", queries, terms.length)
    key_index = resolve("key position", keys, terms.length)
    shape = terms.batch, len(head_index), len(query_index), len(key_index)
    out = torch.zeros(shape, dtype=torch.float32, device=terms.q.device)
    for members, rows, P in _rows(terms, head_index, query_index):
        read = key_index < P.shape[-1]
        columns = torch.nonzero(read).flatten().to(out.device)
        out[:, members, rows].index_copy_(-1, columns, P.index_select(-1, key_index[read].to(P.device)))
    return out


def scores(
    terms: SoftmaxTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    queries: slice | Sequence[int] | None = None,
    keys: slice | Sequence[int] | None = None,
) -> Float32[Tensor, "batch heads queries keys"]:
    """E on and below the diagonal, zero elsewhere; arguments and errors as for `effective_attention`."""
    chosen = resolve("head", heads, terms.heads)
    rows, columns = (
        resolve("query position", queries, terms.length),
        resolve("key position", keys, terms.length),
    )
    shape = terms.batch, len(chosen), len(rows), len(columns)
    out = torch.empty(shape, dtype=torch.float32, device=terms.q.device)
    for row, head in enumerate(chosen.tolist()):
        out[:, row] = content(_alone(terms, head), queries=queries, keys=keys)[:, 0]
    return out


def pooled_softmax(
    terms: SoftmaxTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    tiles: int = 128,
    queries: slice | None = None,
    keys: slice | None = None,
    statistic: str = "mean",
) -> Float32[Tensor, "batch heads query_tiles key_tiles"]:
    """Mean or root mean square of P over each tile of a window; arguments and errors as `pooled_attention`.

    A softmax does not separate, so this takes work for every entry left of the diagonal in the window's rows.
    """
    check_statistic(statistic)
    head_index = resolve("head", heads, terms.heads)
    rows = position_range("queries", queries, terms.length)
    columns = position_range("keys", keys, terms.length)
    row_edges, column_edges = tile_edges(len(rows), tiles), tile_edges(len(columns), tiles)
    device = terms.q.device
    row_tile = torch.repeat_interleave(row_edges.diff()).to(device)
    column_tile = torch.repeat_interleave(column_edges.diff()).to(device)
    shape = terms.batch, len(head_index), len(row_edges) - 1, len(column_edges) - 1
    out = torch.zeros(shape, dtype=torch.float32, device=device)
    for members, which, P in _rows(terms, head_index, torch.arange(rows.start, rows.stop)):
        part = P[..., columns.start : columns.stop]
        part = part if statistic == "mean" else part.square()
        sums = part.new_zeros(*part.shape[:-1], out.shape[-1])
        sums.index_add_(-1, column_tile[: part.shape[-1]], part)
        out[:, members].index_add_(2, row_tile[which], sums)
    out /= (row_edges.diff()[:, None] * column_edges.diff()).to(device)
    return out if statistic == "mean" else out.sqrt_()


def pooled_scores(
    terms: SoftmaxTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    tiles: int = 128,
    queries: slice | None = None,
    keys: slice | None = None,
) -> Float32[Tensor, "batch heads query_tiles key_tiles"]:
    """Mean of E over each tile of a window; arguments and errors as for `pooled_attention`."""
    chosen = resolve("head", heads, terms.heads)
    rows, columns = (
        tile_edges(len(position_range(what, positions, terms.length)), tiles)
        for what, positions in (("queries", queries), ("keys", keys))
    )
    shape = terms.batch, len(chosen), len(rows) - 1, len(columns) - 1
    out = torch.empty(shape, dtype=torch.float32, device=terms.q.device)
    for row, head in enumerate(chosen.tolist()):
        alone = _alone(terms, head)
        out[:, row] = pooled_content(alone, tiles=tiles, queries=queries, keys=keys)[:, 0]
    return out


def _rows(
    terms: SoftmaxTerms, heads: Int64[Tensor, " head"], queries: Int64[Tensor, " query"]
) -> Iterator[tuple[slice, slice, Float32[Tensor, "batch head row key"]]]:
    """Rows of P, some heads and queries at a time, with keys up to their last query."""
    if not len(queries):
        return
    device = terms.q.device
    reached = int(queries.max()) + 1
    at_a_time = min(max(BLOCK_BYTES // (4 * terms.batch * reached), 1), _MAX_ROWS)
    step = max(1, BLOCK_BYTES // (4 * terms.batch * reached * at_a_time))
    padding = None if terms.valid is None else ~terms.valid[:, None]
    for first in range(0, len(heads), step):
        members = slice(first, min(first + step, len(heads)))
        h = heads[members].to(device)
        # Once for all rows: gathering and widening the keys takes longer than a block of rows.
        k = terms.k[:, :reached].index_select(2, h // terms.heads_per_group).float().permute(0, 2, 3, 1)
        for start in range(0, len(queries), at_a_time):
            rows = slice(start, min(start + at_a_time, len(queries)))
            i = queries[rows].to(device)
            least, most = int(queries[rows].min()), int(queries[rows].max())
            q = terms.q.index_select(1, i).index_select(2, h).float().transpose(1, 2)
            P = (q @ k[..., : most + 1]).mul_(terms.scale)
            later = torch.arange(least + 1, most + 1, device=device) > i[:, None]
            P[..., least + 1 :].masked_fill_(later, -torch.inf)
            if padding is not None:
                P.masked_fill_(padding[:, :, None, : most + 1], -torch.inf)
            P = P.softmax(dim=-1)
            if padding is not None:  # a row at padding reads nothing: softmax returns NaN
                P = P.masked_fill(padding[:, :, i, None], 0.0)
            put_rows(P, terms.edited, heads[members], queries[rows], torch.arange(most + 1))
            yield members, rows, P


def _alone(terms: SoftmaxTerms, head: int) -> SSDTerms:
    """One head as a Mamba-2 layer that forgets nothing and whose C and B are q and k: its content is E."""
    q = terms.q[:, :, head].float() * terms.scale
    k = terms.k[:, :, head // terms.heads_per_group].float()
    if terms.valid is not None:
        q, k = (each.masked_fill(~terms.valid[..., None], 0.0) for each in (q, k))
    return SSDTerms.from_parts(
        x=terms.q[:, :, head, None, :0],
        B=k[:, :, None],
        C=q[:, :, None],
        dt=q.new_ones(()).expand(terms.batch, terms.length, 1),
        A=q.new_zeros(1),
        D=q.new_zeros(1),
    )
