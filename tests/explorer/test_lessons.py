"""The lessons, with the embedded model itself: they are about that one."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from components.bridge import ModelBridge
from components.models import load_bridge
from components.ssd import Head, Place, SSDTerms, reference
from explorer.lessons import (
    LESSONS,
    Lesson,
    Scene,
    TranslationError,
    Words,
    as_toml,
    course,
    english,
    languages,
    steps,
)
from explorer.lessons.live import POSITIONS, PROMPT, words_of
from tests.explorer.conftest import ROOT

MOST_WORDS = 90
BY_NAME = {lesson.name: lesson for lesson in LESSONS}


@pytest.fixture(scope="module", autouse=True)
def embedded() -> Iterator[None]:
    """Take the place of the fixture that swaps in the tiny model."""
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture(scope="module")
def bridge() -> ModelBridge:
    return load_bridge("demo")


def terms_in(bridge: ModelBridge, layer: int, prompt: str = PROMPT) -> SSDTerms:
    return bridge.run_with_cache(prompt)[1].ssd_terms(layer)


def scene(lesson: Lesson, option: object = None, *, revealed: bool = True) -> Scene:
    return lesson.scene(lesson.asked if option is None else option, revealed, lesson.words.labels)


def said(words: Words, shown: Scene, *names: str) -> str:
    texts = [getattr(words, name) for name in names]
    whole = " ".join(" ".join(text) if isinstance(text, tuple) else text for text in texts)
    return whole.format(**shown.values)


def test_there_are_eight_in_order() -> None:
    assert len(words_of()) == len(POSITIONS)
    assert [lesson.number for lesson in LESSONS] == list(range(1, 9))
    assert len(BY_NAME) == 8


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_every_screen_is_short_and_says_what_it_shows(lesson: Lesson) -> None:
    words, control = lesson.words, lesson.control
    for option in control.options:
        for revealed in (False, True):
            shown = scene(lesson, option, revealed=revealed)
            for name in shown.figures:
                alt = words.alts[name].format(**shown.values)
                assert "{" not in alt
            if revealed:
                screen = said(words, shown, "title", "question", "live", "meaning", "task")
                screen += f" {words.choices[lesson.right()].format(**shown.values)}"
            else:
                screen = said(words, shown, "title", "text", "question", "choices")
            assert not re.search(r"[{}]|nan|inf\b", screen)
            assert len(screen.split()) <= MOST_WORDS, screen


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_the_task_is_done_by_a_change_and_not_before(lesson: Lesson) -> None:
    control = lesson.control
    assert {control.start, lesson.asked} <= set(control.options)
    assert not scene(lesson).reached
    reached = frozenset().union(*(scene(lesson, option).reached for option in control.options))
    assert reached >= lesson.goals
    assert 0 <= lesson.right() < len(lesson.words.choices)


def test_one_state(bridge: ModelBridge) -> None:
    lesson = BY_NAME["one_state"]
    terms = terms_in(bridge, 2)
    at = int(lesson.asked)
    assert scene(lesson).number("diagonal") == pytest.approx(float(reference.attention(terms)[0, 0, at, at]))
    # y at a token changes with x at that token, so the head reads what it has just written.
    y = reference.output(terms)
    terms.x[:, at] += 1
    after = (
        reference.output(terms)
        - terms.D[:, None] * torch.nn.functional.one_hot(torch.tensor(at), terms.length)[None, :, None, None]
    )
    assert not torch.equal(after[:, at, 0], y[:, at, 0])
    assert lesson.right() == 0
    # The state after each token, by the recurrence; a share is what a token's own part has along it.
    terms = terms_in(bridge, 2)
    for option in (4, 16, 29):
        shown, state = scene(lesson, option), reference.states(terms)[0, 0, option]
        assert shown.values["dim"], shown.values["state"] == tuple(state.shape)
        own = torch.outer(terms.x[0, option, 0], terms.B[0, option, 0]).double() * terms.dt[0, option, 0]
        share = float((own * state).sum() / state.square().sum())
        assert shown.number("share") == pytest.approx(share, abs=1e-5)


def test_step_size(bridge: ModelBridge) -> None:
    lesson = BY_NAME["step_size"]
    shown, terms = scene(lesson), terms_in(bridge, 2)
    before = float(reference.decay(terms)[0, 0, -1, 4])
    terms.dt[:, 10, 0] *= 2
    after = float(reference.decay(terms)[0, 0, -1, 4])
    assert (shown.number("left_before"), shown.number("left")) == pytest.approx((before, after), rel=1e-4)
    assert shown.number("written") == pytest.approx(2, rel=1e-4)  # nothing after it fades more
    assert after < before
    assert lesson.right() == 0
    assert bool((terms_in(bridge, 2).dt > 0).all())


def test_running_sum(bridge: ModelBridge) -> None:
    lesson = BY_NAME["running_sum"]
    terms = terms_in(bridge, 2)
    assert bool((terms.A < 0).all())
    for option in lesson.control.options:
        left = float(reference.decay(terms)[0, 3, -1, int(option)])
        assert scene(lesson, option).number("left") == pytest.approx(left, rel=1e-5)
        assert scene(lesson, option).number("fallen") == pytest.approx(left, rel=1e-5)
    steps = -(terms.A[3] * terms.dt[0, :, 3])
    assert scene(lesson).values["steepest"].startswith(f"{int(steps.argmax())} ")
    assert lesson.right() == 1


def test_content(bridge: ModelBridge) -> None:
    lesson = BY_NAME["content"]
    rows = reference.content(terms_in(bridge, 2))[0]
    for option in lesson.control.options:
        shown, row = scene(lesson, option), rows[2, int(option)]
        assert shown.number("sum") == pytest.approx(float(row.sum()), abs=1e-4)
        assert shown.values["negative"] == int((row < 0).sum())
        assert shown.values["sharing"] == shown.values["heads"] == 8  # one group
    assert lesson.right() == 2


def test_two_ways(bridge: ModelBridge) -> None:
    lesson = BY_NAME["two_ways"]
    terms = terms_in(bridge, 2)
    dim, state = terms.x.shape[-1], terms.B.shape[-1]
    for option in lesson.control.options:
        shown, tokens = scene(lesson, option), int(option)
        assert shown.values["by_scan"] == sum(3 * dim * state for _ in range(tokens))
        pairs = sum(range(1, tokens + 1))
        assert shown.values["cells"] == pairs
        assert shown.values["by_matrix"] == pairs * state + pairs + pairs * dim
    assert lesson.right() == 2
    by_matrix = reference.output(terms)
    by_scan = torch.stack([reference.states(terms)[0, :, i] @ terms.C[0, i, 0].double() for i in range(30)])
    by_scan = by_scan + terms.D.double()[:, None] * terms.x[0].double()
    assert float((by_scan - by_matrix[0]).abs().max() / by_matrix.abs().max()) < 1e-12
    assert scene(lesson).number("error") < 1e-5


def test_convolution(bridge: ModelBridge) -> None:
    lesson = BY_NAME["convolution"]
    B = terms_in(bridge, 0).B[0, :, 0]
    for option in lesson.control.options:
        shown, at = scene(lesson, option), int(option)
        ids = bridge.to_tokens(PROMPT)
        ids[0, at] = bridge.tokenizer.encode(f" {shown.values['swap']}", add_special_tokens=False)[0]
        other = bridge.run_with_cache(ids)[1].ssd_terms(0).B[0, :, 0]
        changed = [i for i in range(30) if not torch.allclose(B[i], other[i], atol=1e-6)]
        assert changed == list(range(at, min(at + 4, 30)))
        assert shown.values["count"] == len(changed)
    assert shown.values["kernel"] == 4
    assert lesson.right() == 1


def test_to_the_answer(bridge: ModelBridge) -> None:
    lesson = BY_NAME["to_the_answer"]
    logits, cache = bridge.run_with_cache(PROMPT)
    answer = int(logits[0, -1].argmax())
    M = reference.attention(cache.ssd_terms(2))[0]
    left = {}
    for head in (2, 0):
        key = int(M[head, -1].abs().argmax())

        def cut(tensor: torch.Tensor, hook: object, head: int = head, key: int = key) -> torch.Tensor:
            tensor[:, head, -1, key] = 0
            return tensor

        edited = bridge.run_with_hooks(PROMPT, fwd_hooks=[("blocks.2.mixer.hook_attention", cut)])
        left[head] = float(edited[0, -1].softmax(-1)[answer])
    shown = scene(lesson)
    found = shown.number("of_first"), shown.number("of_second")
    assert found == pytest.approx((left[2], left[0]), abs=1e-4)
    assert left[2] > 0.9 > 0.5 > left[0]
    assert lesson.right() == 1
    assert shown.values["answer"] == bridge.to_str_tokens([answer])[0].strip()
    assert shown.values["key"] == shown.values["second_key"] == "kitchen"


def test_how_much(bridge: ModelBridge) -> None:
    how_much = importlib.import_module("explorer.lessons.steps.how_much")
    lesson = BY_NAME["how_much"]
    parts = {items: how_much.recall(items) for items in how_much.ITEMS}
    for items in (8, how_much.ASKED):
        assert len(re.findall(r"\w+", parts[items].prompt.partition(". Again:")[0])) == items + 1
    assert parts[8].right == 1
    assert [parts[items].right < 0.5 for items in how_much.ITEMS].index(True) == how_much.ITEMS.index(
        how_much.breaks()
    )
    assert parts[how_much.ASKED].share < parts[8].share / 2
    assert lesson.right() == 2


# The page


@pytest.fixture
def page() -> AppTest:
    opened = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60)
    return opened.switch_page("app_pages/lessons.py").run()


def keys(page: AppTest) -> set[str]:
    return {button.key for button in page.button}


def test_the_page_runs_through_all_lessons(page: AppTest) -> None:
    for lesson in LESSONS:
        assert not page.exception
        assert page.title[0].value == lesson.words.title
        assert page.query_params["step"] == lesson.name
        assert "step_next" not in keys(page)
        assert not page.select_slider
        right = lesson.right()
        wrong = (right + 1) % len(lesson.words.choices)
        page.button(key=f"choice_{wrong if lesson.number == 2 else right}").click().run()
        verdict = "Not quite" if lesson.number == 2 else "Right"
        assert any(verdict in element.value for element in page.markdown)
        for option in lesson.control.options:
            if "step_next" in keys(page):
                break
            page.select_slider(key="lesson_control").set_value(option).run()
        if lesson is not LESSONS[-1]:
            page.button(key="step_next").click().run()
    page.button(key="lesson_in_explore").click().run()
    assert not page.exception
    assert page.session_state.session.selection.head == Head(Place(2), 0)


def test_a_link_names_a_step_and_another_word_is_none(page: AppTest) -> None:
    page.query_params["step"] = "content"
    page.run()
    assert page.title[0].value == BY_NAME["content"].words.title
    page.query_params["step"] = "nothing"
    page.run()
    assert not page.exception
    assert page.title[0].value == LESSONS[0].words.title


def test_who_comes_back_goes_on(page: AppTest) -> None:
    assert page.session_state.session.in_browser is None
    page.session_state.session.in_browser = {"lessons": '{"one_state": [1, "done"]}'}
    page.run()
    assert any("Not quite" in element.value for element in page.markdown)
    page.button(key="step_next").click().run()
    page.button(key="choice_0").click().run()
    kept = page.session_state.session.in_browser["lessons"]
    assert json.loads(kept) == {"one_state": [1, "done"], "step_size": [0]}


def test_a_browser_can_tell_anything(page: AppTest) -> None:
    forged = ["{", "[]", "3", '{"one_state": 1}', '{"one_state": [9]}', '{"one_state": [true, {}]}']
    for text in (*forged, "[" * 2000):
        page.session_state.session.in_browser = {"lessons": text}
        page.run()
        assert not page.exception
        assert "choice_0" in keys(page)


# More of them


def test_a_lesson_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(steps.__file__).with_name("content.py").read_text("utf-8")
    source = source.replace('name="content"', 'name="mine"').replace("number=4", "number=9")
    (tmp_path / "mine_of_my_own.py").write_text(source, "utf-8")
    monkeypatch.setattr(steps, "__path__", [*steps.__path__, str(tmp_path)])
    found = course.found()
    assert [lesson.name for lesson in found] == [*BY_NAME, "mine"]
    assert scene(found[-1]).values == scene(BY_NAME["content"]).values


GERMAN = """
language = "Deutsch"

