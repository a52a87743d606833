"""Room for more: a new kind of head and a new measure are one entry each, and are seen everywhere."""

import ast
import json
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from jaxtyping import Float32
from streamlit.testing.v1 import AppTest
from torch import Tensor

from components.charts import (
    attention_tiles,
    gallery_chart,
    head_cells,
    head_in_words,
    head_map_chart,
    locked_limits,
    measure_table,
    panels_chart,
    row_table,
    span_sums,
    strongest_tile,
)
from components.charts import gallery as gallery_module
from components.charts import head_map as head_map_module
from components.charts.window import Window
from components.ssd import KINDS, MEASURES, Estimate, Factor, Head, Kind, Measure, MixerTerms, Place, SSDTerms
from explorer import exports
from explorer.links import query_of, selection_of
from explorer.subject import Subject
from tests.charts.conftest import random_terms
from tests.selections import selected

MAIN = Path(__file__).parents[1] / "explorer" / "main.py"
TOKENS = [f"·t{k}" for k in range(9)]


@dataclass(frozen=True, eq=False)
class DeltaTerms:
    """Of an invented kind: a gate for each head and position, and a match of neighbours."""

    kind: ClassVar[str] = "delta"
    gates: Float32[Tensor, "batch seq head"]

    batch = property(lambda self: self.gates.shape[0])
    length = property(lambda self: self.gates.shape[1])
    heads = property(lambda self: self.gates.shape[2])
    heads_per_group = 1

    def lengthened(self, length: int) -> "DeltaTerms":
        return replace(self, gates=torch.nn.functional.pad(self.gates, (0, 0, 0, length - self.length)))


def match(terms: DeltaTerms, *, heads=None, queries=None, keys=None) -> Tensor:
    positions = torch.arange(terms.length, dtype=torch.float32)
    whole = torch.cos(positions[:, None] - positions).tril().expand(terms.batch, terms.heads, -1, -1)
    heads, queries, keys = (slice(None) if each is None else each for each in (heads, queries, keys))
    return whole[:, heads][:, :, queries][..., keys]


def gate(terms: DeltaTerms, *, heads=None, queries=None, keys=None) -> Tensor:
    whole = terms.gates.transpose(1, 2)[..., None].expand(-1, -1, -1, terms.length).tril()
    heads, queries, keys = (slice(None) if each is None else each for each in (heads, queries, keys))
    return whole[:, heads][:, :, queries][..., keys]


def delta_attention(terms: DeltaTerms, **at) -> Tensor:
    return match(terms, **at) * gate(terms, **at)


def pooled_delta_attention(terms: DeltaTerms, *, tiles: int, statistic: str = "mean", **at) -> Tensor:
    assert terms.length <= tiles  # each tile is a token
    M = delta_attention(terms, **at)
    return M if statistic == "mean" else M.abs()


def shifted(terms: DeltaTerms, *, tiles: int = 0, statistic: str = "mean", **at) -> Tensor:
    return delta_attention(terms, **at) + (match(terms, **at) != 0)


DELTA = Kind(
    name="delta",
    words="the delta rule",
    short="delta",
    factors=(
        Factor("content", "match  cos", match, match),
        Factor("gate", "gate  g", gate, gate, signed=False, limit=1.0),
        Factor(
            "attention", "attention  g·cos", delta_attention, pooled_delta_attention, exact=("mean", "rms")
        ),
    ),
    operators=("∘", "="),
    readings=(
        Factor("shifted", "shifted  g·cos + 1", shifted, shifted, exact=("mean", "rms"), label="plus one"),
    ),
    hooks=("delta.hook_gate",),
    terms="delta_terms(layer={layer})",
    note="Made up for a test.",
)


@pytest.fixture
def delta(monkeypatch: pytest.MonkeyPatch) -> DeltaTerms:
    monkeypatch.setitem(KINDS, "delta", DELTA)
    torch.manual_seed(0)
    return DeltaTerms(torch.rand(1, 9, 3))


