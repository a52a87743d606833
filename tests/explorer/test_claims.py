"""What the page says of a model is computed from it, or stands only beside the model where it was checked."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from components.bridge import ActivationCache
from components.charts import head_cells
from components.demo import MODEL_FOLDER
from components.demo.presets import PRESETS
from components.ssd import Head, Place
from explorer import captures, exports, models
from explorer.captures import terms_of
from explorer.links import query_of, selection_of
from explorer.selection import first_selection
from explorer.subject import Subject
from tests.explorer.conftest import ROOT, saved
from tests.selections import selected
from tests.tiny import tiny_model

NOTES = ["blocks.0.mixer: the code computes **this** where config.json says\n<b>that</b>.", "A second one."]


def at(**parameters: str) -> AppTest:
    """The page as a link with these parameters opens it."""
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60)
    page.query_params.update(parameters)
    page.session_state["model"] = parameters.get("model", "demo")
    return page.run()


def words(page: AppTest) -> str:
    kinds = (page.markdown, page.caption, page.text, page.warning, page.info, page.expander)
    values = [getattr(each, "value", "") or each.label for kind in kinds for each in kind]
    return "\n".join(values)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let "demo" be the embedded model itself."""
    monkeypatch.setattr("components.models.source.MODEL_FOLDER", MODEL_FOLDER)


@pytest.mark.usefixtures("trained")
def test_a_preset_s_sentence_stands_beside_the_head_and_the_matrix_that_it_is_of() -> None:
    for preset in PRESETS:
        link = query_of(first_selection("demo").with_preset(preset))
        assert preset.look_for in words(at(**link))
        assert preset.look_for not in words(at(**link, view="dt"))
        assert preset.look_for not in words(at(**(link | {"head": str((preset.head + 1) % 8)})))


def test_a_preset_s_sentence_stands_beside_no_other_model(folder: Path) -> None:
    for preset in PRESETS:
        link = query_of(first_selection("demo").with_preset(preset)) | {"model": str(folder)}
        page = at(**link)
        assert not page.exception
        assert page.session_state.session.selection.subject.model == str(folder)
        assert page.session_state.session.selection.preset == preset
        assert preset.look_for not in words(page)
        assert page.get_by_key("preset").options == [each.name for each in PRESETS if not each.names_head]


def test_in_another_model_a_preset_is_its_prompt_alone() -> None:
    picked = selected("other", "one two", 1, 3, query=2).with_preset(PRESETS[1])
    assert picked == selected("other", PRESETS[1].prompt, 1, 3)
    selection, unread = selection_of({"model": "other", "preset": "copy-a-list"}, "demo")
    assert (selection, unread) == (selected("other", PRESETS[1].prompt, 0, 0), [])
    assert first_selection("demo").with_preset(PRESETS[1]).query == PRESETS[1].query


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (
            1,
            "Column j is the output of the layers before at token j, which depends on all the text up to it.",
        ),
        (2, "mixes positions j−1 and j."),
        (4, "mixes positions j−3 … j."),
    ],
)
def test_how_far_the_convolution_reaches_is_read_from_the_model(
    kernel: int, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = saved(tiny_model(conv_kernel=kernel, vocab_size=512), folder.with_name("other"))
    page = at(model=str(other), prompt="one two three")
    assert not page.exception
    assert page.session_state.session.selection.subject.model == str(other)
    (caption,) = (each.value for each in page.caption if "Column j" in each.value)
    assert caption.endswith(said)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every run have notes."""
    monkeypatch.setattr(ActivationCache, "notes", NOTES)


def test_a_capture_without_notes_shows_none(page: AppTest) -> None:
    assert not page.expander
    page.switch_page("app_pages/generate.py").run()
    page.selectbox(key="pace").set_value("no limit")
    page.button(key="generate").click().run()
    page.session_state.session.continuation._thread.join()
    assert not page.run().expander


@pytest.mark.usefixtures("noted")
def test_the_page_shows_the_notes_of_a_capture_as_text(page: AppTest) -> None:
    (told,) = page.expander
    assert "What is shown is what the code computes." in told.label
    assert [each.value for each in told.text] == NOTES
    assert not told.markdown
    page.session_state.export = True
    page.run()
    (program,) = (each.value for each in page.code if "load_bridge" in each.value)
    assert program.startswith("# blocks.0.mixer: the code computes")


@pytest.mark.usefixtures("noted")
def test_a_long_text_that_is_looked_at_layer_by_layer_has_its_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.captures.HELD_BYTES", 2_000)
    capture = captures.capture(Subject("demo", "word " * 40))
    assert capture.small is not None
    assert set(capture.notes) == set(NOTES)


def test_exports_carry_the_notes_and_nothing_where_there_are_none() -> None:
    bridge = models.bridge("demo")
    capture = captures.capture(Subject("demo", "one two three"))
    cells = head_cells(terms_of(capture, Place(0)), 0, capture.tokens)
    matrix = cells.matrix(cells.columns["attention"])

    def of(notes: list[str]) -> exports.Provenance:
        return exports.provenance_of(bridge, capture.subject, Head(Place(0), 0), cells, notes=notes)

    csv = exports.matrix_csv(matrix, of(NOTES)).decode("utf-8-sig")
    (line,) = (line for line in csv.splitlines() if line.startswith("# notes: "))
    assert json.loads(line.removeprefix("# notes: ")) == "\n".join(NOTES)
    assert "# notes" not in exports.matrix_csv(matrix, of([])).decode("utf-8-sig")
    for notes in (NOTES, []):
        with np.load(BytesIO(exports.matrix_npz(matrix, of(notes))), allow_pickle=False) as archive:
            assert archive["notes"].tolist() == notes
    program = exports.snippet(of(NOTES))
    assert program.splitlines()[:2] == [f"# {' '.join(note.split())}" for note in NOTES]
    assert exports.snippet(of([])).startswith("from components")
    compile(program, "program", "exec")


def test_a_state_of_zero_has_no_shares_that_sum_to_one(folder: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.backbone.layers[0].mixer.dt_bias[0] = -1e4  # a head that writes nothing
        model.backbone.layers[0].mixer.in_proj.weight[-8].zero_()
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60).run()
    page.switch_page("app_pages/generate.py")
    other = saved(model, folder.with_name("other"))
    page.session_state.session.selection = selected(str(other), "Mia has", 0, 0)
    page.run()
    page.get_by_key("new_tokens").set_value(2).run()
    page.get_by_key("generate").click().run()
    page.session_state.session.continuation._thread.join(30)
    page.run()
    assert not page.exception
    assert "That state is zero, so there are no shares." in words(page)
    assert "sum to one" not in words(page)
    page.session_state.session.selection = page.session_state.session.selection.with_head(Head(Place(0), 3))
    page.run()
    assert "Shares sum to one" in words(page)
