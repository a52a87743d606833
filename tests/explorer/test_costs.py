import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.bridge import ModelBridge, matrix_inputs
from components.models import load_bridge
from explorer.costs import RUNS_REMEMBERED, Cost, Footprint, measured_rate, remember_run
from tests.families import FAMILY_CASES, FamilyCase
from tests.tiny import random_ids

FOOTPRINT = Footprint(layers=4, projected=100, given=200, terms=150, scratch=1000)


def test_the_footprint_is_that_of_the_model() -> None:
    bridge = load_bridge("demo", device="cpu")
    terms = bridge.run_with_cache("one two three")[1].ssd_terms(0, with_x=False)
    footprint = Footprint.of(bridge)
    tensors = (terms.B, terms.C, terms.dt, terms.cum_log_decay)
    assert footprint.terms == sum(tensor.nbytes for tensor in tensors) / terms.length
    assert footprint.given == 4 * bridge.model.config.hidden_size
    assert footprint.layers == len(bridge.blocks)


@pytest.mark.parametrize("case", FAMILY_CASES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_footprint_of_a_hybrid_is_all_that_is_held_of_both_kinds(
    case: FamilyCase, dtype: torch.dtype
) -> None:
    bridge, length = ModelBridge(case.build(dtype)), 50
    _, cache = bridge.run_with_cache(random_ids(0, 1, length), names_filter=matrix_inputs)
    mixers = [cache.ssd_terms(layer, with_x=False) for layer in case.mixers]
    attentions = [cache.softmax_terms(layer) for layer in case.attentions]
    held = sum(t.nbytes for terms in mixers for t in (terms.B, terms.C, terms.dt, terms.cum_log_decay))
    held += sum(t.nbytes for terms in attentions for t in (terms.q, terms.k))
    held += sum(cache[f"blocks.{layer}.mixer.hook_in"].nbytes for layer in case.mixers)
    footprint = Footprint.of(bridge)
    assert footprint.layers == len(mixers) + len(attentions)
    counted = length * footprint.layers * (footprint.terms + footprint.given)
    assert held <= counted <= held + 2 * length * footprint.layers  # a mean is rounded up to whole bytes
    assert footprint.scratch >= max([(t.q.nbytes + t.k.nbytes) / length for t in attentions], default=0)


def test_a_short_text_goes_through_once_and_a_long_one_a_few_layers_at_a_time() -> None:
    assert FOOTPRINT.layers_at_once(1000, 1_400_000) == 4
    assert FOOTPRINT.runs(1000, 1_400_000) == 1
    assert FOOTPRINT.layers_at_once(1000, 200_000) == 2
    assert FOOTPRINT.runs(1000, 200_000) == 3  # twice two layers, and the one in use
    assert FOOTPRINT.layers_at_once(1000, 10) == 1
    assert Footprint(1, 100, 200, 150, 1000).runs(1000, 10) == 1


@given(st.integers(1, 200_000), st.integers(1, 10**10))
def test_memory_grows_with_the_text_and_stays_near_the_room(tokens: int, most: int) -> None:
    taken = FOOTPRINT.gigabytes(tokens, most) * 1e9
    assert taken >= tokens * (FOOTPRINT.scratch + FOOTPRINT.projected)
    assert taken <= 1.5 * most + 1.2 * tokens * (FOOTPRINT.scratch + FOOTPRINT.projected + FOOTPRINT.terms)


def test_the_rate_is_that_of_the_last_runs() -> None:
    assert measured_rate("some model") is None
    for seconds, tokens in ((1.0, 1000), *[(20.0, 1000)] * RUNS_REMEMBERED):
        remember_run("some model", seconds, tokens)
    assert measured_rate("some model") == pytest.approx(20 / 1000)


def test_runs_that_share_the_machine_do_not_raise_the_rate() -> None:
    for seconds in (10.0, 130.0, 120.0):  # the last two at a time
        remember_run("shared", seconds, 12_000)
    assert measured_rate("shared", 12_000) == pytest.approx(10 / 12_000)


def test_the_rate_of_a_long_text_is_that_of_long_runs() -> None:
    for seconds, tokens in ((1.0, 1000), (90.0, 10_000)):  # each token is compared with all before it
        remember_run("softmax", seconds, tokens)
    assert measured_rate("softmax", 20_000) == pytest.approx(90 / 10_000)
    assert measured_rate("softmax", 50_000) == pytest.approx(90 / 10_000)
    assert measured_rate("softmax", 2_000) == pytest.approx(1 / 1000)


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, "1 s"), (0.2, "1 s"), (41.6, "42 s"), (200.0, "3 min"), (7200.0, "2 h")]
)
def test_a_cost_in_words(seconds: float | None, told: str) -> None:
    assert Cost(12_000, seconds, 0.4321).in_words() == f"12,000 tokens, about {told} and 0.43 GB of memory"
