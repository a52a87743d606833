"""A continuation that is pulled token by token."""

import threading

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.bridge import ModelBridge, ssd_inputs
from components.bridge.generation import MOST_LIKELY, PIECE_TOKENS, Generation
from tests.families import SOME_CASES, FamilyCase
from tests.tiny import GOLDEN, random_ids, relative, tiny_model

TERMS = ("x", "B", "C", "dt", "cum_log_decay")


@pytest.fixture(scope="module")
def bridge() -> ModelBridge:
    return ModelBridge(tiny_model())


@pytest.mark.parametrize("prompt_length", [1, 2, 5, PIECE_TOKENS + 1, PIECE_TOKENS + 2])
def test_captures_are_those_of_one_pass_over_the_whole_text(bridge: ModelBridge, prompt_length: int) -> None:
    ids = random_ids(0, 1, prompt_length)
    generation = Generation(bridge, ids, max_new_tokens=12)
    taken = [step.id for step in generation]
    assert generation.ids == [*ids[0].tolist(), *taken]
    assert len(taken) == 12
    _, whole = bridge.run_with_cache(generation.ids)
    cache = generation.cache
    assert cache.notes == []
    for layer in bridge.ssm_layers():
        for name in TERMS:
            found = getattr(cache.ssd_terms(layer), name)
            assert relative(found, getattr(whole.ssd_terms(layer), name)) <= 1e-5, name
        found = cache.compute_ssm_effective_attention(layer)
        assert relative(found, whole.compute_ssm_effective_attention(layer)) <= 1e-5
        assert cache.faithfulness(layer) <= 5e-6
        for hook in ("conv1d.hook_out", "hook_scan", "hook_out"):
            name = f"blocks.{layer}.mixer.{hook}"
            assert relative(cache[name], whole[name]) <= 1e-5, name


@pytest.mark.parametrize("prompt_length", [1, 7, 40])
def test_greedy_is_the_models_own(bridge: ModelBridge, prompt_length: int) -> None:
    ids = random_ids(1, 1, prompt_length)
    generation = Generation(bridge, ids, max_new_tokens=25, names_filter=[])
    list(generation)
    assert generation.ids == bridge.generate(ids, max_new_tokens=25, do_sample=False)[0].tolist()


def test_state_is_the_one_that_the_model_carries(bridge: ModelBridge) -> None:
    generation = Generation(bridge, random_ids(2, 1, 9), max_new_tokens=6)
    list(generation)
    for layer in bridge.ssm_layers():
        state = bridge.blocks[layer].mixer.compute_ssm_state(generation.cache, layer, -1)
        assert relative(state, own_state(generation, layer)) <= 1e-5


def test_steps_tell_the_models_distribution_and_what_came(bridge: ModelBridge) -> None:
    generation = Generation(bridge, random_ids(3, 1, 20), max_new_tokens=10, temperature=1.5, seed=4)
    given = list(generation)
    logits, _ = bridge.run_with_cache(generation.ids, names_filter=[])
    truth = logits[0].softmax(dim=-1)
    assert [step.position for step in given] == list(range(19, 29))
    assert given == [generation.step(position) for position in range(19, 29)]
    for position, came in enumerate(generation.ids[1:]):
        step = generation.step(position)
        assert step.position == position
        assert step.id == came
        assert step.probability == pytest.approx(float(truth[position, came]), rel=1e-4)
        values, ids = truth[position].topk(MOST_LIKELY)
        assert [token for token, _ in step.likely] == ids.tolist()
        assert [each for _, each in step.likely] == pytest.approx(values.tolist(), rel=1e-4)
    last = generation.step(29)
    assert last.id is None
    assert last.probability is None
    assert last.likely[0][0] == int(truth[29].argmax())
    for beyond in (-1, 30):
        with pytest.raises(IndexError, match="30 have been fed"):
            generation.step(beyond)


def test_probabilities_of_a_whole_vocabulary_sum_to_one() -> None:
    small = ModelBridge(tiny_model(vocab_size=8, pad_token_id=7, bos_token_id=6))
    step = next(Generation(small, [1, 2, 3], max_new_tokens=1))
    assert len(step.likely) == 8
    assert sum(probability for _, probability in step.likely) == pytest.approx(1)


def sampled(bridge: ModelBridge, **how: float) -> list[int]:
    generation = Generation(bridge, random_ids(5, 1, 6), max_new_tokens=30, names_filter=[], **how)
    return [step.id for step in generation]


def test_a_seed_gives_the_same_text_whatever_else_draws(bridge: ModelBridge) -> None:
    first = sampled(bridge, temperature=1.0, seed=1)
    torch.manual_seed(99)
    assert sampled(bridge, temperature=1.0, seed=1) == first
    assert sampled(bridge, temperature=1.0, seed=2) != first


