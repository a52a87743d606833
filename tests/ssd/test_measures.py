"""Measures on heads whose answer is known."""

import pytest
import torch

from components.ssd import decay, half_life, mean_distance
from components.ssd.terms import SSDTerms


def test_half_life_is_where_a_steady_head_has_half_left() -> None:
    A, dt = -torch.tensor([0.01, 0.1, 1.0]), 0.5
    ones = torch.ones(1, 400, 1, 1)
    terms = SSDTerms.from_parts(
        x=torch.ones(1, 400, 3, 1), B=ones, C=ones, dt=torch.full((1, 400, 3), dt), A=A, D=A
    )
    life = half_life(terms)
    torch.testing.assert_close(torch.exp(A * dt * life[0]), torch.full((3,), 0.5))
    lag = int(life[0, 0].round())
    assert float(decay(terms, heads=[0], queries=[lag], keys=[0])) == pytest.approx(0.5, abs=5e-3)


def test_half_life_of_a_head_that_never_decays_is_infinite() -> None:
    one = torch.ones(1, 4, 1, 1)
    terms = SSDTerms.from_parts(
        x=one, B=one, C=one, dt=torch.zeros(1, 4, 1), A=-torch.ones(1), D=torch.ones(1)
    )
    assert half_life(terms).tolist() == [[float("inf")]]


def test_mean_distance_of_heads_that_look_one_place_back_or_at_themselves() -> None:
    itself = torch.eye(6)
    previous = torch.eye(6).roll(1, 0).tril(-1) * -3.0
    M = torch.stack([itself, previous])[None]
    assert mean_distance(M).tolist() == [[0.0, 1.0]]


def test_mean_distance_leaves_out_rows_that_read_nothing() -> None:
    M = torch.zeros(1, 1, 4, 4)
    M[0, 0, 3, 1] = 1
    assert mean_distance(M).tolist() == [[2.0]]
