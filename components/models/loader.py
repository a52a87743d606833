"""From a name to a running model: find it, check it, fetch it, load it through accelerate."""

import re
import tempfile
import threading
import weakref
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from components.models import hub
from components.models.checkpoint import (
    TOKENIZER_FILES,
    find_weights,
    read_config,
    read_shapes,
    read_weights,
    shortened,
)
from components.models.devices import (
    Device,
    DeviceMap,
    Placement,
    check_dtype,
    choose_dtype,
    choose_placement,
)
from components.models.errors import ModelLoadError, first_line
from components.models.memory import check_memory
from components.models.original_format import TOKENIZER_REPOSITORY, rename_weights
from components.models.progress import Progress, ignore_progress, reported_loading
from components.models.source import find_source
from components.models.tokenizer import has_tokenizer, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from components.bridge import ModelBridge

_building = threading.Lock()
"""Held while a model is built: transformers sets PyTorch's default dtype and its weight
initialisers for the whole process meanwhile, so two models must not be built at once."""


def load_bridge(
    model: str | Path = "demo",
    *,
    device: Device | None = None,
    device_map: DeviceMap | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    progress: Progress | None = None,
) -> "ModelBridge":
    """Load a model with Mamba-2 mixers, of any family that is known, and return the bridge that reads it.

    `model` is "demo" (embedded, needs no network), a hub id, or the path of a folder, in the
    Hugging Face or in the original `mamba_ssm` format. `device` defaults to CUDA, then MPS, then
    CPU; `device_map` spreads a model instead, as accelerate understands it ("auto" or a dict, with
    "disk" allowed). `dtype` is "float32", "bfloat16" or "float16"; by default the checkpoint's own,
    on a CPU float32. `revision` is a branch, tag or commit of a hub repository; `local_files_only`
    allows no network. `progress` is called on this thread with a phase text and a fraction or None.

    Raises ModelLoadError with a sentence for the person who asked. Code from a model's repository
    is never run.
    """
    from components.bridge import ModelBridge

    loaded, tokenizer = load_model(
        model,
        device=device,
        device_map=device_map,
        dtype=dtype,
        revision=revision,
        local_files_only=local_files_only,
        progress=progress or ignore_progress,
    )
    return ModelBridge(loaded, tokenizer)


