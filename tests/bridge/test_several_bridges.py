"""Several bridges on one model, copies of a wrapped model, and bridges that are taken off."""

import copy
import gc
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from components.bridge import ActivationCache, ModelBridge
from components.bridge.hook_point import HookPoint
from components.models import load_bridge
from tests.families import FAMILY_CASES
from tests.tiny import random_ids, relative, tiny_model

IDS = random_ids(0, 1, 12)
Build = Callable[[], PreTrainedModel]
Told = list[tuple[Tensor, ActivationCache]]
BUILDS: dict[str, Build] = {
    "mamba2": tiny_model,
    "hybrid": next(case for case in FAMILY_CASES if str(case) == "zamba2-grouped-nope").build,
}


@pytest.fixture(scope="module", params=list(BUILDS))
def build(request: pytest.FixtureRequest) -> Build:
    return BUILDS[request.param]


@pytest.fixture(scope="module")
def alone(build: Build) -> Told:
    """What a bridge tells that is alone with its model."""
    return told(ModelBridge(build()))


def cut(M: Tensor, hook: HookPoint) -> Tensor:
    M[:, 0, :, 3] = 0
    return M


def told(bridge: ModelBridge) -> Told:
    """A run, an edit and a generation."""
    layer = bridge.ssm_layers()[0]
    hooks: list[Any] = [(f"blocks.{layer}.mixer.hook_attention", cut)]
    hooks += [(f"blocks.{i}.attn.hook_pattern", cut) for i in bridge.attention_layers()[:1]]
    return [
        bridge.run_with_cache(IDS),
        bridge.run_with_cache(IDS, fwd_hooks=hooks),
        bridge.generate(IDS, max_new_tokens=3, with_cache=True),
    ]


def check(bridge: ModelBridge, alone: Told) -> None:
    """A bridge tells the same as one that is alone with its model."""
    for (found, cache), (expected, truth) in zip(told(bridge), alone, strict=True):
        assert torch.equal(found, expected)
        same(cache, truth)


def same(cache: ActivationCache, other: ActivationCache) -> None:
    assert set(cache) == set(other)
    for name in cache:
        assert torch.equal(cache[name], other[name]), name


def test_every_bridge_on_one_model_is_right(build: Build, alone: Told) -> None:
    model = build()
    older = ModelBridge(model)
    newer = ModelBridge(older.model)
    for bridge in (newer, older):
        check(bridge, alone)
        assert bridge.run_with_cache(IDS)[1].compute_ssm_effective_attention(0).shape[-2:] == (12, 12)


def test_a_hook_of_one_bridge_can_run_another(build: Build) -> None:
    """And the model itself, and a copy of it that was made after it was wrapped."""
    model = build()
    outer = ModelBridge(model)
    duplicate = copy.deepcopy(model)
    inner = ModelBridge(model)
    truth = ModelBridge(build())
    seen = []

    def run_others(tensor: Tensor, hook: HookPoint) -> None:
        seen.append(inner.run_with_cache(IDS)[1])
        seen.append(outer.run_with_cache(IDS)[1])
        with torch.no_grad():
            assert torch.equal(duplicate(IDS).logits, truth.run_with_hooks(IDS))

    logits, cache = outer.run_with_cache(IDS, fwd_hooks=[("blocks.1.hook_in", run_others)])
    expected, alone = truth.run_with_cache(IDS)
    assert torch.equal(logits, expected)
    for each in (cache, *seen):
        same(each, alone)


def test_a_copy_of_a_wrapped_model_can_be_wrapped(build: Build, alone: Told) -> None:
    first = ModelBridge(build())
    second = ModelBridge(copy.deepcopy(first.model))
    check(second, alone)
    check(first, alone)


