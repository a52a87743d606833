"""Measures on heads whose answer is known."""

from dataclasses import replace

import pytest
import torch

from components.ssd import (
    EditedRows,
    attention,
    decay,
    half_life,
    mean_distance,
    row_share,
    softmax_attention,
)
from components.ssd.attention import absolute_sums
from components.ssd.terms import SSDTerms
from tests.charts.conftest import random_softmax
from tests.ssd.oracle import naive_attention, random_terms


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


def mean_distance_of_the_whole(terms: SSDTerms) -> torch.Tensor:
    """The definition, from all of M in float64."""
    weight = naive_attention(terms, with_dt=False).abs()
    lags = torch.arange(terms.length)[:, None] - torch.arange(terms.length)
    return ((weight * lags).sum(-1) / weight.sum(-1)).nanmean(-1)


@pytest.mark.parametrize("length", [1, 2, 40, 300])
def test_mean_distance_is_that_of_the_whole_matrix(length: int) -> None:
    terms = random_terms(1, length)
    found = mean_distance(terms, rows=300)
    torch.testing.assert_close(found.value.double(), mean_distance_of_the_whole(terms), rtol=1e-5, atol=1e-6)
    assert not found.error.any()


@pytest.mark.parametrize("strength", [0.0, 0.1, 30.0])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_sums_of_rows_are_those_of_the_whole_matrix(
    groups: int, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = random_terms(2, 200, groups=groups, decay_strength=strength)
    queries = [0, 1, *range(40, 80), *range(81, 200, 7), 199]
    weight = naive_attention(terms, with_dt=False).abs()[:, :, queries]
    lags = torch.tensor(queries)[:, None] - torch.arange(200)
    for room in (attention.BLOCK_BYTES, 1):  # all keys at a time, and one
        monkeypatch.setattr(attention, "BLOCK_BYTES", room)
        read, reach = absolute_sums(terms, queries)
        torch.testing.assert_close(read.double(), weight.sum(-1), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(reach.double(), (weight * lags).sum(-1), rtol=1e-5, atol=1e-6)


def test_rows_that_a_hook_replaced_have_no_sums_but_a_mean_distance() -> None:
    terms = random_terms(1, 30)
    matrix = torch.zeros(terms.batch, terms.heads, 30, 30)
    matrix[..., 0] = -2.0
    edited = replace(terms, edited_attention=(EditedRows(0, matrix),))
    with pytest.raises(ValueError, match="replaced rows"):
        absolute_sums(edited, [3])
    assert mean_distance(edited).value.unique().tolist() == [sum(range(30)) / 30]


def test_mean_distance_from_some_rows_says_how_far_off_it_may_be() -> None:
    off = []
    for seed in range(20):
        terms = random_terms(seed, 300, batch=1)
        found = mean_distance(terms, rows=64)
        assert (found.error[:, 1:] > 0).all()
        off.append((found.value - mean_distance_of_the_whole(terms)).abs() / found.error)
    # Standard errors: few of 160 figures are off by more than three of them.
    assert (torch.cat(off) > 3).float().mean() < 0.05
    assert torch.cat(off).median() < 1.5


@pytest.mark.parametrize(("length", "rows"), [(300, 64), (41, 40), (90, 7)])
def test_the_error_is_the_standard_error_of_a_sample_of_rows(length: int, rows: int) -> None:
    """s·√((1 − rows/length)/rows), s being the deviation between the rows that are looked at."""
    terms = random_terms(3, length)
    terms.C[:, 5::9] = 0  # rows that read nothing do not count
    weight = naive_attention(terms, with_dt=False).abs()
    lags = torch.arange(length)[:, None] - torch.arange(length)
    distances = (weight * lags).sum(-1) / weight.sum(-1)
    found = mean_distance(terms, rows=rows)
    middle = [int((place + 0.5) * length / rows) for place in range(rows)]  # of as many equal parts
    looked_at = distances[:, :, middle]
    counted = (~looked_at.isnan()).sum(-1)
    assert bool((counted < rows).any())
    mean = looked_at.nanmean(-1)
    deviation = ((looked_at - mean[..., None]) ** 2).nansum(-1) / (counted - 1)
    expected = (deviation * (1 - rows / length) / counted).sqrt()
    torch.testing.assert_close(found.value.double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.error.double(), expected, rtol=1e-4, atol=1e-6)


def of_pairs(pairs: list[tuple[int, int]], length: int) -> SSDTerms:
    """A head that never decays, in which query i reads key j alone for each pair (i, j)."""
    B = torch.eye(length)[None, :, None]
    C = torch.zeros(1, length, 1, length)
    for i, j in pairs:
        C[0, i, 0, j] = -3.0
    return SSDTerms.from_parts(
        x=torch.zeros(1, length, 1, 1),
        B=B,
        C=C,
        dt=torch.zeros(1, length, 1),
        A=-torch.ones(1),
        D=torch.ones(1),
    )


def test_mean_distance_of_heads_that_look_one_place_back_or_at_themselves() -> None:
    assert mean_distance(of_pairs([(i, i) for i in range(6)], 6)).value.tolist() == [[0.0]]
    assert mean_distance(of_pairs([(i, i - 1) for i in range(1, 6)], 6)).value.tolist() == [[1.0]]


def test_mean_distance_leaves_out_rows_that_read_nothing() -> None:
    assert mean_distance(of_pairs([(3, 1)], 4)).value.tolist() == [[2.0]]
    assert mean_distance(of_pairs([], 4)).value.isnan().all()


@pytest.mark.parametrize(("query", "key"), [(0, 0), (9, 9), (33, 4), (39, 0)])
def test_the_share_of_a_cell_is_that_of_the_whole_matrix(query: int, key: int) -> None:
    terms = random_terms(1, 40)
    row = naive_attention(terms, with_dt=False)[:, :, query].abs()
    found = row_share(terms, query, key)
    torch.testing.assert_close(found.double(), row[..., key] / row.sum(-1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sum(row_share(terms, query, each) for each in range(query + 1)), found * 0 + 1)
    softmax = random_softmax(40, 3)
    torch.testing.assert_close(row_share(softmax, query, key), softmax_attention(softmax)[:, :, query, key])


def test_a_row_that_reads_nothing_has_no_shares_and_a_later_key_is_refused() -> None:
    assert row_share(of_pairs([(3, 1)], 4), 3, 1).tolist() == [[1.0]]
    assert row_share(of_pairs([(3, 1)], 4), 2, 1).isnan().all()
    for query, key in ((2, 3), (2, -1), (4, 0)):
        with pytest.raises(IndexError):
            row_share(of_pairs([], 4), query, key)
