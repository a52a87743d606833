"""What loads, and that it is the same model however it was loaded."""

import gc
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, Mamba2ForCausalLM

from components.bridge import ModelBridge
from components.bridge.families import SUPPORTED, is_mamba2_mixer
from components.demo import MODEL_FOLDER
from components.models import CATALOGUE, CatalogueEntry, ModelLoadError, load_bridge, source
from components.models.hub_address import Repository
from components.models.progress import reported_loading
from components.models.source import find_source
from tests.models.conftest import GOLDEN

IDS = torch.arange(24)[None]


def test_a_folder_becomes_a_bridge_with_the_logits_of_the_plain_model() -> None:
    bridge = load_bridge(str(GOLDEN), device="cpu")
    assert isinstance(bridge, ModelBridge)
    assert bridge.ssm_layers() == [0, 1]
    plain = AutoModelForCausalLM.from_pretrained(GOLDEN)
    logits, _ = bridge.run_with_cache(IDS)
    assert torch.equal(logits, plain(IDS).logits)
    assert len(bridge.to_str_tokens("ab")) == 2


def test_the_original_format_gives_the_logits_of_the_model_it_was_made_from(
    original_folder: Path, tiny_model: Mamba2ForCausalLM
) -> None:
    bridge = load_bridge(original_folder)
    assert torch.equal(bridge.run_with_cache(IDS)[0], tiny_model(IDS).logits)
    assert bridge.model.lm_head.weight is bridge.model.backbone.embeddings.weight
    assert bridge.tokenizer.eos_token_id == 0


def test_the_original_format_with_a_type_that_somebody_added(
    original_folder: Path, tiny_model: Mamba2ForCausalLM, edit_config: Callable[..., None]
) -> None:
    edit_config(original_folder, model_type="mamba2", architectures=["Mamba2ForCausalLM"])
    assert torch.equal(load_bridge(original_folder).model(IDS).logits, tiny_model(IDS).logits)


def test_the_fields_of_the_original_format_kept_beside_those_of_hugging_face(
    folder: Path, edit_config: Callable[..., None]
) -> None:
    edit_config(folder, d_model=64, n_layer=7, ssm_cfg={"layer": "Mamba1"})
    assert torch.equal(load_bridge(folder).model(IDS).logits, load_bridge(GOLDEN).model(IDS).logits)


def test_the_original_format_in_safetensors(original_folder: Path, tiny_model: Mamba2ForCausalLM) -> None:
    weights = torch.load(original_folder / "pytorch_model.bin", weights_only=True)
    del weights["lm_head.weight"]  # tied, and safetensors does not store a tensor twice
    save_file(weights, original_folder / "model.safetensors")
    (original_folder / "pytorch_model.bin").unlink()
    assert torch.equal(load_bridge(original_folder).model(IDS).logits, tiny_model(IDS).logits)


def test_the_original_format_saved_before_the_zip_container(
    original_folder: Path, tiny_model: Mamba2ForCausalLM
) -> None:
    file = original_folder / "pytorch_model.bin"
    torch.save(torch.load(file, weights_only=True), file, _use_new_zipfile_serialization=False)
    assert torch.equal(load_bridge(original_folder).model(IDS).logits, tiny_model(IDS).logits)


DISK_MAP = {
    "backbone.embeddings": "cpu",
    "backbone.layers.0": "cpu",
    "backbone.layers.1": "disk",
    "backbone.norm_f": "disk",
    "lm_head": "cpu",
}


@pytest.mark.parametrize("device_map", [DISK_MAP, "auto", "cpu"])
def test_a_device_map_changes_where_the_weights_are_and_not_the_logits(
    device_map: str | dict[str, str],
) -> None:
    model = load_bridge(GOLDEN, device_map=device_map).model
    plain = AutoModelForCausalLM.from_pretrained(GOLDEN)
    assert torch.equal(model(IDS).logits, plain(IDS).logits)
    assert model.backbone.layers[1].mixer.A_log.is_meta == (device_map is DISK_MAP)


def test_offloaded_layers_are_kept_in_a_folder_of_our_own_while_the_model_lives(
    original_folder: Path, tiny_model: Mamba2ForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "temporary"
    ours.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(ours))
    model = load_bridge(original_folder, device_map={**DISK_MAP, "backbone.norm_f": "cpu"}).model
    assert model.backbone.layers[1].mixer.A_log.is_meta
    assert torch.equal(model(IDS).logits, tiny_model(IDS).logits)
    assert [folder.name.startswith("mamba2-explorer-") for folder in ours.iterdir()] == [True]
    del model
    gc.collect()
    assert list(ours.iterdir()) == []


