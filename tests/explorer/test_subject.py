"""A subject travels whole, edits and all: through the link, the runs, the exports and the program.

No edit is offered yet, so two are made here: one mutes the scan output of a layer, one writes over rows of M.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest
from torch import Tensor

from components.bridge import HookPoint
from components.charts import head_cells
from components.ssd import EDITS, Edit, Head, Place, edit_of, effective_attention
from explorer import captures, exports, models, pictures
from explorer.generating import Continuation
from explorer.links import query_of, selection_of
from explorer.sampling import SamplingOptions
from explorer.subject import Subject
from tests.explorer.conftest import ROOT
from tests.selections import selected

PROMPT = "one two three four"


@dataclass(frozen=True)
class Scale(Edit):
    """What the mixer of a layer writes, times a whole number."""

    name: ClassVar[str] = "scale"
    layer: int
    factor: int

    def arguments(self) -> Sequence[str]:
        return str(self.layer), str(self.factor)

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Edit | None:
        good = len(arguments) == 2 and all(each.isdigit() for each in arguments)
        return cls(*map(int, arguments)) if good else None

    def hooks(self) -> Sequence[tuple[str, Any]]:
        def scale(x: Tensor, hook: HookPoint) -> Tensor:
            return x * self.factor

        return [(f"blocks.{self.layer}.mixer.hook_x", scale)]


@dataclass(frozen=True)
class Halve(Scale):
    """M of a layer, halved. It has the fields of `Scale`, and is another edit."""

    name: ClassVar[str] = "halve"

    def hooks(self) -> Sequence[tuple[str, Any]]:
        def halve(M: Tensor, hook: HookPoint) -> Tensor:
            return M / self.factor

        return [(f"blocks.{self.layer}.mixer.hook_attention", halve)]


@pytest.fixture(autouse=True)
def edits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EDITS, "scale", Scale)
    monkeypatch.setitem(EDITS, "halve", Halve)


@pytest.mark.parametrize("stack", [(), (Scale(0, 2),), (Halve(1, 2), Scale(0, 3), Halve(1, 2))])
def test_a_stack_of_edits_survives_its_link(stack: tuple[Edit, ...]) -> None:
    selection = selected("demo", PROMPT, 1, 2)
    selection = selection.with_subject(Subject("demo", PROMPT, stack))
    parameters = query_of(selection)
    assert parameters.get("edits", "") == ",".join(edit.words for edit in stack)
    assert selection_of(parameters, "demo") == (selection, [])


@pytest.mark.parametrize(
    "words", ["scale.1", "scale.1.2.3", "scale.01.2", "mute.1", "Scale.0.2", "", "scale.0.²"]
)
def test_words_that_name_no_edit_are_told(words: str) -> None:
    assert edit_of(words) is None
    parameters = {"prompt": PROMPT, "edits": f"scale.0.2,{words or '.'}"}
    selection, unread = selection_of(parameters, "demo")
    assert unread == ["edits"]
    assert selection.subject == Subject("demo", PROMPT)  # some of the edits would be another run


def test_edits_stay_behind_with_their_model_and_text() -> None:
    subject = Subject("demo", PROMPT, (Scale(0, 2),))
    assert subject.with_prompt(PROMPT).with_model("demo") == subject
    assert subject.with_prompt("new") == Subject("demo", "new")
    assert subject.with_model("other") == Subject("other", PROMPT)


def test_equal_fields_are_not_equal_runs() -> None:
    plain, scaled, halved = (
        captures.capture(Subject("demo", PROMPT, stack)) for stack in ((), (Scale(0, 2),), (Halve(0, 2),))
    )
    assert captures.capture(Subject("demo", PROMPT, (Scale(0, 2),))) is scaled
    M, of_scaled, of_halved = (
        effective_attention(captures.terms_of(each, Place(0))) for each in (plain, scaled, halved)
    )
    torch.testing.assert_close(of_scaled, M)  # x is no part of M
    torch.testing.assert_close(of_halved, M / 2)
    after = [captures.terms_of(each, Place(1)).B for each in (plain, scaled, halved)]
    assert not torch.allclose(after[0], after[1])
    assert not torch.allclose(after[1], after[2])


@pytest.mark.parametrize("edit", [Scale(0, 2), Halve(0, 2)])
def test_an_edited_run_rebuilds_what_it_computed(edit: Edit) -> None:
    capture = captures.capture(Subject("demo", PROMPT, (edit,)))
    for layer in models.bridge("demo").ssm_layers():
        error, tolerance = pictures.faithfulness(capture, layer)
        assert error < tolerance


def test_files_and_the_program_carry_the_edits() -> None:
    subject = Subject("demo", PROMPT, (Halve(0, 2), Scale(0, 3)))
    capture, head = captures.capture(subject), Head(Place(0), 1)
    cells = head_cells(captures.terms_of(capture, head.place), head.index, capture.tokens)
    provenance = exports.provenance_of(models.bridge("demo"), subject, head, cells)
    matrix = cells.matrix(cells.columns["attention"])
    code = ["Halve(layer=0, factor=2)", "Scale(layer=0, factor=3)"]
    csv = exports.matrix_csv(matrix, provenance).decode("utf-8-sig")
    (line,) = (line for line in csv.splitlines() if line.startswith("# edits: "))
    assert json.loads(line.removeprefix("# edits: ")) == f"[{', '.join(code)}]"
    with np.load(BytesIO(exports.matrix_npz(matrix, provenance))) as archive:
        assert archive["edits"].tolist() == code
    made: dict[str, Any] = {}
    program = exports.snippet(provenance)
    exec(program, made)
    np.testing.assert_allclose(made["attention"], matrix, atol=1e-6)
    plain = effective_attention(captures.terms_of(captures.capture(Subject("demo", PROMPT)), Place(0)))
    np.testing.assert_allclose(made["attention"], plain[0, 1] / 2, atol=1e-6)


def test_a_continuation_is_of_the_edited_model() -> None:
    def continued(*stack: Edit) -> list[int]:
        continuation = Continuation(Subject("demo", PROMPT, stack), SamplingOptions(8))
        continuation._thread.join(30)
        return continuation.generation.ids

    model = models.bridge("demo")
    ids = model.generate(PROMPT, max_new_tokens=8, fwd_hooks=Scale(0, 9).hooks())[0].tolist()
    assert continued(Scale(0, 9)) == ids
    assert continued() == model.generate(PROMPT, max_new_tokens=8)[0].tolist()


def test_a_link_with_edits_opens_their_run() -> None:
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60)
    page.query_params.update(
        {"model": "demo", "prompt": PROMPT, "layer": "0", "head": "1", "edits": "halve.0.2"}
    )
    page.run()
    assert not page.exception
    assert page.session_state.session.drawn.subject == Subject("demo", PROMPT, (Halve(0, 2),))
    assert page.query_params["edits"] in ("halve.0.2", ["halve.0.2"])
