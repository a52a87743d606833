import numpy as np
import pytest
import torch

from components.charts import (
    cell_table,
    locked_limits,
    measure_table,
    row_table,
    survival_table,
    visible_tokens,
)
from components.ssd import SSDTerms, content, decay, effective_attention, half_life, mean_distance
from tests.charts.conftest import random_terms

TOKENS = [f"t{k}" for k in range(9)]


def test_cells_are_the_engines_numbers(terms: SSDTerms) -> None:
    cells = cell_table(terms, 1, TOKENS)
    assert len(cells) == 9 * 10 // 2
    place = (cells["i"].to_numpy(), cells["j"].to_numpy())
    for name, engine in (("content", content), ("decay", decay), ("attention", effective_attention)):
        np.testing.assert_array_equal(cells[name], engine(terms, heads=[1])[0, 0].numpy()[place])
    np.testing.assert_allclose(cells["content"] * cells["decay"], cells["attention"], rtol=1e-5)
    np.testing.assert_allclose(cells["attention"] * cells["dt"], cells["attention_dt"], rtol=1e-5)
    np.testing.assert_array_equal(cells["dt"], terms.dt[0, :, 1].numpy()[place[1]])


def test_cells_name_their_positions_in_the_whole_text(terms: SSDTerms) -> None:
    cells = cell_table(terms, 0, TOKENS, first=100)
    assert cells["i"].min() == cells["j"].min() == 100
    assert (cells["i"] >= cells["j"]).all()
    row = cells[(cells["i"] == 105) & (cells["j"] == 102)].iloc[0]
    assert (row["query"], row["key"]) == ("t5", "t2")


def test_the_row_of_one_query_reads_like_a_table(terms: SSDTerms) -> None:
    cells = cell_table(terms, 1, TOKENS, first=10)
    row = row_table(cells.sample(frac=1, random_state=0), 14)
    names = ["key position", "key token", "content", "decay", "dt", "attention", "attention·dt"]
    assert list(row.columns) == names
    assert list(row["key position"]) == [10, 11, 12, 13, 14]
    assert list(row["key token"]) == TOKENS[:5]
    np.testing.assert_array_equal(
        row["attention·dt"], effective_attention(terms, heads=[1], include_dt_scaling=True)[0, 0, 4, :5]
    )
    assert row_table(cells, 99).empty


@pytest.mark.parametrize("with_dt", [False, True])
def test_locked_limits_are_the_largest_of_all_heads_and_layers(terms: SSDTerms, with_dt: bool) -> None:
    layers = {0: terms, 5: random_terms(4)}
    tables = [
        cell_table(each, head, TOKENS[: each.length])
        for each in layers.values()
        for head in range(each.heads)
    ]
    value = "attention_dt" if with_dt else "attention"
    limits = locked_limits(layers, with_dt)
    assert limits["content"] == max(table["content"].abs().max() for table in tables)
    assert limits["attention"] == pytest.approx(max(table[value].abs().max() for table in tables))


def test_measures_of_every_layer_and_head(terms: SSDTerms) -> None:
    measures = measure_table({0: terms, 4: terms})
    assert list(measures["layer"]) == [0, 0, 0, 4, 4, 4]
    assert list(measures["head"]) == [0, 1, 2, 0, 1, 2]
    np.testing.assert_array_equal(measures["half_life"][:3], half_life(terms)[0])
    np.testing.assert_array_equal(measures["mean_distance"][3:], mean_distance(effective_attention(terms))[0])


def test_survival_is_the_first_column_of_the_decay(terms: SSDTerms) -> None:
    survival = survival_table(terms)
    of_head = survival[survival["head"] == 2]
    assert list(of_head["lag"]) == list(range(9))
    assert of_head["survival"].iloc[0] == 1
    torch.testing.assert_close(
        torch.tensor(of_head["survival"].to_numpy()), decay(terms, heads=[2])[0, 0, :, 0], rtol=1e-6, atol=0
    )


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" key", "·key"),
        ("\n\t\r", "⏎⇥␍"),
        ("\u0007", "␇"),
        ("\u202eabc", "‹202E›abc"),
        ("\u200b", "‹200B›"),
        ("<b>*x*</b>", "<b>*x*</b>"),
        ("🦊", "🦊"),
        ("", "∅"),
    ],
)
def test_tokens_can_be_seen_and_change_nothing_around_them(token: str, shown: str) -> None:
    assert visible_tokens([token]) == [shown]
