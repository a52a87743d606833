"""Gradients of a run: against finite differences at every hook, and against patching the real thing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from components.bridge import ModelBridge
from components.bridge.hook_point import HookPoint
from components.models import load_bridge
from components.ssd import effective_attention
from tests.families import FAMILY_CASES, FamilyCase
from tests.tiny import random_ids, relative, tiny_model

IDS = random_ids(0, 1, 14)
DERIVED = ["conv1d.hook_in", "conv1d.hook_out", "hook_x", "hook_B", "hook_C", "hook_dt", "hook_log_decay"]
DERIVED += ["hook_decay", "hook_attention"]
CASES = [
    next(case for case in FAMILY_CASES if case.family == family)
    for family in ("mamba2", "bamba", "zamba2", "falcon_h1")
]


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> FamilyCase:
    return request.param


@pytest.fixture(scope="module")
def bridge(case: FamilyCase) -> ModelBridge:
    """In float64, so that finite differences say something."""
    return ModelBridge(case.build(torch.float64))


def scores_of(logits: Tensor) -> Tensor:
    return (logits[:, -1, 3] - logits[:, -1, 8]).double()


def score_of(logits: Tensor) -> Tensor:
    return scores_of(logits)[0]


def same(tensor: Tensor, hook: HookPoint) -> Tensor:
    return tensor


def slopes(bridge: ModelBridge, hooks: list[Any], directions: dict[str, Tensor], step: float) -> Tensor:
    """Change of the score along the direction at each hook: two rows of one batch go there and back."""

    def go(row: int, direction: Tensor) -> Callable[..., Tensor]:
        signs = torch.zeros(2 * len(directions), dtype=direction.dtype)
        signs[row], signs[row + 1] = step, -step
        return lambda tensor, hook: tensor + signs.reshape(-1, *[1] * (tensor.ndim - 1)) * direction

    moves = [(name, go(2 * i, direction)) for i, (name, direction) in enumerate(directions.items())]
    logits = bridge.run_with_hooks(IDS.expand(2 * len(moves), -1), fwd_hooks=[*hooks, *moves])
    there, back = scores_of(logits).unflatten(0, (-1, 2)).unbind(1)
    return (there - back) / (2 * step)


def edits_of(case: FamilyCase, bridge: ModelBridge) -> list[tuple[str, Callable[..., Any]]]:
    """Every hook inside a mixer, and the pattern, put into the graph by returning what they are shown."""
    names = [f"blocks.{case.mixers[1]}.mixer.{name}" for name in DERIVED]
    names += [f"blocks.{layer}.attn.hook_pattern" for layer in case.attentions[:1]]
    return [(name, same) for name in names]


def test_gradients_are_those_of_finite_differences(case: FamilyCase, bridge: ModelBridge) -> None:
    hooks = edits_of(case, bridge)
    plain, unedited = bridge.run_with_cache(IDS, grad=True)
    of_modules = unedited.gradients(score_of(plain))
    logits, cache = bridge.run_with_cache(IDS, fwd_hooks=hooks, grad=True)
    gradients = cache.gradients(score_of(logits))
    derived = (*DERIVED, "hook_pattern")
    modules = {name for name in bridge.hook_points if not name.endswith(derived) and name != "embed.hook_in"}
    assert set(of_modules) == modules
    assert set(gradients) == modules | {name for name, _ in hooks}
    for name, gradient in of_modules.items():
        assert relative(gradients[name], gradient) <= 1e-4, name
    draw = torch.Generator().manual_seed(0)
    directions = {}
    for name, gradient in gradients.items():
        value = cache[name]
        assert gradient.shape == value.shape, name
        direction = torch.randn(value.shape, generator=draw, dtype=torch.float64).to(value.dtype)
        if name.endswith(("hook_decay", "hook_attention", "hook_pattern")):
            direction = direction.tril()
        if name.endswith("conv1d.hook_out"):
            direction[..., -3:] = 0
        # Along the gradient, where an error of its size shows, and across it, where another direction would.
        along = gradient / gradient.norm()
        directions[name] = (along + direction / direction.norm()) / 2
    for names, around in ((modules, []), (gradients.keys() - modules, hooks)):
        chosen = {name: directions[name] for name in sorted(names)}
        truths = slopes(bridge, around, chosen, step=3e-3)  # the scan itself works in float32
        for (name, direction), truth in zip(chosen.items(), truths, strict=True):
            gradient = gradients[name].double()
            found = (gradient * direction.double()).sum()
            assert abs(float(found - truth)) <= 2e-3 * float(gradient.norm()), name


def test_a_gradient_is_of_its_own_hook_alone() -> None:
    """The residual stream into a norm is the tensor of three hooks; each has the gradient of its own way."""
    bridge = ModelBridge(tiny_model(dtype=torch.float64))
    logits, cache = bridge.run_with_cache(IDS, grad=True)
    gradients = cache.gradients(
        score_of(logits), ["blocks.1.norm.hook_in", "blocks.1.hook_in", "blocks.1.hook_out"]
    )
    into_norm, into_block, out = gradients.values()
    torch.testing.assert_close(into_block, into_norm + out)
    assert bool(into_norm.any())


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_of_a_model_with_frozen_weights(frozen: bool) -> None:
    bridge = ModelBridge(tiny_model())
    bridge.model.requires_grad_(not frozen)
    logits, cache = bridge.run_with_cache(IDS, grad=True)
    gradients = cache.gradients(score_of(logits), "embed.hook_out")
    assert gradients["embed.hook_out"].shape == (1, 14, 32)
    assert bool(gradients["embed.hook_out"].any())
    assert all(parameter.grad is None for parameter in bridge.model.parameters())


def test_a_run_with_gradients_computes_the_same() -> None:
    bridge = ModelBridge(tiny_model())
    expected, truth = bridge.run_with_cache(IDS)
    logits, cache = bridge.run_with_cache(IDS, grad=True)
    assert torch.equal(logits.detach(), expected)
    assert set(cache) == set(truth)
    for name in cache:
        assert torch.equal(cache[name].detach(), truth[name]), name
    assert cache.faithfulness(0) == truth.faithfulness(0)
    name = "blocks.0.mixer.hook_attention"
    _, edited = bridge.run_with_cache(IDS, fwd_hooks=[(name, same)], grad=True)
    for each in (cache, edited):  # what is computed from a cache is no part of the graph
        assert not each.ssd_terms(0).x.requires_grad
        assert not each.compute_ssm_effective_attention(0).requires_grad
        assert not effective_attention(each.ssd_terms(0)).requires_grad
    assert not expected.requires_grad


def test_plain_autograd_works_too() -> None:
    bridge = ModelBridge(tiny_model())
    name = "blocks.0.mixer.hook_attention"
    logits, cache = bridge.run_with_cache(IDS, fwd_hooks=[(name, same)], grad=True)
    held: dict[str, Tensor] = {}
    (by_hand,) = torch.autograd.grad(score_of(logits), cache[name])

    def hold(M: Tensor, hook: HookPoint) -> Tensor:
        held[hook.name] = M
        return M

    logits, _ = bridge.run_with_cache(IDS, fwd_hooks=[(name, hold)], names_filter=[], grad=True)
    (held_by_user,) = torch.autograd.grad(score_of(logits), held[name])
    torch.testing.assert_close(by_hand, held_by_user)
    looked: dict[str, Tensor] = {}
    look = [("blocks.0.hook_out", lambda t, hook: looked.update(tensor=t))]
    logits, _ = bridge.run_with_cache(IDS, fwd_hooks=look, names_filter=[], grad=True)
    (by_a_look,) = torch.autograd.grad(score_of(logits), looked["tensor"])
    expected = bridge.run_with_cache(IDS, grad=True)
    gradient = expected[1].gradients(score_of(expected[0]), "blocks.0.hook_out")["blocks.0.hook_out"]
    torch.testing.assert_close(by_a_look, gradient)


def test_edits_in_place_are_in_the_graph() -> None:
    bridge = ModelBridge(tiny_model())
    name = "blocks.0.mixer.hook_x"

    def halve_in_place(x: Tensor, hook: HookPoint) -> None:
        x *= 0.5

    results = []
    for edit in (halve_in_place, lambda x, hook: x * 0.5):
        logits, cache = bridge.run_with_cache(IDS, fwd_hooks=[(name, edit)], grad=True)
        results.append(cache.gradients(score_of(logits), [name, "embed.hook_out"]))
    for key in results[0]:
        torch.testing.assert_close(results[0][key], results[1][key])


def test_what_has_no_gradient_says_how_to_get_one() -> None:
    bridge = ModelBridge(tiny_model())
    logits, cache = bridge.run_with_cache(IDS, grad=True)
    with pytest.raises(
        ValueError, match=r"does not depend on 'blocks.0.mixer.hook_x'.*let a hook.*return it"
    ):
        cache.gradients(score_of(logits), "blocks.0.mixer.hook_x")
    with pytest.raises(RuntimeError, match=r"kept no gradients.*grad=True"):
        bridge.run_with_cache(IDS)[1].gradients(score_of(logits))
    with pytest.raises(ValueError, match="from piece to piece"):
        bridge.run_with_cache(IDS, grad=True, piece_tokens=4)
    padded = torch.ones_like(IDS)
    padded[0, :3] = 0
    logits, cache = bridge.run_with_cache(IDS, attention_mask=padded, grad=True)
    assert not cache.gradients(score_of(logits), "blocks.1.hook_in")["blocks.1.hook_in"][:, :3].any()


def test_gradients_past_padding_in_a_hybrid() -> None:
    case = next(case for case in FAMILY_CASES if case.family == "bamba")
    bridge = ModelBridge(case.build())
    mask = torch.ones_like(IDS)
    mask[0, :3] = 0
    name = f"blocks.{case.attentions[0]}.attn.hook_pattern"
    logits, cache = bridge.run_with_cache(IDS, attention_mask=mask, fwd_hooks=[(name, same)], grad=True)
    gradient = cache.gradients(score_of(logits), name)[name]
    assert bool(gradient.isfinite().all())
    assert bool(gradient.any())


def test_a_long_text_takes_memory_as_the_picture_does() -> None:
    """Of 700 tokens, M is 16 MB; every chunk of the scan takes its own part of it and no more."""
    bridge, ids = ModelBridge(tiny_model()), random_ids(0, 1, 700)
    with torch.profiler.profile(profile_memory=True) as profile:
        logits, cache = bridge.run_with_cache(
            ids, fwd_hooks=[("blocks.0.mixer.hook_x", same)], names_filter=[], grad=True
        )
        cache.gradients(score_of(logits))
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest < 4 * 8 * 700 * 700


# Attribution patching


CLEAN = "Leo is in the garden. Mia is in the kitchen. Ben is in the library. Where is Mia? In the"
CORRUPT = "Leo is in the garden. Mia is in the tower. Ben is in the library. Where is Mia? In the"


@pytest.fixture(scope="module")
def demo() -> ModelBridge:
    return load_bridge("demo")


def ranks(values: Tensor) -> Tensor:
    return values.flatten().argsort().argsort().double()


def rank_correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([ranks(one), ranks(other)]))[0, 1])


def test_attribution_patching_ranks_as_patching_does(
    demo: ModelBridge, record_property: Callable[[str, object], None]
) -> None:
    """Residual stream by layer and position: the clean activation put into the corrupt run."""
    ids = [demo.to_tokens(prompt) for prompt in (CLEAN, CORRUPT)]
    assert ids[0].shape == ids[1].shape
    answer, foil = (int(demo.to_tokens(f"the {word}")[0, -1]) for word in ("kitchen", "tower"))

    def difference(logits: Tensor) -> Tensor:
        return logits[0, -1, answer] - logits[0, -1, foil]

    _, clean = demo.run_with_cache(ids[0])
    logits, corrupt = demo.run_with_cache(ids[1], grad=True)
    names = [f"blocks.{layer}.hook_in" for layer in range(len(demo.blocks))]
    gradients = corrupt.gradients(difference(logits), names)
    before = float(difference(logits.detach()))
    positions = range(ids[0].shape[1])
    estimate, exact = torch.zeros(2, len(names), len(positions))
    for place, name in enumerate(names):
        estimate[place] = ((clean[name] - corrupt[name].detach()) * gradients[name])[0].sum(-1)
        for position in positions:

            def patch(tensor: Tensor, hook: HookPoint, name: str = name, position: int = position) -> None:
                tensor[:, position] = clean[name][:, position]

            patched = demo.run_with_hooks(ids[1], fwd_hooks=[(name, patch)])
            exact[place, position] = float(difference(patched)) - before
    # Before the texts part there is nothing to patch.
    parted = (clean[names[0]] != corrupt[names[0]]).any(dim=-1)[0].nonzero()[0, 0]
    assert not exact[:, :parted].any()
    correlation = rank_correlation(estimate[:, parted:], exact[:, parted:])
    record_property("rank_correlation", correlation)
    print(f"rank correlation of attribution patching with patching: {correlation:.3f}")
    assert correlation >= 0.8
