import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from components.bridge.tokens import encode, token_texts
from components.charts import (
    Window,
    head_cells,
    locked_limits,
    measure_table,
    row_table,
    strongest_tile,
    survival_table,
    visible_tokens,
)
from components.charts.cells import tile_text
from components.charts.strip import _shortened, text_columns
from components.charts.tokens import joined
from components.charts.window import MAX_TILES, tiles_of
from components.ssd import (
    Place,
    SSDTerms,
    Statistic,
    content,
    decay,
    effective_attention,
    half_life,
    mean_distance,
    pooled_attention,
    pooled_content,
    pooled_decay,
)
from tests.charts.conftest import random_terms
from tests.tokenizers import byte_fallback, byte_level

TOKENS = [f"t{k}" for k in range(9)]


def test_cells_are_the_engines_numbers(terms: SSDTerms) -> None:
    cells = head_cells(terms, 1, TOKENS).cells
    assert len(cells) == 9 * 10 // 2
    place = (cells["i"].to_numpy(), cells["j"].to_numpy())
    for name, engine in (("content", content), ("decay", decay), ("attention", effective_attention)):
        np.testing.assert_array_equal(cells[name], engine(terms, heads=[1])[0, 0].numpy()[place])
    np.testing.assert_allclose(cells["content"] * cells["decay"], cells["attention"], rtol=1e-5)
    np.testing.assert_allclose(cells["attention"] * cells["dt"], cells["attention_dt"], rtol=1e-5)
    np.testing.assert_array_equal(cells["dt"], terms.dt[0, :, 1].numpy()[place[1]])


def test_cells_of_a_window_name_their_positions_in_the_whole_text() -> None:
    terms, tokens = random_terms(200), [f"t{k}" for k in range(200)]
    shown = head_cells(terms, 0, tokens, Window(range(105, 180), range(100, 120)))
    cells = shown.cells
    assert (cells["i"].min(), cells["i"].max(), cells["j"].min(), cells["j"].max()) == (105, 179, 100, 119)
    assert (cells["i"] >= cells["j"]).all()
    row = cells[(cells["i"] == 105) & (cells["j"] == 102)].iloc[0]
    assert (row["query"], row["key"]) == ("t105", "t102")
    entry = float(effective_attention(terms, heads=[0])[0, 0, 105, 102])
    assert row["attention"] == pytest.approx(entry, rel=1e-5)
    assert (shown.row_of(107), shown.column_of(103)) == (2, 3)
    assert not shown.pooled


@pytest.mark.parametrize("statistic", ["mean", "rms"])
def test_cells_of_a_large_window_are_the_engines_pooled_numbers(statistic: Statistic) -> None:
    terms, tokens = random_terms(400), [f"t{k}" for k in range(400)]
    window = Window(range(50, 390), range(20, 300))
    shown = head_cells(terms, 2, tokens, window, statistic=statistic)
    at = {"heads": [2], "queries": slice(50, 390), "keys": slice(20, 300)}
    place = (shown.cells["row"].to_numpy(), shown.cells["column"].to_numpy())
    for name, expected in (
        ("content", pooled_content(terms, **at)),
        ("decay", pooled_decay(terms, **at)),
        ("attention", pooled_attention(terms, statistic=statistic, **at)),
        ("attention_dt", pooled_attention(terms, statistic=statistic, include_dt_scaling=True, **at)),
    ):
        np.testing.assert_array_equal(shown.cells[name], expected[0, 0].numpy()[place])
        np.testing.assert_array_equal(shown.matrix(shown.columns[name]), expected[0, 0].numpy())
    assert shown.unsigned == (statistic == "rms")
    tile = shown.keys.iloc[7]
    dt = terms.dt[0, tile["start"] : tile["stop"], 2].mean()
    assert tile["dt"] == pytest.approx(float(dt), rel=1e-6)
    assert tile["text"] == "".join(tokens[tile["start"] : tile["stop"]])
    assert shown.keys["stop"].iloc[-1] == 300


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.lists(st.integers(0, 450), min_size=4, max_size=4))
def test_every_row_and_column_of_a_window_has_a_cell(length: int, ends: list[int]) -> None:
    i, j, more_i, more_j = ends
    seen = Window(range(i, i + more_i), range(j, j + more_j)).within(length)
    readable = any(k <= q for q in (min(i + more_i, length) - 1,) if q >= i for k in (j,) if k < j + more_j)
    assert (seen is not None) == readable
    if seen is not None:
        rows, columns = tiles_of(seen.queries), tiles_of(seen.keys)
        assert rows[0].stop > columns[0].start
        assert rows[-1].stop > columns[-1].start
        assert max(len(rows), len(columns)) <= MAX_TILES
        assert set(seen.queries) <= set(range(i, i + more_i)) & set(range(length))
        assert set(seen.keys) <= set(range(j, j + more_j))


