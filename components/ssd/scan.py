"""The recurrence itself, in linear memory: what a layer's scan returns, and the state it carries.

Source: the chunked algorithm of Dao & Gu 2024, arXiv 2405.21060, section 6: within a chunk the quadratic
form, between chunks the carried state.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float32
from torch import Tensor

from components.ssd.attention import decay, effective_attention
from components.ssd.terms import SSDTerms

CHUNK = 64


def reconstruct(terms: SSDTerms, *, include_skip: bool = True) -> Float32[Tensor, "batch seq head dim"]:
    """y[i] = Σ_j M[i,j]·dt[j]·x[j] + D·x[i] in linear memory; without `include_skip`, less the D·x part."""
    y = torch.empty_like(terms.x)
    for chunk, state in _chunks(terms):
        M = effective_attention(terms, queries=chunk, keys=chunk, include_dt_scaling=True)
        C = _per_head(terms, terms.C[:, chunk])
        kept = _left_of_state(terms, chunk)
        y[:, chunk] = torch.einsum("bhij,bjhp->bihp", M, terms.x[:, chunk])
        y[:, chunk] += torch.einsum("bihn,bhpn,bhi->bihp", C, state, kept)
    if include_skip:
        y += terms.D[:, None] * terms.x
    return y


def ssm_state(terms: SSDTerms, position: int) -> Float32[Tensor, "batch head dim state"]:
    """State after one position, S[t] = Σ_{j≤t} L[t,j]·dt[j]·x[j] ⊗ B[j].

    Negative positions count from the end; IndexError when the position does not exist.
    """
    written = decay(terms, queries=[position], include_dt_scaling=True)[:, :, 0]
    return torch.einsum("bhj,bjhp,bjhn->bhpn", written, terms.x, _per_head(terms, terms.B))


def ssm_states(terms: SSDTerms) -> Float32[Tensor, "batch head seq dim state"]:
    """State after every position; its memory is seq × head_dim × state numbers per head."""
    batch, seq, heads, dim = terms.x.shape
    states = terms.x.new_empty(batch, heads, seq, dim, terms.B.shape[3])
    for chunk, state in _chunks(terms):
        L = decay(terms, queries=chunk, keys=chunk, include_dt_scaling=True)
        B = _per_head(terms, terms.B[:, chunk])
        writes = torch.einsum("bjhp,bjhn->bhjpn", terms.x[:, chunk], B)
        states[:, :, chunk] = torch.einsum("bhij,bhjpn->bhipn", L, writes)
        states[:, :, chunk] += _left_of_state(terms, chunk)[..., None, None] * state[:, :, None]
    return states


def _chunks(terms: SSDTerms) -> Iterator[tuple[slice, Float32[Tensor, "batch head dim state"]]]:
    """Each chunk of positions with the state before its first one."""
    batch, _, heads, dim = terms.x.shape
    state = terms.x.new_zeros(batch, heads, dim, terms.B.shape[3])
    for start in range(0, terms.length, CHUNK):
        chunk = slice(start, min(start + CHUNK, terms.length))
        yield chunk, state
        written = decay(terms, queries=[chunk.stop - 1], keys=chunk, include_dt_scaling=True)[:, :, 0]
        B = _per_head(terms, terms.B[:, chunk])
        carried = _left_of_state(terms, chunk)[:, :, -1, None, None] * state
        state = carried + torch.einsum("bhj,bjhp,bjhn->bhpn", written, terms.x[:, chunk], B)


def _left_of_state(terms: SSDTerms, chunk: slice) -> Float32[Tensor, "batch head chunk"]:
    """Decay at each position of a chunk of the state before its first position."""
    cum = terms.cum_log_decay
    before = cum[..., chunk.start - 1, None] if chunk.start else torch.zeros_like(cum[..., :1])
    return (cum[..., chunk] - before).exp().to(terms.x.device, torch.float32)


def _per_head(
    terms: SSDTerms, grouped: Float32[Tensor, "batch chunk group state"]
) -> Float32[Tensor, "batch chunk head state"]:
    """B or C with each group's entry repeated for its heads."""
    return grouped.repeat_interleave(terms.heads_per_group, dim=2)
