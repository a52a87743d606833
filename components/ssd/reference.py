"""The formulas as the paper has them, entry by entry: quadratic in memory, and open to autograd.

`components.ssd.attention` computes the same in blocks, in place and faster. Source: state-space duality, Dao
& Gu 2024, arXiv 2405.21060, eq. 6.
"""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor

from components.ssd.terms import SSDTerms


def textbook_decay(terms: SSDTerms) -> Float32[Tensor, "batch head seq seq"]:
    """L[i,j] = exp(cum[i] − cum[j]) for j ≤ i, else 0."""
    cum = terms.cum_log_decay  # [b, h, s], float64
    later = torch.ones(terms.length, terms.length, dtype=torch.bool, device=cum.device).triu(1)
    log = (cum[..., :, None] - cum[..., None, :]).masked_fill(later, -torch.inf)
    return log.exp().to(terms.B.device, torch.float32)


def textbook_content(terms: SSDTerms) -> Float32[Tensor, "batch head seq seq"]:
    """CB[i,j] = ⟨C[i], B[j]⟩ for j ≤ i, else 0."""
    match = torch.einsum("bign,bjgn->bgij", terms.C, terms.B).tril()  # [b, g, s, s]
    return match.repeat_interleave(terms.heads_per_group, dim=1)
