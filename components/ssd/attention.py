"""Effective attention of one layer and its two factors, for any heads, queries and keys.

With the names of `components.ssd.terms`, for query position i and key position j ≤ i:

    L[i,j]  = exp(cum[i] − cum[j])      decay: what is left at i of what was written at j
    CB[i,j] = ⟨C[i], B[j]⟩              content match
    M[i,j]  = L[i,j] · CB[i,j]          effective attention

Source: state-space duality, Dao & Gu 2024, arXiv 2405.21060, eq. 6. M is signed and its rows do not sum to
one. Entries with j > i are exactly zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from components.ssd.edited import EditedRows, put_rows
from components.ssd.terms import SSDTerms
from components.ssd.zeros import fresh_zeros

# The figures are of `python -m benchmarks.tricks`, on two cores.

BLOCK_ROWS = 64
"""Rows computed at a time. 32 and 128 take 1.05 and 1.1 times as long, 16 takes 1.2 times. A block takes a
few large operations over all heads of a group; one head at a time would stay in the cache, but with many
small parallel operations, each of which waits for the slower core on a busy machine."""

BLOCK_BYTES = 2**23
"""Memory of the decay factors of a block, in float64, whatever the length of the text: with all at a time, a
row of 24 heads over 131,072 keys takes 13 MB more."""

SUMMED_ROWS = 32
"""Rows whose absolute values are summed at a time. Of all rows of 240 tokens, 16 and 64 take 1.5 and 0.8
times as long; of 256 rows of 4,096 tokens, 0.9 and 1.6 times."""


def effective_attention(
    terms: SSDTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    queries: slice | Sequence[int] | None = None,
    keys: slice | Sequence[int] | None = None,
    include_dt_scaling: bool = False,
) -> Float32[Tensor, "batch heads queries keys"]:
    """M = L ∘ (C Bᵀ), or, with `include_dt_scaling`, M[i,j]·dt[j], for which y[i] = Σ_j M[i,j]·x[j] + D·x[i].

    `heads`, `queries` and `keys` are slices or lists of indices (negative ones count from the end); None
    means all; only these are computed. Memory: the output and a constant; several times the output where
    autograd records the terms. IndexError when an index does not exist.
    """
    return _lower_triangle(terms, heads, queries, keys, True, True, include_dt_scaling)


def decay(
    terms: SSDTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    queries: slice | Sequence[int] | None = None,
    keys: slice | Sequence[int] | None = None,
    include_dt_scaling: bool = False,
) -> Float32[Tensor, "batch heads queries keys"]:
    """L, between 0 and 1: what is left at query i of what was written at key j; arguments as for M.

    With `include_dt_scaling`, L[i,j]·dt[j]: what is left of how strongly j was written.
    """
    return _lower_triangle(terms, heads, queries, keys, False, True, include_dt_scaling)


def content(
    terms: SSDTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    queries: slice | Sequence[int] | None = None,
    keys: slice | Sequence[int] | None = None,
    include_dt_scaling: bool = False,
) -> Float32[Tensor, "batch heads queries keys"]:
    """C Bᵀ on and below the diagonal: how well query i matches key j, distance aside; arguments as for M.

    Heads of one group share it. With `include_dt_scaling`, column j is multiplied by dt[j] of the head.
    """
    return _lower_triangle(terms, heads, queries, keys, True, False, include_dt_scaling)


def absolute_sums(
    terms: SSDTerms, queries: Sequence[int]
) -> tuple[Float32[Tensor, "batch head queries"], Float32[Tensor, "batch head queries"]]:
    """Σ_j |M[i,j]| and Σ_j |M[i,j]|·(i − j) of each of these queries, in ascending order, without M.

    L is never negative, so |M[i,j]| = L[i,j]·|CB[i,j]|. Left of a block's first query, where L separates as
    in M, both sums are products of |CB|, which all heads of a group share, with factors of the keys. Of 256
    queries in 4,096 tokens, 24 heads of one group take a seventh of the time of their rows of M. Memory: a
    constant. ValueError where a hook replaced rows of M.
    """
    if terms.edited_attention:
        raise ValueError("A hook replaced rows of M in this run, so the sums follow from these rows alone.")
    device, wanted = terms.B.device, torch.tensor(queries)
    cum, keys = terms.cum_log_decay, torch.arange(terms.length)
    by_group = (terms.B.shape[2], terms.heads_per_group)
    C, B = terms.C.transpose(1, 2), terms.B.permute(0, 2, 3, 1)
    at_a_time = max(BLOCK_BYTES // (8 * terms.batch * max(terms.heads, by_group[0] * SUMMED_ROWS)), 1)
    total = terms.dt.new_zeros((2, terms.batch, terms.heads, len(wanted)))
    for start in range(0, len(wanted), SUMMED_ROWS):
        rows = wanted[start : start + SUMMED_ROWS]
        first, last = int(rows[0]), int(rows[-1])
        read, reach = total[..., start : start + len(rows)]
        cum_row, C_row = _take(cum, 2, rows), _take(C, 2, rows)
        ref = cum_row[..., :1]
        for begin in range(0, first + 1, at_a_time):
            part = slice(begin, min(begin + at_a_time, first + 1))
            factor = (ref - cum[..., part]).float().exp_().to(device)
            back = (first - keys[part]).to(device)
            factors = torch.stack([factor, factor * back], dim=2)
            match = (C_row @ B[..., part]).abs_()
            sums = match @ factors.unflatten(1, by_group).flatten(2, 3).mT
            of_head = sums.mT.unflatten(2, (by_group[1], 2)).flatten(1, 2)
            read += of_head[:, :, 0]
            reach += of_head[:, :, 1]
        row_factor = (cum_row - ref).exp().to(device, torch.float32)
        read *= row_factor
        reach *= row_factor
        reach += read * (rows - first).to(device)
        for begin in range(first + 1, last + 1, at_a_time):
            part = slice(begin, min(begin + at_a_time, last + 1))
            weight = _between(cum_row, cum[..., part], rows, keys[part]).to(device)
            weight.unflatten(1, by_group).mul_((C_row @ B[..., part]).abs_()[:, :, None])
            read += weight.sum(dim=-1)
            reach += weight.mul_((rows[:, None] - keys[part]).to(device)).sum(dim=-1)
    return total[0], total[1]


def _lower_triangle(
    terms: SSDTerms,
    heads: slice | Sequence[int] | None,
    queries: slice | Sequence[int] | None,
    keys: slice | Sequence[int] | None,
    with_content: bool,
    with_decay: bool,
    with_dt: bool,
) -> Float32[Tensor, "batch heads queries keys"]:
    """The product of the chosen factors, in blocks of rows.

    Left of a block's first query the decay separates: with `ref` that query's cumulative log decay,
    L[i,j] = exp(cum[i] − ref) · exp(ref − cum[j]). Both factors are at most one, and an exponential per row
    and one per column replace one per entry. Only keys between the block's queries take the direct formula.
    """
    edited = () if not with_decay else terms.edited_attention if with_content else terms.edited_decay
    if torch.is_grad_enabled() and any(t.requires_grad for t in (terms.B, terms.C, terms.dt)):
        return _by_the_formula(
            terms,
            resolve("head", heads, terms.heads),
            resolve("query position", queries, terms.length),
            resolve("key position", keys, terms.length),
            with_content,
            with_decay,
            with_dt,
            edited,
        )
    head_index, head_order = _ascending(resolve("head", heads, terms.heads))
    query_index, query_order = _ascending(resolve("query position", queries, terms.length))
    key_index, key_order = _ascending(resolve("key position", keys, terms.length))
    device = terms.B.device
    B = _take(terms.B, 1, key_index) if with_content else None
    cum = _take(terms.cum_log_decay, 1, head_index)
    if not with_decay:
        cum = torch.zeros((), dtype=cum.dtype, device=cum.device).expand_as(cum)
    dt = _take(_take(terms.dt, 1, key_index), 2, head_index).transpose(1, 2) if with_dt else None
    cum_key = _take(cum, 2, key_index)
    groups = _ranges(head_index // terms.heads_per_group)

    out = fresh_zeros((len(cum), len(head_index), len(query_index), len(key_index)), device)
    at_a_time = max(BLOCK_BYTES // (cum.element_size() * max(cum.shape[:2].numel(), 1)), BLOCK_ROWS)
    for start, stop in _blocks(query_index):
        rows = query_index[start:stop]
        cum_row = _take(cum, 2, rows)
        ref = cum_row[..., :1]
        row_factor = (cum_row - ref).exp().to(device, torch.float32)[..., None]
        separable, reached = torch.searchsorted(key_index, rows[[0, -1]], right=True).tolist()
        separable = separable if separable > BLOCK_ROWS else 0  # a few keys are not worth a pass of their own
        before = [slice(*ends) for ends in pairwise([*range(0, separable, at_a_time), separable])]
        for part in (*before, slice(separable, reached)):
            if part.start < separable:
                # The difference needs float64; its exponential, at most one, is as good in float32.
                factor = (ref - cum_key[..., part]).float().exp_()[..., None, :]
            else:
                factor = _between(cum_row, cum_key[..., part], rows, key_index[part])
            factor = factor.to(device)
            if dt is not None:
                factor *= dt[..., None, part]
            for group, members in groups:
                block = out[:, members, start:stop, part]
                if B is None:
                    block.copy_(factor[:, members].expand_as(block))
                else:
                    match = _take(terms.C, 1, rows)[:, :, group] @ B[:, part, group].mT
                    torch.mul(match[:, None], factor[:, members], out=block)
                if part.start < separable:
                    block *= row_factor[:, members]
    put_rows(out, edited, head_index, query_index, key_index, dt)
    for dim, order in ((1, head_order), (2, query_order), (3, key_order)):
        if order is not None:
            out = out.index_select(dim, order.to(device))
    return out


def _by_the_formula(
    terms: SSDTerms,
    heads: Int64[Tensor, " heads"],
    queries: Int64[Tensor, " queries"],
    keys: Int64[Tensor, " keys"],
    with_content: bool,
    with_decay: bool,
    with_dt: bool,
    edited: Sequence[EditedRows],
) -> Float32[Tensor, "batch heads queries keys"]:
    """The same product entry by entry, for autograd, which cannot follow blocks written in place."""
    device = terms.B.device
    h, i, j = (index.to(device) for index in (heads, queries, keys))
    out = (j <= i[:, None]).float()
    if with_content:
        group = h // terms.heads_per_group
        C, B = terms.C[:, i[:, None], group], terms.B[:, j[:, None], group]
        out = out * torch.einsum("bihn,bjhn->bhij", C, B)
    else:
        out = out.expand(terms.batch, len(h), len(i), len(j))
    if with_decay:
        cum = _take(terms.cum_log_decay, 1, heads)
        log = _take(cum, 2, queries)[..., :, None] - _take(cum, 2, keys)[..., None, :]
        later = (keys > queries[:, None]).to(cum.device)
        out = out * log.masked_fill(later, -torch.inf).exp().to(device, torch.float32)
    dt = terms.dt[:, j[:, None], h].transpose(1, 2) if with_dt else None
    if dt is not None:
        out = out * dt[:, :, None]
    out = out.contiguous() if edited else out
    put_rows(out, edited, heads, queries, keys, dt)
    return out


def _blocks(rows: Int64[Tensor, " row"]) -> Iterator[tuple[int, int]]:
    """The rows in runs within BLOCK_ROWS positions; rows far apart are runs of one."""
    start = 0
    while start < len(rows):
        stop = int(torch.searchsorted(rows, rows[start] + BLOCK_ROWS))
        yield start, stop
        start = stop


def _take(
    tensor: Float[Tensor, "*shape"], dim: int, index: Int64[Tensor, " index"]
) -> Float[Tensor, "*taken"]:
    """The entries at an ascending index; a view for a range, since terms outgrow most pictures."""
    if len(index) and int(index[-1] - index[0]) == len(index) - 1:
        return tensor.narrow(dim, int(index[0]), len(index))
    return tensor.index_select(dim, index.to(tensor.device))


def _between(
    cum_row: Float64[Tensor, "batch head row"],
    cum_key: Float64[Tensor, "batch head key"],
    rows: Int64[Tensor, " row"],
    keys: Int64[Tensor, " key"],
) -> Float32[Tensor, "batch head row key"]:
    """Decay where queries and keys interleave: exponential entry by entry, zero for keys after the query."""
    future: Bool[Tensor, "row key"] = (keys[None, :] > rows[:, None]).to(cum_row.device)
    difference = cum_row[..., :, None] - cum_key[..., None, :]
    return difference.masked_fill_(future, -torch.inf).float().exp_()


def resolve(what: str, indices: slice | Sequence[int] | None, size: int) -> Int64[Tensor, " index"]:
    """Indices as non-negative integers, on the CPU; IndexError names what does not exist."""
    if indices is None:
        return torch.arange(size)
    if isinstance(indices, slice):
        positions = range(size)[indices]
        return torch.arange(len(positions)) * positions.step + positions.start
    chosen = torch.as_tensor(indices, dtype=torch.int64).reshape(-1).cpu()
    outside = chosen[(chosen < -size) | (chosen >= size)]
    if len(outside):
        raise IndexError(f"There is no {what} {int(outside[0])}: there are {size}, 0 to {size - 1}.")
    return torch.where(chosen < 0, chosen + size, chosen)


def position_range(what: str, positions: slice | None, length: int) -> range:
    """The positions of a window; ValueError for one with a step or no position."""
    found = range(length)[positions or slice(None)]
    if found.step != 1 or not len(found):
        raise ValueError(
            f"{what}={positions} is not a window of {length} positions: give a slice without a step, such as "
            f"slice(0, {length}), that holds one position at least."
        )
    return found


def _ranges(groups: Int64[Tensor, " head"]) -> list[tuple[int, slice]]:
    """Each group that occurs, with the range of heads that read it; `groups` is ascending."""
    found, counts = torch.unique_consecutive(groups, return_counts=True)
    stops = counts.cumsum(0).tolist()
    return [
        (group, slice(stop - count, stop))
        for group, stop, count in zip(found.tolist(), stops, counts.tolist(), strict=True)
    ]


def _ascending(
    index: Int64[Tensor, " index"],
) -> tuple[Int64[Tensor, " unique"], Int64[Tensor, " index"] | None]:
    """The index sorted without repeats, and where each given entry is in it (None: as given)."""
    if len(index) < 2 or bool((index[1:] > index[:-1]).all()):
        return index, None
    unique, inverse = torch.unique(index, return_inverse=True)
    return unique, inverse