def load_model(
    model: str | Path,
    *,
    device: Device | None = None,
    device_map: DeviceMap | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    progress: Progress = ignore_progress,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load a model and its tokenizer; arguments and errors as in `load_bridge`.

    Everything that can be wrong is checked in the order of its cost: the arguments, the settings,
    the tokenizer, the memory, and only then the weights.
    """
    from components.bridge.families import family_of

    placement = choose_placement(device, device_map)
    if dtype is not None:
        check_dtype(dtype)
    name = str(model).strip()
    source = find_source(name)

    progress("Reading the model's settings", None)
    if isinstance(source, Path):
        folder = source
    else:
        folder = hub.download_settings(source, revision, local_files_only=local_files_only, progress=progress)
    config, is_original = read_config(folder, name)
    progress("Loading the tokenizer", None)
    tokenizer_folder = folder
    if is_original and not has_tokenizer(folder):
        tokenizer_folder = _published_tokenizer(name, local_files_only, progress)
    tokenizer = load_tokenizer(tokenizer_folder, config, name)

    progress("Checking the memory", None)
    precision = choose_dtype(dtype, config, placement)
    skeleton = _build_without_weights(config, name)
    try:
        family_of(skeleton)  # a hybrid may have no Mamba-2 layer at all
    except ValueError as error:
        raise ModelLoadError(f'"{name}" cannot be opened. {error}') from error
    parameters = sum(parameter.numel() for parameter in skeleton.parameters())
    check_memory(name, parameters, precision, placement)
    _check_shared_weights(placement, skeleton, name)

    if not isinstance(source, Path):
        hub.download_weights(source, folder, local_files_only=local_files_only, progress=progress)
    files = find_weights(folder, name)
    shapes = read_shapes(files, name)
    _check_shapes(rename_weights(shapes) if is_original else shapes, skeleton, name)
    progress("Loading weights", None)
    with reported_loading(progress):
        if is_original:
            weights = rename_weights(read_weights(files, name))
            # The automatic class insists on a folder; with weights at hand only the class itself will do.
            loaded = _load(type(skeleton), None, config, precision, placement, name, state_dict=weights)
        else:
            from transformers import AutoModelForCausalLM

            loaded = _load(AutoModelForCausalLM, folder, config, precision, placement, name)
    return loaded, tokenizer


def _published_tokenizer(name: str, local_files_only: bool, progress: Progress) -> Path:
    try:
        return hub.download(
            TOKENIZER_REPOSITORY,
            TOKENIZER_FILES,
            revision=None,
            local_files_only=local_files_only,
            progress=progress,
        )
    except ModelLoadError as error:
        raise ModelLoadError(
            f'"{name}" has no tokenizer, so text cannot be cut into its tokens, and the one the published '
            f"models use ({TOKENIZER_REPOSITORY}) could not be had. "
            "Save that tokenizer's tokenizer.json into the model's folder."
        ) from error


def _build_without_weights(config: "PreTrainedConfig", name: str) -> "PreTrainedModel":
    """Build the model on the meta device, where tensors have shapes and take no memory."""
    from transformers import AutoModelForCausalLM

    automatic: Any = AutoModelForCausalLM  # from_config is not annotated
    try:
        with _building, torch.device("meta"):
            skeleton: PreTrainedModel = automatic.from_config(config, trust_remote_code=False)
    # What a model's constructor raises on settings that contradict each other can be anything.
    except Exception as error:
        raise ModelLoadError(
            f'The config.json of "{name}" does not describe a model that can be built ({first_line(error)}). '
            "Compare it with the config.json of the model it was made from."
        ) from error
    return skeleton


def _load(
    model_class: Any,
    folder: Path | None,
    config: "PreTrainedConfig",
    dtype: torch.dtype,
    placement: Placement,
    name: str,
    **weights: Any,
) -> "PreTrainedModel":
    """Call `from_pretrained`, and accept only a model whose every weight came from the checkpoint."""
    with ExitStack() as clean_up:
        offload_folder = clean_up.enter_context(tempfile.TemporaryDirectory(prefix="mamba2-explorer-"))
        try:
            with _building:
                loaded, info = model_class.from_pretrained(
                    folder,
                    config=config,
                    dtype=dtype,
                    device_map=placement.device_map,
                    offload_folder=offload_folder,
                    local_files_only=True,
                    trust_remote_code=False,
                    weights_only=True,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # refused below, in our words
                    **weights,
                )
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise ModelLoadError(
                f'There was not enough memory left while "{name}" was loaded. Close other programs, or '
                'choose a smaller model, dtype="bfloat16" or device_map="auto".'
            ) from error
        # Dozens of checks in transformers, accelerate and safetensors end here, each with its own error.
        except Exception as error:
            raise ModelLoadError(
                f'"{name}" could not be loaded ({first_line(error)}). Check a device_map if you gave one; '
                "otherwise download the model again."
            ) from error
        _check_complete(info, loaded, name)
        # Layers on the disk are read from that folder for as long as the model lives.
        weakref.finalize(loaded, clean_up.pop_all().close)
    model: PreTrainedModel = loaded
    return model


def _check_shared_weights(placement: Placement, skeleton: "PreTrainedModel", name: str) -> None:
    """Refuse a device_map with one weight on the disk and elsewhere: accelerate finds it in neither."""
    places = placement.device_map
    if isinstance(places, str) or not placement.uses_disk:
        return
    seen: dict[int, tuple[str, bool]] = {}
    for key, parameter in skeleton.named_parameters(remove_duplicate=False):
        holders = [module for module in places if not module or f"{key}.".startswith(f"{module}.")]
        on_disk = bool(holders) and places[max(holders, key=len)] == "disk"
        first, first_on_disk = seen.setdefault(id(parameter), (key, on_disk))
        if on_disk != first_on_disk:
            here, there = (key, first) if on_disk else (first, key)
            raise ModelLoadError(
                f'The device_map has {here} on the disk and {there} elsewhere, but in "{name}" they are one '
                'and the same weight. Put both on the disk, or neither; device_map="auto" heeds that.'
            )


def _check_shapes(shapes: Mapping[str, list[int]], skeleton: "PreTrainedModel", name: str) -> None:
    """Refuse shapes that do not fit before anything is read; what transformers renames, it tells later."""
    expected = {key: list(tensor.shape) for key, tensor in skeleton.state_dict().items()}
    _refuse_shapes(
        [(key, shape, expected[key]) for key, shape in shapes.items() if expected.get(key, shape) != shape],
        name,
    )


def _refuse_shapes(wrong: Collection[tuple[str, Sequence[int], Sequence[int]]], name: str) -> None:
    """Raise ModelLoadError if there are any; each is a weight, its shape, and the shape it should have."""
    if wrong:
        key, found, expected = min(wrong)
        more = f" ({len(wrong) - 1} more do not fit)" if len(wrong) > 1 else ""
        raise ModelLoadError(
            f'The weights of "{name}" do not fit its config.json: {key} has the shape {list(found)} and '
            f"should have {list(expected)}{more}. Use the config.json that was saved with these weights."
        )


def _check_complete(info: Mapping[str, Any], model: "PreTrainedModel", name: str) -> None:
    """Refuse weights of another model, where transformers would fill in random numbers or drop a part."""
    from components.bridge.families import is_mamba2_mixer

    _refuse_shapes(info["mismatched_keys"], name)
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelLoadError(
            f'The weights of "{name}" are incomplete: {len(missing)} are missing ({shortened(missing)}), and '
            "would be random numbers. Use the config.json and all weight files of one and the same model."
        )
    layers = model.config.num_hidden_layers
    surplus = sorted(key for key in info["unexpected_keys"] if _layer_of(key) >= layers)
    if surplus:
        raise ModelLoadError(
            f'The weights of "{name}" have more layers than the {layers} in its config.json '
            f"({shortened(surplus)}). Use the config.json that was saved with these weights."
        )
    mixers = tuple(f"{path}." for path, module in model.named_modules() if is_mamba2_mixer(module))
    dropped = sorted(key for key in info["unexpected_keys"] if key.startswith(mixers))
    if dropped:
        raise ModelLoadError(
            f'The mixers of "{name}" have weights that its config.json leaves out ({shortened(dropped)}). '
            "Use the config.json that was saved with these weights, or a checkpoint that is not quantized."
        )


def _layer_of(key: str) -> int:
    """Return the number of the layer a weight belongs to, -1 for a weight outside the layers."""
    match = re.search(r"\blayers\.(\d+)\.", key)
    return int(match.group(1)) if match else -1
