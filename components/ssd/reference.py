"""The formulas as papers write them, in a few lines each. Read this file first.

Everything else in this folder computes the same numbers in less time and memory, and tests compare it with
this file, in float64. Symbols are those of `components.ssd.terms`; query i reads key j ≤ i.

Sources: Dao & Gu 2024, arXiv 2405.21060 (the recurrence; eq. 6, M = L ∘ C Bᵀ); Vaswani et al. 2017,
arXiv 1706.03762, eq. 1 (softmax attention).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from components.ssd.softmax import SoftmaxTerms
from components.ssd.terms import SSDTerms


def decay(terms: SSDTerms, dtype: torch.dtype = torch.float64) -> Float[Tensor, "batch head query key"]:
    """L[i,j] = exp(Σ_{j<k≤i} A·dt[k]): what is left at i of what was written at j."""
    log_decay = terms.dt.to(dtype) * terms.A.to(dtype)
    cum = log_decay.cumsum(dim=1).transpose(1, 2)
    difference = cum[..., :, None] - cum[..., None, :]
    return difference.masked_fill(_later(terms.length), -torch.inf).exp()


def content(terms: SSDTerms, dtype: torch.dtype = torch.float64) -> Float[Tensor, "batch head query key"]:
    """CB[i,j] = ⟨C[i], B[j]⟩: how well query i matches key j. Heads of one group share it."""
    B, C = (each.to(dtype).repeat_interleave(terms.heads_per_group, dim=2) for each in (terms.B, terms.C))
    return torch.einsum("bihn,bjhn->bhij", C, B).tril()


def attention(terms: SSDTerms, dtype: torch.dtype = torch.float64) -> Float[Tensor, "batch head query key"]:
    """M = L ∘ (C Bᵀ), the effective attention."""
    return decay(terms, dtype) * content(terms, dtype)


def output(
    terms: SSDTerms, M: Float[Tensor, "batch head query key"] | None = None
) -> Float[Tensor, "batch seq head dim"]:
    """y[i] = Σ_j M[i,j]·dt[j]·x[j] + D·x[i], what the scan returns; with another M, if given."""
    M = attention(terms) if M is None else M
    x = terms.x.double()
    return torch.einsum("bhij,bjh,bjhp->bihp", M, terms.dt.double(), x) + terms.D.double()[:, None] * x


def states(terms: SSDTerms) -> Float[Tensor, "batch head seq dim state"]:
    """S[i] = exp(A·dt[i])·S[i−1] + dt[i]·x[i] ⊗ B[i], from S[−1] = 0; then y[i] = S[i]·C[i] + D·x[i]."""
    B = terms.B.double().repeat_interleave(terms.heads_per_group, dim=2)
    x, dt, A = terms.x.double(), terms.dt.double(), terms.A.double()
    state = x.new_zeros(*x.shape[:1], *x.shape[2:], B.shape[-1])
    found = []
    for i in range(terms.length):
        kept = (A * dt[:, i]).exp()[..., None, None]
        state = kept * state + torch.einsum("bh,bhp,bhn->bhpn", dt[:, i], x[:, i], B[:, i])
        found.append(state)
    return torch.stack(found, dim=2)


def scores(terms: SoftmaxTerms) -> Float[Tensor, "batch head query key"]:
    """E[i,j] = scale · ⟨q[i], k[j]⟩; zero at padding."""
    k = terms.k.double().repeat_interleave(terms.heads_per_group, dim=2)
    E = torch.einsum("bihd,bjhd->bhij", terms.q.double(), k) * terms.scale
    return E.masked_fill(_unread(terms), 0)


def softmax(terms: SoftmaxTerms) -> Float[Tensor, "batch head query key"]:
    """P[i,j] = exp(E[i,j]) / Σ_{k≤i} exp(E[i,k]); zero at padding."""
    return scores(terms).masked_fill(_unread(terms), -torch.inf).softmax(dim=-1).nan_to_num(0)


def _later(length: int) -> Tensor:
    """True where the key comes after the query."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def _unread(terms: SoftmaxTerms) -> Tensor:
    """True where a key comes after the query, or one of them is padding."""
    later = _later(terms.length)
    if terms.valid is None:
        return later
    return later | ~(terms.valid[:, None, :, None] & terms.valid[:, None, None, :])
