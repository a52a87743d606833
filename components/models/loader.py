"""From a name to a running model: find it, check it, fetch it, load it through accelerate."""

import os
import tempfile
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from components.models import hub
from components.models.building import BUILDING, build_without_weights, check_attention
from components.models.checkpoint import (
    find_weights,
    forget_unknown_padding,
    read_config,
    read_headers,
    read_weights,
)
from components.models.devices import (
    Device,
    DeviceMap,
    MaxMemory,
    Placement,
    check_dtype,
    choose_dtype,
    choose_placement,
)
from components.models.errors import ModelLoadError, first_line
from components.models.fit import check_finite, check_fit
from components.models.memory import check_memory
from components.models.offload import bytes_on_disk, is_on_disk, refuse_full_disk, removed_on_error
from components.models.original_format import rename_weights
from components.models.progress import Progress, ignore_progress, reported_loading
from components.models.source import find_source
from components.models.tokenizer import choose_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from components.bridge import ModelBridge


def load_bridge(
    model: str | os.PathLike[str] = "demo",
    *,
    device: Device | None = None,
    device_map: DeviceMap | None = None,
    max_memory: MaxMemory | None = None,
    offload_folder: str | os.PathLike[str] | None = None,
    dtype: str | torch.dtype | None = None,
    attn_implementation: str | None = None,
    tokenizer: "PreTrainedTokenizerBase | str | os.PathLike[str] | None" = None,
    revision: str | None = None,
    local_files_only: bool = False,
    progress: Progress | None = None,
) -> "ModelBridge":
    """Load a model with Mamba-2 mixers, of any supported family, and return its bridge.

    `model` is "demo" (embedded, needs no network), a hub id or the address of its page, or the path of a
    folder, in the Hugging Face or in the original `mamba_ssm` format.

    `device` defaults to CUDA, then MPS, then CPU; `device_map` spreads a model instead, as in accelerate
    ("auto" or a dict, with "disk" allowed). With "auto", `max_memory` says how much of each device to use,
    such as {0: "20GB", "cpu": "60GB"}. `offload_folder` stores layers on the disk and outlives the model; by
    default it is a temporary folder that is deleted with the model.

    `dtype` is "float32", "bfloat16" or "float16"; by default the checkpoint's own, on a CPU float32.
    `attn_implementation` selects how transformers computes softmax attention, such as "eager".
    `tokenizer` replaces the model's own: a tokenizer, or the hub id or folder of one.

    `revision` is a branch, tag or commit of a hub repository; `local_files_only` allows no network.
    Calls `progress` on this thread with a phase text and a fraction or None; what it raises ends the loading.

    Raises ModelLoadError with sentences to show to a person, also if the model would not use exactly the
    weights of the checkpoint. Cheap checks run first: the arguments, the settings, the tokenizer, the memory,
    the headers of the weights. Never runs code from a model's repository.
    """
    from components.bridge import ModelBridge

    name = _name_of(model)
    progress = progress or ignore_progress
    placement = choose_placement(device, device_map, max_memory=max_memory, offload_folder=offload_folder)
    if dtype is not None:
        check_dtype(dtype)
    source = find_source(name, revision)

    progress("Reading the model's settings", None)
    if isinstance(source, Path):
        folder = source
    else:
        name = source.id
        folder = hub.download_settings(
            source.id, source.revision, local_files_only=local_files_only, progress=progress
        )
    config, is_original = read_config(folder, name)
    progress("Loading the tokenizer", None)
    chosen = choose_tokenizer(
        tokenizer,
        folder,
        config,
        name,
        is_original=is_original,
        local_files_only=local_files_only,
        progress=progress,
    )

    progress("Checking the memory", None)
    precision = choose_dtype(dtype, config, placement)
    skeleton = _build_skeleton(config, attn_implementation, name)
    parameters = sum(parameter.numel() for parameter in skeleton.parameters())
    check_memory(name, parameters, precision, placement)
    _check_shared_weights(placement, skeleton, name)

    if not isinstance(source, Path):
        hub.download_weights(source.id, folder, local_files_only=local_files_only, progress=progress)
    files = find_weights(folder, name)
    headers = read_headers(files, name)
    check_fit(rename_weights(headers) if is_original else headers, skeleton, name)
    progress("Loading weights", None)
    options: dict[str, Any] = {"attn_implementation": attn_implementation} if attn_implementation else {}
    if is_original:
        options["state_dict"] = rename_weights(read_weights(files, name))
    with reported_loading(progress):
        loaded = _load(skeleton, None if is_original else folder, precision, placement, name, **options)
    progress("Checking the weights", None)
    check_finite(loaded, name)
    return ModelBridge(loaded, chosen)