def test_temperature_and_top_p_act(bridge: ModelBridge) -> None:
    greedy = sampled(bridge)
    assert sampled(bridge, temperature=1e-3, seed=1) == greedy
    assert sampled(bridge, temperature=5.0, top_p=1e-6, seed=1) == greedy
    assert sampled(bridge, temperature=5.0, seed=1) != greedy
    generation = Generation(
        bridge, random_ids(5, 1, 6), max_new_tokens=60, temperature=2.0, top_p=0.3, names_filter=[]
    )
    list(generation)
    logits, _ = bridge.run_with_cache(generation.ids, names_filter=[])
    for position in range(5, 65):  # what is more probable than the chosen one does not reach top_p alone
        probabilities = (logits[0, position] / 2.0).softmax(dim=-1)
        before = probabilities[probabilities > probabilities[generation.ids[position + 1]] * (1 + 1e-4)]
        assert float(before.sum()) < 0.3 + 1e-4


def test_an_end_token_ends_it(bridge: ModelBridge) -> None:
    greedy = sampled(bridge)
    end = greedy[3]
    stops = greedy.index(end) + 1
    for ends in (end, [96, end]):
        model = tiny_model()
        model.generation_config.eos_token_id = ends
        generation = Generation(ModelBridge(model), random_ids(5, 1, 6), max_new_tokens=30)
        assert [step.id for step in generation] == greedy[:stops]
        assert generation.ended_itself
        assert generation.cache.ssd_terms(0).length == 6 + stops
        assert list(generation) == []


def test_an_end_token_in_the_prompt_does_not(bridge: ModelBridge) -> None:
    model = tiny_model()
    model.generation_config.eos_token_id = 7
    generation = Generation(ModelBridge(model), [3, 7], max_new_tokens=2)
    assert next(generation).position == 1


def test_what_was_seen_stays_while_more_comes(bridge: ModelBridge) -> None:
    generation = Generation(bridge, random_ids(6, 1, 10), max_new_tokens=20)
    for _ in range(4):
        next(generation)
    early = generation.cache
    early["blocks.0.mixer.hook_out"]
    next(generation)
    assert early.ssd_terms(1).length == early["blocks.0.mixer.hook_out"].shape[1] == 14
    assert generation.cache.ssd_terms(1).length == 15
    assert generation.cache["blocks.0.mixer.hook_out"].shape[1] == 15
    assert early.faithfulness(1) <= 5e-6
    assert len(list(generation)) == 15


def test_a_long_prompt_can_be_given_up_and_taken_up(bridge: ModelBridge) -> None:
    ids = random_ids(7, 1, 2 * PIECE_TOKENS + 1)
    generation = Generation(bridge, ids, max_new_tokens=2)
    assert next(generation.read_prompt()) == PIECE_TOKENS
    assert generation.cache.ssd_terms(0).length == PIECE_TOKENS
    assert generation.step(PIECE_TOKENS - 1).id is None
    assert list(generation.read_prompt()) == [2 * PIECE_TOKENS + 1]
    assert next(generation).position == 2 * PIECE_TOKENS
    assert generation.step(PIECE_TOKENS - 1).id == int(ids[0, PIECE_TOKENS])


def test_a_failure_within_the_model_leaves_what_was_seen(bridge: ModelBridge) -> None:
    generation = Generation(bridge, random_ids(8, 1, 5), max_new_tokens=9)
    next(generation)

    def fail(*_: object) -> None:
        raise MemoryError

    handle = bridge.model.backbone.layers[1].mixer.out_proj.register_forward_hook(fail)
    try:
        with pytest.raises(MemoryError):
            next(generation)
    finally:
        handle.remove()
    assert len(generation.ids) == 6
    for layer in bridge.ssm_layers():
        assert generation.cache.ssd_terms(layer).length == 6
        assert generation.cache.faithfulness(layer) <= 5e-6


