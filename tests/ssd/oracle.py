"""The formulas of the reference for some heads, with dt or without, and random terms to try them on."""

from collections.abc import Sequence

import torch

from components.ssd import SSDTerms, reference

HEADS = 8


def random_terms(
    seed: int,
    length: int,
    *,
    batch: int = 2,
    groups: int = 1,
    state: int = 8,
    dim: int = 4,
    decay_strength: float = 0.1,
    dtype: torch.dtype = torch.float32,
) -> SSDTerms:
    """Some dt are exactly zero; heads decay from not at all to `decay_strength` per token."""
    draw = torch.Generator().manual_seed(seed)
    dt = torch.rand(batch, length, HEADS, generator=draw)
    dt[torch.rand(dt.shape, generator=draw) < 0.1] = 0
    return SSDTerms.from_parts(
        x=torch.randn(batch, length, HEADS, dim, generator=draw).to(dtype),
        B=torch.randn(batch, length, groups, state, generator=draw).to(dtype),
        C=torch.randn(batch, length, groups, state, generator=draw).to(dtype),
        dt=dt.to(dtype),
        A=-torch.linspace(0, decay_strength, HEADS).to(dtype),
        D=torch.randn(HEADS, generator=draw).to(dtype),
    )


def naive_decay(terms: SSDTerms, with_dt: bool, heads: Sequence[int] = range(HEADS)) -> torch.Tensor:
    return reference.decay(terms)[:, list(heads)] * _dt(terms, with_dt, heads)


def naive_content(terms: SSDTerms, with_dt: bool, heads: Sequence[int] = range(HEADS)) -> torch.Tensor:
    return reference.content(terms)[:, list(heads)] * _dt(terms, with_dt, heads)


def naive_attention(terms: SSDTerms, with_dt: bool, heads: Sequence[int] = range(HEADS)) -> torch.Tensor:
    return reference.attention(terms)[:, list(heads)] * _dt(terms, with_dt, heads)


def _dt(terms: SSDTerms, with_dt: bool, heads: Sequence[int]) -> torch.Tensor | int:
    """Of each key, for every query; or one."""
    return terms.dt.double()[..., list(heads)].transpose(1, 2)[:, :, None] if with_dt else 1