def _name_of(model: object) -> str:
    """Return the given name or path. Raises ModelLoadError for a model that is loaded already."""
    from components.bridge import ModelBridge

    if isinstance(model, str | os.PathLike):
        return str(model).strip()
    kind = type(model).__name__
    if isinstance(model, ModelBridge):
        raise ModelLoadError(f"load_bridge was given a {kind}, which is loaded already: use it as it is.")
    if isinstance(model, torch.nn.Module):
        raise ModelLoadError(
            f"load_bridge was given a {kind}, and takes the name or folder of a model. For one that is "
            "loaded already: `from components.bridge import ModelBridge`, `ModelBridge(model, tokenizer)`."
        )
    raise ModelLoadError(f"load_bridge was given a {kind}, and takes the name or folder of a model.")


def _build_skeleton(
    config: "PreTrainedConfig", attn_implementation: str | None, name: str
) -> "PreTrainedModel":
    """Build the model without weights; refuse an unsupported one or an unusable attention implementation."""
    from components.bridge import family_of

    skeleton = build_without_weights(config, name)
    try:
        family_of(skeleton)  # a hybrid may have no Mamba-2 layer at all
    except ValueError as error:
        raise ModelLoadError(f'"{name}" cannot be opened. {error}') from error
    if attn_implementation is not None:
        check_attention(config, attn_implementation, name)
    return skeleton


def _load(
    skeleton: "PreTrainedModel",
    folder: Path | None,
    dtype: torch.dtype,
    placement: Placement,
    name: str,
    **options: Any,
) -> "PreTrainedModel":
    """Load the weights in `folder`, or in `options`, into a model like the skeleton."""
    model_class: Any = type(skeleton)
    with ExitStack() as clean_up:
        offload_folder = placement.offload_folder or Path(
            clean_up.enter_context(tempfile.TemporaryDirectory(prefix="mamba2-explorer-"))
        )
        try:
            with BUILDING, removed_on_error(offload_folder):
                model: PreTrainedModel = model_class.from_pretrained(
                    folder,
                    config=skeleton.config,
                    dtype=dtype,
                    device_map=placement.device_map,
                    max_memory=placement.max_memory,
                    offload_folder=offload_folder,
                    local_files_only=True,
                    trust_remote_code=False,
                    weights_only=True,
                    **options,
                )
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise ModelLoadError(
                f'There was not enough memory left while "{name}" was loaded. Close other programs, or '
                'choose a smaller model, dtype="bfloat16" or device_map="auto".'
            ) from error
        # Dozens of checks in transformers, accelerate and safetensors raise here, each its own error.
        except Exception as error:
            needed = bytes_on_disk(skeleton, dtype, placement)
            refuse_full_disk(error, offload_folder, needed, name)
            raise ModelLoadError(
                f'"{name}" could not be loaded ({first_line(error)}). Check a device_map if you gave one; '
                "otherwise download the model again."
            ) from error
        # The model reads its layers on the disk from that folder as long as it lives.
        weakref.finalize(model, clean_up.pop_all().close)
    if model.generation_config is not None:
        forget_unknown_padding(model.generation_config, model.config.vocab_size)
    return model


def _check_shared_weights(placement: Placement, skeleton: "PreTrainedModel", name: str) -> None:
    """Refuse a device_map with one weight on the disk and elsewhere: accelerate finds it in neither."""
    if isinstance(placement.device_map, str) or not placement.uses_disk:
        return
    seen: dict[int, tuple[str, bool]] = {}
    for key, parameter in skeleton.named_parameters(remove_duplicate=False):
        on_disk = is_on_disk(key, placement)
        first, first_on_disk = seen.setdefault(id(parameter), (key, on_disk))
        if on_disk != first_on_disk:
            here, there = (key, first) if on_disk else (first, key)
            raise ModelLoadError(
                f'The device_map has {here} on the disk and {there} elsewhere, but in "{name}" they are one '
                "and the same weight. Put both on the disk, or neither; "
                'device_map="auto" keeps them together.'
            )
