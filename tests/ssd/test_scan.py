"""The chunked scan against the recurrence taken one step at a time, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ssd import effective_attention, reconstruct, reference, ssm_state, ssm_states
from tests.ssd.oracle import random_terms


@given(
    seed=st.integers(0, 2**31),
    length=st.integers(1, 200),
    groups=st.sampled_from([1, 2]),
    decay_strength=st.sampled_from([0.0, 0.1, 30.0]),
)
@settings(max_examples=40, deadline=None)
def test_states_and_outputs_follow_the_recurrence(
    seed: int, length: int, groups: int, decay_strength: float
) -> None:
    terms = random_terms(seed, length, groups=groups, decay_strength=decay_strength)
    states = reference.states(terms)
    C = terms.C.double().repeat_interleave(8 // groups, 2)
    y = torch.einsum("bhipn,bihn->bihp", states, C)

    def close(found: torch.Tensor, truth: torch.Tensor) -> None:
        torch.testing.assert_close(found.double(), truth, rtol=0, atol=3e-6 * float(truth.abs().max()))

    close(ssm_states(terms), states)
    close(ssm_state(terms, length // 2), states[:, :, length // 2])
    close(ssm_state(terms, -1), states[:, :, -1])
    close(reconstruct(terms, include_skip=False), y)
    close(reconstruct(terms), y + terms.D.double()[:, None] * terms.x.double())


def test_dt_scaled_attention_applied_to_x_is_the_output() -> None:
    terms = random_terms(0, 150, groups=2)
    W = effective_attention(terms, include_dt_scaling=True)
    y = torch.einsum("bhij,bjhp->bihp", W, terms.x) + terms.D[:, None] * terms.x
    torch.testing.assert_close(reconstruct(terms), y, rtol=1e-4, atol=1e-5)


def test_a_position_that_does_not_exist_is_named() -> None:
    with pytest.raises(IndexError, match="no query position 9: there are 5"):
        ssm_state(random_terms(0, 5), 9)
