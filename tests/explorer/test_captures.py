from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
import torch

from components.charts import Window, locked_limits
from components.models import ModelLoadError, load_bridge
from components.ssd import Head, Place, effective_attention
from explorer import captures, costs, jobs, models, pictures
from explorer.captures import capture, holds, terms_of
from explorer.jobs import StoppedError
from explorer.line import line
from explorer.pictures import small_pictures
from explorer.readings import Reading
from explorer.subject import Subject

LONG = "abc " * 200


def test_a_capture_is_shared() -> None:
    assert capture(Subject("demo", "one two")) is capture(Subject("demo", "one two"))
    assert capture(Subject("demo", "one two")) is not capture(Subject("demo", "one two three"))


def test_a_long_text_is_held_whole_and_exact() -> None:
    shown = capture(Subject("demo", LONG))
    _, cache = load_bridge("demo").run_with_cache(LONG)
    assert shown.length == len(shown.tokens) == cache.ssd_terms(0).length
    for layer, _ in shown.places:
        whole = effective_attention(cache.ssd_terms(layer))
        torch.testing.assert_close(
            effective_attention(terms_of(shown, Place(layer))), whole, rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("head", [None, Head(Place(1), 0)])  # the run with a head keeps x, too, for a while
def test_a_layer_holds_no_more_than_it_needs(head: Head | None) -> None:
    st.cache_resource.clear()
    shown = capture(Subject("demo", LONG), _head=head)
    for place in shown.places:
        layer = captures.layer_of(shown.subject, place)
        terms = layer.terms
        held = [terms.B, terms.C, terms.dt, terms.A, terms.D, terms.cum_log_decay, layer.given]
        assert layer.nbytes == sum(tensor.nbytes for tensor in held)
        for tensor in (terms.dt, terms.cum_log_decay, layer.given):
            assert tensor.untyped_storage().nbytes() <= tensor.nbytes
        for tensor in (terms.B, terms.C):  # which may share one
            assert tensor.untyped_storage().nbytes() <= terms.B.nbytes + terms.C.nbytes
        assert terms.x.untyped_storage().nbytes() == 0


def test_many_prompts_at_once_run_one_after_the_other_and_equal_ones_once() -> None:
    model = models.bridge("demo").model
    running, most, runs = 0, 0, 0

    def begins(*_: object) -> None:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)

    def ends(*_: object) -> None:
        nonlocal running
        running -= 1

    handles = [model.register_forward_pre_hook(begins), model.register_forward_hook(ends)]
    prompts = [Subject("demo", f"{LONG} {number % 6}") for number in range(24)]

    def visit(subject: Subject) -> None:
        jobs.watch(("prompt", subject), partial(capture, subject), jobs.no_report, "Running")

    try:
        with ThreadPoolExecutor(24) as pool:
            list(pool.map(visit, prompts))
    finally:
        for handle in handles:
            handle.remove()
    assert (most, runs) == (1, 6)
    assert line().counts == (0, 0)


def runs_of(monkeypatch: pytest.MonkeyPatch) -> list[set[Place]]:
    """The layers that are kept of each run from now on."""
    runs, run = [], captures._run

    def watched(model: str, ids: torch.Tensor, places: Sequence[Place], *rest: Any) -> Any:
        runs.append(set(places))
        return run(model, ids, places, *rest)

    monkeypatch.setattr(captures, "_run", watched)
    return runs


def test_a_text_that_fits_goes_through_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = runs_of(monkeypatch)
    shown = capture(Subject("demo", LONG))
    assert small_pictures(shown).shape[0] == len(shown.measures)
    assert all(holds(shown, place) for place in shown.places)
    assert runs == [set(shown.places)]


def test_of_a_text_without_room_only_the_layers_in_use_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = capture(Subject("demo", LONG))
    expected, drawn = roomy.measures, small_pictures(roomy)
    small = captures.layer_of(Subject("demo", LONG), Place(0)).nbytes
    monkeypatch.setattr(captures, "HELD_BYTES", small)
    st.cache_resource.clear()
    runs = runs_of(monkeypatch)
    shown = capture(Subject("demo", LONG))
    assert set.union(*runs) == set(shown.places)
    assert max(map(len, runs)) < len(shown.places)
    pd.testing.assert_frame_equal(shown.measures, expected)
    np.testing.assert_allclose(small_pictures(shown), drawn, rtol=1e-5, atol=1e-12)
    assert not any(holds(shown, place) for place in shown.places)
    runs.clear()
    for layer in (1, 1, 0):
        assert terms_of(shown, Place(layer)).length == shown.length
    assert runs == [{Place(1)}, {Place(0)}]
    assert holds(shown, Place(0))
    assert not holds(shown, Place(1))
    assert pictures.faithfulness(shown, 0)[0] < 1e-5