@pytest.fixture
def weight(monkeypatch: pytest.MonkeyPatch) -> Measure:
    """The mean of |attention| of each head."""

    def of(terms: MixerTerms) -> Estimate:
        value = KINDS[terms.kind].attention.full(terms).abs().mean(dim=(-2, -1))
        return Estimate(value, torch.zeros_like(value))

    measure = Measure("weight", "Mean weight", "The mean of |attention|.", of, unit="of weight")
    monkeypatch.setitem(MEASURES, "weight", measure)
    for module in (head_map_module, gallery_module):  # charts are described once
        module._chart.cache_clear()
    yield measure
    for module in (head_map_module, gallery_module):
        module._chart.cache_clear()


def test_a_new_kind_stands_in_the_maps_beside_the_others(delta: DeltaTerms) -> None:
    terms = {Place(0): random_terms(9, 3), Place(1, "delta"): delta}
    measures = measure_table(terms)
    of_kind = measures[measures["kind"] == "delta"]
    assert len(of_kind) == 3
    assert of_kind["mean_distance"].notna().all()
    assert of_kind["half_life"].isna().all()
    for figure in (
        head_map_chart(measures, MEASURES["mean_distance"], Head(Place(1, "delta"), 2)),
        gallery_chart(
            np.concatenate([attention_tiles(each, 9) for each in terms.values()]),
            measures,
            Head(Place(1, "delta"), 2),
        ),
    ):
        drawn = json.dumps(figure.specification(), ensure_ascii=False)
        assert "the delta rule" in drawn
        assert "layer (○ delta)" in drawn
        assert "1 delta" in drawn
        assert len(figure.tables["picked"]) == 1


def test_a_new_kind_has_its_own_panels_row_and_words(delta: DeltaTerms) -> None:
    cells = head_cells(delta, 2, TOKENS)
    expected = delta_attention(delta)[0, 2]
    np.testing.assert_array_equal(cells.matrix(cells.columns["attention"]), expected)
    figure = panels_chart(cells, pointed=(8, 3), with_bars=True)
    assert list(figure.tables["cells"]) == ["content", "gate", "attention"]
    drawn = json.dumps(figure.chart, ensure_ascii=False)
    assert all(factor.title in drawn for factor in DELTA.factors)
    assert not any(words in drawn for words in ("decay  L", "softmax", "dts"))
    row = row_table(cells, 8)
    assert list(row.columns) == ["key position", "key token", "content", "gate", "attention", "plus one"]
    np.testing.assert_array_equal(row["attention"], expected[8])
    assert head_in_words(cells, Head(Place(1), 2), float("nan"), 8).startswith("In layer 1, delta head 2, ")
    sums = span_sums(delta, 2, TOKENS, range(3, 6), Window.whole(9))
    np.testing.assert_allclose(sums.sums, expected[3:6].sum(dim=0), rtol=1e-5, atol=1e-6)
    strongest = strongest_tile(delta, 2, Window.whole(9))
    assert expected.abs().max() == expected[strongest.queries[0], strongest.keys[0]].abs()
    assert locked_limits({Place(1, "delta"): delta}) == {
        "content": 1.0,
        "attention": pytest.approx(float(delta_attention(delta).abs().max())),
    }


def test_a_new_reading_is_seen_in_panels_words_and_exports(delta: DeltaTerms) -> None:
    cells = head_cells(delta, 2, TOKENS, reading="shifted")
    expected = shifted(delta)[0, 2]
    np.testing.assert_array_equal(cells.matrix(cells.values), expected)
    figure = panels_chart(cells, with_bars=True)
    np.testing.assert_array_equal(figure.tables["cells"]["attention"], cells.cells["shifted"])
    drawn = json.dumps(figure.chart, ensure_ascii=False)
    assert "shifted  g·cos + 1" in drawn
    assert "attention  g·cos" not in drawn
    assert cells.most_read(8) == int(expected[8].abs().argmax())
    assert "(plus one +" in head_in_words(cells, Head(Place(1), 2), float("nan"), 8)
    sums = span_sums(delta, 2, TOKENS, range(3, 6), Window.whole(9), reading="shifted")
    np.testing.assert_allclose(sums.sums, expected[3:6].sum(dim=0), rtol=1e-5, atol=1e-6)
    limits = locked_limits({Place(1, "delta"): delta}, reading="shifted")
    assert limits["attention"] == pytest.approx(float(shifted(delta).abs().max()))
    np.testing.assert_array_equal(attention_tiles(delta, 9, reading="shifted"), shifted(delta)[0])


