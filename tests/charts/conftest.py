"""Random terms of one layer, and tokens to go with them."""

import pytest
import torch

from components.ssd import SSDTerms


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


@pytest.fixture
def terms() -> SSDTerms:
    return random_terms(9)