[frame]
next = "Weiter"

[one_state]
title = "Ein Zustand eines Kopfes"
choices = ["Ja", "Nein"]
labels.share = "Anteil am Zustand"
"""


def test_another_language_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "de.toml").write_text(GERMAN, "utf-8")
    german = languages(tmp_path)["de"]
    first = LESSONS[0].words
    assert german.words["one_state"].choices == ("Ja", "Nein")
    assert german.words["one_state"].question == first.question
    assert german.words["content"] == BY_NAME["content"].words
    monkeypatch.setattr("explorer.lesson_words.languages", lambda: languages(tmp_path))
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60).run()
    page.switch_page("app_pages/lessons.py").run()
    assert page.title[0].value == first.title
    page.selectbox(key="language").set_value("de").run()
    assert page.title[0].value == "Ein Zustand eines Kopfes"
    page.button(key="choice_0").click().run()
    page.select_slider(key="lesson_control").set_value(29).run()
    assert page.button(key="step_next").label == "Weiter"
    assert not page.exception


def test_the_english_words_have_the_form_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "xx.toml").write_text(as_toml(english()), "utf-8")
    again = languages(tmp_path)["xx"]
    assert (again.frame, again.words) == (english().frame, english().words)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[frame", "not a TOML file"),
        ('[frame]\nnext = "Weiter"', "language"),
        ('language = "x"\n[nothing]\ntitle = "x"', "nothing"),
        ('language = "x"\n[one_state]\nheading = "x"', "heading"),
        ('language = "x"\n[one_state]\nchoices = ["Ja"]', "choices"),
        ('language = "x"\n[one_state]\nquestion = "Was?"', "question"),
        ('language = "x"\n[one_state]\nquestion = "{token"', "cannot be filled in"),
        ('language = "x"\n[one_state]\ntitle = 3', "title"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "xx.toml").write_text(text, "utf-8")
    with pytest.raises(TranslationError, match=why):
        languages(tmp_path)


def test_the_page_says_why_a_file_cannot_be_used(
    page: AppTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xx.toml").write_text("[frame", "utf-8")
    monkeypatch.setattr("explorer.lesson_words.languages", lambda: languages(tmp_path))
    page.run()
    assert not page.exception
    assert "not a TOML file" in page.text[0].value


def test_the_shipped_languages_can_be_used() -> None:
    assert next(iter(languages())) == "en"
