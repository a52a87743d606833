"""Quantized checkpoints, adapters and GGUF files are told what they are and what to open instead."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from components.models import load_bridge
from components.models.source import find_source
from tests.models.conftest import GOLDEN, LocalHub, refused
from tests.models.test_families import case_of, change_weights, saved

NAME = "someone/tiny-mamba2"


# Quantization, told in config.json

METHODS = [
    ({"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False}, "bitsandbytes, 4 bits"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True}, "bitsandbytes, 8 bits"),
    ({"load_in_8bit": True}, "8 bits"),
    ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq, 4 bits"),
    ({"quant_method": "awq", "bits": 4, "version": "gemm"}, "awq, 4 bits"),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "modelopt, NVFP4"),
    ({"quant_method": "modelopt", "quant_algo": "FP8"}, "modelopt, FP8"),
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
    ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "compressed-tensors"),
    ({"quant_method": "one that is not known"}, "one that is not known"),
    ({"group_size": 64}, "by a method that it does not name"),
    ({}, "by a method that it does not name"),
    ("int4", "by a method that it does not name"),
]


@pytest.mark.parametrize(("record", "words"), METHODS, ids=str)
def test_quantization_config(
    folder: Path, edit_config: Callable[..., None], record: object, words: str
) -> None:
    edit_config(folder, quantization_config=record)
    with refused(rf"is quantized \(config.json: {words}\), and only weights in float32.*Open the checkpoint"):
        load_bridge(folder)


@pytest.mark.parametrize("field", ["compression_config", "quantization"])
def test_other_fields_that_tell(folder: Path, edit_config: Callable[..., None], field: str) -> None:
    edit_config(folder, **{field: {"bits": 4}})
    with refused(r"is quantized \(config.json: 4 bits\)"):
        load_bridge(folder)


def test_no_quantization_is_no_fault(folder: Path, edit_config: Callable[..., None]) -> None:
    edit_config(folder, quantization_config=None)
    assert load_bridge(folder).ssm_layers() == [0, 1]


def test_the_original_format_can_be_quantized_too(
    original_folder: Path, edit_config: Callable[..., None]
) -> None:
    edit_config(original_folder, quantization_config={"quant_method": "hqq"})
    with refused(r"is quantized \(config.json: hqq\)"):
        load_bridge(original_folder)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-FP8", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16 by its name"),
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16 by its name"),
        ("nemotron_fp8", "nemotron_BF16 by its name"),
        ("NVIDIA-Nemotron-Nano-9B-v2", None),
        ("granite-4.0-h-small-FP8", None),
    ],
)
def test_the_name_may_say_what_to_open(
    tmp_path: Path, edit_config: Callable[..., None], name: str, plain: str | None
) -> None:
    folder = shutil.copytree(GOLDEN, tmp_path / name)
    edit_config(folder, quantization_config={"quant_method": "modelopt"})
    said = f"the checkpoint it was made from, {plain}\\." if plain else r"the checkpoint it was made from\."
    with refused(said):
        load_bridge(folder)


# Quantization, told beside config.json


@pytest.mark.parametrize(
    ("file", "record", "words"),
    [
        (
            "hf_quant_config.json",
            {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "exclude_modules": []}},
            "FP8",
        ),
        ("quantize_config.json", {"bits": 4, "group_size": 128, "desc_act": False}, "4 bits"),
        ("quant_config.json", {"zero_point": True, "q_group_size": 128, "w_bit": 4}, "4 bits"),
        ("quantize_config.json", "not to be read", "by a method that it does not name"),
    ],
)
def test_a_file_beside_the_weights_tells(folder: Path, file: str, record: object, words: str) -> None:
    (folder / file).write_text(json.dumps(record))
    with refused(rf"is quantized \({file}: {words}\)"):
        load_bridge(folder)


@pytest.mark.parametrize("file", ["hf_quant_config.json", "quantize_config.json", "adapter_config.json"])
def test_it_is_told_before_the_weights_are_fetched(local_hub: LocalHub, folder: Path, file: str) -> None:
    (folder / file).write_text('{"bits": 4, "base_model_name_or_path": "someone/base"}')
    local_hub.repositories[NAME] = folder
    with refused(file):
        load_bridge(NAME)
    assert "config.json" in local_hub.served
    assert "model.safetensors" not in local_hub.served


def test_a_nemotron_with_its_experts_in_float8(tmp_path: Path, edit_config: Callable[..., None]) -> None:
    """A `quantization_config` of a kind that transformers skips: it would take the float8 as weights."""
    saved(case_of("nemotron_h-experts-gelu"), tmp_path)
    edit_config(tmp_path, quantization_config={"quant_method": "modelopt", "quant_algo": "FP8"})
    key = "backbone.layers.3.mixer.experts.0.up_proj.weight"
    change_weights(
        tmp_path, {key: torch.ones(24, 32).to(torch.float8_e4m3fn), f"{key}_scale": torch.ones(())}
    )
    with refused(r"is quantized \(config.json: modelopt, FP8\)"):
        load_bridge(tmp_path)


# Adapters

ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "AntonV/mamba2-130m-hf", "r": 8}


@pytest.mark.parametrize("weights", ["whole", "none"])
@pytest.mark.parametrize("with_config", [True, False])
def test_an_adapter(folder: Path, weights: str, with_config: bool) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER))
    (folder / "adapter_model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    if weights == "none":
        (folder / "model.safetensors").unlink()
    if not with_config:
        (folder / "config.json").unlink()
    with refused(
        r"holds an adapter \(adapter_config.json: LORA, for AntonV/mamba2-130m-hf\).*only whole weights.*"
        r"merge_and_unload\(\).*save_pretrained.*merged already, remove adapter_config.json"
    ):
        load_bridge(folder)


@pytest.mark.parametrize("content", ["{}", "[]", "{", ""])
def test_an_adapter_that_says_little(folder: Path, content: str) -> None:
    (folder / "adapter_config.json").write_text(content)
    with refused(
        r"holds an adapter .*of a kind that it does not name, for a base model that it does not name"
    ):
        load_bridge(folder)


def test_an_adapter_of_the_original_format(original_folder: Path) -> None:
    (original_folder / "adapter_config.json").write_text(json.dumps(ADAPTER))
    with refused("holds an adapter"):
        load_bridge(original_folder)


# GGUF


@pytest.fixture
def gguf_folder(tmp_path: Path) -> Path:
    """A folder with a GGUF file as small as can be: its header, no tensors, no settings."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "granite-4.0-h-350m-Q4_K_M.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    return folder


