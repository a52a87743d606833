"""What `load_bridge` passes on to transformers and accelerate, and what it says to other things."""

import errno
import gc
import inspect
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from components.bridge import ModelBridge
from components.models import load_bridge, memory
from components.models.devices import choose_placement
from tests.models.conftest import GOLDEN, refused
from tests.models.test_families import case_of, saved
from tests.tiny import random_ids

IDS = random_ids(0, 1, 20)


# Things in place of a name

as_users_call_it = inspect.unwrap(load_bridge)  # the tests alone check types where a function is called


def test_a_model_that_is_loaded_already() -> None:
    model = AutoModelForCausalLM.from_pretrained(GOLDEN)
    with refused(r"was given a Mamba2ForCausalLM, and takes the name.*ModelBridge\(model, tokenizer\)"):
        as_users_call_it(model)
    assert ModelBridge(model).ssm_layers() == [0, 1]  # what it says to do works
    with refused(r"was given a Linear, .*ModelBridge\(model, tokenizer\)"):
        as_users_call_it(torch.nn.Linear(2, 2))


def test_a_bridge_is_loaded_already() -> None:
    with refused("was given a ModelBridge, which is loaded already: use it as it is"):
        as_users_call_it(load_bridge(GOLDEN))


@pytest.mark.parametrize("given", [None, 5, b"demo", ["demo"]])
def test_what_is_no_name(given: object) -> None:
    with refused(f"was given a {type(given).__name__}, and takes the name or folder of a model"):
        as_users_call_it(given)


# The most memory of each device


def test_max_memory_sends_the_rest_to_the_disk() -> None:
    model = load_bridge(GOLDEN, device_map="auto", max_memory={"cpu": "45KB"}).model
    on_disk = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    assert 0 < len(on_disk) < len(list(model.parameters()))
    assert torch.equal(model(IDS).logits, load_bridge(GOLDEN).model(IDS).logits)
    everything = load_bridge(GOLDEN, device_map="auto", max_memory={"cpu": 10**9}).model
    assert not any(parameter.is_meta for parameter in everything.parameters())


