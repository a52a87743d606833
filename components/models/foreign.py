"""Refuses checkpoints that are adapters, quantized or GGUF, and says what to open instead."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.models.errors import ModelLoadError

ADAPTER_FILE = "adapter_config.json"
QUANTIZATION_FILES = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
"""Files that ModelOpt, GPTQ and AWQ write beside the weights if config.json records nothing."""

FOREIGN_FILES = (ADAPTER_FILE, *QUANTIZATION_FILES)
"""The small files that identify such checkpoints."""

_QUANTIZATION_FIELDS = ("quantization_config", "compression_config", "quantization")
"""Fields of config.json that record it: for nearly all, older compressed-tensors, MLX."""


def refuse_adapter(folder: Path, name: str) -> None:
    """Raise ModelLoadError if an adapter lies in `folder`, with the weights it belongs to or alone.

    transformers applies such an adapter if peft is installed, and otherwise ignores it silently.
    """
    file = folder / ADAPTER_FILE
    if not file.is_file():
        return
    settings = _read(file)
    base = settings.get("base_model_name_or_path") or "a base model that it does not name"
    kind = settings.get("peft_type") or "of a kind that it does not name"
    raise ModelLoadError(
        f'"{name}" holds an adapter ({ADAPTER_FILE}: {kind}, for {base}); only whole weights can be read. '
        "Merge it: `PeftModel.from_pretrained(base_model, adapter_folder).merge_and_unload()`, then "
        f"`save_pretrained` into a new folder, and open that. If it is merged already, remove {ADAPTER_FILE}."
    )


def refuse_quantized(folder: Path, settings: Mapping[str, Any], name: str) -> None:
    """Raise ModelLoadError if config.json (`settings`) or a file beside it records a quantization."""
    told = [("config.json", settings[key]) for key in _QUANTIZATION_FIELDS if settings.get(key) is not None]
    told += [(file, _read(folder / file)) for file in QUANTIZATION_FILES if (folder / file).is_file()]
    for file, record in told:
        raise ModelLoadError(
            f'"{name}" is quantized ({file}: {_quantization(record)}), and only weights in float32, bfloat16 '
            f"or float16 can be read. {unquantized(name)}"
        )


def unquantized(name: str) -> str:
    """Return the sentence that says what to open instead of a quantized checkpoint."""
    given = Path(name).name
    plain = re.sub(r"(?i)(?<![a-z0-9])(nv)?fp[48](?![a-z0-9])", "BF16", given)
    likely = f", {plain} by its name" if plain != given and "nemotron" in given.lower() else ""
    return f"Open the checkpoint it was made from{likely}."


def gguf(name: str, evidence: str) -> ModelLoadError:
    """Return the error for a model in llama.cpp's format; `evidence` is a file, or its name."""
    return ModelLoadError(
        f'"{name}" holds a model in the GGUF format of llama.cpp ({evidence}), which is not read here: most '
        "such files are quantized. Open the checkpoint it was made from, a folder or hub id with config.json "
        "and model.safetensors."
    )


def refuse_gguf(folder: Path, name: str) -> None:
    """Raise ModelLoadError if the incomplete `folder` has GGUF files or "gguf" in its name."""
    files = sorted(file.name for file in folder.glob("*.gguf"))
    if files:
        raise gguf(name, files[0])
    if "gguf" in Path(name).name.lower():  # a download fetches no GGUF files
        raise gguf(name, "by its name")


def _read(file: Path) -> dict[str, Any]:
    """Return the content of a small JSON file, empty if unreadable: that it exists is enough."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _quantization(record: object) -> str:
    """Name the method of a quantization and its bits, as far as its record has them."""
    if not isinstance(record, Mapping):
        return "by a method that it does not name"
    inner = record.get("quantization")
    fields = {**record, **(inner if isinstance(inner, Mapping) else {})}
    bits = [4] * bool(fields.get("load_in_4bit")) + [8] * bool(fields.get("load_in_8bit"))
    bits += [fields[key] for key in ("bits", "w_bit") if fields.get(key)]
    words = [str(fields[key]) for key in ("quant_method", "quant_algo") if fields.get(key)]
    words += [f"{bits[0]} bits"] if bits else []
    return ", ".join(words) or "by a method that it does not name"