def test_the_embedded_model_wrapped_again() -> None:
    first = load_bridge("demo")
    second = ModelBridge(first.model, first.tokenizer)
    prompt = "Mia has the key. Leo has the map."
    M = first.run_with_cache(prompt)[1].compute_ssm_effective_attention(0)
    again = second.run_with_cache(prompt)[1].compute_ssm_effective_attention(0)
    assert torch.equal(again, M)
    assert M.shape[-1] == len(first.to_str_tokens(prompt))


def hooks_on(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_hooks_can_be_taken_off(build: Build, alone: Told) -> None:
    model, plain = build(), build()
    older, newer = ModelBridge(model), ModelBridge(model)
    newer.remove_hooks()
    newer.remove_hooks()  # once more is no harm
    for run in (
        lambda: newer.run_with_cache(IDS),
        lambda: newer.generate(IDS, max_new_tokens=2),
        lambda: next(newer.stream(IDS, max_new_tokens=2)),
    ):
        with pytest.raises(RuntimeError, match=r"hooks were removed; wrap the model again: ModelBridge\("):
            run()
    check(older, alone)
    older.remove_hooks()
    assert hooks_on(model) == hooks_on(plain)
    for module, other in zip(model.modules(), plain.modules(), strict=True):
        assert getattr(module, "config", None) is model.config or not hasattr(module, "q_proj")
        assert type(module) is type(other)
    again = pickle.loads(pickle.dumps(model))
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, plain(IDS).logits)
    check(ModelBridge(again), alone)


def test_a_bridge_that_nobody_holds_leaves_the_model(build: Build) -> None:
    model = build()
    before = hooks_on(model)
    for _ in range(3):  # a notebook's cell, run again and again
        bridge = ModelBridge(model)
        _, cache = bridge.run_with_cache(IDS)
    gc.collect()
    alone = build()
    single = ModelBridge(alone)
    assert hooks_on(model) == hooks_on(alone) > before
    same(cache, single.run_with_cache(IDS)[1])
    del bridge
    gc.collect()
    assert hooks_on(model) == before


def test_a_bridge_can_be_made_while_another_runs() -> None:
    """PyTorch calls a hook that is half attached, or half removed, without its keywords."""
    model = tiny_model()
    bridge = ModelBridge(model)
    handles = bridge.blocks[0].mixer._handles
    truth = bridge.run_with_hooks(IDS)
    other = ModelBridge(model)
    for module in model.modules():
        for handle in [*module._forward_pre_hooks_with_kwargs]:
            if handle > max(each.id for each in handles if hasattr(each, "id")):
                del module._forward_pre_hooks_with_kwargs[handle]
    assert torch.equal(bridge.run_with_hooks(IDS), truth)
    del other


# Runs within runs, where weights are moved


def test_a_hook_cannot_run_a_model_whose_weights_are_moved() -> None:
    model = tiny_model()
    cpu_offload(model, execution_device=torch.device("cpu"))
    bridge, other = ModelBridge(model), ModelBridge(model)
    for inner in (bridge, other):
        hooks = [("blocks.0.hook_out", lambda t, hook, inner=inner: inner.run_with_hooks(IDS))]
        with pytest.raises(RuntimeError, match="moved in and out while it runs"):
            bridge.run_with_hooks(IDS, fwd_hooks=hooks)
    expected = ModelBridge(tiny_model()).run_with_hooks(IDS)
    assert torch.equal(bridge.run_with_hooks(IDS), expected)


def test_weights_that_are_moved_after_wrapping() -> None:
    bridge = ModelBridge(tiny_model())
    expected, before = bridge.run_with_cache(IDS)
    cpu_offload(bridge.model, execution_device=torch.device("cpu"))
    logits, cache = bridge.run_with_cache(IDS)
    assert torch.equal(logits, expected)
    same(cache, before)
    with pytest.raises(RuntimeError, match="moved in and out"):
        bridge.run_with_hooks(IDS, fwd_hooks=[("embed.hook_out", lambda t, hook: bridge.run_with_hooks(IDS))])


# Weights that change


def renew(parameter: nn.Parameter) -> None:
    parameter.data = parameter.data * 0.7 + 0.1


