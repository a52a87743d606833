"""Checks that a bridge can wrap a model; errors say what to pass instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from components.bridge.families import Family, family_of


def require_wrappable(model: Any) -> Family:
    """The family of a model that a bridge can wrap.

    Raises TypeError for anything but a model of transformers, and ValueError for one that has a peft
    adapter, is compiled, runs its repository's own code, has no `lm_head`, or holds no Mamba-2 mixer.
    """
    name = type(model).__name__
    if hasattr(model, "get_base_model"):  # peft
        raise ValueError(
            f"{name} is a model with an adapter of peft. Pass model.merge_and_unload(), or "
            "model.get_base_model() if the adapter lies in the layers, as LoRA does; one that lies in the "
            "prompt would be left out."
        )
    if isinstance(model, nn.Module):
        refuse_compiled(model, model.modules())
    if isinstance(model, nn.DataParallel) or (not isinstance(model, nn.Module) and hasattr(model, "model")):
        inner = "module" if isinstance(model, nn.DataParallel) else "model"
        raise TypeError(f"{name} wraps a model. Pass its .{inner}.")
    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            f"A bridge wraps a model of transformers, not a {name}. To open one by name or folder, use "
            'components.models.load_bridge, such as load_bridge("demo").'
        )
    if any(cls.__module__.startswith("transformers_modules.") for cls in type(model).__mro__):
        raise ValueError(
            f"{name} runs code from its own repository, which may compute something else than "
            "transformers does. Load it with trust_remote_code=False, which takes transformers' own class."
        )
    if not hasattr(model, "lm_head"):
        raise ValueError(
            f"{name} has no language-model head, so it predicts no tokens. Load the checkpoint with "
            "AutoModelForCausalLM and pass that."
        )
    return family_of(model)


def refuse_compiled(model: nn.Module, modules: Iterable[nn.Module]) -> None:
    """Raise ValueError if one of the model's `modules` is compiled: hooks may be compiled away."""
    for module in modules:
        if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
            raise ValueError(
                f"{type(model).__name__} is compiled, and a compiled model may leave out the hooks that a "
                "bridge listens to. Pass the model without torch.compile; of what torch.compile returned, "
                "that is its _orig_mod."
            )
