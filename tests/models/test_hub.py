"""Downloads, against a hub on the loopback interface that speaks the real protocol."""

import json
import shutil
import threading
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from components.models import ModelLoadError, load_bridge
from tests.models.conftest import COMMIT, GOLDEN, LocalHub, use_hub

NAME = "someone/tiny-mamba2"


def test_a_repository_gives_the_model_of_its_folder(local_hub: LocalHub) -> None:
    local_hub.repositories[NAME] = GOLDEN
    downloaded = load_bridge(NAME)
    ids = torch.arange(20)[None]
    expected = load_bridge(GOLDEN).model(ids).logits
    assert torch.equal(downloaded.model(ids).logits, expected)
    assert "transformer_lens.safetensors" not in local_hub.served  # what is not needed is not fetched


def test_settings_come_before_weights_and_safetensors_instead_of_bin(
    local_hub: LocalHub, folder: Path
) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not to be read")
    local_hub.repositories[NAME] = folder
    load_bridge(NAME)
    assert local_hub.served[-1] == "model.safetensors"
    assert "config.json" in local_hub.served
    assert "pytorch_model.bin" not in local_hub.served


def test_weights_and_settings_are_of_one_commit_even_if_the_branch_moves(
    local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_hub.repositories[NAME] = GOLDEN
    respond = local_hub.respond

    def move_the_branch(path: str) -> tuple[int, dict[str, str], bytes]:
        answer = respond(path)
        if path.endswith("/config.json"):
            local_hub.commit = "f" * 40
        return answer

    monkeypatch.setattr(local_hub, "respond", move_the_branch)
    load_bridge(NAME)
    assert [folder.name for folder in (tmp_path / "cache").glob("models--*/snapshots/*")] == [COMMIT]


def test_bin_is_fetched_where_there_is_nothing_else(local_hub: LocalHub, original_folder: Path) -> None:
    local_hub.repositories[NAME] = original_folder
    assert load_bridge(NAME).model.config.n_groups == 1
    assert local_hub.served[-1] == "pytorch_model.bin"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
            "of type 'llama'.*Nearest is.*mamba2",
        ),
        (
            {
                "model_type": "of_its_own",
                "auto_map": {"AutoConfig": "its.Own", "AutoModelForCausalLM": "its.Own"},
            },
            "of type 'of_its_own'.*Nearest is.*mamba2",
        ),
        (
            {
                "model_type": "bamba",
                "architectures": ["BambaForCausalLM"],
                "vocab_size": 97,
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "attn_layer_indices": [0, 1],
                "mamba_n_heads": 8,
            },
            "none of its 2 layers does.*Nearest is ibm-ai-platform/Bamba-9B-v2",
        ),
    ],
    ids=["another type", "a type of its own code", "a hybrid without mixers"],
)
def test_what_cannot_be_read_is_refused_before_its_weights_are_fetched(
    local_hub: LocalHub, folder: Path, settings: dict[str, object], words: str
) -> None:
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "its.py").write_text("raise SystemExit")
    local_hub.repositories[NAME] = folder
    with pytest.raises(ModelLoadError, match=words):
        load_bridge(NAME)
    assert "config.json" in local_hub.served
    assert not {"model.safetensors", "its.py"} & set(local_hub.served)


def test_one_file_beside_the_index_of_several_that_are_not_there(local_hub: LocalHub, folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    local_hub.repositories[NAME] = folder
    ids = torch.arange(20)[None]
    assert torch.equal(load_bridge(NAME).model(ids).logits, load_bridge(GOLDEN).model(ids).logits)


def test_progress_tells_megabytes_on_the_calling_thread(local_hub: LocalHub, folder: Path) -> None:
    save_file({"extra.unused": torch.zeros(3_000_000)}, folder / "model-00002-of-00002.safetensors")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {
        "metadata": {},
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    local_hub.repositories[NAME] = folder
    reports: list[tuple[str, float | None, int]] = []
    load_bridge(NAME, progress=lambda text, part: reports.append((text, part, threading.get_ident())))
    downloads = [(text, part) for text, part, _ in reports if text.startswith("Downloading")]
    assert downloads[-1] == ("Downloading 12 of 12 MB", 1.0)
    weights = [(text, part) for text, part, _ in reports if text.startswith("Loading weights, ")]
    assert weights[-1][1] == 1.0
    assert all(part is None or 0 <= part <= 1 for _, part, _ in reports)
    assert {thread for _, _, thread in reports} == {threading.get_ident()}


def test_a_second_load_needs_no_network(
    local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_hub.repositories[NAME] = GOLDEN
    load_bridge(NAME)
    local_hub.served.clear()
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    load_bridge(NAME)
    load_bridge(NAME, local_files_only=True)
    assert local_hub.served == []


def test_an_unknown_id_offers_the_nearest_name(local_hub: LocalHub) -> None:
    with pytest.raises(
        ModelLoadError, match=r'no model "AntonV/mamba2-131m-hf".*mean "AntonV/mamba2-130m-hf"\?'
    ):
        load_bridge("AntonV/mamba2-131m-hf")


def test_an_unknown_revision_is_named(local_hub: LocalHub) -> None:
    local_hub.repositories[NAME] = GOLDEN
    with pytest.raises(
        ModelLoadError, match=r'"someone/tiny-mamba2" has no revision "v9"\. Give a branch, a tag'
    ):
        load_bridge(NAME, revision="v9")


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path)  # nobody listens there
    with pytest.raises(
        ModelLoadError, match=r'tiny-mamba2" is not complete.*cannot be reached.*"demo" always works'
    ):
        load_bridge(NAME)


def test_offline_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelLoadError, match=r"switched off \(HF_HUB_OFFLINE\)"):
        load_bridge(NAME)


def test_local_files_only_without_local_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path)
    with pytest.raises(ModelLoadError, match="local_files_only=True"):
        load_bridge(NAME, local_files_only=True)


def test_a_download_that_breaks_off_says_so(
    local_hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_hub.repositories[NAME] = folder
    respond = local_hub.respond

    def break_off(path: str) -> tuple[int, dict[str, str], bytes]:
        return (418, {}, b"") if path.endswith("model.safetensors") else respond(path)

    monkeypatch.setattr(local_hub, "respond", break_off)
    with pytest.raises(ModelLoadError, match=r"could not be downloaded .*418.*Check the network connection"):
        load_bridge(NAME)


@pytest.mark.parametrize("name", ["two words", "owner/na:me", "x" * 120, "owner/name--x", "-/-", "a\0b"])
def test_a_name_that_cannot_be_an_id(name: str) -> None:
    with pytest.raises(ModelLoadError, match=r'is neither a folder nor a hub id. A hub id is "owner/name"'):
        load_bridge(name)


def test_the_published_tokenizer_completes_an_original_checkpoint(
    local_hub: LocalHub, original_folder: Path, tmp_path: Path
) -> None:
    (original_folder / "tokenizer.json").unlink()
    published = tmp_path / "published"
    published.mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(GOLDEN / file, published)
    local_hub.repositories["EleutherAI/gpt-neox-20b"] = published
    tokenizer = load_bridge(original_folder).tokenizer
    assert len(tokenizer) == 97


def test_an_original_checkpoint_without_any_tokenizer(local_hub: LocalHub, original_folder: Path) -> None:
    (original_folder / "tokenizer.json").unlink()
    with pytest.raises(
        ModelLoadError, match=r"no tokenizer, so text cannot be split.*EleutherAI/gpt-neox-20b.*Save"
    ):
        load_bridge(original_folder)