def add_past_versions(parameter: nn.Parameter) -> None:
    parameter.data.add_(0.1)


def add_in_place(parameter: nn.Parameter) -> None:
    with torch.no_grad():
        parameter.add_(0.1)


NAMES = ["A_log", "D", "dt_bias", "conv1d.weight", "conv1d.bias", "in_proj.weight"]


@pytest.mark.parametrize(
    ("change", "name"),
    [*((renew, name) for name in NAMES), (add_past_versions, "A_log"), (add_in_place, "A_log")],
)
def test_changed_weights_are_noticed(change: Callable[[nn.Parameter], None], name: str) -> None:
    bridge = ModelBridge(tiny_model())
    _, cache = bridge.run_with_cache(IDS)
    before = {key: cache[key].clone() for key in cache}
    faithfulness = cache.faithfulness(0)
    change(bridge.model.backbone.layers[0].mixer.get_parameter(name))
    fresh = ModelBridge(copy.deepcopy(bridge.model))
    logits, after = bridge.run_with_cache(IDS)
    expected, truth = fresh.run_with_cache(IDS)
    assert torch.equal(logits, expected)
    same(after, truth)
    assert after.faithfulness(0) <= 5e-6
    assert any(not torch.equal(after[key], before[key]) for key in before)
    # What was seen stays what it was: it is of the run, not of the weights there are now.
    assert all(torch.equal(cache[key], tensor) for key, tensor in before.items())
    assert cache.faithfulness(0) == faithfulness


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_in_another_precision_than_before(dtype: torch.dtype) -> None:
    bridge = ModelBridge(tiny_model())
    _, cache = bridge.run_with_cache(IDS)
    before = cache.compute_ssm_effective_attention(0)
    bridge.model.to(dtype)
    logits, after = bridge.run_with_cache(IDS)
    expected, truth = ModelBridge(tiny_model(dtype=dtype)).run_with_cache(IDS)
    assert torch.equal(logits, expected)
    same(after, truth)
    assert torch.equal(cache.compute_ssm_effective_attention(0), before)


@pytest.mark.parametrize("change", [renew, add_past_versions, add_in_place])
def test_weights_changed_within_a_generation_end_it(change: Callable[[nn.Parameter], None]) -> None:
    bridge = ModelBridge(tiny_model())
    generation = bridge.stream(IDS, max_new_tokens=9)
    next(generation)
    before = generation.cache.compute_ssm_effective_attention(0)
    change(bridge.model.backbone.layers[0].mixer.A_log)
    with pytest.raises(RuntimeError, match="weights were changed within this run"):
        next(generation)
    assert torch.equal(generation.cache.compute_ssm_effective_attention(0), before)


def test_a_cache_saved_and_loaded_again(build: Build, tmp_path: Path) -> None:
    bridge = ModelBridge(build())
    _, cache = bridge.run_with_cache(IDS)
    torch.save(cache, tmp_path / "cache.pt")
    again = torch.load(tmp_path / "cache.pt", weights_only=False)
    same(again, cache)
    for layer in bridge.ssm_layers():
        assert again.faithfulness(layer) == cache.faithfulness(layer)
        found = bridge.blocks[layer].mixer.compute_effective_attention(again, layer)
        assert torch.equal(found, cache.compute_ssm_effective_attention(layer))


def test_a_model_that_is_training_is_not_read() -> None:
    bridge = ModelBridge(tiny_model())
    bridge.model.train()
    with pytest.raises(RuntimeError, match=r"training mode.*Call model.eval\(\)"):
        bridge.run_with_cache(IDS)
    bridge.model.eval()
    assert bridge.run_with_cache(IDS)[1].faithfulness(0) <= 5e-6


def test_a_model_saved_after_it_was_wrapped(build: Build, tmp_path: Path) -> None:
    bridge = ModelBridge(build())
    bridge.model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert relative(ModelBridge(again).run_with_hooks(IDS), bridge.run_with_hooks(IDS)) == 0
