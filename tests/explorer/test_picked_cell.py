"""The picked cell in every head: its share of its row, what cutting it does, and the maps that show them."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from streamlit.testing.v1 import AppTest

from components.ssd import CutEdge, attention_of
from explorer import captures, effects, models, panels
from explorer.captures import terms_of
from explorer.picked_cell import shares
from explorer.selection import first_selection
from explorer.subject import Subject
from explorer.viewer import Viewer
from tests.explorer.conftest import ROOT, saved
from tests.families import FAMILY_CASES

PROMPT = "Mia has the key. Leo has the map. What does Mia have?"
QUERY, KEY = 9, 4


def opened(**parameters: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=120)
    given = {"model": "demo", "prompt": PROMPT, "layer": "1", "head": "0"}
    page.query_params.update(given | {"query": str(QUERY), "key": str(KEY)} | parameters)
    page.run()
    assert not page.exception
    return page


def table(page: AppTest, of: str, chart: int = 0) -> pd.DataFrame:
    """A table of the head map or, as the second chart, of the gallery."""
    (found,) = (
        each.data.data for each in page.get("vega_lite_chart")[chart].proto.datasets if each.name == of
    )
    return pa.ipc.open_stream(found).read_pandas()


def captions(page: AppTest) -> str:
    return "\n".join(each.value.replace("\\", "") for each in page.caption)


def dense_shares(subject: Subject) -> np.ndarray:
    capture = captures.capture(subject)
    rows = [attention_of(terms_of(capture, place))[0, :, QUERY].abs() for place in capture.places]
    return torch.cat([row[:, KEY] / row.sum(-1) for row in rows]).numpy()


@pytest.fixture(params=["mamba2", *sorted(case.family for case in FAMILY_CASES if case.attentions)[:1]])
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny model, or a hybrid in its place."""
    if request.param != "mamba2":
        case = next(case for case in FAMILY_CASES if case.family == request.param)
        folder = saved(case.build(), tmp_path / "hybrid")
        monkeypatch.setattr("components.models.source.MODEL_FOLDER", folder)
    return "demo"


def test_shares_and_effects_are_those_of_whole_matrices_and_of_runs_one_by_one(model: str) -> None:
    subject = Subject(model, PROMPT)
    np.testing.assert_allclose(shares(subject, QUERY, KEY), dense_shares(subject), rtol=1e-4, atol=1e-6)
    last = captures.capture(subject).length - 1
    target, foil = effects.prediction(subject).likely(last)[:2]
    found = effects.edge_effects(subject, last, target, foil, QUERY, KEY)
    bridge = models.bridge(model)

    def difference(hooks: list[object]) -> float:
        logits = bridge.run_with_hooks(PROMPT, fwd_hooks=hooks)[0, -1].double()
        return float(logits[target] - logits[foil])

    heads = effects.heads_of(model)
    one_of_each = {head.place: at for at, head in enumerate(heads)}.values()
    for at in (0, *one_of_each):
        place, index = heads[at].place, heads[at].index
        cut = CutEdge(
            range(place.layer, place.layer + 1),
            range(index, index + 1),
            positions=range(QUERY, QUERY + 1),
            keys=range(KEY, KEY + 1),
            kind=place.kind,
        )
        drop = difference([]) - difference(list(cut.hooks()))
        assert found.difference[at] == pytest.approx(drop, abs=2e-5)
    assert np.isnan(found.control_difference).all()
    page = opened(measure="cell_effect")  # in the map as they are
    told = table(page, "heads")["cell_effect"].to_numpy()
    np.testing.assert_allclose(told, found.difference, atol=effects.SMALL)
    assert set(told[np.abs(found.difference) < effects.SMALL]) <= {0}
    scene = table(page, "scene").iloc[0]
    assert scene["low"] == -scene["high"] < 0


