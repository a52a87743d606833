from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from components.charts import HeadCells, Window, exactness, head_cells, head_in_words, what_is_left
from components.ssd import KINDS, Head, Place, SSDTerms, Statistic, effective_attention
from tests.charts.conftest import random_softmax, random_terms


def table(values: list[float]) -> HeadCells:
    """A triangle with the given attention, row by row; dt is 1, 10, 1."""
    length = int((2 * len(values)) ** 0.5)
    rows, columns = np.tril_indices(length)
    names = np.array(["map", "is", "have"], dtype=object)
    positions = pd.DataFrame({"start": range(length), "stop": range(1, length + 1), "text": names[:length]})
    cells = {
        "row": rows,
        "column": columns,
        "i": rows,
        "j": columns,
        "query": names[rows],
        "key": names[columns],
        "attention": np.array(values, dtype=np.float32),
        "attention_dt": np.array(values, dtype=np.float32) * np.array([1, 10, 1], np.float32)[columns],
    }
    return HeadCells(Window.whole(length), "mean", positions, positions, cells, KINDS["mamba2"])


def test_the_caption_says_half_life_signs_and_the_most_read_key() -> None:
    cells = table([0.2, -0.31, 0.04, 0.42, -0.03, 0.0])
    assert head_in_words(cells, Head(Place(2), 5), 6.12, 2) == (
        "Layer 2, head 5 halves every 6.1 tokens; 34 % of its weight is negative; "
        "'have' reads 'map' most (+0.42)."
    )


def test_the_caption_follows_dt() -> None:
    cells = table([0.2, -0.31, 0.04, 0.02, -0.03, 0.0])
    with_dt = replace(cells, reading="attention_dt")
    assert "'have' reads 'is' most (attention·dt −0.3)" in head_in_words(with_dt, Head(Place(0), 0), 12.7, 2)
    assert "13 tokens" in head_in_words(cells, Head(Place(0), 0), 12.7, 2)


@pytest.mark.parametrize("query", [0, 5, 8])
def test_the_caption_agrees_with_the_engine(terms: SSDTerms, query: int) -> None:
    tokens = [f"t{k}" for k in range(9)]
    attention = effective_attention(terms, heads=[1])[0, 0].double()
    negative = float(attention.clamp(max=0).abs().sum() / attention.abs().sum())
    key = int(attention[query].abs().argmax())
    words = head_in_words(head_cells(terms, 1, tokens), Head(Place(0), 1), 3.0, query)
    assert f"; {negative * 100:.0f} % of its weight is negative; " in words
    assert ("reads itself" if key == query else f"reads 't{key}'") in words


def test_nothing_is_said_about_what_is_not_there() -> None:
    nothing = head_in_words(table([0.0] * 6), Head(Place(1), 2), np.inf, 2)
    assert nothing == "Layer 1, head 2 never decays; it has no weight here."
    quiet = head_in_words(table([1.0, 0, 0, 0, 0, 0]), Head(Place(1), 2), 3.0, 2)
    assert quiet == (
        "Layer 1, head 2 halves every 3 tokens; 0 % of its weight is negative; 'have' reads nothing."
    )


def test_one_token_reads_itself() -> None:
    words = head_in_words(head_cells(random_terms(1), 0, ["the"]), Head(Place(0), 0), 2.0, 0)
    assert "'the' reads itself most" in words


@pytest.mark.parametrize(("statistic", "told"), [("mean", "(mean "), ("rms", "(RMS ")])
def test_tiles_are_told_by_their_positions_and_what_is_told_of_them(statistic: Statistic, told: str) -> None:
    cells = head_cells(random_terms(300), 0, ["a"] * 300, statistic=statistic)
    words = head_in_words(cells, Head(Place(1), 2), 3.0, 299)
    assert "; queries 297–299 read keys " in words
    assert told in words
    assert "negative" not in words
    single = head_cells(random_terms(300), 0, ["a"] * 300, Window(range(200, 240), range(0, 200)))
    assert "; query 239 reads keys " in head_in_words(single, Head(Place(1), 2), 3.0, 239)


def faded(length: int, survival: float) -> SSDTerms:
    """One head of which, a token later, this part of everything is left."""
    one = torch.ones(1, length, 1, 1)
    A = -torch.tensor([survival]).log()
    return SSDTerms.from_parts(x=one, B=one, C=one, dt=torch.ones(1, length, 1), A=-A, D=torch.zeros(1))


@pytest.mark.parametrize(
    ("window", "survival", "said"),
    [
        (Window(range(20, 30), range(0, 11)), 0.5**10, "Next to nothing|9.8·10⁻⁴"),
        (Window(range(35, 40), range(0, 6)), 0.5**30, "Nothing|9.3·10⁻¹⁰"),
        (Window(range(20, 30), range(0, 12)), 0.5**9, ""),
        (Window(range(20, 30), range(10, 30)), 1.0, ""),
    ],
)
def test_a_window_in_which_a_head_has_forgotten_says_so(window: Window, survival: float, said: str) -> None:
    cells = head_cells(faded(40, 0.5), 0, ["a"] * 40, window)
    found = what_is_left(cells, survival, 1.0)
    amount, _, figure = said.partition("|")
    words = f"{amount} is left here: of what these keys wrote, at most {figure} remains at these queries."
    assert found == (words if said else "")
    assert float(cells.cells["attention"].max()) == pytest.approx(survival)


def test_nothing_fades_in_softmax_attention() -> None:
    terms = random_softmax(40)
    cells = head_cells(terms, 0, ["a"] * 40, Window(range(20, 30), range(0, 5)))
    assert what_is_left(cells, 1.0, 1.0) == ""
    faint = replace(cells, columns={**cells.columns, "attention": cells.values * np.float32(1e-6)})
    found = what_is_left(faint, 1.0, 1.0)
    assert found.startswith("These queries read next to nothing here: the largest cell is ")
    assert "left" not in found


@pytest.mark.parametrize(
    ("error", "tolerance", "verdict"),
    [
        (1.3e-7, 1e-4, "exact to 6 digits"),
        (1e-7, 1e-4, "exact to 7 digits"),
        (4e-2, 0.1, "exact to 1 digit"),
        (0.0, 1e-4, "exact to the last digit"),
        (2e-3, 1e-4, "not exact"),
        (float("nan"), 1e-4, "not exact"),
    ],
)
def test_the_verdict_follows_from_the_error(error: float, tolerance: float, verdict: str) -> None:
    assert exactness(error, tolerance) == verdict
