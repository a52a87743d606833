"""The page "Check yourself" and its questions, with the embedded model itself: they are about that one."""

import random
import string
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest
from torch import Tensor

from components.bridge import ModelBridge
from components.demo import PRESETS
from components.demo import Question as Recalled
from components.models import load_bridge
from components.ssd import KINDS, Place, SSDTerms, reference
from explorer.lessons import LESSONS, Lesson, Situation, checks
from explorer.lessons.checks import SEEDS, Question, question, score_of, seed_of
from explorer.lessons.steps import how_much
from explorer.lessons.texts import TRIES, first
from explorer.wire import FORMS
from tests.explorer.conftest import ROOT
from tests.explorer.test_wire import registered

ASKED = range(3, 7)
MOST_WORDS = 90
AROUND = 12
"""Words of the page beside a question: its title, the buttons, and whether the reader was right."""


@pytest.fixture(scope="module", autouse=True)
def embedded() -> Iterator[None]:
    """Take the place of the fixture that swaps in the tiny model."""
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture(scope="module")
def model() -> ModelBridge:
    return load_bridge("demo")


def words_in(*texts: str) -> int:
    return sum(any(map(str.isalnum, word)) for text in texts for word in text.split())


def terms(model: ModelBridge, text: str, layer: int) -> SSDTerms:
    return model.run_with_cache(text)[1].ssd_terms(layer)


def position(model: ModelBridge, text: str, word: object) -> int:
    """Of a word that stands once."""
    tokens = [token.strip() for token in model.to_str_tokens(model.to_tokens(text)[0])]
    assert tokens.count(str(word)) == 1
    return tokens.index(str(word))


def at(place: object) -> int:
    """The position in words such as "10 kitchen"."""
    return int(str(place).split()[0])


def share(found: SSDTerms, head: int, key: int) -> float:
    """Of a token in the state at the end, with the formulas of the paper."""
    state = reference.states(found)[0, head, -1]
    L = reference.decay(found)[0, head, -1, key]
    written = found.dt[0, key, head] * torch.outer(found.x[0, key, head], found.B[0, key, 0])
    return float((L * written * state).sum() / state.square().sum())


def one_state(model: ModelBridge, asked: Situation) -> str:
    values = asked.values
    found = terms(model, asked.text, int(values["layer"]))
    key = position(model, asked.text, values["token"])
    first, second = (share(found, int(values[name]), key) for name in ("first", "second"))
    assert max(first, second) > 3 * min(first, second)
    return f"In that of head {values['first' if first > second else 'second']}"


def step_size(model: ModelBridge, asked: Situation) -> str:
    values, head = asked.values, int(asked.values["head"])
    found = terms(model, asked.text, int(values["layer"]))
    changed, key = (position(model, asked.text, values[name]) for name in ("changed", "token"))
    dt = found.dt.clone()
    dt[0, changed, head] *= float(values["factor"])
    before, after = (
        float(reference.decay(each)[0, head, -1, key]) for each in (found, replace(found, dt=dt))
    )
    assert (changed > key) == (abs(after - before) > 0.01)
    if changed < key:
        return "As much as before"
    return "Less than before" if after < before else "More than before"


def running_sum(model: ModelBridge, asked: Situation) -> str:
    L = reference.decay(terms(model, asked.text, int(asked.values["layer"])))
    key, query = at(asked.values["key"]), at(asked.values["query"])
    return f"{float(L[0, int(asked.values['head']), query, key]):.0%}"


def content(model: ModelBridge, asked: Situation) -> str:
    M = reference.attention(terms(model, asked.text, int(asked.values["layer"])))
    key = position(model, asked.text, asked.values["key"])
    return f"{float(M[0, int(asked.values['second']), -1, key]):.2f}"


def two_ways(model: ModelBridge, asked: Situation) -> str:
    tokens, config = int(asked.values["asked"]), model.model.config
    size = config.head_dim * config.state_size
    scan = sum(size + size + size for _ in range(tokens))
    matrix = sum(config.state_size + 1 + config.head_dim for i in range(tokens) for _ in range(i + 1))
    return "The scan" if scan < matrix else "The matrix"


