"""Reads a model folder's settings and weight files; checks them before it reads anything large."""

import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.models.errors import ModelLoadError, first_line
from components.models.foreign import (
    FOREIGN_FILES,
    refuse_adapter,
    refuse_gguf,
    refuse_quantized,
    unquantized,
)
from components.models.original_format import is_original_format, mamba2_config

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedConfig

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)

WEIGHT_LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""Where weights can be, the preferred first: one file, or the index of several."""

SETTINGS_FILES = (
    "config.json",
    "generation_config.json",
    *FOREIGN_FILES,
    *TOKENIZER_FILES,
    *(index for _, index in WEIGHT_LAYOUTS),
)
"""The small files of a model."""

_LIMITS = (
    (re.compile(r"num_hidden_layers|n_layer"), 1, 1_000),
    (re.compile(r".*(experts|blocks|predict_layers)"), 0, 10_000),
    (re.compile(r".*(size|dim|heads?|groups|expand|state|model|ssm|rank|kernel|conv)"), 0, 10_000_000),
)
"""Numbers of config.json by the name, and the least and the most that can be a model's.

A model is built layer by layer before its memory is known, and a billion layers would take all of it.
"""

_DTYPES = ("float32", "bfloat16", "float16", "float64", "auto")

_WHOLE = ("F64", "F32", "F16", "BF16", "float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Header:
    """The shape and type of one tensor in a weight file; `dtype` is the file's own name for the type."""

    shape: list[int]
    dtype: str

    @property
    def is_whole(self) -> bool:
        """Whether the numbers are weights as they stand: floats of 16 bits or more."""
        return self.dtype in _WHOLE


def read_config(folder: Path, name: str) -> tuple["PreTrainedConfig", bool]:
    """Return the model's configuration, and whether its format is the original one of `mamba_ssm`.

    Raises ModelLoadError for a missing or unreadable config.json, for anything but a causal language model
    of a family that holds Mamba-2 mixers, and for one that is quantized or has an adapter.
    """
    refuse_adapter(folder, name)
    settings = _read_settings(folder, name)
    is_original = is_original_format(settings)
    if not is_original:
        _check_model_type(settings, name)
    refuse_quantized(folder, settings, name)
    _check_numbers(settings, name)
    if settings.get("transformers_weights"):
        raise ModelLoadError(
            f'The config.json of "{name}" names its weight file itself (transformers_weights), and only the '
            "usual names are read. Rename the file to model.safetensors, and take that field out."
        )
    if is_original:
        return mamba2_config(settings, name), True

    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    # Each configuration class checks its own fields, with errors of several kinds.
    except Exception as error:
        raise ModelLoadError(
            f'The config.json of "{name}" does not describe a model that can be built ({first_line(error)}). '
            "Compare it with the config.json of the model it was made from."
        ) from error
    forget_unknown_padding(config, config.vocab_size)
    return config, False


def forget_unknown_padding(settings: "PreTrainedConfig | GenerationConfig", vocabulary: int) -> None:
    """Drop a `pad_token_id` that is no token of the model: padding is masked, so any token will do."""
    if settings.pad_token_id is not None and not 0 <= settings.pad_token_id < vocabulary:
        settings.pad_token_id = None


def find_weights(folder: Path, name: str) -> list[Path]:
    """Return the weight files, safetensors before `.bin`. Raises ModelLoadError unless all exist."""
    files = _listed_weights(folder, name)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelLoadError(
            f'"{name}" is incomplete: its index names {len(files)} weight files and {len(missing)} of them '
            f"are missing ({shortened(missing)}). Copy or download them into the same folder."
        )
    for file in files:
        if _starts_with(file, b"version https://git-lfs"):
            raise ModelLoadError(
                f'{file.name} of "{name}" is a Git LFS pointer, not the weights. '
                "Run `git lfs pull` in that folder."
            )
    return files


def read_headers(files: Iterable[Path], name: str) -> dict[str, Header]:
    """Return the shape and type of each tensor by name, which also checks that every file is whole.

    Reads only headers of safetensors. A `.bin` file never runs code: torch opens it with `weights_only=True`.
    """
    headers: dict[str, Header] = {}
    for file in files:
        if file.suffix == ".safetensors":
            headers |= _safetensors_headers(file, name)
        else:
            headers |= {
                key: Header(list(tensor.shape), str(tensor.dtype).removeprefix("torch."))
                for key, tensor in _open_pickle(file, name).items()
            }
    return headers


def read_weights(files: Iterable[Path], name: str) -> dict[str, "Tensor"]:
    """Return the tensors of all `files` by name; a zipped `.bin` is memory-mapped."""
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= load_file(file) if file.suffix == ".safetensors" else _open_pickle(file, name)
    return weights


