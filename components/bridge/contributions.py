"""From a run: what each head and source token adds to a mixer's output, and to a logit.

The mathematics, and its sources, are in `components.ssd.contributions`. Here it gets what a run and a model
give: the terms of the scan, the factor s on the way to `out_proj`, the weights behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils.modeling import align_module_device
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from components.bridge.activation_cache import ActivationCache, ssd_inputs
from components.bridge.families import SUPPORTED
from components.bridge.generalized_component import GeneralizedComponent
from components.bridge.model_bridge import ModelBridge
from components.bridge.norms import groups_of, multiple, same, weight_of
from components.bridge.offload import turn_of
from components.ssd import Contributions, ContributionTerms

_INPUTS = ("inner_norm.hook_in", "inner_norm.hook_gate", "out_proj.hook_in", "hook_out")
_OF_MIXERS = tuple(f".mixer.{name}" for name in _INPUTS)
_OF_MODEL = ("ln_final.hook_in", "ln_final.hook_out")


def contribution_inputs(name: str) -> bool:
    """Names filter that keeps just what `contributions_of`, for every layer, and `logit_direction` need.

    It includes `ssd_inputs`.
    """
    return ssd_inputs(name) or name.endswith(_OF_MIXERS) or name in _OF_MODEL


def contribution_inputs_of(layer: int) -> Callable[[str], bool]:
    """Names filter that keeps just what `contribution_terms` needs of one layer."""

    def of_layer(name: str) -> bool:
        return contribution_inputs(name) and (name.startswith(f"blocks.{layer}.") or name in _OF_MODEL)

    return of_layer


def contribution_terms(
    bridge: ModelBridge,
    cache: ActivationCache,
    layer: int,
    target: int | None = None,
    foil: int | None = None,
) -> ContributionTerms:
    """The terms of a layer with its contributions: `contributions_of`, and raises as that does.

    With token ids `target` and `foil`, also with `logit_direction`, and raises as that does.
    """
    direction = None
    if target is not None and foil is not None:
        direction = logit_direction(bridge, cache, target, foil)
    return ContributionTerms.of(contributions_of(bridge, cache, layer), direction)


def contributions_of(bridge: ModelBridge, cache: ActivationCache, layer: int) -> Contributions:
    """The parts of one mixer's output in a run that kept `contribution_inputs`.

    Edits of anything up to M, and of the gate, are in the parts. An edit behind the scan leaves no sum over
    sources, and neither does one of the mixer's output; ValueError says so. IndexError for a layer without a
    mixer, RuntimeError for what the cache lacks.

    The norm is read off: s is the multiple of w ∘ silu(z), one per group, that made y into the input of
    `out_proj`. That holds whether it comes before or after the gate.
    """
    terms = cache.ssd_terms(layer)
    record = cache._record(layer)
    inside = f"blocks.{layer}.mixer."
    mixer = bridge.blocks[layer].mixer
    scanned = _kept(cache, f"{inside}hook_scan").flatten(2)
    unedited = record.scan_before_hooks()
    if unedited is not None and not torch.equal(unedited.detach(), scanned):
        raise ValueError(_REPLACED.format(layer=layer))
    given = _kept(cache, f"{inside}out_proj.hook_in")
    gate = record.gate()
    if gate is None:
        y = _kept(cache, f"{inside}inner_norm.hook_in")
        if not torch.equal(y, scanned):
            raise ValueError(_REPLACED.format(layer=layer))
        factor = _gate(_kept(cache, f"{inside}inner_norm.hook_gate"), terms.x)
        factor = factor * weight_of(bridge, mixer.inner_norm).to(factor)
        y, groups = y.to(factor), groups_of(mixer.inner_norm.original_component)
        divided = multiple(
            (factor * y).unflatten(-1, (groups, -1)), given.to(factor).unflatten(-1, (groups, -1))
        )
        factor = (factor.unflatten(-1, (groups, -1)) * divided).flatten(2)
        passed_on = factor * y
    else:
        factor, passed_on = _gate(gate.detach(), terms.x), scanned
    if not same(passed_on, given):
        raise ValueError(
            f"The input of out_proj in layer {layer} is not the scan's output times gate and norm: a hook "
            "changed it, or the weights of the norm changed since the run. Contributions need a run without."
        )
    W, bias = _linear(bridge, mixer.out_proj, terms.x)
    output = _kept(cache, f"{inside}hook_out")
    if not same(F.linear(given.to(W), W, bias), output):
        raise ValueError(
            f"The output of the mixer in layer {layer} is not what out_proj makes of its input: a hook "
            "changed it, or the weights changed since the run. Contributions need a run without."
        )
    return Contributions(
        terms=terms,
        passed=factor.unflatten(-1, (terms.heads, -1)),
        projection=W,
        bias=bias,
        scale=bridge.blocks[layer].output_scale,
    )


def logit_direction(
    bridge: ModelBridge, cache: ActivationCache, target: int, foil: int
) -> Float[Tensor, "batch seq model"]:
    """The direction d[i] of the residual stream for which ⟨d[i], residual[i]⟩ = logit[target] − logit[foil].

    It is the difference of their unembeddings through the final norm, which is held at the divisor of the
    run, d[i] = (U[target] − U[foil]) ∘ w / rms[i], times the family's scale of logits. For direct effects,
    `Contributions.toward(d)`; source: Elhage et al. 2021, "A Mathematical Framework for Transformer
    Circuits". Needs what `contribution_inputs` keeps of a run. IndexError for an id without a logit,
    RuntimeError for what the cache lacks, ValueError where a hook changed the final norm's output.
    """
    x, normed = (_kept(cache, name) for name in _OF_MODEL)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    w = weight_of(bridge, bridge.ln_final).to(x)
    divided = multiple(w * x, normed.to(x))
    if not same(divided * w * x, normed):
        raise ValueError(
            "The final norm's output is not its input times its weights, divided by one number: a hook "
            "changed it, or the weights changed since the run. A logit's direction needs a run without."
        )
    U, _ = _linear(bridge, bridge.unembed, x, [target, foil])
    family, model = SUPPORTED[bridge.model.config.model_type], bridge.model
    scale = _number(model, family.logit_scale) / _number(model, family.logit_divisor)
    return scale * (U[0] - U[1]) * w * divided


_REPLACED = (
    "A hook replaced the scan's output in layer {layer}, so it is no sum over sources. Contributions follow "
    "edits of M, L, dt, x and of what comes before; edit one of these, or leave that hook out."
)


def _kept(cache: ActivationCache, name: str) -> Tensor:
    """A tensor of the run, detached; RuntimeError if it was not kept."""
    try:
        return cache[name].detach()
    except KeyError as error:
        raise RuntimeError(error.args[0]) from None


def _gate(gate: Float[Tensor, "batch seq inner"], like: Tensor) -> Float[Tensor, "batch seq inner"]:
    """silu(z)."""
    return F.silu(gate.to(like))


def _linear(
    bridge: ModelBridge, component: GeneralizedComponent, like: Tensor, rows: list[int] | None = None
) -> tuple[Float[Tensor, "out in"], Float[Tensor, " out"]]:
    """Copies of weight and bias of a linear map, or of some rows of it; zeros where it has no bias."""
    module = component._wrapped()
    with turn_of(bridge.model, bridge.model.modules()), align_module_device(module):
        if not _is_plain(module):
            raise ValueError(
                f"{component.name} is a {type(module).__name__}, whose weights cannot be read as one matrix. "
                "Load the model without quantization, and merge adapters into it."
            )
        weight, bias = module.get_parameter("weight"), getattr(module, "bias", None)
        for row in rows or ():
            if not 0 <= row < len(weight):
                raise IndexError(f"There is no token id {row}: the logits are of ids 0 to {len(weight) - 1}.")
        some = slice(None) if rows is None else rows
        W = weight.detach()[some].to(like, copy=True)
        return W, W.new_zeros(len(W)) if bias is None else bias.detach()[some].to(like, copy=True)


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is a linear map by its weight alone; adapters are not, nor packed weights."""
    if not isinstance(module, nn.Linear) or not module.weight.is_floating_point():
        return False
    return module.weight.shape == (module.out_features, module.in_features)


def _number(model: nn.Module, path: str | None) -> float:
    """A number of the model, by its path; one without a path."""
    value: Any = model
    for part in path.split(".") if path else ():
        value = getattr(value, part)
    return float(value) if path else 1.0
