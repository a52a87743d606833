"""Models that accelerate placed: on one device, or with layers offloaded to CPU or disk."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from transformers import AutoModelForCausalLM

from components.bridge import ModelBridge
from tests.tiny import random_ids, relative, tiny_model

IDS = random_ids(0, 2, 30)


def check(model: Any, plain: ModelBridge, tolerance: float = 0.0) -> ModelBridge:
    bridge = ModelBridge(model)
    logits, cache = bridge.run_with_cache(IDS)
    truth, expected = plain.run_with_cache(IDS)
    assert relative(logits, truth) <= tolerance
    for layer in bridge.ssm_layers():
        M = bridge.blocks[layer].mixer.compute_effective_attention(cache, layer)
        assert relative(M, expected.compute_ssm_effective_attention(layer)) <= tolerance
        assert cache.faithfulness(layer) <= 5e-6
    hooks = [("blocks.0.mixer.hook_attention", lambda t, hook: t * 0.5)]
    edited = bridge.run_with_hooks(IDS, fwd_hooks=hooks)
    assert relative(edited, plain.run_with_hooks(IDS, fwd_hooks=hooks)) <= tolerance
    ids, cache = bridge.generate(IDS, max_new_tokens=5, do_sample=False, with_cache=True)
    assert torch.equal(ids, plain.generate(IDS, max_new_tokens=5, do_sample=False))
    assert cache.faithfulness(0) <= 1e-5 if model.dtype == torch.float32 else 2e-2
    return bridge


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_device_map_auto(tmp_path: Path, dtype: torch.dtype) -> None:
    tiny_model(dtype=dtype).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, device_map="auto", dtype=dtype)
    check(model, ModelBridge(tiny_model(dtype=dtype)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_offloaded_to_the_cpu(dtype: torch.dtype) -> None:
    model = tiny_model(dtype=dtype)
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert model.backbone.layers[0].mixer.A_log.device.type == "meta"
    check(model, ModelBridge(tiny_model(dtype=dtype)))
    assert model.backbone.layers[0].mixer.A_log.device.type == "meta"


def test_weights_offloaded_to_disk(tmp_path: Path) -> None:
    model = tiny_model()
    disk_offload(model, str(tmp_path), execution_device=torch.device("cpu"))
    assert model.backbone.layers[1].mixer.conv1d.weight.device.type == "meta"
    check(model, ModelBridge(tiny_model()))


def test_a_device_map_with_some_layers_on_disk(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    places = {
        "backbone.embeddings": "cpu",
        "backbone.layers.0": "cpu",
        "backbone.layers.1": "disk",
        "backbone.norm_f": "cpu",
        "lm_head": "cpu",
    }
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", device_map=places, offload_folder=tmp_path / "offload"
    )
    assert model.backbone.layers[1].mixer.A_log.device.type == "meta"
    check(model, ModelBridge(tiny_model()))


def test_threads_take_turns_on_an_offloaded_model() -> None:
    model = tiny_model()
    cpu_offload(model, execution_device=torch.device("cpu"))
    bridge, plain = ModelBridge(model), ModelBridge(tiny_model())

    def run(seed: int) -> torch.Tensor:
        return bridge.run_with_cache(random_ids(seed, 1, 20))[1].compute_ssm_effective_attention(1)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(16)))
    for seed, M in enumerate(found):
        _, cache = plain.run_with_cache(random_ids(seed, 1, 20))
        assert relative(M, cache.compute_ssm_effective_attention(1)) == 0