def test_a_failed_load_leaves_no_folder_behind(
    folder: Path, edit_config: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "temporary"
    ours.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(ours))
    edit_config(folder, num_hidden_layers=1)
    with pytest.raises(ModelLoadError):
        load_bridge(folder)
    assert list(ours.iterdir()) == []


def test_a_bridge_reads_an_offloaded_model() -> None:
    logits, cache = load_bridge(GOLDEN, device_map=DISK_MAP).run_with_cache(IDS)
    expected, plain_cache = load_bridge(GOLDEN).run_with_cache(IDS)
    assert torch.equal(logits, expected)
    name = "blocks.1.mixer.hook_attention"
    assert torch.equal(cache[name], plain_cache[name])


@pytest.mark.parametrize(
    ("dtype", "expected"), [("bfloat16", torch.bfloat16), (torch.float16, torch.float16)]
)
def test_the_dtype_that_was_asked_for(dtype: str | torch.dtype, expected: torch.dtype) -> None:
    model = load_bridge(GOLDEN, dtype=dtype).model
    assert {parameter.dtype for parameter in model.parameters()} == {expected}
    assert torch.get_default_dtype() == torch.float32


def test_a_half_precision_checkpoint_is_float32_on_a_cpu(
    folder: Path, edit_config: Callable[..., None]
) -> None:
    weights = {key: tensor.bfloat16() for key, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit_config(folder, dtype="bfloat16")
    assert load_bridge(folder).model.dtype == torch.float32


def test_shards(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    shards = {"a.safetensors": sorted(weights)[::2], "b.safetensors": sorted(weights)[1::2]}
    for file, keys in shards.items():
        save_file({key: weights[key] for key in keys}, folder / file, metadata={"format": "pt"})
    weight_map = {key: file for file, keys in shards.items() for key in keys}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    (folder / "model.safetensors").unlink()
    assert torch.equal(load_bridge(folder).model(IDS).logits, load_bridge(GOLDEN).model(IDS).logits)


def test_weights_in_a_bin_file(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(load_bridge(folder).model(IDS).logits, load_bridge(GOLDEN).model(IDS).logits)


def test_tokenizer_json_alone_is_enough(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    tokenizer = load_bridge(folder).tokenizer
    described = load_bridge(GOLDEN).tokenizer
    text = "Mia has the key."
    assert tokenizer(text)["input_ids"] == described(text)["input_ids"]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<eos>", "<pad>")


def test_code_in_the_folder_is_not_run(folder: Path, edit_config: Callable[..., None]) -> None:
    edit_config(folder, auto_map={"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.EvilConfig"})
    (folder / "evil.py").write_text(f"import pathlib; pathlib.Path({str(folder / 'ran')!r}).touch()")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text((folder / "evil.py").read_text())
    load_bridge(folder)
    assert not (folder / "ran").exists()


def test_two_threads_load_and_each_hears_of_its_own_model(original_folder: Path) -> None:
    reports: dict[str, list[str]] = {"golden": [], "original": []}

    def load(name: str, path: Path) -> None:
        load_bridge(path, progress=lambda text, part: reports[name].append(text))

    paths = {"golden": GOLDEN, "original": original_folder}
    threads = [threading.Thread(target=load, args=item) for item in paths.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [text for text in reports["golden"] if text.startswith("Loading weights,")][-1].endswith("of 21")
    assert [text for text in reports["original"] if text.startswith("Loading weights,")][-1].endswith("of 21")
    assert [reports[name][0] for name in paths] == ["Reading the model's settings"] * 2


def test_loading_bars_of_others_are_left_alone() -> None:
    from transformers.utils import logging

    with reported_loading(lambda text, part: None):
        other = logging.tqdm([1, 2], desc="Something else")
    assert hasattr(other, "set_description")
    assert list(logging.tqdm([1, 2], desc="Loading weights")) == [1, 2]


def test_an_exception_from_progress_leaves_at_once() -> None:
    class StopError(Exception):
        pass

    def stop(text: str, part: float | None) -> None:
        raise StopError

    with pytest.raises(StopError):
        load_bridge(GOLDEN, progress=stop)
    assert load_bridge(GOLDEN)


def test_importing_the_package_does_not_import_transformers() -> None:
    script = "import sys, components.models; print({'transformers', 'accelerate'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def kinds(layers: int, attention: tuple[int, ...]) -> list[str]:
    return ["attention" if i in attention else "mamba" for i in range(layers)]


def granite(hidden: int, attention: list[str]) -> dict[str, object]:
    return {
        "hidden_size": hidden,
        "layer_types": attention,
        "num_hidden_layers": len(attention),
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "shared_intermediate_size": hidden * 8 // 3,
        "num_local_experts": 0,
        "mamba_n_heads": 48,
        "mamba_d_state": 128,
        "vocab_size": 100_352,
        "tie_word_embeddings": True,
    }


# What the config.json of each checkpoint says.
HYBRIDS = {
    "ibm-granite/granite-4.0-h-350m": ("granitemoehybrid", granite(768, kinds(32, (10, 13, 17, 27)))),
    "ibm-granite/granite-4.0-h-1b": ("granitemoehybrid", granite(1536, kinds(40, (5, 15, 25, 35)))),
    "tiiuae/Falcon-H1-0.5B-Base": (
        "falcon_h1",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 36,
            "intermediate_size": 2048,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "mamba_d_ssm": 1536,
            "mamba_n_heads": 24,
            "mamba_d_state": 128,
            "vocab_size": 32_784,
        },
    ),
    "Zyphra/Zamba2-1.2B": (
        "zamba2",
        {
            "hidden_size": 2048,
            "num_hidden_layers": 38,
            "layers_block_type": ["hybrid" if i % 6 == 5 else "mamba" for i in range(38)],
            "n_mamba_heads": 64,
            "mamba_d_state": 128,
            "use_shared_attention_adapter": True,
            "use_mem_rope": True,
        },
    ),
    "ibm-ai-platform/Bamba-9B-v2": (
        "bamba",
        {
            "attn_layer_indices": [9, 18, 27],
            "mamba_d_state": 128,
            "vocab_size": 128_256,
        },
    ),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (
        "nemotron_h",
        {
            "hidden_size": 2688,
            "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
            "num_key_value_heads": 2,
            "mamba_num_heads": 64,
            "n_routed_experts": 128,
            "moe_intermediate_size": 1856,
            "moe_shared_expert_intermediate_size": 3712,
        },
    ),
}


@pytest.mark.parametrize("entry", CATALOGUE[1:], ids=lambda entry: entry.label)
def test_the_catalogue_counts_as_transformers_does(entry: CatalogueEntry) -> None:
    codestral = "Codestral" in entry.name
    pure = {
        "hidden_size": entry.hidden,
        "num_hidden_layers": entry.layers,
        "num_heads": entry.heads,
        "head_dim": entry.head_dim,
        "state_size": entry.state,
        "n_groups": entry.groups,
        "vocab_size": 32768 if codestral else 50288,
        "tie_word_embeddings": not codestral,
    }
    family, options = HYBRIDS.get(entry.name, ("mamba2", pure))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **options))
    assert sum(parameter.numel() for parameter in model.parameters()) == entry.parameters
    mixer = next(module for module in model.modules() if is_mamba2_mixer(module))
    sizes = (mixer.num_heads, mixer.head_dim, mixer.ssm_state_size, mixer.n_groups)
    assert sizes == (entry.heads, entry.head_dim, entry.state, entry.groups)
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (entry.layers, entry.hidden)


def test_the_demo_comes_first_and_every_family_has_a_model() -> None:
    names = [entry.name for entry in CATALOGUE]
    assert names[0] == "demo"
    assert len(set(names)) == len(names)
    assert {"mamba2"} | {family for family, _ in HYBRIDS.values()} == set(SUPPORTED)
    assert set(HYBRIDS) <= set(names)


def test_the_demo_is_the_folder_that_ships_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_source("demo") == MODEL_FOLDER
    monkeypatch.setattr(source, "MODEL_FOLDER", GOLDEN)
    assert load_bridge().model.config.vocab_size == 97


def test_a_folder_wins_over_a_repository_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_source("someone/model") == Repository("someone/model")
    (tmp_path / "someone" / "model").mkdir(parents=True)
    assert find_source("someone/model") == Path("someone/model")


def test_errors_are_value_errors() -> None:
    assert issubclass(ModelLoadError, ValueError)
