"""The page "Two prompts": it recovers what `patch` does, and says in a sentence what it cannot compare."""

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from components.bridge import attribution_patch, patch
from components.demo import PRESETS
from components.ssd import Mute
from explorer import effects, models, patches
from explorer.links import query_of, selection_of, short_query_of
from explorer.selection import first_selection
from explorer.subject import Subject
from tests.explorer.conftest import ROOT

FIRST = "Mia has the key. Leo has the map. What does Mia have?"
LONGER = "Mia has the old map. Leo has the key."
OTHER = "Mia has the map. Leo has the key. What does Mia have?"


def opened(**parameters: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=120)
    page.query_params.update({"model": "demo", "prompt": FIRST, "other": OTHER} | parameters)
    page.switch_page("app_pages/two_prompts.py").run()
    assert not page.exception
    return page


def told(page: AppTest) -> str:
    return " ".join(each.value for each in (*page.text, *page.caption, *page.markdown))


def test_what_the_page_recovers_is_what_patching_does() -> None:
    page = opened(target="7", foil="9")
    bridge = models.bridge("demo")
    last = bridge.to_tokens(FIRST).shape[1] - 1
    for what in ("residual", "scan"):
        found = patches.patches(Subject("demo", FIRST), Subject("demo", OTHER), last, 7, 9, what)
        asked = (bridge, FIRST, OTHER, lambda logits: logits[:, 7] - logits[:, 9], what)
        exact, estimate = patch(*asked), attribution_patch(*asked, points=4)
        np.testing.assert_array_equal(found.exact, exact.recovered)
        np.testing.assert_array_equal(found.estimate, estimate.recovered)
        assert f"where the runs differ, is {exact.correlation(estimate):.2f}" in told(page)
    assert "What brings the answer back?" in [each.value for each in page.subheader]


def test_what_cannot_be_compared_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(other=LONGER)
    tokens = [len(models.encoded("demo", text)[1]) for text in (FIRST, LONGER)]
    assert (
        f"The first prompt has {tokens[0]} tokens and the other {tokens[1]}. They part at position"
        in told(page)
    )
    page.text_area(key="other_prompt").set_value("").run()
    assert not page.exception
    assert "Type another prompt to compare with" in told(page)
    assert page.query_params["other"] in ("", [""])
    page.text_area(key="other_prompt").set_value(FIRST).run()
    assert "Both prompts are the same" in told(page)
    page.text_area(key="other_prompt").set_value(OTHER).run()
    assert "What brings the answer back?" in [each.value for each in page.subheader]
    monkeypatch.setattr(effects, "MAX_TOKENS", 5)
    effects._predictions.clear()
    assert "It takes texts of at most 5 tokens" in told(page.run())
    assert not page.exception


def test_prompts_with_the_same_answer_bring_none_back() -> None:
    last = len(models.encoded("demo", OTHER)[1]) - 1
    first, second = effects.prediction(Subject("demo", OTHER)).likely(last)[:2]
    words = "The other prompt predicts the same answer."
    assert words in told(opened(target=str(first), foil=str(second)))
    assert words not in told(opened(target=str(second), foil=str(first)))


def test_the_places_where_prompts_differ_are_named_and_edits_left_out() -> None:
    one, other = (models.encoded("demo", text)[1] for text in (FIRST, OTHER))
    places = [str(at) for at, (mine, yours) in enumerate(zip(one, other, strict=True)) if mine != yours]
    words = f"Tokens that differ: {len(places)} of {len(one)}. Positions: {', '.join(places)}."
    page = opened(edits=Mute(range(1), range(1)).words)
    assert words in told(page)
    assert "This page compares runs without your edits." in told(page)


def test_a_prefix_asked_about_before_the_texts_part_is_refused() -> None:
    assert "The metric is the same for both prompts" in told(opened(query="1", target="7", foil="9"))


def test_the_other_prompt_travels_in_links_that_are_not_too_long() -> None:
    start = first_selection("demo")
    assert start.other_prompt == PRESETS[0].other
    assert start.with_prompt(FIRST).other_prompt == ""
    for other in ("", OTHER, "word " * 50):
        selection = start.with_other(other)
        assert selection_of(query_of(selection), "demo") == (selection, [])
        assert short_query_of("http://localhost", selection)[0]["other"] == other
        assert selection.with_preset(PRESETS[1]).other_prompt == PRESETS[1].other
    assert "other" not in short_query_of("http://localhost", start.with_other("word " * 500))[0]
    page = opened(other="word " * 500)
    assert "too long for a link" in told(page)