def test_the_map_follows_the_cell_and_one_click_sorts_the_gallery() -> None:
    page = opened()
    assert "cell_share" not in table(page, "heads")  # nothing is computed before it is asked for
    page.button(key="who_reads").click().run()
    page.run()
    assert not page.exception
    assert page.get_by_key("measure").value == "cell_share"
    expected = dense_shares(Subject("demo", PROMPT))
    np.testing.assert_allclose(table(page, "heads")["shown"], expected, rtol=1e-4, atol=1e-6)
    assert f"Cell: query {QUERY} " in captions(page)
    assert f"reads key {KEY} " in captions(page)
    page.button(key="sort_gallery").click().run()
    assert not page.exception
    slots = table(page, "heads", chart=1)["slot"].to_numpy()
    assert (np.diff(expected[np.argsort(slots)]) <= 1e-6).all()
    assert page.button(key="sort_gallery").disabled
    page.session_state.lists = True
    page.run()
    assert page.selectbox(key="key").value == KEY
    page.selectbox(key="key").set_value(2).run()
    assert page.session_state.session.selection.cell == (QUERY, 2)
    assert not np.allclose(table(page, "heads")["shown"], expected)
    page.selectbox(key="key").set_value(-1).run()
    assert page.session_state.session.selection.cell is None
    assert "No cell is picked." in captions(page)
    assert page.query_params["measure"] in ("cell_share", ["cell_share"])  # the next cell is shown at once
    assert not page.exception


def test_a_press_keeps_the_cell_moves_it_in_its_row_and_lets_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"selection": first_selection("demo").with_query(None)}
    viewer = Viewer(
        read=lambda: state["selection"],
        on_pick=lambda selection: state.update(selection=selection),
        heads=models.bridge("demo").heads,
        length=30,
    )
    reruns: list[str] = []
    monkeypatch.setattr(panels, "redraw", reruns.append)
    stamp = 0.0

    def press(**point: int | None) -> tuple[int | None, tuple[int, int] | None]:
        nonlocal stamp
        stamp += 1
        sent = {"query": [point | {"stamp": stamp}]}
        monkeypatch.setattr(panels, "pressed", lambda chart, name: sent.get(name))
        panels._press(viewer)
        return state["selection"].query, state["selection"].cell

    assert press(i=9, j=4) == (9, (9, 4))
    assert press(i=9, j=5) == (9, (9, 5))
    assert press(i=9, j=5) == (None, None)
    assert press(i=9) == (9, None)  # a token, or a tile of several keys
    assert press(i=9) == (None, None)
    assert press(i=9, j=99) == (9, (9, 99))
    assert viewer.shown.cell == (9, 9)
    assert reruns == []
    state["selection"] = state["selection"].with_view(measure="cell_share")
    press(i=8, j=3)
    press(i=8, j=3)
    assert reruns == [panels.HEAD_VIEW] * 2


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"edits": "mute.0.0.all.attention", "measure": "cell_effect"}, r"only in runs without edits"),
        ({"prompt": "word " * 600, "measure": "cell_effect"}, r"at most 512 tokens; this one has [\d,]+\."),
        ({"key": "", "measure": "cell_share"}, r"No cell is picked\. Press one in the panels"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(parameters: dict[str, str], words: str) -> None:
    page = opened(**parameters)
    assert re.search(words, captions(page))
    assert "The map shows mean distance instead." in captions(page)
    np.testing.assert_array_equal(table(page, "heads")["shown"], table(page, "heads")["mean_distance"])


def test_the_share_is_of_the_edited_run() -> None:
    words = f"edge.1.0.{QUERY}.{KEY}"
    page = opened(edits=words, measure="cell_share")
    heads = table(page, "heads")
    cut = heads[(heads["layer"] == 1) & (heads["head"] == 0)]
    assert cut["shown"].tolist() == [0.0]
    assert (heads["shown"] > 0).sum() > 1


def test_a_text_whose_layers_are_not_all_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.captures.Capture.all_kept", False)
    assert "Shorten the text." in captions(opened(measure="cell_share"))
