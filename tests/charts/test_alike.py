"""Heads like one, by what they read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.charts import Alike, attention_tiles, heads_like
from components.ssd import Place
from tests.charts.conftest import random_softmax, random_terms


def pictures(heads: int = 6) -> np.ndarray:
    return np.random.default_rng(0).random((heads, 5, 5), dtype=np.float32)


def test_a_copy_is_the_nearest() -> None:
    every = pictures()
    every[4] = every[1]
    assert heads_like(every, 1)[0] == Alike(4, pytest.approx(1, abs=1e-6))


def test_the_figure_is_the_cosine() -> None:
    every = pictures()
    flat = every.reshape(6, -1).astype(np.float64)
    for other, similarity in heads_like(every, 2):
        cosine = flat[2] @ flat[other] / np.linalg.norm(flat[2]) / np.linalg.norm(flat[other])
        assert similarity == pytest.approx(cosine, abs=1e-5)


def test_nearest_come_first_and_the_head_itself_never() -> None:
    found = heads_like(pictures(9), 3, most=5)
    assert len(found) == 5
    assert 3 not in [other for other, _ in found]
    assert [each.similarity for each in found] == sorted((each.similarity for each in found), reverse=True)


@given(st.floats(1e-25, 1e25))
def test_how_strongly_a_head_reads_makes_no_difference(factor: float) -> None:
    every = pictures()
    scaled = every.copy()
    scaled[3] *= np.float32(factor)
    for head in (0, 3):
        before, after = heads_like(every, head), heads_like(scaled, head)
        assert [each.head for each in before] == [each.head for each in after]
        figures = [[each.similarity for each in found] for found in (before, after)]
        assert np.allclose(*figures, atol=1e-5)


def test_it_is_mutual() -> None:
    every = pictures()
    one = dict(heads_like(every, 0, most=5))
    for other, similarity in one.items():
        assert dict(heads_like(every, other, most=5))[0] == pytest.approx(similarity, abs=1e-6)


def test_heads_that_read_nothing_or_elsewhere_are_like_none() -> None:
    every = np.zeros((4, 3, 3), dtype=np.float32)
    every[0, 0, 0] = every[1, 0, 0] = 2
    every[2, 1, 0] = 1
    assert [each.head for each in heads_like(every, 0)] == [1]
    assert heads_like(every, 2) == []
    assert heads_like(every, 3) == []
    assert heads_like(every[:1], 0) == []


def test_heads_of_both_kinds_can_be_compared() -> None:
    terms = {Place(0): random_terms(40), Place(0, "softmax"): random_softmax(40)}
    every = np.concatenate([attention_tiles(each, 8) for each in terms.values()])
    assert 0 < heads_like(every, 0)[0].similarity < 1