def shard_names(index: Path) -> list[str]:
    """Return the distinct names of the files that an index of weights points to."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        names = sorted(set(content["weight_map"].values()))
        content["metadata"]  # transformers requires it
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelLoadError(
            f"The weight index {index.name} cannot be read ({first_line(error)}). Download it again."
        ) from error
    if any(not isinstance(name, str) or Path(name).name != name or "\\" in name for name in names):
        raise ModelLoadError(
            f"The weight index {index.name} points outside its folder and was not followed. Every file it "
            "names has to lie beside it."
        )
    return names


def shortened(names: Iterable[str]) -> str:
    """Name the first three, and count the rest."""
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _read_settings(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        refuse_gguf(folder, name)
        raise ModelLoadError(
            f'"{name}" has no config.json, so it is not known what model it is. A model folder holds '
            "config.json, model.safetensors (or pytorch_model.bin) and tokenizer.json."
        )
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f'The config.json of "{name}" cannot be read ({first_line(error)}). '
            "Download it again, or repair it."
        ) from error
    if not isinstance(settings, dict):
        raise ModelLoadError(
            f'The config.json of "{name}" holds a {type(settings).__name__} instead of named settings. '
            "Download it again."
        )
    return settings


def _check_model_type(settings: Mapping[str, Any], name: str) -> None:
    from components.bridge import SUPPORTED, unsupported

    if settings.get("model_type") is None:
        raise ModelLoadError(
            f'The config.json of "{name}" does not say what model it is (model_type). Supported are '
            f"{', '.join(SUPPORTED)}."
        )
    model_type = str(settings["model_type"])
    if model_type not in SUPPORTED:
        raise ModelLoadError(f'"{name}" cannot be opened. {_inside(settings) or unsupported(model_type)}')
    architectures = settings.get("architectures") or []
    if architectures and not any(str(a).endswith("ForCausalLM") for a in architectures):
        raise ModelLoadError(
            f'"{name}" holds a {architectures[0]}, which has no language-model head to predict tokens with. '
            "Give a checkpoint whose config.json names a ...ForCausalLM architecture."
        )


def _check_numbers(settings: Mapping[str, Any], name: str) -> None:
    """Refuse sizes that no model has, and weights in a type that is not read."""
    for field, value in settings.items():
        for names, least, most in _LIMITS if isinstance(value, int) else ():
            if names.fullmatch(field) and not least <= value <= most:
                raise ModelLoadError(
                    f'The config.json of "{name}" says {field} = {value}; {least:,} to {most:,} is possible. '
                    "Use the config.json that was saved with the weights."
                )
    dtype = settings.get("dtype") or settings.get("torch_dtype") or "auto"
    if str(dtype).removeprefix("torch.") not in _DTYPES:
        raise ModelLoadError(
            f'The config.json of "{name}" says that the weights are in {dtype} (dtype), and only weights in '
            f"float32, bfloat16 or float16 can be read. {unquantized(name)}"
        )


def _inside(settings: Mapping[str, Any]) -> str | None:
    """Name the supported language model inside one for images or sounds; None if there is none."""
    from components.bridge import SUPPORTED

    for part, inner in settings.items():
        family = SUPPORTED.get(str(inner.get("model_type"))) if isinstance(inner, dict) else None
        if family is not None:
            return (
                f"It is a model of type {str(settings['model_type'])!r}, which holds a language model "
                f"({part}, of type {family.model_type!r}) beside others, for images or sounds. Only a "
                f"language model alone can be read, such as {family.example}."
            )
    return None


def _listed_weights(folder: Path, name: str) -> list[Path]:
    for single, index in WEIGHT_LAYOUTS:
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            return [folder / shard for shard in shard_names(folder / index)]
    refuse_gguf(folder, name)
    looked_for = ", ".join(file for layout in WEIGHT_LAYOUTS for file in layout)
    raise ModelLoadError(
        f'"{name}" has a config.json but no weights. Add one of the files that were looked for: {looked_for}.'
    )


def _safetensors_headers(file: Path, name: str) -> dict[str, Header]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:  # compares the header with the file's length
            slices = {key: tensors.get_slice(key) for key in tensors.keys()}  # noqa: SIM118
            return {key: Header(part.get_shape(), part.get_dtype()) for key, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise ModelLoadError(
            f'{file.name} of "{name}" is damaged or incomplete ({first_line(error)}). '
            "Download or copy it again."
        ) from error


def _open_pickle(file: Path, name: str) -> dict[str, "Tensor"]:
    import pickle

    import torch

    try:
        # PyTorch can memory-map only the zip container; it reads files older than 1.6 whole.
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        raise ModelLoadError(
            f'{file.name} of "{name}" was refused: it is damaged, or holds more than tensors and opening it '
            "could run a program. Ask for the model as model.safetensors."
        ) from error
    except Exception as error:  # a damaged pickle can raise any error
        raise ModelLoadError(
            f'{file.name} of "{name}" is damaged or incomplete ({first_line(error)}). '
            "Download or copy it again."
        ) from error
    if not isinstance(tensors, dict) or not all(
        isinstance(value, torch.Tensor) for value in tensors.values()
    ):
        raise ModelLoadError(
            f'{file.name} of "{name}" does not hold named tensors. Expected are the weights alone, as '
            "`torch.save(model.state_dict(), ...)` writes them."
        )
    return tensors


def _starts_with(file: Path, prefix: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(prefix)) == prefix
