"""An experiment is saved as one document that opens the same page, and as a program with the same figures."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from components.demo import MODEL_FOLDER
from components.ssd import Head, KeepLast, Mute, Place, edit_of
from explorer import effects, exports, models
from explorer.effects import Question
from explorer.experiments import CHOICES, Shown
from explorer.exports import Experiment, compare_results, experiment_json, experiment_of, experiment_program
from explorer.exports.experiment import number_of
from explorer.selection import Selection
from explorer.settings import Settings
from explorer.subject import Subject
from tests.explorer.conftest import ROOT, saved
from tests.families import FAMILY_CASES

PROMPT = "Mia has the key. Leo has the map. What does Mia have?"
EDITS = "mute.0.1.all.attention,window.1.all.all.3"


def opened(**parameters: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=120)
    page.query_params.update({"model": "demo", "prompt": PROMPT} | parameters)
    page.switch_page("app_pages/effect.py").run()
    assert not page.exception
    return page


def exported(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What Export on the page saves."""
    found: list[bytes] = []

    def keep(experiment: Experiment) -> bytes:
        found.append(experiment_json(experiment))
        return found[-1]

    with monkeypatch.context() as patched:
        patched.setattr(exports, "experiment_json", keep)
        page.session_state.export_experiment = True
        page.run()
    assert not page.exception
    return found[-1]


def upload(page: AppTest, content: bytes) -> AppTest:
    page.session_state.open_experiment = True
    page.run()
    page.get_by_key("experiment").upload("mine.json", content, "application/json").run()
    assert not page.exception
    return page


def experiment(prompt: str = PROMPT, edits: str = EDITS, kind: str = "mamba2", layer: int = 1) -> Experiment:
    """What the page would save, without a page."""
    stack = tuple(edit for words in edits.split(",") if (edit := edit_of(words)) is not None)
    subject = Subject("demo", prompt, stack)
    clean = Subject("demo", prompt)
    tokens = models.encoded("demo", prompt)[1]
    position = len(tokens) - 1
    target, foil = effects.prediction(clean).likely(position)[:2]
    selection = Selection(subject, Head(Place(layer, kind), 2), position, target=target, foil=foil)
    return Shown(Question(clean, position, target, foil), selection, tokens).experiment(with_results=True)


@cache
def written() -> bytes:
    """The experiment of the tiny model, which is the same in every test."""
    return experiment_json(experiment())


@pytest.fixture
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(written())
    return found


