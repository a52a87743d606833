"""Random terms of one layer, and tokens to go with them."""

import pytest
import torch

from components.ssd import SoftmaxTerms, SSDTerms


def random_terms(length: int, heads: int = 3) -> SSDTerms:
    """Terms with two groups' worth of nothing special: positive dt, negative A."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return SSDTerms.from_parts(
        x=normal(1, length, heads, 4),
        B=normal(1, length, 1, 8),
        C=normal(1, length, 1, 8),
        dt=normal(1, length, heads).exp() / 5,
        A=-normal(heads).exp(),
        D=normal(heads),
    )


def random_softmax(length: int, heads: int = 4) -> SoftmaxTerms:
    """Terms of softmax attention in which two heads read the same keys."""
    generator = torch.Generator().manual_seed(length)
    q, k = (torch.randn(1, length, count, 8, generator=generator) for count in (heads, heads // 2))
    return SoftmaxTerms(q=q, k=k, scale=0.8)


@pytest.fixture
def terms() -> SSDTerms:
    return random_terms(9)
