"""The page with a hybrid: heads of both kinds, in the same map."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from components.ssd import Head, Place, mean_distance, pooled_softmax, softmax_attention
from explorer import captures, exports, models
from explorer.captures import terms_of
from explorer.links import query_of, selection_of
from explorer.selection import Selection
from explorer.subject import Subject
from tests.explorer.conftest import ROOT, saved
from tests.families import FAMILY_CASES, FamilyCase
from tests.selections import selected

PROMPT = "Mia has the key. Leo has the map."
CASES = {case.family: case for case in FAMILY_CASES if case.attentions}


two_families = pytest.mark.parametrize("case", ["falcon_h1", "nemotron_h"], indirect=True)
"""Both kinds in every layer, and layers of one kind or none: for what does not depend on the family."""


@pytest.fixture(scope="module", params=sorted(CASES), ids=str)
def case(request: pytest.FixtureRequest) -> FamilyCase:
    return CASES[request.param]


@pytest.fixture(autouse=True)
def embedded() -> None:
    """Take the place of the fixture that swaps in the tiny model."""


@pytest.fixture(scope="module")
def hybrid(case: FamilyCase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tiny hybrid in the place of the embedded model; AppTest knows no model that is not in the list."""
    folder = saved(case.build(), tmp_path_factory.mktemp("hybrid"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.models.source.MODEL_FOLDER", folder)
        st.cache_resource.clear()
        yield "demo"
    st.cache_resource.clear()


def opened(selection: Selection) -> AppTest:
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60)
    for name, value in query_of(selection).items():
        page.query_params[name] = value
    page.run()
    assert not page.exception
    assert not page.error
    return page


def table(page: AppTest, chart: int, of: str) -> pd.DataFrame:
    proto = page.get("vega_lite_chart")[chart].proto
    (found,) = (dataset.data.data for dataset in proto.datasets if dataset.name == of)
    return pa.ipc.open_stream(found).read_pandas()


def test_the_head_map_holds_both_kinds(case: FamilyCase, hybrid: str) -> None:
    page = opened(selected(hybrid, PROMPT, case.mixers[0], 3))
    heads = table(page, 0, "heads")
    assert sorted(set(heads.loc[heads["kind"] == "mamba2", "layer"])) == case.mixers
    softmax = heads[heads["kind"] == "softmax"]
    assert sorted(set(softmax["layer"])) == case.attentions
    assert softmax["half_life"].isna().all()
    terms = terms_of(captures.capture(Subject(hybrid, PROMPT)), Place(case.attentions[0], "softmax"))
    expected = mean_distance(terms).value[0].numpy()
    np.testing.assert_allclose(
        softmax.loc[softmax["layer"] == case.attentions[0], "mean_distance"], expected, rtol=1e-6
    )
    assert f"{case.attentions[0]} softmax" in set(table(page, 0, "rows")["label"])
    assert page.subheader[0].value == f"Layer {case.mixers[0]}, head 3"


def test_a_softmax_head_is_drawn_from_its_queries_and_keys(case: FamilyCase, hybrid: str) -> None:
    layer = case.attentions[-1]
    page = opened(selected(hybrid, PROMPT, layer, 2, kind="softmax"))
    assert page.subheader[0].value == f"Layer {layer}, softmax attention, head 2"
    assert "softmax" in page.query_params["kind"]
    _, panels = page.get("vega_lite_chart")
    assert "decay" not in panels.proto.spec.replace("Nothing decays", "")
    _, cache = models.bridge(hybrid).run_with_cache(PROMPT)
    pattern = cache[f"blocks.{layer}.attn.hook_pattern"][0, 2]
    rows, columns = torch.tril_indices(*pattern.shape)
    np.testing.assert_allclose(
        table(page, 1, "cells")["attention"], pattern[rows, columns], rtol=1e-4, atol=1e-6
    )
    assert [metric.label for metric in page.metric] == ["Mean distance"]
    assert len(page.get_by_key("reading").options) == 1
    words = page.markdown
    assert any(f"In layer {layer}, softmax head 2, " in each.value.replace("\\", "") for each in words)
    page.session_state.session.selection = page.session_state.session.selection.with_view(table=True)
    page.run()
    assert list(page.dataframe[0].value.columns) == ["key position", "key token", "score", "attention"]


@two_families
def test_from_one_kind_to_the_other_and_back(case: FamilyCase, hybrid: str) -> None:
    page = opened(selected(hybrid, PROMPT, case.mixers[0], 1))
    for kind, layer in (("softmax", case.attentions[0]), ("mamba2", case.mixers[-1])):
        page.session_state.lists = True
        page.run()
        page.selectbox(key="layer").set_value(Place(layer, kind)).run()
        assert not page.exception
        assert str(Place(layer, kind)).capitalize() in page.subheader[0].value
        assert len(page.get("vega_lite_chart")) == (3 if kind == "mamba2" else 2)


@two_families
def test_all_views_of_a_long_text(case: FamilyCase, hybrid: str) -> None:
    layer, prompt = case.attentions[0], " ".join([PROMPT] * 12)
    view = {"gallery": True, "locked": True, "rms": True, "reading": "attention_dt", "large": True}
    selection = selected(hybrid, prompt, layer, 0, kind="softmax").with_view(**view)
    page = opened(selection)
    capture = captures.capture(Subject(hybrid, prompt))
    assert capture.length > 128
    tiles = pooled_softmax(terms_of(capture, Place(layer, "softmax")), heads=[0], statistic="rms")[0, 0]
    assert table(page, 2, "cells")["attention"].max() == pytest.approx(float(tiles.max()), rel=1e-5)
    assert table(page, 1, "heads")["kind"].tolist() == capture.measures["kind"].tolist()
    page.button(key="strongest").click().run()
    assert not page.exception
    assert page.session_state.session.selection.windows


@two_families
def test_the_program_of_an_export_makes_the_same_matrix(
    case: FamilyCase, hybrid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from components.charts import Window, head_cells

    layer = case.attentions[0]
    for prompt in (PROMPT, " ".join([PROMPT] * 12)):
        capture = captures.capture(Subject(hybrid, prompt))
        cells = head_cells(
            terms_of(capture, Place(layer, "softmax")), 1, capture.tokens, Window.whole(capture.length)
        )
        provenance = exports.provenance_of(
            models.bridge(hybrid), capture.subject, Head(Place(layer, "softmax"), 1), cells
        )
        made: dict[str, Any] = {}
        exec(exports.snippet(provenance), made)
        np.testing.assert_allclose(made["attention"], cells.matrix(cells.columns["attention"]), atol=1e-6)
        csv = exports.matrix_csv(made["attention"], provenance).decode("utf-8-sig")
        assert '# kind: "softmax"' in csv
        assert exports.file_name(provenance, "csv").endswith(f"-layer{layer}-softmax-head1.csv")


def test_the_kind_travels_in_the_link() -> None:
    selection = selected("demo", PROMPT, 2, 1, kind="softmax")
    assert query_of(selection)["kind"] == "softmax"
    assert "kind" not in query_of(selection.with_head(Head(Place(2), 1)))
    found, unread = selection_of(query_of(selection), "demo")
    assert (found, unread) == (selection, [])
    assert selection_of({**query_of(selection), "kind": "cross"}, "demo")[1] == ["kind"]


@two_families
def test_a_layer_is_held_with_what_it_compares_and_no_more(case: FamilyCase, hybrid: str) -> None:
    captures.capture(Subject(hybrid, PROMPT))
    layer = captures.layer_of(Subject(hybrid, PROMPT), Place(case.attentions[0], "softmax"))
    assert layer.given is None
    tensors = [layer.terms.q, layer.terms.k]
    assert layer.nbytes == sum(each.nbytes for each in tensors)
    assert all(each.untyped_storage().nbytes() <= each.nbytes for each in tensors)
    P = softmax_attention(layer.terms)
    torch.testing.assert_close(P.sum(dim=-1), torch.ones(P.shape[:-1]))


@two_families
def test_two_prompts_are_patched_at_mixers_alone(case: FamilyCase, hybrid: str) -> None:
    """Also with a softmax head picked."""
    other = PROMPT.replace("key", "map")
    selection = selected(hybrid, PROMPT, case.attentions[0], 1, kind="softmax", other=other)
    page = opened(selection)
    page.switch_page("app_pages/two_prompts.py").run()
    assert not page.exception
    assert "What brings the answer back?" in [each.value for each in page.subheader]
    charts = page.get("vega_lite_chart")
    assert len(charts) == 5
    assert set(table(page, 3, "heads")["layer"]) == set(case.mixers)
    assert len(table(page, 3, "picked")) == 0