def test_a_saved_experiment_opens_the_same_page(monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(edits=f"{EDITS},dt.0.all.all.5e-1", layer="1", head="2", query="6", view="symlog")
    offered = {each.key: len(each.options) for each in page.segmented_control if each.key in CHOICES}
    assert offered == {key: len(options) for key, options in CHOICES.items()}
    page.button(key="off_1").click().run()
    page.segmented_control(key="muting").set_value("mean")
    page.segmented_control(key="figure").set_value("difference")
    page.segmented_control(key="cut_in").set_value("head")
    page.segmented_control(key="measured_by").set_value("gradient").run()
    content = exported(page, monkeypatch)
    written = experiment_of("mine.json", content)
    assert [each.on for each in written.edits] == [True, True, False]
    assert written.choices == {
        "muting": "mean",
        "figure": "difference",
        "cut_in": "head",
        "measured_by": "gradient",
    }
    assert written.results is not None
    again = upload(opened(prompt="Another text."), content)
    assert any("The figures are those in the document" in each.value for each in again.caption)
    one, other = page.session_state.session, again.session_state.session
    assert other.selection.subject == one.selection.subject
    assert other.switched_off == one.switched_off
    assert other.selection.view.symlog
    assert [each.value for each in again.metric] == [each.value for each in page.metric]
    reread = experiment_of("mine.json", exported(again, monkeypatch))
    assert reread.model_dump(exclude={"made"}) == written.model_dump(exclude={"made"})
    again.segmented_control(key="muting").set_value("all").run()
    assert not any("in the document" in each.value for each in again.caption)


def test_a_large_model_asks_before_it_computes_all_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    content = exported(opened(), monkeypatch)  # whoever opens the menu wants them
    monkeypatch.setattr("explorer.experiments.is_large", lambda *_: True)
    again = upload(opened(prompt="Another text."), content)
    assert not any("in the document" in each.value for each in again.caption)
    again.button(key="start_compare").click().run()
    assert any("The figures are those in the document" in each.value for each in again.caption)


def test_a_refused_file_changes_nothing(document: dict[str, Any]) -> None:
    page = opened(edits=EDITS)
    before = page.session_state.session.selection
    document["question"]["position"] = "three"
    upload(page, json.dumps(document).encode())
    (said,) = (each.value for each in page.text if "mine.json" in each.value)
    assert said == (
        '"mine.json" cannot be read: its "question.position" is "three". Input should be a valid integer. '
        "Save the experiment again, or correct the file."
    )
    assert page.session_state.session.selection == before
    document["question"]["position"], document["choices"]["muting"] = 3, "<b>loudly</b>"
    upload(page, json.dumps(document).encode())
    assert any('"muting" is "<b>loudly</b>". Possible are "attention"' in each.value for each in page.text)
    assert page.session_state.session.selection == before


def test_a_hosted_copy_refuses_models_and_sizes(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted = Settings(hosted=True, most_upload_kilobytes=200)
    for module in ("explorer.experiments", "explorer.uploads"):
        monkeypatch.setattr(f"{module}.settings", lambda: hosted)
    page = opened()
    document["model"] = "/etc"
    upload(page, json.dumps(document).encode())
    assert any('does not open "/etc". It opens only: demo' in each.value for each in page.text)
    document["model"], document["prompt"] = "demo", "word " * 8_000
    upload(page, json.dumps(document).encode())
    assert any("takes at most" in each.value and "Shorten it" in each.value for each in page.text)
    upload(page, b" " * 300_000)
    assert any("At most 200 KB are read" in each.value for each in page.text)
    document["edits"] = document["edits"] * 11
    document["prompt"] = PROMPT
    upload(page, json.dumps(document).encode())
    assert any("This experiment has 22 edits. A run takes at most 20." in each.value for each in page.text)
    assert page.session_state.session.selection.subject == Subject("demo", PROMPT)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is not JSON"),
        (b"[" * 10**6, "it is not JSON"),
        (b'{"a":' * 10**5, "it is not JSON"),
        (b"\xff\xfe{\0}\0", "it is not JSON"),
        (b'{"version":' + b"9" * 10**5 + b"}", "it is not JSON"),
        (b"[1]", "it holds no fields"),
        (b"null", "it holds no fields"),
        (b"{}", "is no experiment of this page"),
        (b'{"format": "another"}', "is no experiment of this page"),
        (b'{"format": "mamba2-explorer experiment", "version": 2}', "is an experiment of version 2."),
        (b'{"format": "mamba2-explorer experiment", "version": true}', "is an experiment of version true."),
        (b'{"format": "mamba2-explorer experiment", "version": 1}', 'its "made" is missing'),
    ],
)
def test_what_is_no_experiment_is_refused_in_a_sentence(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        experiment_of("x" * 999, content)
    assert len(str(caught.value)) < 500
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("prompt",), 5, 'its "prompt" is 5. Input should be a valid string'),
        (("question", "position"), -1, 'its "question.position" is -1.'),
        (("question", "position"), True, 'its "question.position" is true.'),
        (("question", "answer"), 10**12, 'its "question.answer" is 1000000000000.'),
        (("head", "kind"), "matrix", 'its "head.kind" is "matrix", which is no kind of heads'),
        (("edits", 0, "edit"), "melt.0", '"edits.0.edit" is "melt.0", which names no edit'),
        (("edits", 0, "on"), "yes", 'its "edits.0.on" is "yes".'),
        (("results", "divergence", 0), "0.1", 'its "results.divergence.0" is "0.1".'),
        (("results", "divergence"), [float("nan")], "Input should be a finite number"),
        (("results", "divergence"), ["x"] * 10**5, 'its "results.divergence.0" is "x".'),
        (("surprise",), "<script>" * 99, 'its "surprise" is nothing that an experiment has'),
        (("versions" * 99,), 1, "… is nothing that an experiment has".replace("…", '…"')),
    ],
)
def test_a_wrong_field_is_named(
    document: dict[str, Any], place: tuple[str | int, ...], value: Any, said: str
) -> None:
    held: Any = document
    for name in place[:-1]:
        held = held[name]
    held[place[-1]] = value
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        experiment_of("mine.json", json.dumps(document).encode())
    assert len(str(caught.value)) < 500


