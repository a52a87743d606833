"""The terms against what the model's own scan receives and returns."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers.models.mamba2 import modeling_mamba2

from components.bridge import ModelBridge
from tests.tiny import random_ids, relative, tiny_model


@pytest.mark.parametrize("length", [1, 3, 16, 17, 32, 80])
@pytest.mark.parametrize("chunk_size", [16, 7])
@pytest.mark.parametrize("options", [{}, {"n_groups": 1, "time_step_limit": (0.05, 0.4), "use_bias": True}])
def test_attention_rebuilds_the_models_own_output(
    length: int, chunk_size: int, options: dict[str, Any]
) -> None:
    bridge = ModelBridge(tiny_model(chunk_size=chunk_size, **options))
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padded", [False, True])
def test_terms_are_bitwise_what_the_scan_receives(
    dtype: torch.dtype, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = []
    scan = modeling_mamba2.mamba2_chunk_scan

    def listen(
        x: torch.Tensor, dt: torch.Tensor, A: torch.Tensor, B: torch.Tensor, C: torch.Tensor, **options: Any
    ) -> Any:
        final = torch.nn.functional.softplus(dt + options["dt_bias"].to(dt.dtype)).clamp(*options["dt_limit"])
        received.append({"x": x.float(), "B": B.float(), "C": C.float(), "dt": final.float(), "A": A})
        return scan(x, dt, A, B, C, **options)

    monkeypatch.setattr(modeling_mamba2, "mamba2_chunk_scan", listen)
    bridge = ModelBridge(tiny_model(dtype=dtype, time_step_limit=(0.05, 0.4)))
    mask = torch.ones(2, 30, dtype=torch.int64)
    if padded:
        mask[0, :11] = 0
    _, cache = bridge.run_with_cache(random_ids(1, 2, 30), attention_mask=mask)
    assert len(received) == 2
    for layer, truth in enumerate(received):
        terms = cache.ssd_terms(layer)
        for name, tensor in truth.items():
            assert torch.equal(getattr(terms, name), tensor), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_give_float32_terms(dtype: torch.dtype) -> None:
    bridge = ModelBridge(tiny_model(dtype=dtype))
    _, cache = bridge.run_with_cache(random_ids(0, 1, 40))
    terms = cache.ssd_terms(0)
    assert {terms.x.dtype, terms.B.dtype, terms.C.dtype, terms.dt.dtype} == {torch.float32}
    assert terms.cum_log_decay.dtype == torch.float64
    # The scan itself runs in float32 on what the half-precision projection gave.
    assert cache.faithfulness(0) <= 5e-6


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


def test_head_reads_its_group() -> None:
    bridge = ModelBridge(tiny_model(n_groups=4))
    _, cache = bridge.run_with_cache(random_ids(0, 1, 6))
    terms = cache.ssd_terms(0)
    M = cache.compute_ssm_effective_attention(0)
    for head in range(8):
        group = head // 2
        last = (terms.C[0, 5, group] * terms.B[0, 5, group]).sum()
        torch.testing.assert_close(M[0, head, 5, 5], last)
