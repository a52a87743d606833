"""The recurrence itself, in linear memory: what a layer's scan returns, and the state it carries.

Source: the chunked algorithm of Dao & Gu 2024, arXiv 2405.21060, section 6: within a chunk the quadratic
form, between chunks the carried state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from components.ssd.attention import decay, effective_attention, position_range, resolve
from components.ssd.terms import SSDTerms

CHUNK = 64
"""Positions whose M is computed at a time. 32 take 1.4 times as long, 128 and 256 0.87 to 0.95 times, in 4
and 16 times the memory (`python -m benchmarks.tricks`)."""


def reconstruct(
    terms: SSDTerms, *, queries: slice | None = None, include_skip: bool = True
) -> Float32[Tensor, "batch queries head dim"]:
    """y[i] = Σ_j M[i,j]·dt[j]·x[j] + D·x[i] in linear memory; without `include_skip`, no D·x part.

    `queries` is a slice of positions without a step; None means all. Rows of M that a hook replaced
    count as they are. ValueError for a slice with a step or without a position.
    """
    rows = position_range("queries", queries, terms.length)
    y = terms.x.new_empty(terms.batch, len(rows), *terms.x.shape[2:])
    heads = torch.arange(terms.heads)
    follows = torch.zeros(terms.length, dtype=torch.bool)
    follows[rows.start : rows.stop] = True
    for edited in terms.edited_attention:
        follows[edited.start : edited.stop] = False
    end = int(torch.nonzero(follows)[-1]) + 1 if follows.any() else 0
    for chunk, state in chunks(terms, heads, stop=end):
        if not follows[chunk].any():
            continue
        M = effective_attention(terms, queries=chunk, keys=chunk, include_dt_scaling=True)
        C = per_head(terms, terms.C[:, chunk], heads)
        kept = left_of_state(terms, chunk, heads)
        of_chunk = torch.einsum("bhij,bjhp->bihp", M, terms.x[:, chunk])
        of_chunk = of_chunk + torch.einsum("bihn,bhpn,bhi->bihp", C, state, kept)
        inside = slice(max(chunk.start, rows.start), min(chunk.stop, rows.stop))
        y[:, _shifted(inside, rows.start)] = of_chunk[:, _shifted(inside, chunk.start)]
    for edited in terms.edited_attention:
        inside = slice(max(edited.start, rows.start), min(edited.stop, rows.stop))
        if inside.start < inside.stop:
            # Zero above the diagonal already; tril keeps gradients out too.
            M = edited.matrix[:, :, _shifted(inside, edited.start)].tril(inside.start)
            written = (terms.dt[..., None] * terms.x)[:, : M.shape[-1]]
            y[:, _shifted(inside, rows.start)] = torch.einsum("bhij,bjhp->bihp", M, written)
    if include_skip:
        y += terms.D[:, None] * terms.x[:, rows.start : rows.stop]
    return y


def _shifted(positions: slice, start: int) -> slice:
    """The same positions, counted from `start`."""
    return slice(positions.start - start, positions.stop - start)


def ssm_state(
    terms: SSDTerms, position: int, *, heads: slice | Sequence[int] | None = None
) -> Float32[Tensor, "batch heads dim state"]:
    """State after one position, S[t] = Σ_{j≤t} L[t,j]·dt[j]·x[j] ⊗ B[j]; `heads` None means all.

    Negative positions count from the end; IndexError when the position or a head does not exist, ValueError
    where a hook replaced rows of L or M.
    """
    terms.check_state()
    chosen = resolve("head", heads, terms.heads)
    t = int(resolve("query position", [position], terms.length))
    batch, _, _, dim = terms.x.shape
    state = terms.x.new_zeros(batch, len(chosen), dim, terms.B.shape[3])
    for chunk in spans(t + 1):
        state += _written(terms, chunk, t, chosen)
    return state


def ssm_states(terms: SSDTerms) -> Float32[Tensor, "batch head seq dim state"]:
    """State after every position; its memory is seq × head_dim × state numbers per head.

    ValueError where a hook replaced rows of L or M.
    """
    terms.check_state()
    batch, seq, count, dim = terms.x.shape
    states = terms.x.new_empty(batch, count, seq, dim, terms.B.shape[3])
    heads = torch.arange(count)
    for chunk, state in chunks(terms, heads):
        L = decay(terms, queries=chunk, keys=chunk, include_dt_scaling=True)
        B = per_head(terms, terms.B[:, chunk], heads)
        writes = torch.einsum("bjhp,bjhn->bhjpn", terms.x[:, chunk], B)
        states[:, :, chunk] = torch.einsum("bhij,bhjpn->bhipn", L, writes)
        states[:, :, chunk] += left_of_state(terms, chunk, heads)[..., None, None] * state[:, :, None]
    return states


def spans(length: int) -> Iterator[slice]:
    """The first `length` positions in chunks."""
    return (slice(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK))


def chunks(
    terms: SSDTerms, heads: Int64[Tensor, " heads"], *, stop: int | None = None
) -> Iterator[tuple[slice, Float32[Tensor, "batch heads dim state"]]]:
    """Each chunk of positions, up to `stop`, with the state of these heads before its first one."""
    batch, _, _, dim = terms.x.shape
    state = terms.x.new_zeros(batch, len(heads), dim, terms.B.shape[3])
    for chunk in spans(terms.length if stop is None else stop):
        yield chunk, state
        kept = left_of_state(terms, chunk, heads)[:, :, -1, None, None]
        state = kept * state + _written(terms, chunk, chunk.stop - 1, heads)


def _written(
    terms: SSDTerms, chunk: slice, position: int, heads: Int64[Tensor, " heads"]
) -> Float32[Tensor, "batch heads dim state"]:
    """What the state after `position` holds of a chunk that ends there or before."""
    left = decay(terms, heads=heads.tolist(), queries=[position], keys=chunk, include_dt_scaling=True)
    B = per_head(terms, terms.B[:, chunk], heads)
    return torch.einsum("bhj,bjhp,bjhn->bhpn", left[:, :, 0], terms.x[:, chunk, heads], B)


def left_of_state(
    terms: SSDTerms, chunk: slice, heads: Int64[Tensor, " heads"]
) -> Float32[Tensor, "batch heads chunk"]:
    """What is left at each position of a chunk of the state before it."""
    cum = terms.cum_log_decay[:, heads, chunk]
    if chunk.start:
        cum = cum - terms.cum_log_decay[:, heads, chunk.start - 1, None]
    return cum.exp().to(terms.x.device, torch.float32)


def per_head(
    terms: SSDTerms, grouped: Float32[Tensor, "batch chunk group state"], heads: Int64[Tensor, " heads"]
) -> Float32[Tensor, "batch chunk heads state"]:
    """B or C of these heads, from the group that each reads."""
    return grouped[:, :, heads // terms.heads_per_group]