@pytest.mark.parametrize("interruption", [MemoryError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["prompt", "step", "after the model"])
def test_a_generation_interrupted_within_the_model_does_not_go_on(
    bridge: ModelBridge, interruption: type[BaseException], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some layers have read the token and some have not: going on would give other tokens, and a wrong M."""
    generation = Generation(bridge, random_ids(8, 1, 5), max_new_tokens=9)
    if where != "prompt":
        next(generation)
    before = generation.ids

    def fail(*_: object) -> None:
        raise interruption

    if where == "after the model":
        monkeypatch.setattr(generation, "_expected", fail)
    handle = None
    if where != "after the model":
        handle = bridge.model.backbone.layers[1].mixer.out_proj.register_forward_hook(fail)
    with pytest.raises(interruption):
        next(generation)
    if handle is not None:
        handle.remove()
    monkeypatch.undo()
    for _ in range(2):
        with pytest.raises(
            RuntimeError, match=r"interrupted within the model.*stream again from generation.ids"
        ):
            next(generation)
    assert generation.ids == before
    if before:
        assert generation.cache.faithfulness(1) <= 5e-6
        again = bridge.stream(before, max_new_tokens=4)
        assert [step.id for step in again] == bridge.generate(before, max_new_tokens=4)[
            0, len(before) :
        ].tolist()


def test_a_step_that_was_refused_can_be_taken_later() -> None:
    bridge = ModelBridge(tiny_model())
    generation = bridge.stream([5, 6, 7], max_new_tokens=3)
    bridge.model.train()
    with pytest.raises(RuntimeError, match="training mode"):
        next(generation)
    bridge.model.eval()
    expected = bridge.generate([5, 6, 7], max_new_tokens=3)[0].tolist()
    assert [5, 6, 7, *(step.id for step in generation)] == expected


def test_decode_steps_that_skip_the_clamp_are_captured_as_they_ran() -> None:
    """The model clamps dt in prefill only; so does its own generation, whose captures these are."""
    bridge = ModelBridge(AutoModelForCausalLM.from_pretrained(GOLDEN / "clamped"))
    ids = random_ids(3, 1, 10)
    generation = Generation(bridge, ids, max_new_tokens=8)
    list(generation)
    _, own = bridge.generate(ids, max_new_tokens=8, do_sample=False, with_cache=True)
    cache = generation.cache
    for layer in bridge.ssm_layers():
        for name in TERMS:
            found, truth = (getattr(each.ssd_terms(layer), name) for each in (cache, own))
            assert relative(found, truth) <= 1e-5
        assert cache.faithfulness(layer) <= 5e-6
    assert float(cache.ssd_terms(0).dt[:, 10:].max()) > 0.2
    assert cache.notes == own.notes
    assert "generated positions, the first being 10" in cache.notes[0]


@pytest.mark.parametrize("case", SOME_CASES, ids=str)
def test_in_every_family_it_is_what_the_models_own_generation_gives(case: FamilyCase) -> None:
    """That is told from a fresh pass elsewhere, clamp or no clamp."""
    bridge = ModelBridge(case.build())
    ids = random_ids(11, 1, 21)
    generation = Generation(bridge, ids, max_new_tokens=4)
    list(generation)
    continued, own = bridge.generate(
        ids, max_new_tokens=4, min_new_tokens=4, do_sample=False, with_cache=True
    )
    assert generation.ids == continued[0].tolist()
    cache = generation.cache
    assert cache.notes == own.notes
    for layer in bridge.ssm_layers():
        for name in TERMS:
            found, truth = (getattr(each.ssd_terms(layer), name) for each in (cache, own))
            assert relative(found, truth) <= 1e-5, name
        assert cache.faithfulness(layer) <= 1e-5
        state = bridge.blocks[layer].mixer.compute_ssm_state(cache, layer, -1)
        assert relative(state, own_state(generation, layer)) <= 1e-5
    for layer in bridge.attention_layers():
        name = f"blocks.{layer}.attn.hook_pattern"
        assert relative(cache[name], own[name]) <= 1e-5


def own_state(generation: Generation, layer: int) -> torch.Tensor:
    """The state that the model itself carries."""
    states = generation._state.layers[layer].recurrent_states
    return states[0] if isinstance(states, dict) else states  # by number since transformers 5.24


def test_several_threads_on_one_model(bridge: ModelBridge) -> None:
    def texts(seeds: range) -> dict[int, list[int]]:
        running = {seed: Generation(bridge, [seed], max_new_tokens=20, temperature=1.0) for seed in seeds}
        pulls = [threading.Thread(target=list, args=(each,)) for each in running.values()]
        for pull in pulls:
            pull.start()
        for pull in pulls:
            pull.join()
        return {seed: each.ids for seed, each in running.items()}

    together = texts(range(1, 5))
    for seed in range(1, 5):
        assert texts(range(seed, seed + 1))[seed] == together[seed]


def test_only_what_is_wanted_is_kept(bridge: ModelBridge) -> None:
    generation = Generation(bridge, [1, 2, 3], max_new_tokens=3, names_filter=ssd_inputs)
    list(generation)
    assert generation.cache.faithfulness(1) <= 5e-6
    assert "blocks.0.mixer.hook_out" not in generation.cache


def test_a_text_is_a_prompt_too(bridge: ModelBridge) -> None:
    with pytest.raises(ValueError, match="no tokenizer"):
        Generation(bridge, "text", max_new_tokens=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_new_tokens": 0}, "at least 1"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
    ],
)
def test_bad_values_are_told(bridge: ModelBridge, options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Generation(bridge, [1, 2], **{"max_new_tokens": 3, **options})


def test_bad_prompts_are_told(bridge: ModelBridge) -> None:
    with pytest.raises(ValueError, match="hold no text"):
        Generation(bridge, [], max_new_tokens=1)
    with pytest.raises(ValueError, match="2 texts"):
        Generation(bridge, random_ids(0, 2, 4), max_new_tokens=1)


def test_logits_that_are_not_numbers_are_told_each_time() -> None:
    model = tiny_model()
    model.backbone.norm_f.weight.data.fill_(torch.nan)
    generation = Generation(ModelBridge(model), [1, 2], max_new_tokens=3)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="logits are not numbers"):
            next(generation)
