import numpy as np
import pandas as pd
import pytest

from components.charts import HeadCells, Statistic, Window, head_cells, head_in_words
from components.ssd import SSDTerms, effective_attention
from tests.charts.conftest import random_terms


def table(values: list[float]) -> HeadCells:
    """A triangle with the given attention, row by row; dt is 1, 10, 1."""
    length = int((2 * len(values)) ** 0.5)
    rows, columns = np.tril_indices(length)
    names = np.array(["map", "is", "have"], dtype=object)
    positions = pd.DataFrame({"start": range(length), "stop": range(1, length + 1), "text": names[:length]})
    cells = pd.DataFrame(
        {
            "row": rows,
            "column": columns,
            "i": rows,
            "j": columns,
            "query": names[rows],
            "key": names[columns],
            "attention": np.array(values, dtype=np.float32),
            "attention_dt": np.array(values, dtype=np.float32) * np.array([1, 10, 1])[columns],
        }
    )
    return HeadCells(Window.whole(length), "mean", positions, positions, cells)


def test_the_caption_says_half_life_signs_and_the_most_read_key() -> None:
    cells = table([0.2, -0.31, 0.04, 0.42, -0.03, 0.0])
    assert head_in_words(cells, 2, 5, 6.12, 2) == (
        "Layer 2, head 5 halves every 6.1 tokens; 34 % of its weight is negative; "
        "'have' reads 'map' most (+0.42)."
    )


def test_the_caption_follows_dt() -> None:
    cells = table([0.2, -0.31, 0.04, 0.02, -0.03, 0.0])
    assert "'have' reads 'is' most (−0.3)" in head_in_words(cells, 0, 0, 12.7, 2, with_dt=True)
    assert "13 tokens" in head_in_words(cells, 0, 0, 12.7, 2)


@pytest.mark.parametrize("query", [0, 5, 8])
def test_the_caption_agrees_with_the_engine(terms: SSDTerms, query: int) -> None:
    tokens = [f"t{k}" for k in range(9)]
    attention = effective_attention(terms, heads=[1])[0, 0].double()
    negative = float(attention.clamp(max=0).abs().sum() / attention.abs().sum())
    key = int(attention[query].abs().argmax())
    words = head_in_words(head_cells(terms, 1, tokens), 0, 1, 3.0, query)
    assert f"; {negative * 100:.0f} % of its weight is negative; " in words
    assert ("reads itself" if key == query else f"reads 't{key}'") in words


def test_nothing_is_said_about_what_is_not_there() -> None:
    nothing = head_in_words(table([0.0] * 6), 1, 2, np.inf, 2)
    assert nothing == "Layer 1, head 2 never decays; it has no weight here."
    quiet = head_in_words(table([1.0, 0, 0, 0, 0, 0]), 1, 2, 3.0, 2)
    assert quiet == (
        "Layer 1, head 2 halves every 3 tokens; 0 % of its weight is negative; 'have' reads nothing."
    )


def test_one_token_reads_itself() -> None:
    words = head_in_words(head_cells(random_terms(1), 0, ["the"]), 0, 0, 2.0, 0)
    assert "'the' reads itself most" in words


@pytest.mark.parametrize(("statistic", "told"), [("mean", "(mean "), ("rms", "(RMS ")])
def test_tiles_are_told_by_their_positions_and_what_is_told_of_them(statistic: Statistic, told: str) -> None:
    cells = head_cells(random_terms(300), 0, ["a"] * 300, statistic=statistic)
    words = head_in_words(cells, 1, 2, 3.0, 299)
    assert "; queries 297–299 read keys " in words
    assert told in words
    assert "negative" not in words
    single = head_cells(random_terms(300), 0, ["a"] * 300, Window(range(200, 240), range(0, 200)))
    assert "; query 239 reads keys " in head_in_words(single, 1, 2, 3.0, 239)
