"""Contributions in the place of attention: exact, shown only where they are, in gallery and exports."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from streamlit.testing.v1 import AppTest

from components.bridge import contribution_inputs, contributions_of, logit_direction
from components.charts import Window
from components.ssd import KINDS, Head, Mute, Place, effective_attention
from explorer import captures, effects, exports, models, readings
from explorer.links import query_of
from explorer.pictures import cells_of, pictures_of_reading
from explorer.readings import Reading, terms_of_reading
from explorer.selection import Selection
from explorer.subject import Subject
from tests.explorer.conftest import ROOT, saved
from tests.families import FAMILY_CASES, FamilyCase
from tests.selections import selected

PROMPT = "Mia has the key. Leo has the map."
CASES = {case.label: case for case in FAMILY_CASES if case.family in ("bamba", "falcon_h1")}
TOKENS = 7, 3


@pytest.fixture(params=["biases", "no-norm"])
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FamilyCase:
    """A hybrid in the place of the embedded model, one with an inner norm and one without."""
    case = CASES[request.param]
    folder = saved(case.build(), tmp_path / "hybrid")
    monkeypatch.setattr("components.models.source.MODEL_FOLDER", folder)
    return case


def opened(selection: Selection) -> AppTest:
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=120)
    page.query_params.update(query_of(selection))
    page.run()
    assert not page.exception
    return page


def table(page: AppTest, of: str, beside: str) -> pd.DataFrame:
    """A table of the chart that also has another."""
    for chart in page.get("vega_lite_chart"):
        tables = {each.name: each.data.data for each in chart.proto.datasets}
        if {of, beside} <= set(tables):
            return pa.ipc.open_stream(tables[of]).read_pandas()
    raise AssertionError(of)


def panel(page: AppTest) -> pd.Series:
    return table(page, "cells", "scene")["attention"]


def said(page: AppTest) -> str:
    return "\n".join(str(each.value) for kind in (page.text, page.caption, page.markdown) for each in kind)


def dense(subject: Subject, layer: int, target: int, foil: int) -> dict[str, torch.Tensor]:
    """Both readings of a whole layer from every contribution as a vector; and the whole output along the
    direction.
    """
    bridge = models.bridge(subject.model)
    _, cache = bridge.run_with_cache(subject.prompt, names_filter=contribution_inputs)
    parts = contributions_of(bridge, cache, layer)
    a = effective_attention(parts.terms, include_dt_scaling=True)[0].double()
    W = parts.projection.unflatten(1, (parts.terms.heads, -1)).double()
    v = parts.passed[0, :, None].double() * parts.terms.x[0].double()
    vectors = parts.scale * torch.einsum("hij,mhp,ijhp->hijm", a, W, v)
    d = logit_direction(bridge, cache, target, foil)[0].double()
    output = parts.scale * (cache[f"blocks.{layer}.mixer.hook_out"][0].double() - parts.bias)
    return {
        "contribution": vectors.norm(dim=-1),
        "toward": torch.einsum("hijm,im->hij", vectors, d),
        "output": (output * d).sum(dim=-1),
    }


@pytest.mark.parametrize("name", ["contribution", "toward"])
def test_the_cells_are_those_of_every_contribution_as_a_vector(case: FamilyCase, name: str) -> None:
    subject, place = Subject("demo", PROMPT), Place(case.mixers[-1])
    capture = captures.capture(subject)
    truth = dense(subject, place.layer, *TOKENS)
    reading = Reading(name, *(TOKENS if name == "toward" else ()))
    window = Window.whole(capture.length)
    every = [cells_of(capture, Head(place, head), window, "mean", reading) for head in range(8)]
    for head, cells in enumerate(every):
        np.testing.assert_allclose(
            cells.matrix(cells.values), truth[name][head], atol=1e-5 * float(truth[name].abs().max())
        )
        assert cells.kind.attention.name in cells.cells
    if name == "toward":
        total = sum(cells.matrix(cells.values).sum(axis=1) + cells.queries["skip"] for cells in every)
        np.testing.assert_allclose(total, truth["output"], atol=1e-5 * float(truth["output"].abs().max()))
    small = pictures_of_reading(capture, reading)
    assert small.shape[0] == len(capture.measures)
    first = list(capture.measured).index(Head(place, 0))
    np.testing.assert_allclose(
        small[first : first + 8], truth[name].abs(), atol=1e-5 * float(truth[name].abs().max())
    )
    others = [number for number, head in enumerate(capture.measured) if head.place.kind != place.kind]
    assert not small[others].any()


@pytest.mark.parametrize("statistic", ["mean", "rms"])
@pytest.mark.parametrize("name", ["contribution", "toward"])
def test_tiles_are_exact(name: str, statistic: str) -> None:
    subject = Subject("demo", " ".join([PROMPT] * 12))
    capture, place = captures.capture(subject), Place(1)
    assert capture.length > 128
    terms = terms_of_reading(subject, place, Reading(name, *TOKENS))
    factor = KINDS[place.kind].reading(name)
    whole = factor.full(terms, heads=[2])[0, 0].double()
    whole = whole if statistic == "mean" else whole.square()
    cells = cells_of(capture, Head(place, 2), Window.whole(capture.length), statistic, Reading(name, *TOKENS))
    cell = cells.cells.iloc[-3]
    rows, columns = cells.queries.iloc[cell["row"]], cells.keys.iloc[cell["column"]]
    mean = float(whole[rows["start"] : rows["stop"], columns["start"] : columns["stop"]].mean())
    expected = mean if statistic == "mean" else mean**0.5
    assert cell[name] == pytest.approx(expected, rel=1e-4, abs=1e-6 * float(whole.abs().max()))


def test_the_page_shows_what_is_picked_and_says_what_it_is() -> None:
    selection = selected("demo", PROMPT, 1, 3).with_view(gallery=True, table=True, locked=True)
    page = opened(selection)
    before = panel(page)
    page.get_by_key("reading").set_value("contribution").run()
    assert not page.exception
    assert page.query_params["reading"] == "contribution"
    truth = dense(Subject("demo", PROMPT), 1, *TOKENS)
    rows, columns = torch.tril_indices(*truth["contribution"].shape[1:])
    np.testing.assert_allclose(panel(page), truth["contribution"][3][rows, columns], rtol=1e-4, atol=1e-6)
    assert "Contribution norm: the length of what key j adds" in said(page)
    assert "Root mean square of contribution norm over tiles" in said(page)
    words = said(page).replace("\\", "")
    assert "beside that, its skip D·x (contribution norm " in words
    assert list(page.dataframe[0].value.columns)[-1] == "contribution norm"
    page.get_by_key("reading").set_value("toward").run()
    assert not page.exception
    answer, foil = effects.prediction(Subject("demo", PROMPT)).likely(len(truth["output"]) - 1)[:2]
    truth = dense(Subject("demo", PROMPT), 1, answer, foil)
    np.testing.assert_allclose(panel(page), truth["toward"][3][rows, columns], rtol=1e-3, atol=1e-6)
    assert "Answer: **" in said(page)
    page.session_state.session.selection = page.session_state.session.selection.with_head(Head(Place(0), 2))
    page.run()
    assert not page.exception
    page.get_by_key("reading").set_value("").run()
    page.session_state.session.selection = selection
    page.run()
    assert "reading" not in page.query_params
    np.testing.assert_array_equal(panel(page), before)


def test_tiles_open_at_the_strongest_and_are_exported() -> None:
    page = opened(selected("demo", " ".join([PROMPT] * 12), 1, 3).with_view(reading="toward", rms=True))
    assert "the exact root mean square of direct effect over it" in said(page)
    capture = captures.capture(page.session_state.session.selection.subject)
    tokens = effects.prediction(capture.subject).likely(capture.length - 1)[:2]
    whole, reading = Window.whole(capture.length), Reading("toward", *tokens)
    cells = cells_of(capture, Head(Place(1), 3), whole, "rms", reading)
    strongest = cells.cells.iloc[int(cells.values.argmax())]
    page.session_state.export = True
    page.run()
    program = next(each.value for each in page.code if "load_bridge" in each.value)
    assert "pooled_contributions_toward(" in program
    page.button(key="strongest").click().run()
    assert not page.exception
    (window,) = page.session_state.session.selection.windows
    assert strongest["i"] in window.queries
    assert strongest["j"] in window.keys
    assert len(window.queries) < capture.length


def test_a_hybrid_has_them_for_its_mixers_alone(case: FamilyCase) -> None:
    view = {"reading": "contribution", "gallery": True}
    page = opened(selected("demo", PROMPT, case.attentions[0], 1, kind="softmax").with_view(**view))
    assert len(page.get_by_key("reading").options) == 1
    assert "Heads of other kinds have none" in said(page)
    attention = panel(page)
    np.testing.assert_array_equal(attention.to_numpy()[0], 1)  # softmax: the first row sums to one
    page = opened(selected("demo", PROMPT, case.mixers[0], 1).with_view(reading="toward"))
    assert page.get_by_key("reading").value == "toward"


def test_an_edit_that_leaves_no_sum_over_sources_is_told() -> None:
    muted = Mute(range(1, 2), range(2), what="all")
    page = opened(
        selected("demo", PROMPT, 1, 3).with_view(reading="contribution", gallery=True).with_edits((muted,))
    )
    assert "A hook replaced the scan's output in layer 1" in said(page)
    assert "Contribution norm: the length" not in said(page)
    page = opened(
        selected("demo", PROMPT, 1, 3)
        .with_view(reading="contribution")
        .with_edits((Mute(range(1, 2), range(3, 4)),))
    )
    assert "A hook" not in said(page)
    assert not panel(page).any()  # its attention is cut, and its skip is in no cell


@pytest.mark.parametrize(
    ("name", "most"), [("contribution", "CONTRIBUTION_TOKENS"), ("toward", "MAX_TOKENS")]
)
def test_longer_texts_are_refused_in_a_sentence(
    name: str, most: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings if name == "contribution" else effects, most, 5)
    page = opened(selected("demo", PROMPT, 1, 3).with_view(reading=name, gallery=True))
    assert "shown of texts of at most 5 tokens" in said(page)
    assert panel(page).lt(0).any()  # attention, which has a sign


def test_where_only_terms_are_at_hand_attention_is_shown() -> None:
    """A page of all heads, and a text that is being generated."""
    capture = captures.capture(Subject("demo", PROMPT))
    plain = selected("demo", PROMPT, 1, 3)
    pages = [
        exports.take_snapshot(
            models.bridge("demo"), capture, shown, partial(captures.terms_of, capture), layers=[1]
        ).page
        for shown in (plain, plain.with_view(reading="toward"))
    ]
    assert pages[0] == pages[1]
    kind = KINDS[Place(0).kind]
    assert [kind.from_terms(name) for name in ("", "attention_dt", "contribution")] == [
        "attention",
        "attention_dt",
        "attention",
    ]


@pytest.mark.parametrize("prompt", [PROMPT, " ".join([PROMPT] * 12)], ids=["short", "tiles"])
@pytest.mark.parametrize("name", ["contribution", "toward"])
def test_exports_make_the_same_numbers(name: str, prompt: str, capsys: pytest.CaptureFixture[str]) -> None:
    subject, head = Subject("demo", prompt), Head(Place(1), 2)
    capture = captures.capture(subject)
    tokens = TOKENS if name == "toward" else ()
    cells = cells_of(capture, head, Window.whole(capture.length), "rms", Reading(name, *tokens))
    provenance = exports.provenance_of(
        models.bridge("demo"), subject, head, cells, **dict(zip(("target", "foil"), tokens, strict=False))
    )
    made: dict[str, np.ndarray] = {}
    exec(exports.snippet(provenance), made)
    matrix = cells.matrix(cells.values)
    np.testing.assert_allclose(made[name], matrix, rtol=1e-4, atol=1e-6 * np.abs(matrix).max())
    assert capsys.readouterr().out.strip() == str(matrix.shape)
    csv = exports.matrix_csv(matrix, provenance).decode("utf-8-sig")
    assert f'# reading: "{name}"' in csv
    assert ("# target: 7" in csv) == (name == "toward")
    assert exports.file_name(provenance, "csv").endswith(f"-head2-{name}.csv")
