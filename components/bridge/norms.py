"""The norms of a run: what each divided by, and runs in which that is held while autograd differentiates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from accelerate.utils.modeling import align_module_device
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from components.bridge.activation_cache import ActivationCache
from components.bridge.gated_rms_norm import GatedRMSNormBridge
from components.bridge.generalized_component import GeneralizedComponent
from components.bridge.hook_point import HookFunction, HookPoint
from components.bridge.model_bridge import ModelBridge
from components.bridge.offload import turn_of


def norm_divisors(
    bridge: ModelBridge, cache: ActivationCache, layer: int
) -> Float[Tensor, "batch seq group"]:
    """What the norm behind the scan divided by: the root mean square of each group of channels.

    Infinite where all channels of a group were zero. Needs the hooks of `blocks.{layer}.mixer.inner_norm`.
    KeyError for what the cache lacks, ValueError for a mixer without such a norm.
    """
    mixer = bridge.blocks[layer].mixer
    if "inner_norm" not in mixer.real_components:
        raise ValueError(f"The mixer of layer {layer} has no norm behind its scan.")
    y, gate, normed = (
        cache[f"blocks.{layer}.mixer.inner_norm.{name}"].detach()
        for name in ("hook_in", "hook_gate", "hook_out")
    )
    y = y.to(torch.promote_types(y.dtype, torch.float32))
    given = weight_of(bridge, mixer.inner_norm).to(y) * F.silu(gate.to(y)) * y
    groups = groups_of(mixer.inner_norm.original_component)
    return 1 / multiple(given.unflatten(-1, (groups, -1)), normed.to(y).unflatten(-1, (groups, -1)))[..., 0]


def frozen_norms(bridge: ModelBridge) -> list[tuple[str, HookFunction]]:
    """Hooks that change no value, but hold each norm's divisor while autograd differentiates a run.

    y = w ∘ x / rms(x) keeps its value, and its slope becomes w / rms: the norm passes a change on as if it
    did not rescale the rest. For the norm behind a scan x is y ∘ silu(z), and the gate keeps its slope. As in
    attribution patching (Nanda 2023) with layer norms frozen, which McDougall et al. and others advise.

    Raises ValueError for a model with a norm that the bridge does not see, and in a run for one that is no
    multiple of its input, such as one that takes the mean out.
    """
    norms = dict(_norms(bridge))
    seen = {id(component.original_component) for component in norms.values()}
    for name, module in bridge.model.named_modules():
        if "Norm" in type(module).__name__ and id(module) not in seen:
            raise ValueError(
                f"{name} is a {type(module).__name__} that the bridge does not see, so the norms of this "
                "model cannot all be frozen. Take the plain gradient, or the exact effects."
            )
    return [hook for name, component in norms.items() for hook in _frozen(bridge, name, component)]


def _norms(bridge: ModelBridge) -> Iterator[tuple[str, GeneralizedComponent]]:
    """Every norm with hooks, by its name."""
    yield "ln_final", bridge.ln_final
    for layer, block in enumerate(bridge.blocks):
        for name, (_, component) in block.real_components.items():
            if name.endswith("norm"):
                yield f"blocks.{layer}.{name}", component
            elif "inner_norm" in component.real_components:
                yield f"blocks.{layer}.{name}.inner_norm", component.inner_norm


def _frozen(
    bridge: ModelBridge, name: str, component: GeneralizedComponent
) -> Iterator[tuple[str, HookFunction]]:
    held: dict[str, Tensor] = {}
    weight, groups = weight_of(bridge, component), groups_of(component.original_component)

    def hold(tensor: Tensor, hook: HookPoint) -> None:
        held[hook.name.rpartition(".")[2]] = tensor

    def freeze(tensor: Tensor, hook: HookPoint) -> Tensor:
        normed, x = tensor, held["hook_in"]
        x = weight.to(x) * x.to(torch.promote_types(x.dtype, torch.float32))
        if "hook_gate" in held:
            x = x * F.silu(held["hook_gate"].to(x))
        parts, after = (each.unflatten(-1, (groups, -1)) for each in (x, normed.detach().to(x)))
        scaled = (parts * multiple(parts.detach(), after)).flatten(-2)
        if not same(scaled.detach(), normed.detach()):
            raise ValueError(
                f"The output of {name} is not its input times its weights, divided by one number, so its "
                "divisor cannot be held. Take the plain gradient, or the exact effects."
            )
        held.clear()
        frozen: Tensor = normed.detach() + (scaled - scaled.detach())
        return frozen

    yield f"{name}.hook_in", hold
    if isinstance(component, GatedRMSNormBridge):
        yield f"{name}.hook_gate", hold
    yield f"{name}.hook_out", freeze


def groups_of(norm: Any) -> int:
    """The groups of channels that a norm divides by a number each."""
    size = getattr(norm, "group_size", None)
    return int(len(norm.weight) // size) if size else int(getattr(norm, "n_groups", 1))


def multiple(
    before: Float[Tensor, "*shape channel"], after: Float[Tensor, "*shape channel"]
) -> Float[Tensor, "*shape 1"]:
    """The number r for which after = r·before, over the last dimension; zero where `before` is.

    By least squares, so that the rounding of single channels in half precision averages out.
    """
    largest = before.abs().amax(dim=-1, keepdim=True)
    unit = before / torch.where(largest > 0, largest, 1)  # whose squares neither vanish nor overflow
    square = unit.square().sum(dim=-1, keepdim=True)
    along = (unit * after).sum(dim=-1, keepdim=True)
    return along / torch.where(square > 0, square * largest, 1)


def same(found: Float[Tensor, "*shape channel"], given: Float[Tensor, "*shape channel"]) -> bool:
    """Whether two tensors differ by rounding alone, at every position for itself."""
    tolerance = max(1e-4, 4 * torch.finfo(given.dtype).eps)
    error = (found - given.to(found)).abs().amax(dim=-1)
    return bool((error <= tolerance * given.to(found).abs().amax(dim=-1)).all())


def weight_of(bridge: ModelBridge, component: GeneralizedComponent) -> Float[Tensor, " channel"]:
    """The weight of a norm, from where accelerate keeps it."""
    module = component._wrapped()
    with turn_of(bridge.model, bridge.model.modules()), align_module_device(module):
        return module.get_parameter("weight").detach().clone()