def test_what_was_let_go_of_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = capture(Subject("demo", LONG))
    captures._held().clear()
    runs = runs_of(monkeypatch)
    assert terms_of(shown, Place(1)).length == shown.length
    assert runs == [set(shown.places)]  # all of them fit, so the next head costs nothing


def test_colours_are_locked_over_all_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, window = capture(Subject("demo", LONG)), Window(range(100, 164), range(0, 64))
    layers = {place: terms_of(shown, place) for place in shown.places}
    found = pictures.limits_of(shown, Place(0), window, Reading("attention_dt"), False)
    assert found == locked_limits(layers, window, reading="attention_dt")
    monkeypatch.setattr(pictures, "LOCKED_TOKENS", 10)
    assert pictures.limits_of(shown, Place(0), window, Reading("attention_dt"), False) == locked_limits(
        {Place(0): layers[Place(0)]}, window, reading="attention_dt"
    )


def test_the_cost_is_told_from_a_measured_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_runs", defaultdict(lambda: deque(maxlen=5)))
    assert captures.cost(Subject("demo", "one two")).seconds is None
    cost = captures.cost(Subject("demo", LONG))  # measured on the beginning of this text
    assert cost.tokens == capture(Subject("demo", LONG)).length
    assert cost.seconds is not None
    assert 0 < cost.seconds < 60
    kept = sum(
        captures.layer_of(Subject("demo", LONG), place).nbytes
        for place in capture(Subject("demo", LONG)).places
    )
    assert kept / 1e9 < cost.gigabytes < 10 * kept / 1e9


def test_models_and_captures_are_bounded() -> None:
    for cached, bound in ((models.bridge, 2), (captures.capture, captures.CAPTURES_HELD)):
        assert cached._info.max_entries == bound


def test_what_was_made_of_a_capture_leaves_with_it() -> None:
    texts = [f"one two {number}" for number in range(captures.CAPTURES_HELD + 1)]
    first = capture(Subject("demo", texts[0]))
    assert holds(first, Place(0))
    for text in texts[1:]:
        last = capture(Subject("demo", text))
    assert not holds(first, Place(0))
    assert holds(last, Place(0))
    assert terms_of(first, Place(0)).length == first.length  # for a page that still shows it


def test_a_model_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ModelLoadError):
            models.bridge(str(tmp_path / "nothing"))


def test_a_run_tells_its_layers_and_can_be_stopped() -> None:
    told: list[tuple[str, float | None]] = []
    capture(Subject("demo", "one two three"), lambda text, part: told.append((text, part)))
    layers = len(models.bridge("demo").blocks)
    parts = [part for text, part in told if "through layer" in text]
    assert parts == [each / layers for each in range(layers)]

    def stopped(text: str, part: float | None) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        capture(Subject("demo", "four five"), stopped)
    assert capture(Subject("demo", "four five")).length > 1


def test_faithfulness_is_that_of_a_whole_run() -> None:
    _, cache = load_bridge("demo").run_with_cache(LONG)
    shown = capture(Subject("demo", LONG))
    for layer in models.bridge("demo").ssm_layers():
        assert pictures.faithfulness(shown, layer) == (cache.faithfulness(layer), 1e-4)


def test_the_run_of_a_short_text_tells_faithfulness_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Subject("demo", "one two three")
    pictures.prepare(first, Head(Place(1), 0))
    layers = models.bridge("demo").ssm_layers()
    found = capture(first).faithful
    assert list(found) == layers  # of a small model, all
    monkeypatch.setattr(captures, "SMALL_WORK", 0)
    second = Subject("demo", "one two three four")
    begun_elsewhere = capture(Subject("demo", "four three two one"))
    assert not begun_elsewhere.faithful
    for subject in second, begun_elsewhere.subject:
        pictures.prepare(subject, Head(Place(1), 0))
        assert list(capture(subject).faithful) == [1]
    for subject in first, second:
        again = capture(subject)
        _, cache = load_bridge("demo").run_with_cache(subject.prompt)
        for layer in layers:  # those not found yet run again
            assert pictures.faithfulness(again, layer) == (cache.faithfulness(layer), 1e-4)


def test_small_pictures_of_large_layers_are_those_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = capture(Subject("demo", "one two three"))
    as_batch = small_pictures(shown)
    monkeypatch.setattr(pictures, "FEW_ENTRIES", 0)
    pictures._small.pop(shown)
    np.testing.assert_allclose(small_pictures(shown), as_batch, rtol=1e-6, atol=1e-12)
