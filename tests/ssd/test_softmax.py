"""Softmax attention of any window, against the textbook formula."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from components.ssd import (
    SoftmaxTerms,
    attention_of,
    mean_distance,
    pooled_scores,
    pooled_softmax,
    reference,
    scores,
    softmax,
    softmax_attention,
    tile_edges,
)


def random_terms(
    length: int, *, heads: int = 4, groups: int = 2, seed: int = 0, padding: int = 0
) -> SoftmaxTerms:
    draw = torch.Generator().manual_seed(seed)
    valid = torch.ones(2, length, dtype=torch.bool)
    valid[1, :padding] = False
    return SoftmaxTerms(
        q=torch.randn(2, length, heads, 5, generator=draw) * 2,
        k=torch.randn(2, length, groups, 5, generator=draw) * 2,
        scale=0.7,
        valid=valid if padding else None,
    )


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("length", "padding"), [(1, 0), (7, 0), (70, 0), (70, 9)])
def test_the_whole_matrix_is_the_textbook_formula(length: int, padding: int, groups: int) -> None:
    terms = random_terms(length, groups=groups, padding=padding)
    E, P = reference.scores(terms), reference.softmax(terms)
    torch.testing.assert_close(softmax_attention(terms), P.float(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(scores(terms), E.float(), rtol=1e-5, atol=1e-5)
    assert torch.equal(attention_of(terms), softmax_attention(terms))


@pytest.mark.parametrize("at_a_time", [softmax.BLOCK_BYTES, 1])
@pytest.mark.parametrize(
    "window",
    [
        {"heads": [3], "queries": slice(60, 90), "keys": slice(10, 40)},
        {"heads": slice(1, 3), "queries": [-1, 0, 50], "keys": [70, 3, 3]},
        {"queries": [5], "keys": slice(50, 60)},
        {"heads": [], "queries": [5]},
        {"queries": slice(5, 5), "keys": [2]},
    ],
)
def test_a_window_is_a_part_of_the_matrix(
    window: dict[str, Any], at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "BLOCK_BYTES", at_a_time)
    terms = random_terms(150, padding=4)
    index = [window.get(name, slice(None)) for name in ("heads", "queries", "keys")]
    for function in (softmax_attention, scores):
        whole = function(terms)
        part = whole[:, index[0]][:, :, index[1]][:, :, :, index[2]]
        torch.testing.assert_close(function(terms, **window), part, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding", [0, 6])
def test_a_text_that_goes_on_has_the_same_rows_and_empty_ones(padding: int) -> None:
    terms = random_terms(20, padding=padding)
    longer = softmax_attention(terms.lengthened(26))
    assert torch.equal(longer[..., :20, :20], softmax_attention(terms))
    assert not longer[:, :, 20:].any()


@pytest.mark.parametrize("function", [pooled_softmax, pooled_scores])
def test_no_heads_are_an_empty_picture(function: Any) -> None:
    assert function(random_terms(30), heads=[], tiles=4, keys=slice(0, 3)).shape == (2, 0, 4, 3)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 90),
    tiles=st.integers(1, 20),
    padding=st.integers(0, 5),
    data=st.data(),
)
def test_tiles_hold_the_statistic_of_their_entries(
    length: int, tiles: int, padding: int, data: st.DataObject
) -> None:
    terms = random_terms(length, padding=min(padding, length - 1))
    starts = [data.draw(st.integers(0, length - 1)) for _ in range(2)]
    rows, columns = (slice(start, data.draw(st.integers(start + 1, length))) for start in starts)
    window = {"heads": [1], "queries": rows, "keys": columns}

    def tiled(matrix: Tensor) -> Tensor:
        edges = [tile_edges(each.stop - each.start, tiles).tolist() for each in (rows, columns)]
        lines = [
            torch.stack([matrix[:, :, a:b, c:d].mean(dim=(2, 3)) for c, d in pairwise(edges[1])], dim=-1)
            for a, b in pairwise(edges[0])
        ]
        return torch.stack(lines, dim=-2)

    P, E = softmax_attention(terms, **window), scores(terms, **window)
    mean = pooled_softmax(terms, tiles=tiles, **window)
    rms = pooled_softmax(terms, tiles=tiles, statistic="rms", **window)
    torch.testing.assert_close(mean, tiled(P), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(rms, tiled(P.square()).sqrt(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(pooled_scores(terms, tiles=tiles, **window), tiled(E), rtol=1e-4, atol=1e-5)


def test_what_is_asked_of_a_long_text_is_all_that_is_computed() -> None:
    """A matrix of this text would take 160 GB."""
    length = 100_000
    draw = torch.Generator().manual_seed(0)
    terms = SoftmaxTerms(
        q=torch.randn(1, length, 4, 8, generator=draw),
        k=torch.randn(1, length, 1, 8, generator=draw),
        scale=0.5,
    )
    P = softmax_attention(terms, heads=[2], queries=[length - 1], keys=slice(length - 50, length))[0, 0, 0]
    row = (terms.q[0, -1, 2].double() @ terms.k[0, :, 0].double().T * 0.5).softmax(dim=-1)
    torch.testing.assert_close(P.double(), row[-50:], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("function", [softmax_attention, scores, pooled_softmax, pooled_scores])
def test_what_stands_at_padding_counts_for_nothing(function: Any) -> None:
    terms = random_terms(40, padding=6)
    q, k = terms.q.clone(), terms.k.clone()
    q[1, :6], k[1, :6] = math.nan, math.nan
    assert torch.equal(function(SoftmaxTerms(q, k, terms.scale, terms.valid)), function(terms))


def test_half_precision_is_compared_in_float32() -> None:
    terms = random_terms(40)
    half = SoftmaxTerms(terms.q.bfloat16(), terms.k.bfloat16(), terms.scale)
    rounded = SoftmaxTerms(half.q.float(), half.k.float(), terms.scale)
    assert torch.equal(softmax_attention(half), softmax_attention(rounded))


def test_mean_distance_is_that_of_the_pattern() -> None:
    terms = random_terms(60, padding=5)
    P = reference.softmax(terms)
    lags = torch.arange(60)[:, None] - torch.arange(60)
    distance = (P * lags).sum(dim=-1)
    found = mean_distance(terms)
    torch.testing.assert_close(found.value[0].double(), distance[0].mean(dim=-1), rtol=1e-5, atol=1e-5)
    # Rows at padding read nothing and do not count.
    torch.testing.assert_close(found.value[1].double(), distance[1, :, 5:].mean(dim=-1), rtol=1e-5, atol=1e-5)
    assert not math.isnan(float(found.error.sum()))


@pytest.mark.parametrize("function", [softmax_attention, scores, pooled_softmax, pooled_scores])
def test_what_does_not_exist_is_named(function: Any) -> None:
    terms = random_terms(5)
    with pytest.raises(IndexError, match="no head 4: there are 4"):
        function(terms, heads=[4])
    if function in (pooled_softmax, pooled_scores):
        with pytest.raises(ValueError, match="not a window of 5 positions"):
            function(terms, queries=slice(5, 9))
    if function is pooled_softmax:
        with pytest.raises(ValueError, match="no statistic 'max'"):
            function(terms, statistic="max")
