"""Every way a model can be wrong gets a sentence that says what was given and what to do.

Folders that are broken are in test_broken_checkpoints.py.
"""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GraniteMoeHybridConfig, Mamba2Config

from components.models import ModelLoadError, load_bridge, memory
from components.models.devices import choose_dtype, choose_placement
from tests.models.conftest import GOLDEN, refused

# Names


@pytest.mark.parametrize("name", ["", "  ", "\n"])
def test_no_name(name: str) -> None:
    with refused('No model was named. Give "demo".*AntonV/mamba2-130m-hf'):
        load_bridge(name)


@pytest.mark.parametrize(
    "name", ["./none", "../none", "/none/at all", "~/none", "a/b/c", "folder/", "C:\\none"]
)
def test_a_path_without_a_folder(name: str) -> None:
    with refused("There is no folder .*none.*Check the spelling" if "none" in name else "There is no folder"):
        load_bridge(name)


def test_a_file_in_place_of_its_folder(folder: Path) -> None:
    with refused('model.safetensors" is a file. Give the folder that holds it'):
        load_bridge(folder / "model.safetensors")


# Settings


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_unreadable_config(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with refused("config.json of .* cannot be read .*Download it again, or repair it"):
        load_bridge(folder)


def test_config_that_is_not_a_record(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")
    with refused("holds a list instead of named settings"):
        load_bridge(folder)


@pytest.mark.parametrize(
    ("kind", "nature", "nearest"),
    [
        ("mamba", "Mamba-1", "AntonV/mamba2-130m-hf"),
        ("qwen3_next", "gated delta nets", "ibm-granite/granite-4.0-h"),
        ("granite", "softmax attention and no state-space layer", "ibm-granite/granite-4.0-h"),
        ("falcon_mamba", "Mamba-1", "tiiuae/Falcon-H1"),
    ],
)
def test_another_type_of_model(
    folder: Path, edit_config: Callable[..., None], kind: str, nature: str, nearest: str
) -> None:
    edit_config(folder, model_type=kind)
    with refused(
        f"cannot be opened.*of type '{kind}'.*{nature}.*Nearest.*{nearest}.*Supported types: mamba2, "
    ):
        load_bridge(folder)


@pytest.mark.parametrize("kind", [["mamba2"], 2, {"name": "mamba2"}])
def test_a_type_of_model_that_is_no_name(
    folder: Path, edit_config: Callable[..., None], kind: object
) -> None:
    edit_config(folder, model_type=kind)
    with refused("cannot be opened. It is a model of type .*Supported types: mamba2, "):
        load_bridge(folder)


@pytest.mark.parametrize("part", ["text_config", "llm_config"])
def test_a_model_of_images_with_a_hybrid_inside(
    folder: Path, edit_config: Callable[..., None], part: str
) -> None:
    inner = {"model_type": "nemotron_h", "hidden_size": 32}
    edit_config(folder, model_type="NemotronH_Nano_VL_V2", vision_config={}, **{part: inner})
    with refused(
        f"of type 'NemotronH_Nano_VL_V2', which holds a language model .{part}, of type 'nemotron_h'. beside "
        "others, for images or sounds. Only a language model alone can be read, such as nvidia/"
    ):
        load_bridge(folder)


def test_a_hybrid_in_which_every_layer_is_of_the_other_kind(tmp_path: Path) -> None:
    """As granite-4.0-micro: the class of a hybrid, and not one Mamba-2 layer. It needs no weights to tell."""
    config = GraniteMoeHybridConfig(
        hidden_size=32,
        num_hidden_layers=3,
        layer_types=["full_attention"] * 3,
        num_attention_heads=4,
        num_local_experts=0,
        mamba_n_heads=8,
        vocab_size=97,
        architectures=["GraniteMoeHybridForCausalLM"],
    )
    config.save_pretrained(tmp_path)
    for file in GOLDEN.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    with refused("none of its 3 layers does.*ibm-granite/granite-4.0-h"):
        load_bridge(tmp_path)


def test_no_type_of_model(folder: Path, edit_config: Callable[..., None]) -> None:
    edit_config(folder, remove=("model_type",))
    with refused("does not say what model it is .*Supported are mamba2, bamba"):
        load_bridge(folder)


def test_no_language_model_head(folder: Path, edit_config: Callable[..., None]) -> None:
    edit_config(folder, architectures=["Mamba2Model"])
    with refused("holds a Mamba2Model, which has no language-model head"):
        load_bridge(folder)


@pytest.mark.parametrize("changes", [{"num_heads": 7}, {"hidden_size": "wide"}])
def test_settings_that_describe_no_model(
    folder: Path, edit_config: Callable[..., None], changes: dict[str, object]
) -> None:
    edit_config(folder, **changes)
    with refused("config.json of .* does not describe a model that can be built"):
        load_bridge(folder)


# Weights


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with refused("has a config.json but no weights.*model.safetensors.*pytorch_model.bin"):
        load_bridge(folder)


def test_git_lfs_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    )
    with refused("is a Git LFS pointer.*git lfs pull"):
        load_bridge(folder)


def test_missing_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with refused(
        r"names 2 weight files and 2 of them are missing \(model-1.safetensors, model-2.safetensors\)"
    ):
        load_bridge(folder)


@pytest.mark.parametrize(
    "target", ["../secret.safetensors", "/secret.safetensors", "sub\\secret.safetensors"]
)
def test_an_index_that_points_outside_its_folder(folder: Path, target: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": {"a": target}})
    )
    with refused("points outside its folder"):
        load_bridge(folder)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"weight_map": {"a": "b"}}'])