def convolution(model: ModelBridge, asked: Situation) -> str:
    words, swapped = asked.text.split(" "), at(asked.values["token"])
    tokens = model.to_str_tokens(model.to_tokens(asked.text)[0])
    tokens[swapped] = f" {asked.values['swap']}"
    other = "".join(tokens)
    assert len(other.split(" ")) == len(words)
    before, after = (terms(model, text, 0).B[0] for text in (asked.text, other))
    return f"At {int((~torch.isclose(before, after, rtol=0, atol=1e-6)).any(-1).any(-1).sum())}"


def to_the_answer(model: ModelBridge, asked: Situation) -> str:
    values, layer = asked.values, int(asked.values["layer"])
    key = max(
        i
        for i, word in enumerate(asked.text.replace(".", " .").replace(":", " :").split())
        if word == values["token"]
    )
    hook = f"blocks.{layer}.{KINDS[Place(layer).kind].matrix_hook}"
    target = int(model.to_tokens(f"{asked.text} {values['answer']}")[0, -1])

    def left(head: int) -> float:
        def cut(M: Tensor, hook: object) -> Tensor:
            M = M.clone()
            M[:, head, -1, key] = 0
            return M

        logits, _ = model.run_with_cache(asked.text, fwd_hooks=[(hook, cut)])
        return float(logits[0, -1].softmax(-1)[target])

    first, second = left(int(values["first"])), left(int(values["second"]))
    assert min(first, second) < 0.5 < max(first, second)
    return f"That of head {values['first' if first < second else 'second']}"


RIGHT: dict[str, Callable[[ModelBridge, Situation], str]] = {
    each.__name__: each
    for each in (one_state, step_size, running_sum, content, two_ways, convolution, to_the_answer)
}


def how_long_lists_are_held(model: ModelBridge, lists: list[Recalled]) -> str:
    asked = lists[-how_much.NEW_LISTS :]
    shares = [share(terms(model, "".join(each.words[:-1]), 2), 0, each.fact) for each in asked]
    return f"{sum(shares) / len(shares):.1%}: the other words cover it"


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> list[Recalled]:
    """The lists that a situation of the last lesson has drawn."""
    drawn: list[Recalled] = []

    def recorded(rng: random.Random, items: int) -> Recalled:
        drawn.append(copied(rng, items))
        return drawn[-1]

    copied = how_much.copied
    monkeypatch.setattr(how_much, "copied", recorded)
    return drawn


def as_said(asked: Question, lesson: Lesson) -> list[str]:
    """All its words filled in, and its choices."""
    fields = {
        name
        for text in (lesson.words.check, *lesson.words.check_choices, lesson.words.check_why)
        for _, name, _, _ in string.Formatter().parse(text)
        if name
    }
    assert fields <= set(asked.situation.values)
    said = [asked.says(lesson.words.check), asked.says(lesson.words.check_why), *asked.choices(lesson.words)]
    assert not any(mark in text for text in said for mark in ("nan", "inf", "None", "{"))
    assert "-0.0 " not in " ".join(said)
    return said


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_questions_are_new_and_answered_by_the_model(
    lesson: Lesson, model: ModelBridge, lists: list[Recalled]
) -> None:
    asked = {}
    for seed in ASKED:
        asked[seed] = each = question(lesson, seed)
        told, why, *choices = as_said(each, lesson)
        assert len(set(choices)) == len(lesson.words.check_choices) == len(choices)
        assert words_in(each.situation.text, told, *choices) + AROUND <= MOST_WORDS
        assert words_in(each.situation.text, told, why, choices[each.right]) + AROUND <= MOST_WORDS
        assert each.situation.text != PRESETS[0].prompt
        truth = RIGHT.get(lesson.name, lambda *_: how_long_lists_are_held(model, lists))
        assert choices[each.right] == truth(model, each.situation)
    assert len({str(each.situation.values) for each in asked.values()}) == len(asked)
    assert len({each.right for each in asked.values()}) > 1
    assert len({each.choices(lesson.words)[each.right] for each in asked.values()}) > 1
    checks._question.clear()
    assert question(lesson, ASKED[0]) is not asked[ASKED[0]]
    assert question(lesson, ASKED[0]) == asked[ASKED[0]]


