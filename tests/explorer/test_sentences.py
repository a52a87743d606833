"""A sentence that says what a model does stands only where it was computed or checked for that model."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from streamlit.testing.v1 import AppTest

from components.demo.presets import PRESETS
from components.models import load_bridge
from explorer.selection import Selection, first_selection, query_of
from tests.explorer.conftest import GOLDEN, ROOT
from tests.families import FAMILY_CASES
from tests.tiny import tiny_model


def saved(model: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    for file in GOLDEN.glob("tokenizer*"):
        shutil.copy(file, folder)
    return str(folder)


def opened(selection: Selection) -> AppTest:
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60)
    page.query_params.update(query_of(selection))
    page.run()
    assert not page.exception
    assert not page.error
    return page


def words(page: AppTest) -> str:
    return "\n".join(element.value for kind in (page.markdown, page.caption) for element in kind)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_what_a_preset_shows_is_said_of_the_embedded_model_alone(
    preset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tiny_model(num_hidden_layers=3), tmp_path / "other")  # it has every head that presets name
    page = opened(first_selection(model).with_preset(preset))
    assert page.session_state.selection.model == model
    assert page.subheader[0].value == f"Layer {preset.layer}, head {preset.head}"
    assert preset.look_for not in words(page)
    monkeypatch.setattr("components.models.source.MODEL_FOLDER", Path(model))
    page = opened(first_selection("demo").with_preset(preset))
    assert page.subheader[0].value == f"Layer {preset.layer}, head {preset.head}"
    assert preset.look_for in words(page)


@pytest.mark.parametrize(("kernel", "mixed"), [(4, "j−3 … j"), (2, "j−1 … j"), (1, None)])
def test_the_reach_of_the_convolution_is_that_of_the_model(
    kernel: int, mixed: str | None, tmp_path: Path
) -> None:
    model = saved(tiny_model(conv_kernel=kernel), tmp_path / "other")
    page = opened(Selection(model, "Mia has the key.", 0, 0))
    if mixed:
        assert f"a short convolution before the scan mixes tokens {mixed}." in words(page)
    else:
        assert "convolution" not in words(page)
        assert "Column j is what the layers before have made of token j." in words(page)


def test_softmax_attention_has_no_convolution_before_it(tmp_path: Path) -> None:
    case = next(case for case in FAMILY_CASES if case.family == "bamba")
    model = saved(case.build(), tmp_path / "other")
    page = opened(Selection(model, "Mia has the key.", case.attentions[0], 0, kind="attention"))
    assert "Column j is what the layers before have made of token j." in words(page)


def test_a_state_of_zero_has_no_shares_that_sum_to_one(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.backbone.layers[0].mixer.dt_bias[0] = -torch.inf  # a head that writes nothing
        model.backbone.layers[0].mixer.in_proj.weight[-8].zero_()
    page = AppTest.from_file(str(ROOT / "explorer" / "app_pages" / "generate.py"), default_timeout=60)
    page.session_state.selection = Selection(saved(model, tmp_path / "other"), "Mia has", 0, 0)
    page.run()
    page.get_by_key("new_tokens").set_value(2).run()
    page.get_by_key("generate").click().run()
    page.session_state.continuation._thread.join(30)
    page.run()
    assert not page.exception
    assert "That state is zero: no token holds any of it." in words(page)
    assert "sum to one" not in words(page)
    page.session_state.selection = page.session_state.selection.with_head(0, 3)
    page.run()
    assert "Shares sum to one" in words(page)


def test_the_curves_that_drop_in_steps_do() -> None:
    """As "How to read this" says of the heads that it shows: they fade far more at some tokens."""
    bridge = load_bridge(str(ROOT / "components" / "demo" / "model"))
    preset = PRESETS[0]
    _, cache = bridge.run_with_cache(preset.prompt)
    terms = cache.ssd_terms(preset.layer)
    faded = terms.A.abs() * terms.dt[0]  # −log retention
    half_lives = faded.mean(0).reciprocal()
    for head in (int(half_lives.argmin()), int(half_lives.argmax())):
        assert float(faded[:, head].max()) > 3 * float(faded[:, head].median())


def test_no_page_says_how_far_the_convolution_reaches_without_asking_the_model() -> None:
    for file in (ROOT / "explorer").rglob("*.py"):
        assert not re.search(r"j\*?−\d", file.read_text(encoding="utf-8")), file