@given(st.integers(1, 300), st.integers(0, 299), st.integers(1, 80), st.integers(1, 100))
def test_a_window_grows_around_its_place(length: int, start: int, size: int, least: int) -> None:
    window = Window(range(start, start + size), range(start, start + size)).within(length)
    if window is not None:
        grown = window.around(least, length)
        assert set(window.queries) <= set(grown.queries)
        assert set(window.keys) <= set(grown.keys)
        assert len(grown.queries) >= min(least, length)
        assert grown.within(length) == grown


def test_a_window_without_a_cell_is_refused(terms: SSDTerms) -> None:
    with pytest.raises(ValueError, match="shows nothing of 9 tokens"):
        head_cells(terms, 0, TOKENS, Window(range(0, 3), range(4, 9)))


def test_the_row_of_one_query_reads_like_a_table(terms: SSDTerms) -> None:
    row = row_table(head_cells(terms, 1, TOKENS, Window(range(2, 9), range(1, 9))), 4)
    names = ["key position", "key token", "content", "decay", "dt", "attention", "attention·dt"]
    assert list(row.columns) == names
    assert list(row["key position"]) == [1, 2, 3, 4]
    assert list(row["key token"]) == TOKENS[1:5]
    expected = effective_attention(terms, heads=[1], include_dt_scaling=True)[0, 0, 4, 1:5]
    np.testing.assert_allclose(
        row["attention·dt"], expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max())
    )


def test_the_row_of_a_tile_names_the_positions_of_its_keys() -> None:
    cells = head_cells(random_terms(300), 0, ["a"] * 300)
    row = row_table(cells, 299)
    assert len(row) == 128
    assert row["key positions"].tolist()[:2] == ["0–1", "2–3"]
    assert row["key text"].tolist()[0] == "aa"


@pytest.mark.parametrize("reading", ["attention", "attention_dt"])
def test_the_strongest_tile_is_that_of_the_largest_rms(reading: str) -> None:
    terms = random_terms(300)
    window = Window(range(100, 300), range(0, 200))
    tile = strongest_tile(terms, 1, window, reading=reading)
    M = effective_attention(terms, heads=[1], include_dt_scaling=reading == "attention_dt")[0, 0].double()

    def strength(rows: range, columns: range) -> float:
        return float(M[rows.start : rows.stop, columns.start : columns.stop].square().mean().sqrt())

    others = [strength(i, j) for i in tiles_of(window.queries) for j in tiles_of(window.keys)]
    assert strength(tile.queries, tile.keys) == pytest.approx(max(others), rel=1e-5)


@pytest.mark.parametrize("reading", ["attention", "attention_dt"])
def test_locked_limits_are_the_largest_of_all_heads_and_layers(terms: SSDTerms, reading: str) -> None:
    layers = {Place(0): terms, Place(5): random_terms(4)}
    tables = [
        head_cells(each, head, TOKENS[: each.length]).cells
        for each in layers.values()
        for head in range(each.heads)
    ]
    limits = locked_limits(layers, reading=reading)
    assert limits["content"] == max(table["content"].abs().max() for table in tables)
    assert limits["attention"] == pytest.approx(max(table[reading].abs().max() for table in tables))


@pytest.mark.parametrize("statistic", ["mean", "rms"])
def test_limits_of_a_large_window_are_those_of_its_tiles(statistic: Statistic) -> None:
    terms, window = random_terms(300), Window(range(100, 300), range(0, 200))
    limits = locked_limits({Place(0): terms, Place(1): random_terms(50)}, window, statistic=statistic)
    cells = [head_cells(terms, head, ["a"] * 300, window, statistic=statistic).cells for head in range(3)]
    for name in ("content", "attention"):
        assert limits[name] == pytest.approx(max(each[name].abs().max() for each in cells), rel=1e-5)


def test_measures_of_every_layer_and_head(terms: SSDTerms) -> None:
    measures = measure_table({Place(0): terms, Place(4): terms})
    assert list(measures["layer"]) == [0, 0, 0, 4, 4, 4]
    assert list(measures["head"]) == [0, 1, 2, 0, 1, 2]
    np.testing.assert_array_equal(measures["half_life"][:3], half_life(terms)[0])
    np.testing.assert_array_equal(measures["mean_distance"][3:], mean_distance(terms).value[0])
    assert not measures["mean_distance_error"].any()


def test_measures_of_a_long_text_tell_their_error() -> None:
    assert (measure_table({Place(0): random_terms(2000)})["mean_distance_error"] > 0).any()


