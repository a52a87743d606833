"""Softmax attention of one layer, from what it compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from components.ssd.attention import resolve


@dataclass(frozen=True, eq=False)
class SoftmaxTerms:
    """What one softmax attention layer compares."""

    q: Float[Tensor, "batch seq head dim"]
    k: Float[Tensor, "batch seq group dim"]
    scale: float
    valid: Bool[Tensor, "batch seq"] | None = None

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.q.shape[1]


def softmax_attention(
    terms: SoftmaxTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    queries: slice | Sequence[int] | None = None,
    keys: slice | Sequence[int] | None = None,
) -> Float32[Tensor, "batch heads queries keys"]:
    """Pattern."""
    h = resolve("head", heads, terms.q.shape[2])
    i = resolve("query", queries, terms.length)
    j = resolve("key", keys, terms.length)
    k = terms.k.repeat_interleave(terms.q.shape[2] // terms.k.shape[2], dim=2)[:, :, h]
    s = torch.einsum("bihd,bjhd->bhij", terms.q[:, i][:, :, h].float(), k.float()) * terms.scale
    allowed = i[:, None] >= torch.arange(terms.length)
    allowed = allowed[None, None]
    if terms.valid is not None:
        allowed = allowed & terms.valid[:, None, None, :] & terms.valid[:, None, i, None]
    p = s.masked_fill(~allowed, -torch.inf).softmax(dim=-1).nan_to_num(0.0)
    return p[..., j]
