"""What the state carries: a figure per position or per token, without the states of all positions.

With the names of `components.ssd.terms`, the state after position t is what all tokens have left in it:

    S[t] = Σ_{j≤t} w[j]·x[j] ⊗ B[j]       w[j] = L[t,j]·dt[j]

x[j] ⊗ B[j] is of rank one, so inner products of such terms need no matrix head_dim × state of any of them:

    ⟨x[j] ⊗ B[j], x[k] ⊗ B[k]⟩ = ⟨x[j], x[k]⟩·⟨B[j], B[k]⟩
    ⟨x[j] ⊗ B[j], S⟩           = x[j]ᵀ·S·B[j]

Derived from the recurrence of Dao & Gu 2024, arXiv 2405.21060.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from components.ssd.attention import decay, resolve
from components.ssd.scan import chunks, left_of_state, per_head, spans, ssm_state
from components.ssd.terms import SSDTerms


def state_norms(
    terms: SSDTerms, *, heads: slice | Sequence[int] | None = None
) -> Float32[Tensor, "batch heads seq"]:
    """Frobenius norm ‖S[t]‖ of the state after every position.

    `heads` is a slice or a list of indices (negative ones count from the end); None means all. IndexError
    when a head does not exist, ValueError where a hook replaced rows of L or M. Memory: the output and one
    chunk.

    With S₀ the state before a chunk and k[i] what is left of it at position i, the square of the norm is
    k[i]²·‖S₀‖² + 2·k[i]·Σ_j w[j]·⟨x[j] ⊗ B[j], S₀⟩ + Σ_j Σ_k w[j]·w[k]·⟨x[j] ⊗ B[j], x[k] ⊗ B[k]⟩,
    sums over the chunk up to i. As the root of a sum of products it is off by 1e-7 of the state, but where
    tokens cancel each other by up to 4e-4 of the earlier state.
    """
    terms.check_state()
    chosen = resolve("head", heads, terms.heads)
    norms = terms.x.new_empty(len(terms.x), len(chosen), terms.length)
    for chunk, state in chunks(terms, chosen):
        x, B = terms.x[:, chunk, chosen], per_head(terms, terms.B[:, chunk], chosen)
        w = decay(terms, heads=chosen.tolist(), queries=chunk, keys=chunk, include_dt_scaling=True)
        kept = left_of_state(terms, chunk, chosen)
        carried = kept.square() * state.square().sum(dim=(-2, -1))[..., None]
        met = torch.einsum("bhij,bhj->bhi", w, _inner(x, B, state)) * kept
        among = torch.einsum("bjhp,bkhp->bhjk", x, x) * torch.einsum("bjhn,bkhn->bhjk", B, B)
        written = ((w @ among) * w).sum(dim=-1)
        norms[:, :, chunk] = (carried + 2 * met + written).clamp_(min=0).sqrt_()
    return norms


def state_shares(
    terms: SSDTerms, position: int, *, heads: slice | Sequence[int] | None = None
) -> Float32[Tensor, "batch heads key"]:
    """Share of every token j ≤ t in the state after `position` t: w[j]·⟨x[j] ⊗ B[j], S[t]⟩ / ‖S[t]‖².

    It is the component along S[t] of what j has left there, divided by ‖S[t]‖. Shares sum to one, since
    Σ_j w[j]·⟨x[j] ⊗ B[j], S[t]⟩ = ⟨S[t], S[t]⟩. They are signed: a token written against the state has a
    negative share, and the others then sum to more than one. All are zero where the state is.

    Negative positions count from the end; `heads` as for `state_norms`. IndexError when the position or a
    head does not exist, ValueError as there. Memory: the output, one state and one chunk.
    """
    chosen = resolve("head", heads, terms.heads)
    w = _left(terms, position, heads)
    state = ssm_state(terms, position, heads=heads)
    square = state.square().sum(dim=(-2, -1))[..., None]
    along = torch.empty_like(w)
    for chunk in spans(w.shape[-1]):
        B = per_head(terms, terms.B[:, chunk], chosen)
        along[..., chunk] = _inner(terms.x[:, chunk, chosen], B, state)
    return w * along / square.masked_fill(square == 0, 1)


def state_contributions(
    terms: SSDTerms, position: int, *, heads: slice | Sequence[int] | None = None
) -> Float32[Tensor, "batch heads key"]:
    """Norm of what every token j ≤ t has left in the state after `position` t: w[j]·‖x[j]‖·‖B[j]‖.

    Arguments and errors as for `state_shares`. By the triangle inequality they sum to ‖S[t]‖ at least, and
    to more, the less the tokens write in the same direction.
    """
    chosen = resolve("head", heads, terms.heads)
    w = _left(terms, position, heads)
    keys = slice(w.shape[-1])
    x: Tensor = torch.linalg.vector_norm(terms.x[:, keys], dim=-1)[..., chosen]
    B = per_head(terms, torch.linalg.vector_norm(terms.B[:, keys], dim=-1, keepdim=True), chosen)[..., 0]
    return w * (x * B).transpose(1, 2)


def _left(
    terms: SSDTerms, position: int, heads: slice | Sequence[int] | None
) -> Float32[Tensor, "batch heads key"]:
    """w[j] = L[t,j]·dt[j] of each token j up to a position t."""
    terms.check_state()
    t = int(resolve("query position", [position], terms.length))
    return decay(terms, heads=heads, queries=[t], keys=slice(t + 1), include_dt_scaling=True)[:, :, 0]


def _inner(
    x: Float32[Tensor, "batch key heads dim"],
    B: Float32[Tensor, "batch key heads state"],
    state: Float32[Tensor, "batch heads dim state"],
) -> Float32[Tensor, "batch heads key"]:
    """⟨x[j] ⊗ B[j], S⟩."""
    return torch.einsum("bjhp,bhpn,bjhn->bhj", x, state, B)
