"""Checks that a checkpoint holds exactly the model's weights, from headers, and that they are numbers."""

import copy
import re
from collections.abc import Collection, Mapping, Sequence, Set
from typing import TYPE_CHECKING

from components.models.building import build_without_weights, rehearse_loading
from components.models.checkpoint import Header, shortened
from components.models.errors import ModelLoadError
from components.models.foreign import unquantized

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_OF_PEFT = "base_model.model."
"""Prefix that peft gives the name of every weight of a model that it wraps."""

_WIDER = ' float16 ends at 65,504: if they are finite in the file, give dtype="bfloat16".'


def check_fit(headers: Mapping[str, Header], skeleton: "PreTrainedModel", name: str) -> None:
    """Raise ModelLoadError unless the checkpoint has each weight, whole, and loading drops no other one.

    transformers would initialise missing weights at random, read integers as if they were weights, and drop
    weights without a parameter in the model. Whole modules that the model lacks are allowed: many checkpoints
    hold layers for training or for further tokens.
    """
    if any(key.startswith(_OF_PEFT) for key in headers):
        raise ModelLoadError(
            f'"{name}" holds the weights of an adapter that is not merged, as peft names them '
            f"({_OF_PEFT}*). Merge it: `model.merge_and_unload().save_pretrained(folder)`, and open that."
        )
    _refuse_coarse(headers, skeleton, name)
    info = rehearse_loading(skeleton, {key: header.shape for key, header in headers.items()}, name)
    _refuse_dropped({key for key in info["unexpected_keys"] if _is_beside(key, skeleton)}, skeleton, name)
    _refuse_shapes(info["mismatched_keys"], name)
    _refuse_missing(info["missing_keys"], name)


def check_finite(model: "PreTrainedModel", name: str) -> None:
    """Raise ModelLoadError if a weight is NaN or infinite, wherever accelerate has put it."""
    import torch
    from transformers.integrations.accelerate import load_offloaded_parameter

    broken = []
    for key, parameter in model.named_parameters():
        weight = load_offloaded_parameter(model, key) if parameter.is_meta else parameter.detach()
        # The least and the most are NaN where any number is, and no mask as large as the weight is made.
        if weight.numel() and not (weight.min().isfinite() and weight.max().isfinite()):
            broken.append(key)
    if not broken:
        return
    narrow = model.dtype == torch.float16
    raise ModelLoadError(
        f'The weights of "{name}" hold NaN or infinite numbers ({shortened(broken)}), and so would all that '
        f"is computed with them.{_WIDER if narrow else ''} Download the model again, or take a checkpoint "
        "from before its training failed."
    )


def _refuse_coarse(headers: Mapping[str, Header], skeleton: "PreTrainedModel", name: str) -> None:
    """Refuse integers, and floats of fewer than 16 bits, where the model has weights."""
    coarse = {key: header.dtype for key, header in headers.items() if not header.is_whole}
    if not coarse:
        return
    parameters = skeleton.state_dict()
    # Any shape will do to learn where they go, and packed ones would not fit.
    untouched = rehearse_loading(skeleton, dict.fromkeys(coarse, (1,)), name)["missing_keys"]
    filled = sorted(
        key for key, tensor in parameters.items() if key not in untouched and tensor.is_floating_point()
    )
    if filled:
        raise ModelLoadError(
            f'"{name}" holds weights in {", ".join(sorted(set(coarse.values())))} ({shortened(filled)}): it '
            "is quantized, and only weights in float32, bfloat16 or float16 can be read. "
            f"{unquantized(name)}"
        )


def _is_beside(key: str, skeleton: "PreTrainedModel") -> bool:
    """Whether a key belongs to a module of the model; `mtp.0.weight` and the like do not."""
    base = skeleton.get_submodule(skeleton.base_model_prefix)
    own = {child for module in (skeleton, base) for child, _ in module.named_children()}
    first, *rest = key.removeprefix(f"{skeleton.base_model_prefix}.").split(".")
    return first in own or not rest


def _refuse_dropped(dropped: Set[str], skeleton: "PreTrainedModel", name: str) -> None:
    if not dropped:
        return
    layers = skeleton.config.num_hidden_layers
    surplus = sorted(key for key in dropped if _layer_of(key) >= layers)
    if surplus:
        raise ModelLoadError(
            f'The weights of "{name}" have more layers than the {layers} in its config.json '
            f"({shortened(surplus)}). Use the config.json that was saved with these weights."
        )
    switches = _switches(dropped, skeleton, name)
    if switches:
        raise ModelLoadError(
            f'"{name}" has weights that its config.json leaves out ({shortened(sorted(dropped))}); without '
            "them it is another model. Use the config.json that was saved with these weights, or set "
            f"{' and '.join(switches)} to true in this one."
        )
    raise ModelLoadError(
        f'"{name}" has weights that its model does not take ({shortened(sorted(dropped))}): they come from a '
        "quantization, from an adapter that is not merged, or from another config.json. Without them it is "
        "another model. Open a checkpoint with whole weights and the config.json that was saved with them."
    )


def _switches(dropped: Set[str], skeleton: "PreTrainedModel", name: str) -> list[str]:
    """Return the fields of config.json that, if they were true, would give the model one of these weights."""
    from transformers import PreTrainedConfig

    off = {field for field, value in skeleton.config.to_dict().items() if value is False}
    found = []
    for field in sorted(off - PreTrainedConfig().to_dict().keys()):  # only those of its family
        config = copy.deepcopy(skeleton.config)
        try:
            setattr(config, field, True)
            switched = build_without_weights(config, name)
        except ValueError:  # some cannot be switched alone
            continue
        if dropped & switched.state_dict().keys():
            found.append(field)
    return found


def _refuse_shapes(wrong: Collection[tuple[str, Sequence[int], Sequence[int]]], name: str) -> None:
    """Raise ModelLoadError for wrong shapes; each is a weight, its shape, and the shape it should have."""
    if wrong:
        key, found, expected = min(wrong)
        more = f" ({len(wrong) - 1} more do not fit)" if len(wrong) > 1 else ""
        raise ModelLoadError(
            f'The weights of "{name}" do not fit its config.json: {key} has the shape {list(found)} and '
            f"should have {list(expected)}{more}. Use the config.json that was saved with these weights."
        )


def _refuse_missing(missing: Set[str], name: str) -> None:
    if missing:
        raise ModelLoadError(
            f'The weights of "{name}" are incomplete: {len(missing)} are missing '
            f"({shortened(sorted(missing))}), and would be random numbers. Use the config.json and all "
            "weight files of one and the same model."
        )


def _layer_of(key: str) -> int:
    """Return the number of the layer a weight belongs to, -1 for a weight outside the layers."""
    match = re.search(r"\blayers\.(\d+)\.", key)
    return int(match.group(1)) if match else -1
