"""Models without weights, on the meta device: their tensors have shapes and take no memory."""

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.models.errors import ModelLoadError, first_line
from components.models.progress import silent_loading

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

BUILDING = threading.Lock()
"""Held while a model is built: transformers sets PyTorch's default dtype and its weight
initialisers for the whole process meanwhile, so two models must not be built at once."""


def build_without_weights(config: "PreTrainedConfig", name: str) -> "PreTrainedModel":
    """Build the model that `config` describes; ModelLoadError if it describes none."""
    try:
        return _build(config)
    # A model's constructor can raise anything on settings that contradict each other.
    except Exception as error:
        raise ModelLoadError(
            f'The config.json of "{name}" does not describe a model that can be built ({first_line(error)}). '
            "Compare it with the config.json of the model it was made from."
        ) from error


def check_attention(config: "PreTrainedConfig", implementation: str, name: str) -> None:
    """Raise ModelLoadError if this model cannot compute softmax attention with `implementation` here."""
    try:
        _build(copy.deepcopy(config), attn_implementation=implementation)
    # Kernels that are not installed, names that do not exist: each raises its own error.
    except Exception as error:
        raise ModelLoadError(
            f'attn_implementation="{implementation}" cannot be used with "{name}" on this machine '
            f'({first_line(error)}). Give "eager", or leave it out.'
        ) from error


def rehearse_loading(
    skeleton: "PreTrainedModel", shapes: Mapping[str, Sequence[int]], name: str
) -> Mapping[str, Any]:
    """Load meta tensors of these names and shapes, and return the loading info of transformers.

    Its `missing_keys`, `unexpected_keys` and `mismatched_keys` are those of the real weights, under the
    names that the model gives them: only transformers knows which weights it renames or fuses.
    """
    import torch

    weights = {key: torch.empty(tuple(shape), device="meta") for key, shape in shapes.items()}
    model_class: Any = type(skeleton)
    try:
        with BUILDING, silent_loading():
            _, info = model_class.from_pretrained(
                None,
                config=skeleton.config,
                state_dict=weights,
                device_map={"": "meta"},
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    # transformers cannot fuse experts that differ in shape, and raises many errors for it.
    except Exception as error:
        raise ModelLoadError(
            f'The weights of "{name}" do not fit its config.json ({first_line(error)}). '
            "Use the config.json that was saved with these weights."
        ) from error
    told: Mapping[str, Any] = info
    return told


def _build(config: "PreTrainedConfig", **options: Any) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    automatic: Any = AutoModelForCausalLM  # from_config is not annotated
    with BUILDING, torch.device("meta"):
        skeleton: PreTrainedModel = automatic.from_config(config, trust_remote_code=False, **options)
    return skeleton
