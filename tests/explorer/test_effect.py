"""The page "Does it matter?": its figures are those of runs; its edits stack up, undo and travel in links."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from components.bridge import rank_correlation
from components.ssd import CutSource, Head, KeepLast, Mute, Place, edit_of
from explorer import captures, costs, edit_stack, effect_of_heads, effects, models, on_demand
from explorer.effect_of_memory import first_that_holds
from explorer.effects import Question
from explorer.links import query_of, selection_of
from explorer.selection import first_selection
from explorer.session import Session
from explorer.settings import LimitError, Settings
from explorer.subject import Subject
from tests.explorer.conftest import ROOT

PROMPT = "Mia has the key. Leo has the map. What does Mia have?"
CLEAN = Subject("demo", PROMPT)


def opened(**parameters: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=120)
    page.query_params.update({"model": "demo", "prompt": PROMPT} | parameters)
    page.switch_page("app_pages/effect.py").run()
    assert not page.exception
    return page


def log_p(edits: tuple[object, ...] = (), position: int = -1) -> torch.Tensor:
    bridge = models.bridge("demo")
    hooks = [hook for edit in edits for hook in edit.hooks()]  # type: ignore[attr-defined]
    return bridge.run_with_hooks(PROMPT, fwd_hooks=hooks)[0, position].log_softmax(dim=-1)


def test_effects_are_those_of_runs_one_by_one() -> None:
    last = len(models.encoded("demo", PROMPT)[1]) - 1
    target, foil = effects.prediction(CLEAN).likely(last)[:2]
    found = effects.head_effects(CLEAN, last, target, foil, "attention", None)
    before = log_p()
    heads = effects.heads_of("demo")
    for at in (0, 3, len(heads) - 1):
        place, index = heads[at].place, heads[at].index
        after = log_p((Mute(range(place.layer, place.layer + 1), range(index, index + 1)),))
        assert found.log_p[at] == pytest.approx(float(before[target] - after[target]), abs=2e-5)
        difference = (before[target] - before[foil]) - (after[target] - after[foil])
        assert found.difference[at] == pytest.approx(float(difference), abs=2e-5)
    assert np.isfinite(found.control_log_p).all()
    by_token = effects.source_effects(CLEAN, last, target, foil, None, None)
    after = log_p((CutSource(positions=range(3, 4)),))
    assert by_token.log_p[3] == pytest.approx(float(before[target] - after[target]), abs=2e-5)
    assert len(by_token.log_p) == last + 1
    both = (Mute(range(1), range(1)), Mute(range(1), range(2, 3)))
    joint = effects.together(Question(CLEAN, last, target, foil), both)
    assert joint[0] == pytest.approx(float(before[target] - log_p(both)[target]), abs=2e-5)


def test_readings_of_a_head_are_those_of_its_row() -> None:
    last = len(models.encoded("demo", PROMPT)[1]) - 1
    found = effects.readings(CLEAN, last, 3, 5, Head(Place(1), 2))
    _, cache = models.bridge("demo").run_with_cache(PROMPT)
    M = cache.compute_ssm_effective_attention(1)[0, 2, last]
    np.testing.assert_allclose(found["|M|"], M.abs(), rtol=1e-4, atol=1e-6)
    assert all(len(values) == last + 1 for values in found.values())
    one, other = torch.tensor([1.0, -2, 3, 3]), torch.tensor([2.0, 4, -6, 6])
    assert rank_correlation(one, other) == pytest.approx(1)
    assert rank_correlation(one, torch.tensor([9.0, 5, 1, 2])) == pytest.approx(-0.9487, abs=1e-4)
    assert np.isnan(rank_correlation(torch.ones(3), torch.arange(3.0)))


def test_the_gradient_is_the_slope_of_the_cut() -> None:
    """Of a cut made smaller and smaller, the logit difference falls by the gradient times its size."""
    last = len(models.encoded("demo", PROMPT)[1]) - 1
    layer, head, source, part = 1, 2, 4, 1e-2
    found = effects.readings(CLEAN, last, 3, 5, Head(Place(layer), head))["gradient"][source]
    bridge = models.bridge("demo")

    def weaker(M: torch.Tensor, hook: object) -> torch.Tensor:
        M[:, head, :, source] *= 1 - part
        return M

    def difference(hooks: list[tuple[str, Callable[..., torch.Tensor]]]) -> float:
        logits = bridge.run_with_hooks(PROMPT, fwd_hooks=hooks)[0, last].double()
        return float(logits[3] - logits[5])

    fallen = difference([]) - difference([(f"blocks.{layer}.mixer.hook_attention", weaker)])
    assert fallen / part == pytest.approx(float(found), rel=0.05, abs=2e-4)


def test_edits_stack_up_are_undone_and_are_in_the_address() -> None:
    page = opened()
    headings = [each.value for each in page.subheader]
    assert headings[:3] == [
        "Which heads carry this answer?",
        "Which tokens carry it?",
        "Is what it reads what matters?",
    ]
    assert "Before and after" not in headings
    assert any("No edit" in each.value for each in page.caption)
    page.button(key="mute_picked").click().run()
    page.selectbox(key="edit_kind").select("window").run()
    page.button(key="add_edit").click().run()
    assert not page.exception
    stack = page.session_state.session.selection.subject.edits
    assert [type(edit) for edit in stack] == [Mute, KeepLast]
    assert page.query_params["edits"] in (
        ",".join(edit.words for edit in stack),
        [",".join(edit.words for edit in stack)],
    )
    assert "Before and after" in [each.value for each in page.subheader]
    page.button(key="off_0").click().run()
    assert page.session_state.session.selection.subject.edits == stack[1:]
    page.button(key="on_0").click().run()
    assert page.session_state.session.selection.subject.edits == stack[::-1]
    page.button(key="undo_edit").click().run()
    assert page.session_state.session.selection.subject.edits == stack[1:]
    page.button(key="remove_0").click().run()
    assert page.session_state.session.selection.subject.edits == ()
    assert not page.exception


def test_an_edited_link_opens_the_edited_run_here_and_in_explore() -> None:
    words = "cut.0.1.2-3.reading,window.all.all.all.0"
    page = opened(edits=words, layer="0", head="1")
    assert ",".join(edit.words for edit in page.session_state.session.selection.subject.edits) == words
    page.switch_page("app_pages/explore.py").run()
    assert not page.exception
    assert any("This run is edited" in each.value for each in page.text)
    page.button(key="without_edits").click().run()
    assert page.session_state.session.selection.subject == CLEAN
    assert not page.exception


def test_extremes_show_numbers() -> None:
    page = opened()
    for words in ("dt.all.all.all.0e0", "dt.all.all.all.1e6", "mute.all.all.all.all", "window.all.all.all.0"):
        edited = page.session_state.session.selection.with_edits((edit_of(words),))
        page.session_state.session.selection = edited
        page.run()
        assert not page.exception
        assert page.session_state.session.selection.subject == edited.subject
        shown = [each.value for each in page.metric] + [each.value for each in page.markdown]
        assert not any("nan" in each.lower() for each in shown)
        assert np.isfinite(effects.prediction(edited.subject).log_p).all()


def test_bad_input_is_told_and_changes_nothing() -> None:
    page = opened()
    page.text_input(key="edit_layers").set_value("first").run()
    page.button(key="add_edit").click().run()
    assert any('"first" names no layers' in each.value for each in page.text)
    assert page.session_state.session.selection.subject.edits == ()
    page = opened(edits="mute.9.0.all.attention")
    assert any("There is no hook" in each.value for each in page.text)
    page.button(key="without_edits").click().run()
    assert not page.exception
    assert "Which heads carry this answer?" in [each.value for each in page.subheader]


def test_a_text_too_long_for_its_edits_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "EDITED_TOKENS", 8)
    with pytest.raises(ValueError, match="can be applied to at most 8 tokens; this text has"):
        captures.capture(Subject("demo", PROMPT, (KeepLast(width=2),)))
    monkeypatch.setattr(effects, "MAX_TOKENS", 8)
    with pytest.raises(ValueError, match="at most 8 tokens"):
        effects.prediction(CLEAN)


def test_answer_and_foil_travel_in_the_link() -> None:
    selection = first_selection("demo").with_prompt(PROMPT).with_tokens(7, 9)
    assert selection_of(query_of(selection), "demo") == (selection, [])
    assert selection.with_prompt("Another").target is None
    assert selection.with_model("other").foil is None


def test_the_curve_of_memory_is_that_of_runs_and_its_window_can_be_added() -> None:
    page = opened()
    last = len(models.encoded("demo", PROMPT)[1]) - 1
    target = effects.prediction(CLEAN).likely(last)[0]
    found = effects.answer_by_memory(CLEAN, last, target)
    assert len(found) == last + 2
    for width in (0, 3, last + 1):
        assert found[width] == pytest.approx(float(log_p((KeepLast(width=width),))[target]), abs=2e-5)
    page.slider(key="memory").set_value(3).run()
    shown = [each for each in page.metric if each.label == "Probability with a memory of 3 tokens"]
    assert [each.value for each in shown] == [f"{np.exp(found[3]):.2%}"]
    page.button(key="add_window").click().run()
    assert not page.exception
    assert page.session_state.session.selection.subject.edits == (KeepLast(width=3),)


def test_the_width_that_is_enough_holds_from_there_on() -> None:
    assert first_that_holds(np.array([0.1, 0.9, 0.2, 0.5, 0.8], np.float32)) == 3
    assert first_that_holds(np.array([0.8, 0.9], np.float32)) == 0


def test_what_is_long_waits_until_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert costs.is_large(10**8, 100, 1000)
    assert not costs.is_large(10**6, 100, 100)
    monkeypatch.setattr(costs, "AT_ONCE", 0)
    page = opened()
    assert not any(each.key == "memory" for each in page.slider)
    page.button(key="start_memory").click().run()
    assert not page.exception
    assert page.slider(key="memory").value is not None


def test_what_can_mislead_is_said_with_figures_of_runs() -> None:
    page, last = opened(), len(models.encoded("demo", PROMPT)[1]) - 1
    question = Question(CLEAN, last, *effects.prediction(CLEAN).answer(last, None, None))
    heads = effects.heads_of("demo")

    def first(muting: effects.Muting) -> Head:
        return heads[int(np.nanargmax(effects.head_effects(*question.parts, muting, None).log_p))]

    strongest = first("attention")
    at = range(strongest.place.layer, strongest.place.layer + 1), range(strongest.index, strongest.index + 1)
    losses = [
        float(log_p()[question.target] - log_p((Mute(*at, what=way),))[question.target])
        for way in ("attention", "mean")
    ]
    (said,) = [each.value for each in page.caption if "Zero is not neutral" in each.value]
    zero, mean = re.findall(r"loses (\S+) of log p; .*?over the text, (\S+?)\. ", said + " ")[0]
    assert [float(zero), float(mean)] == pytest.approx(losses, abs=2e-5, rel=5e-3)
    other = first("all")
    assert (f"with the skip D·x, another head matters most: {other}." in said) == (other != strongest)
    part = effects.divided_by(CLEAN, last, strongest, Mute(*at))
    assert f"its divisor is {part:.2f} times what it was" in said


@pytest.mark.parametrize("sweep", ["cut", "muted"])
def test_a_sweep_that_is_stopped_leaves_the_rest_of_the_page(
    sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = []
    wait_for = on_demand.wait_for

    def stopping(
        key: tuple[object, ...], work: object, words: str, on_stop: Callable[[], None], button: str
    ) -> None:
        if key[0] == sweep and not stopped:
            stopped.append(button)
            on_stop()  # as its button does, and the page then runs again
            st.rerun()
        wait_for(key, work, words, on_stop, button)  # type: ignore[arg-type]

    monkeypatch.setattr(on_demand, "wait_for", stopping)
    page = opened(edits="mute.1.0.all.attention")
    assert stopped == [f"stop_{sweep}"]
    assert page.button(key=f"start_{sweep}").label == "Compute"
    assert page.session_state.session.selection.subject.edits == (Mute(range(1, 2), range(1)),)
    assert page.slider(key="memory").value is not None
    page.selectbox(key="head").set_value(3).run()  # heads are picked and muted as before
    page.button(key="mute_picked").click().run()
    assert page.session_state.session.selection.subject.edits[1:] == (Mute(range(1, 2), range(3, 4)),)
    page.button(key=f"start_{sweep}").click().run()
    assert not page.exception
    assert not any(each.key == f"start_{sweep}" for each in page.button)


def test_a_limit_of_time_stops_sweeps_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Settings, seconds: float) -> None:
        raise LimitError("This run was stopped after 60 s, the most that this hosted copy allows.")

    with monkeypatch.context() as patched:
        patched.setattr(Settings, "check_seconds", refuse)
        page = opened(prompt="Leo has the map and the key. What does Leo have?")
    told = [each.value for each in page.caption if "stopped after 60 s" in each.value]
    assert len(told) == len([each for each in page.button if each.label == "Compute"]) >= 3
    assert page.metric[0].label == "Probability of the answer"
    page.button(key="start_muted").click().run()
    assert not page.exception
    assert not any(each.key == "start_muted" for each in page.button)


@pytest.mark.parametrize(
    ("prompt", "reopened", "asked"),
    [
        (PROMPT, False, edit_stack.FRAGMENTS),
        (PROMPT, True, ()),  # the page says how the figures of the file compare
        ("The key. " * 300, False, ()),  # too long for a link: the browser has to be told to keep it
    ],
)
def test_a_change_draws_the_whole_page_where_fragments_do_not_tell_all(
    prompt: str, reopened: bool, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[str, ...]] = []
    state = Session(selection=first_selection("demo").with_prompt(prompt))
    if reopened:
        state.reopened = object()  # type: ignore[assignment]
    monkeypatch.setattr(edit_stack, "session", lambda: state)
    monkeypatch.setattr(edit_stack, "redraw", lambda *keys: found.append(keys))
    edit_stack._change(lambda: None)
    assert found == [asked]


def test_a_large_model_shows_estimates_then_the_first_heads_exactly_then_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(costs, "AT_ONCE", 0)
    monkeypatch.setattr(effect_of_heads, "EXACT_OF", 3)
    page = opened()
    heads = len(effects.heads_of("demo"))
    assert any(f"3 of {heads} heads are exact" in each.value for each in page.caption)
    assert any("Over these, the rank correlation" in each.value for each in page.caption)
    page.button(key="start_muted").click().run()
    assert not page.exception
    assert not any("Small squares are estimates" in each.value for each in page.caption)


def test_the_norm_is_told_as_it_was_measured() -> None:
    head, edit = Head(Place(1), 2), Mute(range(1, 2), range(2, 3))
    last = len(models.encoded("demo", PROMPT)[1]) - 1
    found = effects.divided_by(CLEAN, last, head, edit)
    bridge = models.bridge("demo")
    sizes = []
    for hooks in ((), edit.hooks()):
        _, cache = bridge.run_with_cache(PROMPT, fwd_hooks=hooks)
        y, z = (cache[f"blocks.1.mixer.inner_norm.{name}"][0, last] for name in ("hook_in", "hook_gate"))
        norm = bridge.blocks[1].mixer.inner_norm.original_component
        groups = len(y) // getattr(norm, "group_size", len(y))
        given = (y * torch.nn.functional.silu(z)).unflatten(-1, (groups, -1))
        sizes.append(float(given[2 * groups // bridge.heads[head.place]].square().mean().sqrt()))
    assert found == pytest.approx(sizes[1] / sizes[0], rel=1e-2)