def test_a_gguf_file(gguf_folder: Path) -> None:
    with refused(r"in the GGUF format of llama.cpp \(granite-4.0-h-350m-Q4_K_M.gguf\).*Open the checkpoint"):
        load_bridge(gguf_folder / "granite-4.0-h-350m-Q4_K_M.gguf")


@pytest.mark.parametrize("beside", [(), ("config.json", "tokenizer.json", "tokenizer_config.json")])
def test_a_folder_of_gguf_files(gguf_folder: Path, beside: tuple[str, ...]) -> None:
    for file in beside:
        shutil.copy(GOLDEN / file, gguf_folder)
    with refused(
        r'downloads" holds a model in the GGUF format.*Q4_K_M.gguf.*config.json and model.safetensors'
    ):
        load_bridge(gguf_folder)


def test_a_gguf_file_beside_whole_weights_is_no_fault(folder: Path) -> None:
    (folder / "model.gguf").write_bytes(b"GGUF")
    assert load_bridge(folder).ssm_layers() == [0, 1]


@pytest.mark.parametrize("beside", [(), ("config.json", "tokenizer.json", "tokenizer_config.json")])
def test_a_repository_of_gguf_files(local_hub: LocalHub, gguf_folder: Path, beside: tuple[str, ...]) -> None:
    for file in beside:
        shutil.copy(GOLDEN / file, gguf_folder)
    local_hub.repositories["someone/tiny-mamba2-GGUF"] = gguf_folder
    with refused(r'tiny-mamba2-GGUF" holds a model in the GGUF format of llama.cpp \(by its name\)'):
        load_bridge("someone/tiny-mamba2-GGUF")
    assert not any(file.endswith(".gguf") for file in local_hub.served)


@pytest.mark.parametrize("page", ["blob", "resolve"])
def test_the_address_of_a_gguf_file(page: str) -> None:
    with refused(r'"someone/model" holds a model in the GGUF format of llama.cpp \(model-Q8_0.gguf\)'):
        find_source(f"https://huggingface.co/someone/model/{page}/main/model-Q8_0.gguf?download=true")