def test_survival_of_a_long_text_is_told_at_lags_ever_farther_apart() -> None:
    terms = random_terms(20_000, heads=2)
    lags = survival_table(terms, key=100).query("head == 1")["lag"].to_numpy()
    assert (lags[0], lags[1], lags[-1]) == (0, 1, 19_899)
    assert len(lags) <= 128
    assert (np.diff(lags) > 0).all()
    found = survival_table(terms, key=100).query("head == 1")["survival"].to_numpy()
    expected = decay(terms, heads=[1], keys=[100], queries=(100 + lags).tolist())[0, 0, :, 0]
    np.testing.assert_array_equal(found, expected)


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


CUT = ["a", "<0xF0>", "<0x9F 0x98>", "😀b<0xE4>", "<0xB8>", "中"]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (CUT, "a😀b中"),
        (["<0xD8>", "ش", "<0xF0>", "<0x9F>"], "ش<0xF0><0x9F>"),
        (["<0xF0>", "<0x9F>", "ش"], "<0xF0><0x9F>ش"),  # other bytes than those of the character
        (["<0xD8>", "a"], "<0xD8>a"),
        (["<b>", "é"], "<b>é"),
    ],
)
def test_a_character_of_several_tokens_stands_once_in_their_text(tokens: list[str], text: str) -> None:
    assert joined(tokens) == text


def test_the_text_of_a_tile_is_that_of_its_characters() -> None:
    labels = visible_tokens(["<0xE4>", "<0xB8>", "中"] * 100)
    assert tile_text(labels, range(0, 6)) == "中中"
    assert tile_text(labels, range(0, 300)) == "中" * 60 + "…"
    assert tile_text(labels, range(1, 4)) == "中中"  # a part of each
    assert tile_text(labels, range(1, 2)) == "中 2/3"
    assert tile_text(visible_tokens(["1", " 1/2", "3 3/4 "]), range(0, 3)) == "1·1/23·3/4·"


@pytest.mark.parametrize(
    ("tokens", "labels"),
    [
        (["<0xD8>", "ش"], ["ش 1/2", "ش 2/2"]),
        (["<0xE4>", "<0xB8>", "中"] * 2, ["中 1/3", "中 2/3", "中 3/3"] * 2),
        # Several bytes a token: it completes one character, holds a letter and begins another.
        ([" <0xF0 0x9F>", "<0x98>", "😀a<0xD8>", "ش"], ["· 😀 1/3", "😀 2/3", "😀 3/3 a ش 1/2", "ش 2/2"]),
        (["<0x80 0xD8>", "ش"], ["<0x80> ش 1/2", "ش 2/2"]),
        (["a", "<0xCC>", "\u0301"], ["a", "◌\u0301 1/2", "◌\u0301 2/2"]),
        (["<0xE2>", "<0x80>", "\u200d"], ["‹200D› 1/3", "‹200D› 2/3", "‹200D› 3/3"]),
        (["<0xEF 0xB8>", "\ufe0f"], ["‹FE0F› 1/2", "‹FE0F› 2/2"]),
        # What completes no character.
        (["<0xF0>", "<0x9F>"], ["<0xF0>", "<0x9F>"]),
        (["<0xF0>", "<0x9F>", "ش"], ["<0xF0>", "<0x9F>", "ش"]),
        (["<0xD8>", "a", "ش"], ["<0xD8>", "a", "ش"]),
    ],
)
def test_a_character_of_several_tokens_is_named_at_each_of_them(tokens: list[str], labels: list[str]) -> None:
    assert visible_tokens(tokens) == labels


@pytest.mark.parametrize("tokenizer", [byte_level(), byte_fallback()], ids=["byte level", "byte fallback"])
@pytest.mark.parametrize("text", ["中文字", "👩‍🚀☀️", "ที่นี่", "مرحبا", "е́ the", "한국어"])
def test_text_of_every_script_is_named_without_bytes(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    texts = token_texts(tokenizer, encode(tokenizer, text))
    labels = visible_tokens(texts)
    assert len(labels) == len(texts)
    assert any("<0x" in each for each in texts)
    assert not any("<0x" in label for label in labels)
    assert joined(texts).strip() == text


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("ที่นี่", 2),  # two letters; the marks stand on them
        ("กำ", 2),
        ("e\u0301", 1),
        ("\u0301", 1),
        ("☀", 1),
        ("☀\ufe0f", 2),
        ("👍🏽", 2),
        ("中文", 4),
        ("\u1112\u1161\u11ab", 2),  # a Hangul syllable in its parts
        ("a\u00ad", 1),
        ("", 1),
    ],
)
def test_letters_take_the_columns_of_a_monospace_font(text: str, columns: int) -> None:
    assert text_columns(text) == columns


@pytest.mark.parametrize(
    ("text", "shown"),
    [("·the·li", "·the·li"), ("·the·light", "·the·l…"), ("中文中文", "中文中…"), ("ที่นี่" * 5, "ที่นี่" * 3 + "…")],
)
def test_a_text_that_is_cut_says_so(text: str, shown: str) -> None:
    assert _shortened(text, 7) == shown
    assert text_columns(shown) <= 7