def test_max_memory_counts_when_the_memory_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 8 * 10**9)
    monkeypatch.setattr(memory, "free_disk", lambda folder: 0)
    limited = choose_placement(None, "auto", max_memory={"cpu": "1GB"})
    memory.check_memory("x", 10**9 // 5, torch.float32, limited)
    with refused(r"needs 1.3 GB of memory in float32, and 1.0 GB are available"):
        memory.check_memory("x", 3 * 10**8, torch.float32, limited)
    more_than_there_is = choose_placement(None, "auto", max_memory={"cpu": "100GB"})
    with refused(r"and 8.0 GB are available"):
        memory.check_memory("x", 3 * 10**9, torch.float32, more_than_there_is)


@pytest.mark.parametrize("where", [{}, {"device": "cpu"}, {"device_map": {"": "cpu"}}, {"device_map": "cpu"}])
def test_max_memory_without_a_device_map_that_is_worked_out(where: dict[str, Any]) -> None:
    with refused("max_memory was given, but where the model goes is already fixed.*auto, balanced"):
        load_bridge(GOLDEN, max_memory={"cpu": "1GB"}, **where)


@pytest.mark.parametrize("given", [{"cpu": "much"}, {"cpu": "-1GB"}])
def test_max_memory_that_cannot_be_read(given: dict[str, str]) -> None:
    with refused("max_memory=.* cannot be read. Give sizes by device, such as"):
        load_bridge(GOLDEN, device_map="auto", max_memory=given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_max_memory_of_a_device_that_is_not_here() -> None:
    with refused('The device "cuda:0" cannot be used on this machine'):
        load_bridge(GOLDEN, device_map="auto", max_memory={0: "1GB"})


# Where layers on the disk are kept

DISK_MAP = {
    "backbone.embeddings": "cpu",
    "backbone.layers.0": "cpu",
    "backbone.layers.1": "disk",
    "backbone.norm_f": "cpu",
    "lm_head": "cpu",
}


def test_an_offload_folder_is_used_and_stays(
    original_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    kept = tmp_path / "new" / "kept"
    bridge = load_bridge(original_folder, device_map=DISK_MAP, offload_folder=kept)
    assert any(file.name.startswith("backbone.layers.1.") for file in kept.iterdir())
    assert list(temporary.iterdir()) == []
    assert torch.equal(bridge.model(IDS).logits, load_bridge(original_folder).model(IDS).logits)
    del bridge
    gc.collect()
    assert list(kept.iterdir())


def test_the_disk_of_the_offload_folder_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(Path(place)) or usage(place))
    placement = choose_placement(None, "auto", offload_folder=tmp_path / "not" / "yet")
    memory.check_memory("x", 1000, torch.float32, placement)
    assert asked == [tmp_path]


FULL = [
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    OSError(errno.ENOSPC, "No space left on device"),
]


@pytest.mark.parametrize("error", FULL, ids=["of safetensors", "of Python"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "with a file"])
def test_an_offload_folder_that_is_full(
    original_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, is_new: bool
) -> None:
    """The first error is what safetensors raised on a file system of 64 kB."""
    before = load_bridge(GOLDEN)
    expected = before.model(IDS).logits
    full = tmp_path / "full"
    if not is_new:
        full.mkdir()
        (full / "of somebody").touch()
    write_when_full(monkeypatch, error)
    with refused(
        f'disk of the folder "{full}" is full: the layers of ".*original" that go to the disk need up to '
        r"29.7 kB, and [0-9.]+ [kMG]B are free. Make space, or give an offload_folder on another disk"
    ):
        load_bridge(original_folder, device_map=DISK_MAP, offload_folder=full)
    assert ([file.name for file in full.iterdir()] if full.exists() else None) == (
        None if is_new else ["of somebody"]
    )
    assert torch.equal(before.model(IDS).logits, expected)
    monkeypatch.undo()
    assert load_bridge(original_folder, device_map=DISK_MAP, offload_folder=full)


def test_a_temporary_folder_that_is_full(
    original_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    write_when_full(monkeypatch, FULL[0])
    with refused('disk of the folder ".*temporary/mamba2-explorer-.* is full.*give an offload_folder'):
        load_bridge(original_folder, device_map=DISK_MAP)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_load_that_is_stopped_leaves_nothing_in_the_offload_folder(
    original_folder: Path, tmp_path: Path
) -> None:
    written: list[Path] = []

    def stop_when_something_is_written(text: str, part: float | None) -> None:
        written.extend((tmp_path / "kept").glob("*"))
        if written:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        load_bridge(
            original_folder,
            device_map=DISK_MAP,
            offload_folder=tmp_path / "kept",
            progress=stop_when_something_is_written,
        )
    assert not (tmp_path / "kept").exists()


def write_when_full(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let two layers' weights be written to the disk, and a third in part."""
    from transformers.integrations import accelerate

    written: list[str] = []
    write = accelerate.save_file

    def write_until_full(tensors: dict[str, torch.Tensor], file: str) -> None:
        written.append(file)
        if len(written) == 3:
            Path(file).write_bytes(b"in part")
            raise error
        write(tensors, file)

    monkeypatch.setattr(accelerate, "save_file", write_until_full)


@pytest.mark.parametrize("where", [{}, {"device": "cpu"}, {"device_map": {"": "cpu"}}])
def test_an_offload_folder_without_anything_for_it(where: dict[str, Any], tmp_path: Path) -> None:
    with refused('offload_folder ".*kept" was given, and nothing goes to the disk.*device_map="auto"'):
        load_bridge(GOLDEN, offload_folder=tmp_path / "kept", **where)


# What softmax attention is computed with


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_attention_that_was_asked_for(implementation: str, tmp_path: Path) -> None:
    case = case_of("bamba-gelu")
    model = saved(case, tmp_path)
    bridge = load_bridge(tmp_path, attn_implementation=implementation)
    assert bridge.model.config._attn_implementation == implementation
    assert torch.allclose(bridge.model(IDS).logits, model(IDS).logits, atol=1e-5)
    _, cache = bridge.run_with_cache(IDS)
    assert cache["blocks.0.attn.hook_pattern"].sum(-1).allclose(torch.ones(1))


def test_the_attention_of_the_original_format(original_folder: Path) -> None:
    bridge = load_bridge(original_folder, attn_implementation="eager")
    assert bridge.model.config._attn_implementation == "eager"


@pytest.mark.parametrize("implementation", ["none such", "flash_attention_2"])
def test_attention_that_cannot_be_had(implementation: str, tmp_path: Path) -> None:
    saved(case_of("bamba-gelu"), tmp_path)
    (tmp_path / "model.safetensors").unlink()  # it is told before the weights are looked for
    with refused(f'attn_implementation="{implementation}" cannot be used with .* on this machine'):
        load_bridge(tmp_path, attn_implementation=implementation)


def test_attention_of_a_model_without_any() -> None:
    with refused(
        'attn_implementation="sdpa" cannot be used .*Mamba2ForCausalLM.*Give "eager", or leave it out'
    ):
        load_bridge(GOLDEN, attn_implementation="sdpa")