def test_every_missing_field_is_told(document: dict[str, Any]) -> None:
    for name in document.keys() - {"format", "version"}:
        rest = {key: value for key, value in document.items() if key != name}
        with pytest.raises(ValueError, match=f'its "{name}" is missing'):
            experiment_of("mine.json", json.dumps(rest).encode())


@given(st.floats(width=32))
def test_figures_survive_the_document(value: float) -> None:
    number = number_of(value)
    if number is None:
        assert not np.isfinite(value)
    else:
        assert np.float32(json.loads(json.dumps(number))) == np.float32(value)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.booleans(), max_size=3))
def test_any_prompt_and_stack_survive_the_document(prompt: str, switched: list[bool]) -> None:
    fields = json.loads(BARE)
    fields["prompt"] = prompt
    edits = [Mute(range(1)), KeepLast(width=2), Mute(range(2, 5), what="mean")]
    fields["edits"] = [
        {"edit": edit.words, "on": on, "meaning": ""} for edit, on in zip(edits, switched, strict=False)
    ]
    read = experiment_of("mine.json", json.dumps(fields).encode())
    assert experiment_of("mine.json", experiment_json(read)) == read
    assert read.prompt == prompt
    assert read.stack(on=True) == tuple(edit for edit, on in zip(edits, switched, strict=False) if on)


BARE = json.dumps(
    {
        "format": "mamba2-explorer experiment",
        "version": 1,
        "made": {"date": "", "versions": {}, "revision": None, "dtype": "float32", "device": "cpu"},
        "model": "demo",
        "prompt": "",
        "edits": [],
        "question": {"position": 0, "answer": 1, "compared_with": 2},
        "head": {"layer": 0, "kind": "mamba2", "head": 0},
        "choices": {},
        "memory_window": None,
        "look": {"larger_type": False, "logarithmic_colours": False},
        "results": None,
    }
)


def test_a_document_says_what_differs(document: dict[str, Any]) -> None:
    now = experiment()
    assert compare_results(now, now) == "The figures are those in the document, to the last digit."
    results = document["results"]
    results["divergence"][1] += 1e-7
    close = experiment_of("mine.json", json.dumps(document).encode())
    assert "document, up to rounding. The largest difference is" in compare_results(close, now)
    results["heads"][0]["effects"]["log_p"][0] += 0.5
    document["made"]["versions"]["torch"] = "0.1"
    far = experiment_of("mine.json", json.dumps(document).encode())
    words = compare_results(far, now)
    assert "are not those in the document. The largest difference is 0.5, in the effects of heads." in words
    assert "Torch was 0.1 and is" in words
    del results["memory"], results["strongest_heads"]  # as before they were kept
    assert words == compare_results(experiment_of("mine.json", json.dumps(document).encode()), now)
    results["heads"].pop()
    assert "are not compared" in compare_results(
        experiment_of("mine.json", json.dumps(document).encode()), now
    )


