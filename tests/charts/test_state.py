import json
import re
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.charts import (
    Figure,
    state_norm_chart,
    state_norm_table,
    state_shares_chart,
    state_shares_table,
    visible_tokens,
)
from components.charts.window import MAX_TILES, tiles_of
from components.ssd import state_contributions, state_norms, state_shares
from tests.charts.conftest import random_terms
from tests.charts.test_charts import fact, type_sizes


def words(length: int) -> list[str]:
    return [f"·t{k}" for k in range(length)]


def norm_figure(length: int, head: int = 0, at: int | None = None, **options: Any) -> Figure:
    table = state_norm_table(state_norms(random_terms(length)), words(length))
    return state_norm_chart(table, head, length - 1 if at is None else at, **options)


def shares_figure(length: int, **options: Any) -> Figure:
    terms = random_terms(length)
    shares, left = state_shares(terms, -1, heads=[1]), state_contributions(terms, -1, heads=[1])
    return state_shares_chart(state_shares_table(shares, left, words(length)), **options)


@pytest.mark.parametrize("length", [1, 128, 300])
def test_figures_are_valid_charts_with_all_their_tables(length: int) -> None:
    for figure in (norm_figure(length, prompt_length=length // 2), shares_figure(length)):
        alt.LayerChart.validate(figure.specification())
        named = {layer["data"]["name"] for layer in figure.chart["layer"]}
        assert named == set(figure.tables)
        assert set(re.findall(r"data\('(\w+)'\)", json.dumps(figure.chart))) <= named


def test_every_head_position_and_text_has_the_same_chart() -> None:
    first = norm_figure(9)
    assert norm_figure(30, head=2, at=3, prompt_length=20).chart is first.chart
    assert shares_figure(9).chart is shares_figure(128).chart
    assert norm_figure(200).chart is norm_figure(500, head=1).chart
    assert norm_figure(200).chart is not first.chart  # tiles have other words in their tooltips


def test_norms_of_a_short_text_are_the_engines() -> None:
    terms = random_terms(128)
    norms = state_norms(terms)
    table = state_norm_table(norms, words(128))
    for head in range(3):
        of_head = table[table["head"] == head]
        np.testing.assert_array_equal(of_head["norm"], norms[0, head])
        assert of_head["text"].tolist() == words(128)
        assert of_head["start"].tolist() == of_head["slot"].tolist() == list(range(128))


@settings(max_examples=30, deadline=None)
@given(st.integers(129, 2_000))
def test_tiles_of_a_long_text_hold_mean_norms_and_summed_shares(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    norms = torch.rand(1, 2, length, generator=generator)
    shares, left = torch.randn(1, 1, length, generator=generator), torch.rand(1, 1, length)
    tokens = words(length)
    table, bars = state_norm_table(norms, tokens), state_shares_table(shares, left, tokens)
    tiles = tiles_of(range(length))
    assert len(table) == 2 * len(bars) == 2 * MAX_TILES
    assert bars["share"].sum() == pytest.approx(float(shares.sum()), abs=1e-3)
    for slot in (0, 77, MAX_TILES - 1):
        tile = slice(tiles[slot].start, tiles[slot].stop)
        (row,) = table[(table["head"] == 1) & (table["slot"] == slot)].to_dict("records")
        assert row["norm"] == pytest.approx(float(norms[0, 1, tile].mean()), rel=1e-5)
        assert (row["start"], row["stop"]) == (tile.start, tile.stop)
        assert row["text"].startswith(tokens[tile.start])
        bar = bars.iloc[slot]
        assert bar["share"] == pytest.approx(float(shares[0, 0, tile].sum()), abs=1e-5)
        assert bar["left"] == pytest.approx(float(left[0, 0, tile].sum()), rel=1e-5)


def test_as_many_tokens_as_positions() -> None:
    terms = random_terms(9)
    with pytest.raises(ValueError, match="8 tokens for 9 positions"):
        state_norm_table(state_norms(terms), words(8))
    shares = state_shares(terms, 4, heads=[0])
    with pytest.raises(ValueError, match="9 tokens for 5 positions"):
        state_shares_table(shares, shares, words(9))


def test_a_rule_stands_at_the_position_and_a_line_where_the_prompt_ends() -> None:
    figure = norm_figure(30, at=7, prompt_length=20)
    assert (fact(figure, "at"), fact(figure, "prompt")) == (7, 20)
    for prompt_length in (None, 0, 30):
        assert fact(norm_figure(30, prompt_length=prompt_length), "prompt") == 0
    # 300 tokens in 128 tiles: 150 of them are 64 tiles.
    tiles = norm_figure(300, at=150, prompt_length=150)
    assert (fact(tiles, "at"), fact(tiles, "prompt")) == (64, 64.0)
    within = norm_figure(1280, at=1279, prompt_length=645)
    assert (fact(within, "at"), fact(within, "prompt")) == (127, 64.5)


@pytest.mark.parametrize("at", [-1, 9])
def test_a_position_that_does_not_exist_is_named(at: int) -> None:
    with pytest.raises(IndexError, match=f"no position {at}: there are 9"):
        norm_figure(9, at=at)


def test_only_the_picked_head_answers_the_pointer() -> None:
    figure = norm_figure(30, head=2)
    norms = state_norms(random_terms(30))[0, 2]
    assert fact(figure, "picked") == 2
    np.testing.assert_array_equal(figure.tables["picked"]["shown"], norms)
    felt = [layer for layer in figure.chart["layer"] if "tooltip" in layer.get("encoding", {})]
    assert [layer["data"]["name"] for layer in felt] == ["picked"]
    assert [field["title"] for field in felt[0]["encoding"]["tooltip"]] == ["position", "token", "norm"]


@pytest.mark.parametrize(
    "norms",
    [[0.0, 0.0], [0.0, 5.0], [1e-9, 3e4], [2.0, 2.0], [1e-30, 2e-30], [float("nan"), 1.0], [np.inf, 3]],
)
def test_the_axis_of_norms_takes_what_a_state_can_be(norms: list[float]) -> None:
    table = state_norm_table(torch.tensor([[norms]], dtype=torch.float32), ["a", "b"])
    figure = state_norm_chart(table, 0, 1)
    low, high = float(fact(figure, "low")), float(fact(figure, "high"))
    assert 0 < low <= high / 9
    assert high / low < 2e4
    ticks = figure.tables["ticks"]["norm"].tolist()
    assert 3 <= len(ticks) <= 8
    assert all(low <= tick <= high for tick in ticks)
    assert all(before < after for before, after in pairwise(ticks))
    shown = [norm for norm in norms if np.isfinite(norm) and norm > 1e-4 * max(norms)]
    assert all(low <= norm <= high for norm in shown)
    assert not (figure.tables["norms"]["norm"] <= 0).any()


def test_shares_are_drawn_as_they_are_and_zero_is_within_the_axis() -> None:
    shares, left = torch.tensor([[[0.5, -0.75, 1.25]]]), torch.tensor([[[1.0, 2.0, 3.0]]])
    figure = state_shares_chart(state_shares_table(shares, left, ["a", "b", "c"]))
    bars = figure.tables["shares"]
    assert bars["share"].tolist() == [0.5, -0.75, 1.25]
    assert bars["left"].tolist() == [1, 2, 3]
    assert (fact(figure, "low"), fact(figure, "high"), fact(figure, "limit")) == (-0.75, 1.25, 1.25)
    for same in (torch.zeros(1, 1, 3), torch.ones(1, 1, 3) / 3, -torch.ones(1, 1, 3)):
        bars = state_shares_chart(state_shares_table(same, same, ["a", "b", "c"]))
        assert float(fact(bars, "low")) <= 0 <= float(fact(bars, "high"))
        assert float(fact(bars, "low")) < float(fact(bars, "high"))
        assert float(fact(bars, "limit")) > 0


def test_no_more_marks_than_tiles_and_places_in_figures() -> None:
    for figure in (norm_figure(1000, prompt_length=600), shares_figure(1000)):
        most = {"norms": 3 * MAX_TILES}
        assert all(len(table) <= most.get(name, MAX_TILES) for name, table in figure.tables.items())
    assert shares_figure(300).tables["shares"]["positions"].tolist()[:3] == ["0–1", "2–3", "4–6"]
    assert shares_figure(300).tables["keys"]["label"].tolist()[:3] == ["0", "2", "4"]


def test_hostile_tokens_stay_whole() -> None:
    tokens = visible_tokens(["🦊", "\u202eabc", "\u0007", " <b>x</b>", "\n", "x" * 300, "日本語", "e\u0301"])
    terms = random_terms(8)
    shares = state_shares(terms, -1, heads=[0])
    for figure, of in (
        (state_norm_chart(state_norm_table(state_norms(terms), tokens), 0, 7), "picked"),
        (state_shares_chart(state_shares_table(shares, shares, tokens)), "shares"),
    ):
        assert figure.tables[of]["text"].tolist() == tokens
        assert figure.tables["keys"]["label"].tolist() == tokens


def test_larger_type_is_larger_everywhere() -> None:
    for draw in (norm_figure, shares_figure):
        small, large = (type_sizes(draw(9, larger=larger).chart) for larger in (False, True))
        assert small
        np.testing.assert_allclose(large, np.array(small) * 1.35)
