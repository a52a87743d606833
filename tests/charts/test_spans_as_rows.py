"""A span of the text as one row: against plain sums of the matrix."""

import numpy as np
import pytest

from components.charts import SpanSums, Window, head_cells, span_in_words, span_sums
from components.ssd import SoftmaxTerms, SSDTerms, effective_attention, softmax_attention
from tests.charts.conftest import random_terms
from tests.charts.test_softmax import random_softmax

LENGTHS = [9, 300]


def matrix_of(terms: SSDTerms | SoftmaxTerms, head: int, with_dt: bool = False) -> np.ndarray:
    if isinstance(terms, SoftmaxTerms):
        return softmax_attention(terms, heads=[head])[0, 0].double().numpy()
    return effective_attention(terms, heads=[head], include_dt_scaling=with_dt)[0, 0].double().numpy()


def tiled_means(sums: np.ndarray, edges: list[tuple[int, int]], first: int) -> np.ndarray:
    return np.array([sums[start - first : stop - first].mean() for start, stop in edges])


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", ["mamba2", "dt", "softmax"])
@pytest.mark.parametrize("read_by", [False, True])
def test_sums_are_those_of_the_matrix(length: int, kind: str, read_by: bool) -> None:
    terms = random_softmax(length) if kind == "softmax" else random_terms(length)
    M = matrix_of(terms, 1, kind == "dt")
    reading = "attention_dt" if kind == "dt" else ""
    for window in (Window.whole(length), Window(range(length // 2, length), range(length // 2))):
        cells = head_cells(terms, 1, ["a"] * length, window)
        for span in (range(3, 4), range(2, 7), range(length)):
            found = span_sums(
                terms,
                1,
                ["a"] * length,
                span,
                window,
                read_by=read_by,
                reading=reading,
            )
            tiles = cells.queries if read_by else cells.keys
            of_span = M[:, list(span)].sum(axis=1) if read_by else M[list(span)].sum(axis=0)
            edges = list(zip(tiles["start"], tiles["stop"], strict=True))
            expected = tiled_means(of_span, edges, 0)
            np.testing.assert_allclose(found.sums, expected, rtol=2e-4, atol=2e-5 * np.abs(M).max())


def test_a_span_beyond_the_text_is_refused() -> None:
    for span in (range(0), range(8, 12), range(-1, 3)):
        with pytest.raises(ValueError, match="not a span of a text of 9 tokens"):
            span_sums(random_terms(9), 0, ["a"] * 9, span, Window.whole(9))


def test_a_span_in_words() -> None:
    tokens = [f"t{k}" for k in range(9)]
    cells = head_cells(random_terms(9), 0, tokens)
    sums = np.zeros(9, dtype=np.float32)
    assert span_in_words(SpanSums(range(2, 4), False, sums, "t2t3"), cells) == "They read nothing here."
    assert span_in_words(SpanSums(range(2, 4), True, sums, "t2t3"), cells) == "Nothing here reads them."
    sums[5] = -0.42
    assert (
        span_in_words(SpanSums(range(6, 8), False, sums, "x"), cells)
        == "Together they read 't5' at 5 most (−0.42)."
    )
    assert (
        span_in_words(SpanSums(range(2, 4), True, sums, "x"), cells)
        == "They are read most by 't5' at 5 (−0.42)."
    )
    assert SpanSums(range(2, 4), False, sums, "t2t3").title == "What 2–3  t2t3 read: the sum of these rows"
