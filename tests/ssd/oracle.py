"""The formulas written out entry by entry in float64, and random terms to try them on."""

from collections.abc import Sequence

import torch

from components.ssd import SSDTerms

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
    log = (terms.dt.double() * terms.A.double())[..., list(heads)].cumsum(1).transpose(1, 2)
    L = (log[..., :, None] - log[..., None, :]).tril().exp().tril()
    return L * terms.dt.double()[..., list(heads)].transpose(1, 2)[:, :, None] if with_dt else L


def naive_content(terms: SSDTerms, with_dt: bool, heads: Sequence[int] = range(HEADS)) -> torch.Tensor:
    group = [h // (HEADS // terms.B.shape[2]) for h in heads]
    CB = torch.einsum("bihn,bjhn->bhij", terms.C.double()[:, :, group], terms.B.double()[:, :, group]).tril()
    return CB * terms.dt.double()[..., list(heads)].transpose(1, 2)[:, :, None] if with_dt else CB


def naive_attention(terms: SSDTerms, with_dt: bool, heads: Sequence[int] = range(HEADS)) -> torch.Tensor:
    return naive_decay(terms, with_dt, heads) * naive_content(terms, False, heads)


def naive_states(terms: SSDTerms) -> torch.Tensor:
    """The recurrence, one step at a time."""
    batch, length, heads, dim = terms.x.shape
    B = terms.B.double().repeat_interleave(heads // terms.B.shape[2], 2)
    state = torch.zeros(batch, heads, dim, B.shape[-1], dtype=torch.float64)
    states = []
    for i in range(length):
        dt = terms.dt[:, i, :, None, None].double()
        write = dt * terms.x[:, i, :, :, None].double() * B[:, i, :, None]
        state = (dt * terms.A[:, None, None].double()).exp() * state + write
        states.append(state)
    return torch.stack(states, 2)
