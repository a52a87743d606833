"""Estimates are the slope of a run whose norms keep their divisors, in every family."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from components.bridge import ModelBridge, estimate, frozen_norms, norm_divisors, sweep
from components.bridge.hook_point import HookPoint
from components.ssd import CutSource, Edit, KeepLast, Mute
from tests.families import FAMILY_CASES, SOME_CASES, FamilyCase
from tests.tiny import random_ids, relative, tiny_model

IDS = random_ids(3, 1, 19)
Hooks = list[tuple[str, Callable[..., Any]]]


@pytest.fixture(scope="module", params=SOME_CASES, ids=str)
def case(request: pytest.FixtureRequest) -> FamilyCase:
    return request.param


def double(case: FamilyCase) -> ModelBridge:
    """In float64, so that finite differences say something. Experts in one product take float32 and less."""
    return ModelBridge(case.build(torch.float64, experts_implementation="eager"))


def figures(logits: Tensor) -> Tensor:
    return torch.stack([logits[:, 7] - logits[:, 9], logits.log_softmax(dim=-1)[:, 7]], dim=1)


def held_norms(bridge: ModelBridge, plain: Any) -> Hooks:
    """Every norm as the map that multiplies each channel by the number of the unedited run."""
    hooks: Hooks = []
    for name in (hook.removesuffix(".hook_out") for hook in plain if hook.endswith("norm.hook_out")):
        hooks += held(name, plain)
    return hooks + held("ln_final", plain)


def held(name: str, plain: Any) -> Hooks:
    def through_gate(given: dict[str, Tensor]) -> Tensor:
        gate = given.get(f"{name}.hook_gate")
        x = given[f"{name}.hook_in"]
        return x if gate is None else x * torch.nn.functional.silu(gate)

    factor = plain[f"{name}.hook_out"] / through_gate(plain if f"{name}.hook_gate" in plain else dict(plain))
    seen: dict[str, Tensor] = {}

    def look(tensor: Tensor, hook: HookPoint) -> None:
        seen[hook.name] = tensor.clone()

    gates = [(f"{name}.hook_gate", look)] if f"{name}.hook_gate" in plain else []
    return [
        (f"{name}.hook_in", look),
        *gates,
        (f"{name}.hook_out", lambda tensor, hook: through_gate(seen) * factor),
    ]


def test_frozen_norms_change_no_value_and_have_the_slope_of_held_divisors(case: FamilyCase) -> None:
    bridge = double(case)
    plain_logits, plain = bridge.run_with_cache(IDS)
    name = f"blocks.{case.mixers[0]}.mixer.hook_scan"
    logits, graph = bridge.run_with_cache(IDS, fwd_hooks=frozen_norms(bridge), grad=True)
    assert torch.equal(logits, plain_logits)
    slope = graph.gradients(figures(logits[:, -1])[0, 0], name)[name]
    drawn = torch.randn(slope.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # Along the gradient, where an error of its size shows, and across it, where another direction would.
    direction = (slope / slope.norm() + drawn / drawn.norm()) / 2
    step = 3e-3  # the scan itself works in float32
    there, back = (
        figures(
            bridge.run_with_hooks(
                IDS, fwd_hooks=[*held_norms(bridge, plain), (name, lambda y, hook, s=s: y + s * direction)]
            )[:, -1]
        )[0, 0]
        for s in (step, -step)
    )
    truth = float((there - back) / (2 * step))
    assert abs(float((slope * direction).sum()) - truth) <= 2e-3 * float(slope.norm())


def test_an_estimate_is_exact_where_all_behind_is_linear() -> None:
    """From the last scan of a mamba2 model whose norms are held, the logits follow linearly."""
    bridge = ModelBridge(tiny_model(dtype=torch.float64))
    edits: list[Edit] = [
        Mute(range(1, 2), range(head, head + 1), what=what)
        for head in range(0, 8, 3)
        for what in ("attention", "all", "mean")
    ]
    edits.append(CutSource(range(1, 2), None, range(4, 7)))
    _, plain = bridge.run_with_cache(IDS)
    truth = torch.cat(
        [
            figures(bridge.run_with_hooks(IDS, fwd_hooks=[*edit.hooks(), *held_norms(bridge, plain)])[:, -1])
            for edit in edits
        ]
    )
    found = estimate(bridge, IDS, edits, figures)
    assert relative(found[:, 0], truth[:, 0]) <= 1e-5
    assert relative(sweep(bridge, IDS, edits, figures)[:, 0], truth[:, 0]) > 1e-3  # where the norms are not


@pytest.mark.parametrize("freeze_norms", [True, False])
def test_heads_of_every_kind_have_an_estimate(case: FamilyCase, freeze_norms: bool) -> None:
    bridge = ModelBridge(case.build())
    edits: list[Edit] = [Mute(range(layer, layer + 1), range(1, 2)) for layer in case.mixers]
    edits += [Mute(range(layer, layer + 1), range(1, 2), kind="softmax") for layer in case.attentions]
    found = estimate(bridge, IDS, edits, figures, freeze_norms=freeze_norms)
    assert found.shape == (len(edits), 2)
    assert found.isfinite().all()
    plain = figures(bridge.run_with_hooks(IDS)[:, -1])
    assert bool(((found - plain).abs() > 1e-6).any(dim=1).all())


def test_the_plain_gradient_is_the_slope_of_the_run() -> None:
    """A softmax head that reads a little less changes the figures by that part of its estimate."""
    case = next(case for case in FAMILY_CASES if case.family == "bamba")
    bridge, layer, part = double(case), case.attentions[0], 1e-3
    edit = Mute(range(layer, layer + 1), range(1, 2), kind="softmax")

    def weaker(pattern: Tensor, hook: HookPoint, sign: int) -> Tensor:
        pattern[:, 1] *= 1 + sign * part
        return pattern

    def run(sign: int) -> Tensor:
        hooks = [(f"blocks.{layer}.attn.hook_pattern", lambda P, hook: weaker(P, hook, sign))]
        return figures(bridge.run_with_hooks(IDS, fwd_hooks=hooks)[:, -1])[0]

    change = estimate(bridge, IDS, [edit], figures, freeze_norms=False)[0] - figures(
        bridge.run_with_hooks(IDS)[:, -1].float()
    )
    torch.testing.assert_close(change[0].double(), (run(-1) - run(1)) / (2 * part), rtol=5e-3, atol=1e-4)


def refusals(bridge: ModelBridge, edits: Sequence[Edit], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        estimate(bridge, IDS, edits, figures)


def test_what_cannot_be_estimated_is_refused_in_a_sentence() -> None:
    bridge = ModelBridge(tiny_model())
    refusals(bridge, [KeepLast(width=2)], r"of edits of one layer each, and not of 'window\.")
    with pytest.raises(ValueError, match="These are 2 texts; estimate them one by one"):
        estimate(bridge, random_ids(0, 2, 5), [Mute(range(1))], figures)
    model = tiny_model()
    model.backbone.layers[0].extra = torch.nn.LayerNorm(32)
    refusals(ModelBridge(model), [Mute(range(1))], r"extra is a LayerNorm that the bridge does not see")
    model = tiny_model()
    model.backbone.norm_f = torch.nn.LayerNorm(32)
    refusals(ModelBridge(model), [Mute(range(1))], r"output of ln_final is not its input times its weights")
    found = estimate(ModelBridge(model), IDS, [Mute(range(1))], figures, freeze_norms=False)
    assert found.isfinite().all()


def test_divisors_are_the_root_mean_squares_of_the_groups(case: FamilyCase) -> None:
    bridge, layer = ModelBridge(case.build()), case.mixers[0]
    _, cache = bridge.run_with_cache(IDS)
    if not case.has_norm:
        with pytest.raises(ValueError, match=f"layer {layer} has no norm behind its scan"):
            norm_divisors(bridge, cache, layer)
        return
    found = norm_divisors(bridge, cache, layer)
    y, z = (cache[f"blocks.{layer}.mixer.inner_norm.{name}"].double() for name in ("hook_in", "hook_gate"))
    given = y if case.label == "norm-before-gate" else y * torch.nn.functional.silu(z)
    truth = given.unflatten(-1, (found.shape[-1], -1)).square().mean(dim=-1).sqrt()
    assert relative(found, truth) <= 1e-3  # the norm adds a little to it, so as not to divide by zero
