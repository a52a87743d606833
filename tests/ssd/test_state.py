"""Figures of the state against the states themselves, from the recurrence one step at a time in float64."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ssd import reference, ssm_state, ssm_states, state_contributions, state_norms, state_shares
from tests.ssd.oracle import HEADS, naive_decay, random_terms

TEXTS = {
    "seed": st.integers(0, 2**31),
    "length": st.integers(1, 200),
    "groups": st.sampled_from([1, 2, 8]),
    "decay_strength": st.sampled_from([0.0, 0.1, 30.0]),
}


@given(**TEXTS)
@settings(max_examples=40, deadline=None)
def test_norms_are_those_of_the_states(seed: int, length: int, groups: int, decay_strength: float) -> None:
    terms = random_terms(seed, length, groups=groups, decay_strength=decay_strength)
    expected = reference.states(terms).flatten(3).norm(dim=-1)
    close = {"rtol": 1e-5, "atol": 3e-6 * float(expected.max())}
    torch.testing.assert_close(state_norms(terms).double(), expected, **close)
    torch.testing.assert_close(ssm_states(terms).flatten(3).norm(dim=-1).double(), expected, **close)


@given(**TEXTS, place=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_shares_and_contributions_are_those_of_what_each_token_left(
    seed: int, length: int, groups: int, decay_strength: float, place: float
) -> None:
    terms = random_terms(seed, length, groups=groups, decay_strength=decay_strength)
    t = round(place * (length - 1))
    B = terms.B.double().repeat_interleave(HEADS // groups, 2)[:, : t + 1]
    left = torch.einsum(
        "bhj,bjhp,bjhn->bhjpn", naive_decay(terms, True)[:, :, t, : t + 1], terms.x[:, : t + 1].double(), B
    )
    state = reference.states(terms)[:, :, t]
    square = state.square().sum(dim=(-2, -1))[..., None]
    shares = torch.einsum("bhjpn,bhpn->bhj", left, state) / square.where(square > 0, 1.0)

    contributions = state_contributions(terms, t).double()
    torch.testing.assert_close(contributions, left.flatten(3).norm(dim=-1), rtol=1e-5, atol=1e-30)
    # The state is known to some digits of its largest part; where tokens cancel, a share to as much fewer.
    lost = contributions.sum(dim=-1, keepdim=True) / square.sqrt().where(square > 0, 1.0)
    found = state_shares(terms, t).double()
    assert ((found - shares).abs() <= 1e-6 * (1 + lost) ** 2).all()
    total, one = found.sum(dim=-1, keepdim=True), (square > 0).double()
    assert ((total - one).abs() <= 1e-6 * (1 + lost) ** 2).all()
    norms = state_norms(terms)[:, :, t].double()
    assert (contributions.sum(dim=-1) >= norms * (1 - 1e-4)).all()


@pytest.mark.parametrize("heads", [[5], [6, 1, 1], slice(3, 7), slice(None, None, -1), [-1], []])
def test_heads_read_their_own_group(heads: list[int] | slice) -> None:
    terms = random_terms(1, 150, groups=4)
    close = {"rtol": 1e-5, "atol": 1e-6}
    for figure in (
        lambda heads: state_norms(terms, heads=heads),
        lambda heads: state_shares(terms, 100, heads=heads),
        lambda heads: state_contributions(terms, 100, heads=heads),
        lambda heads: ssm_state(terms, 100, heads=heads),
    ):
        chosen = torch.arange(HEADS)[heads] if isinstance(heads, list) else torch.tensor(range(HEADS)[heads])
        torch.testing.assert_close(figure(heads), figure(None)[:, chosen.long()], **close)


def test_what_cancels_has_shares_of_either_sign() -> None:
    terms = random_terms(0, 3, batch=1, decay_strength=0.0)
    write = torch.tensor([2.0, -1.0, 0.0])[None, :, None, None]
    terms = replace(
        terms,
        x=write.expand(terms.x.shape).contiguous(),
        B=torch.ones_like(terms.B),
        dt=torch.ones_like(terms.dt),
    )
    torch.testing.assert_close(state_shares(terms, -1), torch.tensor([2.0, -1.0, 0.0]).expand(1, HEADS, 3))
    size = (4 * 8) ** 0.5
    torch.testing.assert_close(
        state_contributions(terms, -1), torch.tensor([2.0, 1.0, 0.0]).expand(1, HEADS, 3) * size
    )
    torch.testing.assert_close(state_norms(terms), torch.tensor([2.0, 1.0, 1.0]).expand(1, HEADS, 3) * size)


def test_a_state_of_nothing_has_no_shares() -> None:
    terms = random_terms(0, 70)
    silent = replace(terms, x=torch.zeros_like(terms.x))
    assert not state_norms(silent).any()
    assert not state_shares(silent, 69).any()
    assert not state_contributions(silent, 69).any()


def test_negative_positions_count_from_the_end() -> None:
    terms = random_terms(3, 90, groups=2)
    for figure in (state_shares, state_contributions):
        assert torch.equal(figure(terms, -20), figure(terms, 70))
        assert figure(terms, -20).shape[-1] == 71


@pytest.mark.parametrize("position", [5, -6])
def test_what_does_not_exist_is_named(position: int) -> None:
    terms = random_terms(0, 5)
    for figure in (state_shares, state_contributions):
        with pytest.raises(IndexError, match=f"no query position {position}: there are 5"):
            figure(terms, position)
        with pytest.raises(IndexError, match="no head 8: there are 8"):
            figure(terms, 0, heads=[8])
    with pytest.raises(IndexError, match="no head -9: there are 8"):
        state_norms(terms, heads=[-9])


def test_a_long_text_ends_in_the_state_it_is_said_to() -> None:
    terms = random_terms(4, 12_000, batch=1, groups=2, decay_strength=0.01)
    norms = state_norms(terms, heads=[0, 1, 7])
    for t in (0, 63, 64, 5_000, 11_999):
        state = ssm_state(terms, t, heads=[0, 1, 7])
        torch.testing.assert_close(norms[..., t], state.flatten(2).norm(dim=-1), rtol=1e-4, atol=1e-6)
        shares = state_shares(terms, t, heads=[0, 1, 7]).double().sum(dim=-1)
        torch.testing.assert_close(shares, (norms[..., t] > 0).double(), rtol=0, atol=1e-3)