def figures_of(printed: str) -> dict[str, dict[str, list[float]]]:
    """The figures that a program printed, by the heading of their part and the name of their line."""
    found: dict[str, dict[str, list[float]]] = {}
    for part in printed.split("\n\n"):
        lines = part.strip().splitlines()
        heading = lines[0].partition(":")[0] if found else "prediction"
        rows = lines[1:] if found else lines
        found[heading] = {
            name: [float(each) for each in figures.split()]
            for name, _, figures in (row.rpartition(":") for row in rows)
        }
    return found


def check_printed(printed: str, made: Experiment, within: float) -> None:
    results, found = made.results, figures_of(printed)
    assert results is not None

    def same(given: Any, expected: Any) -> None:
        expected = [np.nan if each is None else each for each in expected]
        np.testing.assert_allclose(given, expected, rtol=within, atol=within)

    told = found["prediction"]
    for name, run in (("before", results.before), ("after", results.after)):
        same(told[f"probability of the answer, {name}"], [run.probability])
        same(told[f"logit difference, {name}"], [run.logit_difference])
        same(told[f"rank of the answer, {name}"], [run.rank])
    for each in results.most_probable:
        probabilities = each.probability_before, each.probability_after
        same(found["Token"][str(each.token)], [*probabilities, each.rank_before, each.rank_after])
    same([size for (size,) in found["Edit"].values()], results.sizes)
    same([nats for (nats,) in found["Position"].values()], results.divergence)
    for layer in results.heads:
        for index, row in enumerate(zip(*layer.effects.model_dump().values(), strict=True)):
            same(found["Muted head"][str(Head(Place(layer.layer, layer.kind), index))], row)
    for at, row in enumerate(zip(*results.cut_tokens.model_dump().values(), strict=True)):
        same(found["Cut token"][str(at)], row)
    joint = results.strongest_heads
    assert joint is not None
    same(next(iter(found["Muted together"].values())), [joint.log_p, joint.difference])
    same([probability for (probability,) in found["Memory, in tokens"].values()], results.memory)
    assert ("Measure" in found) == (results.picked_head is not None)
    if results.picked_head is not None:
        picked = results.picked_head
        for name, value in picked.correlations.items():
            same(found["Measure"][name], [value])
        rows = zip(*picked.effects.model_dump().values(), *picked.readings.values(), strict=True)
        for at, row in enumerate(rows):
            same(found["Token in the picked head"][str(at)], row)


def test_the_program_prints_the_figures_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, with the embedded model itself; threads may round otherwise there."""
    monkeypatch.setattr("components.models.source.MODEL_FOLDER", MODEL_FOLDER)
    made = experiment("Mia has the key.")
    program = experiment_program(made)
    assert "from components.ssd import KeepLast\nfrom components.ssd import Mute\n" in program
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    check_printed(ran.stdout, made, within=1e-4)


CASE = next(case for case in FAMILY_CASES if case.attentions)


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        ("mamba2", {"muting": "mean", "figure": "difference", "cut_in": "head"}),
        ("softmax", {"muting": "attention", "figure": "log_p", "cut_in": "layer"}),
    ],
)
def test_the_program_of_a_hybrid_prints_its_figures(
    kind: str,
    choices: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = saved(CASE.build(), tmp_path / "hybrid")
    monkeypatch.setattr("components.models.source.MODEL_FOLDER", folder)
    monkeypatch.setattr("explorer.experiments._chosen", (choices | {"measured_by": "|M|"}).__getitem__)
    layer = (CASE.attentions if kind == "softmax" else CASE.mixers)[0]
    edits = f"cut.{CASE.attentions[0]}.1.2-3.reading.softmax,mute.{CASE.mixers[0]}.0.all.all"
    made = experiment("Mia has the key.", edits, kind, layer)
    capsys.readouterr()
    exec(experiment_program(made), {})
    check_printed(capsys.readouterr().out, made, within=1e-4)