def test_an_index_that_cannot_be_read(folder: Path, content: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with refused("weight index model.safetensors.index.json cannot be read"):
        load_bridge(folder)


@pytest.mark.parametrize(
    "content", [b"", b"text", pickle.dumps({"a": 1}, protocol=2), b"PK\x03\x04" + bytes(50)]
)
def test_damaged_bin(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    with refused("pytorch_model.bin of .* (is damaged or incomplete|was refused: it is damaged)"):
        load_bridge(folder)


def test_truncated_bin(original_folder: Path) -> None:
    file = original_folder / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:-4000])
    with refused("pytorch_model.bin of .* is damaged"):
        load_bridge(original_folder)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(2)])
def test_a_bin_that_holds_something_else(folder: Path, content: object) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with refused("does not hold named tensors"):
        load_bridge(folder)


def change_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    weights = {**load_file(folder / "model.safetensors"), **changes}
    kept = {key: tensor for key, tensor in weights.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def test_shapes_of_another_configuration(folder: Path, edit_config: Callable[..., None]) -> None:
    edit_config(folder, state_size=16)
    with refused(r"has the shape \[112\] and should have \[128\]|\(\d+ more do not fit\)"):
        load_bridge(folder)


def test_a_wrong_shape_in_the_original_format(
    original_folder: Path, edit_config: Callable[..., None]
) -> None:
    edit_config(original_folder, vocab_size=200)
    with refused(r"has the shape \[112, 32\] and should have \[208, 32\]"):
        load_bridge(original_folder)


def test_a_missing_weight_is_not_made_up(folder: Path) -> None:
    change_weights(folder, **{"backbone.layers.1.norm.weight": None, "lm_head.weight": None})
    with refused(r"2 are missing \(backbone.layers.1.norm.weight, lm_head.weight\).*random numbers"):
        load_bridge(folder)


def test_fewer_layers_than_the_weights_have(folder: Path, edit_config: Callable[..., None]) -> None:
    edit_config(folder, num_hidden_layers=1)
    with refused("more layers than the 1 in its config.json .*backbone.layers.1"):
        load_bridge(folder)


# Tokenizer


def test_unreadable_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    with refused("The tokenizer of .* cannot be read"):
        load_bridge(folder)


# The original format


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ssm_cfg": {"layer": "Mamba1"}}, "layers of kind Mamba1"),
        ({"ssm_cfg": {}}, "layers of kind Mamba1"),
        ({"attn_layer_idx": [1]}, r"attention layers \(attn_layer_idx\)"),
        ({"d_intermediate": 64}, "MLP layers"),
        ({"rms_norm": False}, "layer norms instead of RMS norms"),
        ({"ssm_cfg": {"layer": "Mamba2", "norm_before_gate": True}}, "a norm before the gate"),
        ({"ssm_cfg": {"layer": "Mamba2", "D_has_hdim": True}}, 'mixer setting "D_has_hdim"'),
    ],
)
def test_original_models_that_are_not_pure_mamba2(
    original_folder: Path, edit_config: Callable[..., None], changes: dict[str, object], words: str
) -> None:
    edit_config(original_folder, **changes)
    with refused(f"original Mamba format and has (the )?{words}.*not supported.*state-spaces/mamba2-130m"):
        load_bridge(original_folder)


