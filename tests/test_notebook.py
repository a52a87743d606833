"""One call in a notebook shows what the page shows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.bridge import ModelBridge, contribution_terms
from components.charts import Figure, Window, head_cells, panels_chart, visible_tokens
from components.models import load_bridge
from components.notebook import show_head, show_matrix
from components.ssd import MatrixTerms, pooled_entries, tile_edges
from tests.families import FAMILY_CASES

PROMPT = "Mia has the key. Leo has the map. What does Mia have? The"


@pytest.fixture(scope="module")
def bridge() -> ModelBridge:
    return load_bridge("demo")


def values(figure: Figure) -> np.ndarray:
    return figure.tables["cells"]["attention"].to_numpy()


def scene(figure: Figure) -> dict[str, object]:
    return figure.tables["scene"].iloc[0].to_dict()


def test_contributions_need_their_own_terms(bridge: ModelBridge) -> None:
    _, cache = bridge.run_with_cache(PROMPT)
    terms = contribution_terms(bridge, cache, 2, 5, 7)
    expected = terms.parts.norms(heads=[3])[0, 0]
    drawn = show_head(cache, 2, 3, reading="contribution", terms=terms).tables["cells"]["attention"]
    np.testing.assert_array_equal(drawn, expected[tuple(torch.tril_indices(*expected.shape))])
    assert (show_head(cache, 2, 3, reading="toward", terms=terms).tables["cells"]["attention"] < 0).any()
    with pytest.raises(ValueError, match=r"contribution_terms\(bridge, cache, layer, target, foil\)"):
        show_head(cache, 2, 3, reading="contribution")
    with pytest.raises(ValueError, match="have no direction"):
        show_head(cache, 2, 3, reading="toward", terms=contribution_terms(bridge, cache, 2))


@pytest.mark.parametrize("reading", ["attention", "attention_dt"])
def test_a_head_is_shown_as_on_the_page(bridge: ModelBridge, reading: str) -> None:
    _, cache = bridge.run_with_cache(PROMPT)
    figure = show_head(cache, layer=2, head=-3, query=5, reading=reading)
    cells = head_cells(cache.ssd_terms(2), 5, visible_tokens(bridge.to_str_tokens(PROMPT)), reading=reading)
    row = cells.row(5)[reading].abs().to_numpy()
    expected = panels_chart(cells, pointed=(5, int(row.argmax())), with_bars=True)
    assert figure.chart is expected.chart
    for name, table in expected.tables.items():
        assert table.equals(figure.tables[name]), name


def test_a_window_and_its_tiles(bridge: ModelBridge) -> None:
    _, cache = bridge.run_with_cache(" ".join([PROMPT] * 12))
    window = Window(range(100, 140), range(20, 60))
    assert scene(show_head(cache, 2, 2, window=window))["rows"] == 40
    pooled = show_head(cache, 2, 2, statistic="rms")
    assert (scene(pooled)["rows"], scene(pooled)["statistic"]) == (128, "RMS")
    assert (values(pooled) >= 0).all()


def test_the_tokens_are_those_of_prompt_and_continuation(bridge: ModelBridge) -> None:
    ids, cache = bridge.generate("Mia has", max_new_tokens=5, with_cache=True)
    assert cache.str_tokens == bridge.to_str_tokens(ids)
    stream = bridge.stream("Mia has", max_new_tokens=5)
    for _ in stream:
        assert stream.cache.str_tokens == bridge.to_str_tokens(stream.ids)
    _, pieces = bridge.run_with_cache(PROMPT, piece_tokens=4)
    assert pieces.str_tokens == bridge.to_str_tokens(PROMPT)
    assert scene(show_head(stream.cache, 0, 0))["rows"] == 7


def test_softmax_heads_of_a_hybrid(bridge: ModelBridge) -> None:
    case = next(case for case in FAMILY_CASES if case.family == "falcon_h1")
    model = case.build()
    model.resize_token_embeddings(len(bridge.tokenizer))
    _, cache = ModelBridge(model, bridge.tokenizer).run_with_cache(PROMPT)
    layer = case.attentions[-1]
    softmax = show_head(cache, layer, 1, kind="softmax", reading="attention_dt")
    assert list(softmax.tables["cells"]) == ["content", "attention"]
    assert list(show_head(cache, layer, 1).tables["cells"]) == ["content", "decay", "attention"]


def test_what_cannot_be_shown_is_told(bridge: ModelBridge) -> None:
    _, cache = bridge.run_with_cache(PROMPT)
    with pytest.raises(IndexError, match=r"no head 8: layer 2 has 8, 0 to 7"):
        show_head(cache, 2, 8)
    with pytest.raises(IndexError, match=r"Layer 9 holds no heads.*0, 1, 2, 3"):
        show_head(cache, 9, 0)
    with pytest.raises(IndexError, match=r"no query 99 here"):
        show_head(cache, 2, 0, query=99)
    with pytest.raises(IndexError, match="Layer 2 holds no heads of kind 'softmax'; it holds: mamba2"):
        show_head(cache, 2, 0, kind="softmax")
    _, several = bridge.run_with_cache([PROMPT, PROMPT])
    with pytest.raises(ValueError, match="2 texts; run one"):
        show_head(several, 2, 0)
    _, bare = bridge.run_with_cache(PROMPT, names_filter="embed.hook_out")
    with pytest.raises(RuntimeError, match="names_filter"):
        show_head(bare, 2, 0)
    _, alone = bridge.run_mixer(2, cache["blocks.2.mixer.hook_in"])
    with pytest.raises(ValueError, match="one layer alone"):
        show_head(alone, 2, 0)


def test_any_matrix_is_shown_entry_by_entry() -> None:
    tokens = ["a", " b", "\n", "d"]
    matrix = np.tril(np.arange(16, dtype=np.float64).reshape(4, 4) - 8)
    for given_as in (matrix, torch.tensor(matrix), torch.tensor(matrix, requires_grad=True)):
        figure = show_matrix(tokens, given_as)
        np.testing.assert_array_equal(values(figure), matrix[np.tril_indices(4)])
    assert figure.tables["keys"]["label"].tolist() == ["a", "·b", "⏎", "d"]
    assert (scene(figure)["kept_row"], scene(figure)["kept_key"]) == (3, 3)
    assert len(figure.tables["pictures"]) == 1
    assert scene(show_matrix(tokens, matrix, query=1))["kept_row"] == 1


def test_a_matrix_that_cannot_be_shown_is_told() -> None:
    with pytest.raises(ValueError, match=r"3 × 2, and there are 3 tokens"):
        show_matrix("abc", torch.ones(3, 2))
    with pytest.raises(ValueError, match="above the diagonal"):
        show_matrix("abc", torch.ones(3, 3))
    with pytest.raises(ValueError, match="finite"):
        show_matrix("abc", torch.full((3, 3), torch.nan).tril())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 20), st.sampled_from(["mean", "rms"]))
def test_tiles_of_a_matrix_are_their_mean_or_root_mean_square(
    length: int, tiles: int, start: int, statistic: str
) -> None:
    matrix = torch.randn(length, length).tril()
    start = min(start, length - 1)
    found = pooled_entries(
        MatrixTerms.from_matrix(matrix), tiles=tiles, queries=slice(start, None), statistic=statistic
    )[0, 0]
    rows = (start + tile_edges(length - start, tiles)).tolist()
    columns = tile_edges(length, tiles).tolist()
    for r in range(len(rows) - 1):
        for c in range(len(columns) - 1):
            tile = matrix[rows[r] : rows[r + 1], columns[c] : columns[c + 1]]
            expected = tile.mean() if statistic == "mean" else tile.square().mean().sqrt()
            torch.testing.assert_close(found[r, c], expected)
