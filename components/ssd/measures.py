"""One figure per head: how far it looks, how long it remembers."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float32
from torch import Tensor

from components.ssd.terms import SSDTerms


def half_life(terms: SSDTerms) -> Float32[Tensor, "batch head"]:
    """Tokens after which half of what was written is left, ln 2 / (|A| · mean dt).

    From L[i,j] = exp(A·Σ dt) ≈ exp(A · mean dt · (i − j)) = 1/2. Infinite where a head never decays.
    """
    return math.log(2) / (terms.A.abs() * terms.dt.mean(dim=1))


def mean_distance(
    attention: Float32[Tensor, "batch head seq seq"],
) -> Float32[Tensor, "batch head"]:
    """Tokens between a query and what it reads: mean over i of Σ_j p[i,j]·(i − j), p = |M| over its row sum.

    Source: DeciMamba, arXiv 2406.14528, section 4. Rows that read nothing (all zero, as at padding) do not
    count; NaN where no row reads anything.
    """
    weight = attention.abs()
    position = torch.arange(weight.shape[-1], device=weight.device, dtype=weight.dtype)
    read = weight.sum(dim=-1)
    distance = position - (weight @ position) / read
    return distance.nanmean(dim=-1)
