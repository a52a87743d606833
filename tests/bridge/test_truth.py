"""Faithfulness where the families' tests do not go: other chunks, wrong terms, kernels of a GPU."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers.models.mamba2 import modeling_mamba2

from components.bridge import ModelBridge
from tests.tiny import random_ids, relative, tiny_model


@pytest.mark.parametrize("length", [1, 3, 16, 17, 32, 80])
@pytest.mark.parametrize("options", [{}, {"n_groups": 1, "time_step_limit": (0.05, 0.4), "use_bias": True}])
def test_attention_rebuilds_the_models_own_output_whatever_its_chunks(
    length: int, options: dict[str, Any]
) -> None:
    bridge = ModelBridge(tiny_model(chunk_size=7, **options))
    _, cache = bridge.run_with_cache(random_ids(length, 2, length))
    for layer in bridge.ssm_layers():
        terms = cache.ssd_terms(layer)
        W = bridge.blocks[layer].mixer.compute_effective_attention(cache, layer, include_dt_scaling=True)
        y = torch.einsum("bhij,bjhp->bihp", W, terms.x) + terms.D[:, None] * terms.x
        own = cache[f"blocks.{layer}.mixer.inner_norm.hook_in"].reshape(y.shape)
        assert relative(y, own) <= 5e-6
        assert cache.faithfulness(layer) <= 5e-6


@pytest.mark.parametrize(("length", "chunk_size"), [(1500, 256), (1500, 250), (1400, 64)])
def test_faithful_on_long_texts(length: int, chunk_size: int) -> None:
    bridge = ModelBridge(tiny_model(chunk_size=chunk_size))
    _, cache = bridge.run_with_cache(random_ids(0, 1, length))
    assert max(cache.faithfulness(layer) for layer in bridge.ssm_layers()) <= 1e-5


def test_faithfulness_notices_a_wrong_term() -> None:
    bridge = ModelBridge(tiny_model())
    _, cache = bridge.run_with_cache(random_ids(0, 1, 20))
    assert cache.faithfulness(1) <= 5e-6
    record = cache._records["blocks.1.mixer"]
    record.parameters = replace(record.scan, D=record.scan.D + 0.5)
    assert cache.faithfulness(1) > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_kernel_that_keeps_dt_in_float32_stays_within_the_tolerance_for_it(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = modeling_mamba2.mamba2_chunk_scan

    def kernel(
        x: torch.Tensor, dt: torch.Tensor, A: torch.Tensor, *args: torch.Tensor, **options: Any
    ) -> Any:
        """What a GPU's kernel does with dt."""
        dt = torch.nn.functional.softplus(dt.float() + options.pop("dt_bias").float())
        return scan(x.float(), dt, A, *args, **options | {"dt_softplus": False})

    monkeypatch.setattr(modeling_mamba2, "mamba2_chunk_scan", kernel)
    bridge = ModelBridge(tiny_model(dtype=dtype))
    _, cache = bridge.run_with_cache(random_ids(0, 1, 300))
    assert cache.tolerance(0) == 1e-4  # on a CPU no such kernel runs
    assert 1e-4 < cache.faithfulness(0) <= 4 * torch.finfo(dtype).eps
    _, stepped = bridge.generate(random_ids(0, 1, 30), max_new_tokens=5, do_sample=False, with_cache=True)
    assert stepped.tolerance(0) == 4 * torch.finfo(dtype).eps