def test_the_original_format_with_the_type_of_another_model(
    original_folder: Path, edit_config: Callable[..., None]
) -> None:
    edit_config(original_folder, model_type="mamba")
    with refused("cannot be opened.*of type 'mamba'.*Mamba-1"):
        load_bridge(original_folder)


@pytest.mark.parametrize("changes", [{"n_layer": "two"}, {"d_model": None}, {"vocab_size": "many"}])
def test_original_settings_that_describe_no_model(
    original_folder: Path, edit_config: Callable[..., None], changes: dict[str, object]
) -> None:
    edit_config(original_folder, **changes)
    with refused("original Mamba format but does not describe a Mamba-2 model.*It needs d_model, n_layer"):
        load_bridge(original_folder)


# Devices, precision, memory


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "meta", ""])
def test_no_such_device(device: str) -> None:
    with refused(r"device.*Devices here: .*cpu"):
        load_bridge(str(GOLDEN), device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("where", [{"device": "cuda"}, {"device_map": {"": 0}}, {"device_map": "cuda:0"}])
def test_cuda_where_there_is_none(where: dict[str, object]) -> None:
    with refused(r'The device "cuda(:0)?" cannot be used on this machine. Devices here: .*cpu'):
        load_bridge(str(GOLDEN), **where)


def test_device_and_device_map() -> None:
    with refused("Both device .* and device_map were given. Give device to keep"):
        load_bridge(str(GOLDEN), device="cpu", device_map="auto")


@pytest.mark.parametrize("dtype", ["int8", "half", torch.int32, torch.float64])
def test_no_such_precision(dtype: str | torch.dtype) -> None:
    with refused("not a precision.*Give one of float32, bfloat16, float16"):
        load_bridge(str(GOLDEN), dtype=dtype)


def test_too_little_memory_is_noticed_before_the_weights_are_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "model.safetensors").unlink()
    monkeypatch.setattr(memory, "available_memory", lambda device: 1000)
    with refused(r"needs 0.0 GB of memory in float32, and 0.0 GB are available \(cpu\).*dtype=\"bfloat16\""):
        load_bridge(folder)


def test_the_memory_message_counts_in_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 8 * 10**9)
    on_cpu = choose_placement("cpu", None)
    seven_billion = 7_285_403_648
    with refused(
        r'"x" needs 32.1 GB of memory in float32, and 8.0 GB are available.*"bfloat16" \(16.0 GB\).*"auto"'
    ):
        memory.check_memory("x", seven_billion, torch.float32, on_cpu)
    with refused("needs 16.0 GB of memory in bfloat16") as caught:
        memory.check_memory("x", seven_billion, torch.bfloat16, on_cpu)
    assert 'dtype="bfloat16"' not in str(caught.value)
    memory.check_memory("x", 10**9, torch.float32, on_cpu)


def test_the_disk_counts_where_accelerate_may_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 8 * 10**9)
    monkeypatch.setattr(memory, "free_disk", lambda folder: 100 * 10**9)
    memory.check_memory("x", 7 * 10**9, torch.float32, choose_placement(None, "auto"))
    memory.check_memory("x", 7 * 10**9, torch.float32, choose_placement(None, {"a": "cpu", "b": "disk"}))
    with refused(r"available \(.*cpu \+ disk\)"):
        memory.check_memory("x", 70 * 10**9, torch.float32, choose_placement(None, {"a": "cpu", "b": "disk"}))


def test_available_memory_is_at_most_what_the_machine_has() -> None:
    assert 0 < memory.available_memory(torch.device("cpu")) <= psutil.virtual_memory().total


def test_a_container_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 100\n")
    assert memory._container_memory(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._container_memory(tmp_path) == psutil.virtual_memory().total


def test_precision_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = Mamba2Config(dtype="bfloat16")
    assert choose_placement(None, None).devices == (torch.device("cuda"),)
    assert choose_dtype(None, config, choose_placement(None, None)) == torch.bfloat16
    assert choose_dtype(None, config, choose_placement("cpu", None)) == torch.float32
    assert choose_dtype("float16", config, choose_placement("cpu", None)) == torch.float16
    assert choose_dtype(None, Mamba2Config(), choose_placement(None, "auto")) == torch.float32


def test_after_an_error_the_next_model_loads(folder: Path) -> None:
    change_weights(folder, **{"backbone.layers.0.mixer.D": torch.ones(5)})
    with pytest.raises(ModelLoadError):
        load_bridge(folder)
    assert load_bridge(GOLDEN).run_with_cache(torch.arange(5)[None])[0].isfinite().all()
