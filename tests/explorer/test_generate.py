"""The page "Generate" without a browser."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from streamlit.testing.v1 import AppTest
from transformers import AutoTokenizer

from components.charts import Window, head_cells, visible_tokens
from components.demo import MODEL_FOLDER
from components.demo.presets import PRESETS
from components.ssd import Head, Place, softmax_attention
from explorer import generating, models
from explorer.moment import frame
from explorer.settings import settings
from explorer.text_so_far import text_html
from tests.explorer.conftest import ROOT
from tests.families import FAMILY_CASES

CHARTS = ("motion:next_token", "motion:panels", "motion:state_norms", "motion:state_shares")
NEW = 12


@pytest.fixture
def page() -> AppTest:
    """The page at first sight; what is generated is not slowed down."""
    opened = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60)
    opened.switch_page("app_pages/generate.py").run()
    opened.selectbox(key="pace").set_value("no limit")
    opened.number_input(key="new_tokens").set_value(NEW).run()
    return opened


def generate(page: AppTest) -> AppTest:
    page.button(key="generate").click().run()
    return finish(page)


def finish(page: AppTest) -> AppTest:
    given_up = time.monotonic() + 60
    while page.session_state.session.continuation.running:
        assert time.monotonic() < given_up, "The continuation does not end."
        time.sleep(0.05)
    return page.run()


def table(page: AppTest, name: str, of: str) -> pd.DataFrame:
    chart = page.get("vega_lite_chart")[CHARTS.index(name)].proto
    (found,) = (dataset.data.data for dataset in chart.datasets if dataset.name == of)
    return pa.ipc.open_stream(found).read_pandas()


def said(page: AppTest) -> str:
    kinds = (page.caption, page.text, page.warning, page.error)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def text(page: AppTest) -> str:
    (found,) = (each.proto.body for each in page.get("html") if "pre-wrap" in each.proto.body)
    return str(found)


def ids(page: AppTest) -> list[int]:
    found: list[int] = page.session_state.session.continuation.generation.ids
    return found


def test_opens_with_the_picked_prompt_and_nothing_generated(page: AppTest) -> None:
    assert not page.exception
    assert page.text_area(key="continued_prompt").value == PRESETS[0].prompt
    assert not page.get("vega_lite_chart")
    assert page.button(key="stop").disabled
    assert not page.button(key="generate").disabled


def test_greedy_is_the_models_own_generation(page: AppTest) -> None:
    generate(page)
    assert not page.exception
    model = models.bridge("demo")
    own = model.generate(PRESETS[0].prompt, max_new_tokens=NEW, do_sample=False)
    assert ids(page) == own[0].tolist()
    assert f"{NEW} of {NEW} new tokens" in said(page)
    assert len(page.get("vega_lite_chart")) == len(CHARTS)
    assert not table(page, "motion:next_token", "bars")["came"].any()  # after the last token
    told = [json.loads(each.proto.json or "{}") for each in page.get("bidi_component")]
    (words,) = (each for each in told if "motion:next_token" in each)
    assert words["motion:next_token"].startswith(f"After position {len(ids(page)) - 1} the model expects '")
    assert "in front" in words["motion:state_norms"]


def test_the_slider_goes_through_time(page: AppTest) -> None:
    generate(page)
    length = len(ids(page))
    assert page.slider(key="time").value == length - 1
    assert page.slider(key="time").max == length - 1
    time_shown = length - 5
    page.slider(key="time").set_value(time_shown).run()
    assert not page.exception
    place, head = (page.selectbox(key=f"motion:{name}").value for name in ("layer", "head"))
    logits, cache = models.bridge("demo").run_with_cache(ids(page))
    values, likely = logits[0, time_shown].softmax(-1).topk(10)
    bars = table(page, "motion:next_token", "bars")
    assert bars["probability"][:10].tolist() == pytest.approx(values.tolist(), rel=1e-4)
    came = ids(page)[time_shown + 1]
    (marked,) = bars.index[bars["came"]]
    assert likely[marked] == came if marked < 10 else came not in likely.tolist()
    scene = table(page, "motion:panels", "scene").iloc[0]
    assert scene["rows"] == length
    assert scene["kept_row"] == time_shown
    cells = head_cells(cache.ssd_terms(place.layer), head, ["t"] * length).cells
    drawn = table(page, "motion:panels", "cells")
    past = (cells["i"] <= time_shown).to_numpy()
    assert not drawn[~past].to_numpy().any()
    largest = float(cells["attention"].abs().max())
    torch.testing.assert_close(
        torch.tensor(drawn["attention"][past].to_numpy()),
        torch.tensor(cells["attention"][past].to_numpy()),
        rtol=0,
        atol=1e-5 * largest,
    )
    shares = table(page, "motion:state_shares", "shares")
    assert float(shares["share"].sum()) == pytest.approx(1, abs=1e-4)
    assert len(shares) == length
    assert not shares["share"][time_shown + 1 :].any()


def test_another_head_is_that_of_all_pages(page: AppTest) -> None:
    generate(page)
    page.selectbox(key="motion:layer").set_value(Place(1)).run()
    page.selectbox(key="motion:head").set_value(3).run()
    assert page.session_state.session.selection.head == Head(Place(1), 3)
    assert "Layer 1, head 3 " in page.markdown[0].value.replace("\\", "")
    assert table(page, "motion:state_norms", "scene")["picked"].tolist() == [3]


def test_a_seed_draws_the_same_text_again(page: AppTest) -> None:
    page.segmented_control(key="draws").set_value("Sampled").run()
    page.slider(key="temperature").set_value(3.0)
    page.number_input(key="seed").set_value(5).run()
    texts = [ids(generate(page)) for _ in range(2)]
    page.number_input(key="seed").set_value(6).run()
    texts.append(ids(generate(page)))
    assert texts[0] == texts[1] != texts[2]


def test_a_stopped_text_is_kept(page: AppTest) -> None:
    page.selectbox(key="pace").set_value("2")
    page.number_input(key="new_tokens").set_value(500).run()
    page.button(key="generate").click().run()
    while len(ids(page)) < page.session_state.session.continuation.generation.prompt_length + 2:
        time.sleep(0.05)
    page.run()
    assert page.button(key="generate").disabled
    assert len(page.get("vega_lite_chart")) == 2
    running = table(page, "motion:panels", "scene").iloc[0]
    assert running["rows"] == 128
    page.button(key="stop").click().run()
    finish(page)
    assert not page.exception
    assert "Stopped after " in said(page)
    assert page.slider(key="time").max == len(ids(page)) - 1
    assert len(page.get("vega_lite_chart")) == len(CHARTS)
    assert not page.button(key="generate").disabled


def test_what_grows_keeps_its_frame(page: AppTest) -> None:
    page.selectbox(key="pace").set_value("6").run()
    page.button(key="generate").click().run()
    continuation = page.session_state.session.continuation
    frames = set()
    while continuation.running:
        page.run()
        if len(page.get("vega_lite_chart")) == 2:  # still running
            scene = table(page, "motion:panels", "scene").iloc[0]
            frames.add((scene["rows"], scene["columns"]))
        time.sleep(0.5)
    total = continuation.generation.prompt_length + NEW
    assert frames == {(total, total)}


def test_text_is_shown_as_text(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """With a tokenizer that knows every character."""
    monkeypatch.setattr("components.models.source.MODEL_FOLDER", MODEL_FOLDER)
    page: AppTest = request.getfixturevalue("page")
    page.text_area(key="continued_prompt").set_value("<b>Mia</b> & **Leo**\n$x$").run()
    generate(page)
    assert "&lt;b&gt;" in text(page)
    assert "<b>" not in text(page)
    assert "&amp;" in text(page)
    assert "**Leo**" in text(page)


@pytest.mark.parametrize("prompt", ["", "the"])
def test_shortest_prompts(page: AppTest, prompt: str) -> None:
    page.text_area(key="continued_prompt").set_value(prompt).run()
    page.button(key="generate").click().run()
    assert not page.exception
    if prompt:
        assert not finish(page).exception
    else:
        assert "The prompt is empty" in said(page)
        assert page.session_state.session.continuation is None


def test_too_many_tokens_are_told(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLORER_MAX_TOKENS", "40")
    settings.cache_clear()
    try:
        page.text_area(key="continued_prompt").set_value("Mia. " * 7).run()
        page.button(key="generate").click().run()
        assert "at most 40 are allowed" in said(page)
        assert "Shorten the prompt" in said(page)
        page.text_area(key="continued_prompt").set_value("Mia. " * 60).run()
        page.button(key="generate").click().run()
        assert "at most 40" in said(page)
        assert not page.exception
    finally:
        settings.cache_clear()


def test_too_much_memory_is_told(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generating, "gigabytes", lambda bridge, tokens: 1e6)
    page.button(key="generate").click().run()
    assert "GB of memory" in said(page)
    assert not page.exception


def test_the_estimate_of_memory_holds_what_is_kept(page: AppTest) -> None:
    page.number_input(key="new_tokens").set_value(60).run()
    generate(page)
    continuation = page.session_state.session.continuation
    run = continuation.generation._run
    kept = [step.projected for record in run.mixers.values() for step in record.steps]
    kept += [tensor for tensors in run.captured.values() for tensor in tensors]
    bytes_kept = sum(tensor.nbytes for tensor in kept)
    estimate = generating.gigabytes(continuation.bridge, len(ids(page))) * 1e9
    assert bytes_kept <= estimate <= 10 * bytes_kept


def test_a_failure_is_told_and_what_came_is_kept(page: AppTest) -> None:
    mixer = models.bridge("demo").model.backbone.layers[0].mixer
    calls = 0

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise RuntimeError("no more **memory**")

    handle = mixer.register_forward_hook(fail)
    try:
        generate(page)
    finally:
        handle.remove()
    assert not page.exception
    assert "failed after 2 tokens" in said(page)
    assert "no more **memory**" in [element.value for element in page.text]
    assert page.slider(key="time").max == len(ids(page)) - 1


def test_a_model_that_cannot_be_opened_keeps_the_text(page: AppTest) -> None:
    generate(page)
    before = page.session_state.session.continuation
    page.session_state.session.selection = page.session_state.session.selection.with_model("/no/such/folder")
    page.run()
    assert not page.exception
    assert "cannot be opened" in said(page)
    assert "/no/such/folder" in said(page)
    assert page.session_state.session.continuation is before


def test_unwatched_it_stops(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generating, "UNWATCHED_SECONDS", -1)
    generate(page)
    assert "because no page was open" in said(page)


def test_the_prompt_is_that_of_the_other_page(page: AppTest) -> None:
    page.text_area(key="continued_prompt").set_value("Mia has the map.").run()
    page.switch_page("app_pages/explore.py").run()
    assert not page.exception
    assert page.text_area(key="prompt").value == "Mia has the map."
    page.text_area(key="prompt").set_value("Leo has the map.").run()
    page.switch_page("app_pages/generate.py").run()
    assert page.text_area(key="continued_prompt").value == "Leo has the map."
    assert page.number_input(key="new_tokens").value == NEW


def test_a_model_that_decodes_without_its_clamp_says_so(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixers = [layer.mixer for layer in models.bridge("demo").model.backbone.layers]
    for mixer in mixers:
        mixer.time_step_limit = (0.01, 0.02)
    generate(page)
    assert any("by design of its code" in each.label for each in page.expander)
    assert "The terms follow what ran." in said(page)
    assert any("rebuilds the model's own scan output" in each.value for each in page.markdown)


@pytest.mark.parametrize("total", [1, 5, 128, 129, 400, 2000])
@pytest.mark.parametrize("prompt", [1, 4, 130, 1500])
def test_a_frame_holds_the_time_and_moves_seldom(total: int, prompt: int) -> None:
    prompt = min(prompt, total)
    frames = []
    for shown in range(total):
        window = frame(total, prompt, shown)
        assert shown in window.queries
        assert len(window.queries) == min(total, 128)
        assert window.keys == range(total)
        frames.append(window)
    assert len(set(frames)) <= total / 64 + 1
    if total <= 128:
        assert set(frames) == {Window.whole(total)}


def fake(pieces: list[bytes], prompt: int) -> Any:
    """A continuation of tokens that are bytes."""

    def decode(ids: list[int], **options: bool) -> str:
        return b"".join(pieces[k] for k in ids).decode(errors="replace")

    continuation: Any = object.__new__(generating.Continuation)
    length = len(pieces)
    continuation.generation = SimpleNamespace(ids=list(range(length)), length=length, prompt_length=prompt)
    continuation.bridge = SimpleNamespace(tokenizer=SimpleNamespace(decode=decode))
    return continuation


def test_a_character_of_several_tokens_is_one() -> None:
    fox = "🦊".encode()
    pieces = [b"a ", fox[:2], fox[2:], b" b\n c"]
    whole = text_html(fake(pieces, 1), 3, running=False)
    assert "🦊 b\n c</span>" in whole
    assert 'opacity:0.85">a </span>' in whole
    half = text_html(fake(pieces[:2], 1), 1, running=True)
    assert "\ufffd" not in half
    assert half.endswith("▍</div>")


def test_what_comes_after_the_time_is_pale() -> None:
    shown = text_html(fake([b"one ", b"two ", b"three"], 1), 1, running=False)
    assert 'font-weight:600;opacity:1.0">two </span>' in shown
    assert 'font-weight:600;opacity:0.65">three</span>' in shown


@pytest.mark.parametrize("family", ["falcon_h1", "nemotron_h"])
def test_a_hybrid_offers_its_heads_of_both_kinds(page: AppTest, folder: Path, family: str) -> None:
    case = next(case for case in FAMILY_CASES if case.family == family)
    model = folder.with_name("hybrid")
    shutil.copytree(folder, model, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    built = case.build()
    vocabulary = len(AutoTokenizer.from_pretrained(folder))
    built.resize_token_embeddings(vocabulary)
    built.save_pretrained(model)
    page.session_state.session.selection = page.session_state.session.selection.with_model(str(model))
    generate(page)
    assert not page.exception
    assert not page.error
    softmax = [f"{layer}, softmax attention" for layer in case.attentions]
    assert sorted(page.selectbox(key="motion:layer").options) == sorted([*map(str, case.mixers), *softmax])
    assert len(page.get("vega_lite_chart")) == len(CHARTS)
    assert any("rebuilds the model's own scan output" in each.value for each in page.markdown)
    page.selectbox(key="motion:layer").set_value(Place(case.attentions[0], "softmax")).run()
    assert not page.exception
    assert page.session_state.session.selection.head.place.kind == "softmax"
    continuation = page.session_state.session.continuation
    terms = continuation.cache().softmax_terms(case.attentions[0])
    assert terms.length == continuation.generation.length
    pattern = softmax_attention(terms, heads=[page.session_state["motion:head"]], queries=[-1])[0, 0, 0]
    row = table(page, "motion:panels", "cells")["attention"].to_numpy()[-len(pattern) :]
    np.testing.assert_allclose(row, pattern, atol=1e-6)
    assert len(page.get("vega_lite_chart")) == len(CHARTS) - 2  # it carries no state


@pytest.mark.usefixtures("bytes_of_unknown")
def test_a_character_that_comes_in_several_tokens_is_named_at_each_once_it_is_complete(
    request: pytest.FixtureRequest,
) -> None:
    page: AppTest = request.getfixturevalue("page")
    page.text_area(key="continued_prompt").set_value("😀中").run()
    generate(page)
    continuation = page.session_state.session.continuation
    whole = models.bridge("demo").to_str_tokens(ids(page))
    assert whole[:8] == [" ", "<0xF0>", "<0x9F>", "<0x98>", "😀", "<0xE4>", "<0xB8>", "中"]
    first, last = ids(page)[1], ids(page)[7]
    assert continuation.tokens_after(6, [last, first]) == ["中 3/3", "<0xF0>"]
    # Token by token, as they come.
    continuation._tokens = []
    every = continuation.generation.ids
    for length in range(1, len(every) + 1):
        continuation.generation = SimpleNamespace(ids=every[:length])
        assert continuation.tokens() == visible_tokens(whole[:length])