def test_a_new_kind_goes_into_links_and_exports(delta: DeltaTerms) -> None:
    cells = head_cells(delta, 2, TOKENS)
    provenance = exports.Provenance(
        subject=Subject("demo", "a"),
        revision=None,
        dtype="float32",
        head=Head(Place(1, "delta"), 2),
        window=cells.window,
        queries=TOKENS,
        keys=TOKENS,
    )
    matrix = cells.matrix(cells.columns["attention"])
    assert '# kind: "delta"' in exports.matrix_csv(matrix, provenance).decode("utf-8-sig")
    with np.load(BytesIO(exports.matrix_npz(matrix, provenance))) as file:
        assert file["kind"] == "delta"
        np.testing.assert_array_equal(file["attention"], matrix)
    program = exports.snippet(provenance)
    assert "from components.ssd import delta_attention" in program
    assert "cache.delta_terms(layer=1)" in program
    assert '"blocks.1.delta.hook_gate"' in program
    assert exports.file_name(provenance, "csv") == "mamba2-demo-layer1-delta-head2.csv"
    selection = selected("demo", "a", 1, 2, kind="delta")
    assert selection_of(query_of(selection), "demo") == (selection, [])


def test_a_new_measure_is_seen_on_the_page(weight: Measure) -> None:
    page = AppTest.from_file(str(MAIN), default_timeout=60).run()
    assert not page.exception
    assert weight.label in [metric.label for metric in page.metric]
    choice = next(each for each in page.get("button_group") if each.proto.label == "Heads coloured by")
    assert weight.label in [option.content for option in choice.proto.options]
    page.session_state.session.selection = page.session_state.session.selection.with_view(
        measure="weight", sort="weight"
    )
    page.run()
    assert not page.exception
    assert page.query_params["measure"] == "weight"


def test_a_new_measure_colours_the_map_and_sorts_the_gallery(weight: Measure) -> None:
    terms = random_terms(9, 3)
    measures = measure_table({Place(0): terms})
    M = KINDS[terms.kind].attention.full(terms)
    np.testing.assert_array_equal(measures["weight"], M.abs().mean(dim=(-2, -1))[0])
    assert (measures["weight_error"] == 0).all()
    shown = head_map_chart(measures, weight, Head(Place(0), 0)).tables["heads"]["shown"]
    np.testing.assert_allclose(shown, measures["weight"])
    figure = gallery_chart(attention_tiles(terms, 9), measures, Head(Place(0), 0), sort=weight)
    places = figure.tables["heads"].set_index("head")["slot"]
    assert places.sort_values().index.tolist() == measures.sort_values("weight")["head"].tolist()[::-1]
    assert "mean weight" in json.dumps(figure.chart)


def test_no_chart_and_no_page_names_a_kind() -> None:
    root = Path(__file__).parents[1]
    files = [*(root / "components" / "charts").rglob("*.py"), *(root / "explorer").rglob("*.py")]
    assert len(files) > 40
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            assert not (isinstance(node, ast.Constant) and node.value in KINDS), (file.name, node.lineno)


def test_terms_of_every_kind_are_terms() -> None:
    assert isinstance(random_terms(3, 2), SSDTerms)
    assert isinstance(random_terms(3, 2), MixerTerms)
    assert isinstance(DeltaTerms(torch.rand(1, 3, 2)), MixerTerms)
