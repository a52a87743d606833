"""A hook that returns a tensor changes the forward pass, everywhere, and only as it says."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from components.bridge import ModelBridge
from components.bridge.hook_point import HookPoint
from tests.tiny import random_ids, relative, tiny_model

IDS = random_ids(0, 2, 21)


@pytest.fixture(scope="module")
def bridge() -> ModelBridge:
    return ModelBridge(tiny_model())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zeroing_a_heads_attention_leaves_its_skip(dtype: torch.dtype) -> None:
    bridge = ModelBridge(tiny_model(dtype=dtype))
    head = 5
    _, cache = bridge.run_with_cache(IDS)
    terms = cache.ssd_terms(1)
    skip = terms.D[head] * terms.x[:, :, head]

    def zero_attention(M: Tensor, hook: HookPoint) -> Tensor:
        M[:, head] = 0
        return M

    def only_skip(y: Tensor, hook: HookPoint) -> Tensor:
        y[:, :, head] = skip
        return y

    by_attention = bridge.run_with_hooks(IDS, fwd_hooks=[("blocks.1.mixer.hook_attention", zero_attention)])
    by_scan = bridge.run_with_hooks(IDS, fwd_hooks=[("blocks.1.mixer.hook_scan", only_skip)])
    assert relative(by_attention, by_scan) <= (1e-5 if dtype == torch.float32 else 2e-2)
    assert relative(by_attention, bridge.run_with_hooks(IDS)) > 1e-2


def test_cutting_one_cell_cuts_that_path_only(bridge: ModelBridge) -> None:
    """Knockout: with M[i,j] = 0 in every head, what j wrote does not reach i through the scan."""
    i, j = 12, 4

    def cut(M: Tensor, hook: HookPoint) -> Tensor:
        M[:, :, i, j] = 0
        return M

    hooks = [("blocks.1.mixer.hook_attention", cut)]
    _, cache = bridge.run_with_cache(IDS)
    _, edited = bridge.run_with_cache(IDS, fwd_hooks=hooks)
    y, y_cut = cache["blocks.1.mixer.hook_scan"], edited["blocks.1.mixer.hook_scan"]
    terms, W = cache.ssd_terms(1), cache.compute_ssm_effective_attention(1, include_dt_scaling=True)
    expected = W[:, :, i, j, None] * terms.x[:, j]
    torch.testing.assert_close(y[:, i] - y_cut[:, i], expected, rtol=1e-3, atol=1e-4)
    others = [k for k in range(IDS.shape[1]) if k != i]
    torch.testing.assert_close(y[:, others], y_cut[:, others], rtol=1e-4, atol=1e-4)
    assert float(edited["blocks.1.mixer.hook_attention"][:, :, i, j].abs().max()) == 0


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("hook_x", lambda t: t * 2),
        ("hook_B", lambda t: t + 1),
        ("hook_C", lambda t: t - 1),
        ("hook_dt", lambda t: t * 0.3),
        ("conv1d.hook_out", lambda t: t * 0.7),
        ("conv1d.hook_in", lambda t: t * 0.7),
        ("in_proj.hook_out", lambda t: t * 1.5),
    ],
)
def test_the_cache_and_the_forward_pass_agree_on_what_was_edited(
    bridge: ModelBridge, name: str, edit: Callable[[Tensor], Tensor]
) -> None:
    hook = f"blocks.0.mixer.{name}"
    _, cache = bridge.run_with_cache(IDS, fwd_hooks=[(hook, lambda t, hook: edit(t))])
    _, before = bridge.run_with_cache(IDS)
    torch.testing.assert_close(cache[hook], edit(before[hook]))
    assert cache.faithfulness(0) <= 5e-6


def test_later_hooks_see_earlier_edits(bridge: ModelBridge) -> None:
    seen = {}

    def look(tensor: Tensor, hook: HookPoint) -> None:
        seen[hook.name.rpartition(".")[2]] = tensor

    _, cache = bridge.run_with_cache(IDS)
    names = ["blocks.0.mixer.hook_decay", "blocks.0.mixer.hook_attention", "blocks.0.mixer.hook_scan"]
    slow = ("blocks.0.mixer.hook_dt", lambda t, hook: t * 0)
    bridge.run_with_hooks(IDS, fwd_hooks=[slow, *((name, look) for name in names)])
    assert torch.equal(seen["hook_decay"], torch.ones(2, 8, 21, 21).tril())
    content = cache["blocks.0.mixer.hook_attention"] / cache["blocks.0.mixer.hook_decay"].clamp_min(1e-30)
    torch.testing.assert_close(seen["hook_attention"][..., 0, 0], content[..., 0, 0])
    terms = cache.ssd_terms(0)
    torch.testing.assert_close(seen["hook_scan"], terms.D[:, None] * terms.x)


def test_several_functions_at_one_hook_run_in_order(bridge: ModelBridge) -> None:
    name = "blocks.0.mixer.hook_out"
    both = bridge.run_with_hooks(
        IDS, fwd_hooks=[(name, lambda t, hook: t + 1), (name, lambda t, hook: t * 0)]
    )
    zero = bridge.run_with_hooks(IDS, fwd_hooks=[(lambda n: n == name, lambda t, hook: t * 0)])
    assert torch.equal(both, zero)
