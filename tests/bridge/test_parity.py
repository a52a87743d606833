"""What TransformerLens 4.3.0 computed on transformers 5.14.1, for two models kept in tests/data."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from components.bridge import ActivationCache, ModelBridge
from tests.tiny import GOLDEN, relative

# From transformers 5.23 on the gated norm works per group; with two groups everything behind it differs.
BEFORE_THE_FIRST_GATED_NORM = (
    "in_proj.hook_out",
    "conv1d.hook_in",
    "conv1d.hook_out",
    "inner_norm.hook_in",
    "inner_norm.hook_gate",
    "effective_attention",
    "effective_attention_dt",
    "ssm_state_last",
)


def found(bridge: ModelBridge, logits: Tensor, cache: ActivationCache, key: str) -> Tensor:
    if key == "logits":
        return logits
    _, layer, name = key.split(".", 2)
    mixer = bridge.blocks[int(layer)].mixer
    match name:
        case "effective_attention":
            return mixer.compute_effective_attention(cache, int(layer))
        case "effective_attention_dt":
            return mixer.compute_effective_attention(cache, int(layer), include_dt_scaling=True)
        case "ssm_state_last":
            return mixer.compute_ssm_state(cache, int(layer), time_step=-1)
        case _:
            return cache[key]


@pytest.mark.parametrize("length", [1, 24, 70])
@pytest.mark.parametrize("folder", ["grouped", "clamped"])
def test_every_comparable_tensor_equals_transformer_lens(folder: str, length: int) -> None:
    model = AutoModelForCausalLM.from_pretrained(GOLDEN / folder)
    bridge = ModelBridge(model)
    golden = load_file(GOLDEN / folder / "transformer_lens.safetensors")
    logits, cache = bridge.run_with_cache(golden.pop(f"s{length}.input_ids"))
    mixer = model.backbone.layers[0].mixer
    per_group = getattr(mixer.norm, "group_size", mixer.intermediate_size) != mixer.intermediate_size
    compared = []
    for key, truth in golden.items():
        size, _, name = key.partition(".")
        if size != f"s{length}" or name == "input_ids":
            continue
        if per_group and not name.startswith(tuple(f"blocks.0.{p}" for p in ("mixer", "effective", "ssm"))):
            continue
        if per_group and not name.endswith(BEFORE_THE_FIRST_GATED_NORM):
            continue
        assert relative(found(bridge, logits, cache, name), truth) <= 2e-5, key
        compared.append(key)
    assert len(compared) == (8 if per_group else 19)


@pytest.mark.parametrize("folder", ["grouped", "clamped"])
def test_upper_triangle_is_exactly_zero(folder: str) -> None:
    bridge = ModelBridge(AutoModelForCausalLM.from_pretrained(GOLDEN / folder))
    _, cache = bridge.run_with_cache(torch.arange(70)[None])
    for layer in bridge.ssm_layers():
        for with_dt in (False, True):
            M = bridge.blocks[layer].mixer.compute_effective_attention(cache, layer, with_dt)
            assert M.shape == (1, 8, 70, 70)
            assert torch.equal(M.triu(1), torch.zeros_like(M))
            assert float(M.abs().max()) > 0


@pytest.mark.parametrize("length", [1, 24, 70])
@pytest.mark.parametrize("folder", ["grouped", "clamped"])
def test_attention_rebuilds_the_models_own_output(folder: str, length: int) -> None:
    bridge = ModelBridge(AutoModelForCausalLM.from_pretrained(GOLDEN / folder))
    golden = load_file(GOLDEN / folder / "transformer_lens.safetensors")
    _, cache = bridge.run_with_cache(golden[f"s{length}.input_ids"])
    for layer in bridge.ssm_layers():
        assert cache.faithfulness(layer) <= 5e-6