def test_draws_that_are_never_clear_end() -> None:
    draws: list[None] = []
    with pytest.raises(RuntimeError, match="not clear"):
        first(lambda: draws.append(None))
    assert len(draws) == TRIES


@pytest.mark.parametrize("words", ["", "0", "-1", "1000", "1.0", " 1", "01", "x", "٣", "9" * 5_000])
def test_what_names_no_seed_or_score(words: str) -> None:
    assert seed_of(words) is None
    assert score_of(words) is None or words == "0"


@pytest.fixture
def page() -> AppTest:
    """The page, from the one that opens."""
    opened = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60).run()
    return opened.switch_page("app_pages/check_yourself.py")


def words_on(page: AppTest) -> int:
    shown = [*page.title, *page.header, *page.markdown, *page.caption]
    return words_in(*(each.value for each in shown), *(each.label for each in page.button))


def parameter(page: AppTest, name: str) -> str:
    """Of the address: as the test has set it, or as the page has written it."""
    value = page.query_params[name]
    return value[0] if isinstance(value, list) else value


def captions(page: AppTest) -> str:
    return " ".join(each.value for each in page.caption)


def answer(page: AppTest, *, right: bool = True) -> None:
    attempt = page.session_state.session.attempt
    place = question(LESSONS[attempt.at], attempt.seed).right
    page.button(key=f"choice_{place if right else 1 - min(place, 1)}").click().run()
    assert (":material/check:" in page.markdown[-1].value) == right
    assert words_on(page) <= MOST_WORDS
    page.button(key="check_next").click().run()


def test_all_right_is_eight_of_eight_and_the_browser_keeps_it(page: AppTest) -> None:
    page.query_params["questions"] = str(ASKED[0])
    page.session_state.session.in_browser = {"best-score": "9", "other": "5"}
    page.run()
    buttons = {key: form for key, form in registered(page).items() if key.startswith(("choice", "check"))}
    assert len(buttons) >= 2
    assert {key: FORMS.get(key, "trigger_value") for key in buttons} == buttons
    assert "best" not in captions(page)
    for _ in LESSONS:
        assert parameter(page, "questions") == str(ASKED[0])
        assert words_on(page) <= MOST_WORDS
        answer(page)
    assert page.header[0].value == "8 of 8"
    assert "Your best so far: 8 of 8." in captions(page)
    assert words_on(page) <= MOST_WORDS
    assert page.session_state.session.in_browser == {"best-score": "8", "other": "5"}
    page.button(key="check_others").click().run()
    assert seed_of(parameter(page, "questions")) not in (None, ASKED[0])
    assert "Question 1 of 8" in captions(page)
    assert "Your best so far: 8 of 8." in captions(page)


def test_a_lower_score_leaves_the_best_one(page: AppTest) -> None:
    page.query_params["questions"] = str(ASKED[0])
    page.session_state.session.in_browser = {"best-score": "5"}
    page.run()
    assert "Your best so far: 5 of 8." in captions(page)
    for number in range(len(LESSONS)):
        answer(page, right=number == 2)
    assert page.header[0].value == "1 of 8"
    assert page.session_state.session.in_browser == {"best-score": "5"}
    marks = [each.label.split()[0] for each in page.button if each.key.startswith("check_step")]
    assert [mark == ":material/check:" for mark in marks] == [number == 2 for number in range(8)]
    page.button(key="check_step_2").click().run()
    assert parameter(page, "step") == LESSONS[2].name


def test_an_address_without_such_questions_says_so(page: AppTest) -> None:
    page.query_params["questions"] = str(SEEDS.stop)
    page.run().run()  # the browser tells what it keeps, which runs the page again
    assert "No questions have this number" in captions(page)
    assert seed_of(parameter(page, "questions")) is not None
    assert not page.exception


def test_the_lessons_lead_there(page: AppTest) -> None:
    page.switch_page("app_pages/lessons.py").run()
    assert "check_yourself" in [link.proto.page for link in page.get("page_link")]
