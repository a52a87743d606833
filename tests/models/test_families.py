"""Every family loads from a folder as Hugging Face saves it, and nothing of it is made up or lost."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.bridge.families import SUPPORTED
from components.models import ModelLoadError, load_bridge
from tests.families import FAMILY_CASES, SOME_CASES, FamilyCase
from tests.models.conftest import GOLDEN
from tests.tiny import random_ids


def saved(case: FamilyCase, folder: Path) -> Any:
    model = case.build()
    model.save_pretrained(folder)
    for file in GOLDEN.glob("tokenizer*"):
        shutil.copy(file, folder)
    return model


@pytest.mark.parametrize("case", FAMILY_CASES, ids=str)
def test_a_saved_model_comes_back_whole(case: FamilyCase, tmp_path: Path) -> None:
    model, ids = saved(case, tmp_path), random_ids(0, 1, 20)
    bridge = load_bridge(tmp_path)
    assert torch.equal(bridge.model(ids).logits, model(ids).logits)
    assert (bridge.ssm_layers(), bridge.attention_layers()) == (case.mixers, case.attentions)
    assert bridge.to_str_tokens("a b")


@pytest.mark.parametrize("case", SOME_CASES, ids=str)
def test_half_precision_and_a_device_map(case: FamilyCase, tmp_path: Path) -> None:
    saved(case, tmp_path)
    bridge = load_bridge(tmp_path, device_map="auto", dtype="bfloat16")
    assert bridge.model.dtype == torch.bfloat16
    _, cache = bridge.run_with_cache(random_ids(0, 1, 20))
    for layer in bridge.ssm_layers():
        assert cache.faithfulness(layer) <= cache.tolerance(layer)


def case_of(name: str) -> FamilyCase:
    return next(case for case in FAMILY_CASES if str(case) == name)


ONE_OF_EACH = [next(case for case in FAMILY_CASES if case.family == family) for family in SUPPORTED]
GROUPED = case_of("zamba2-grouped-nope")  # layers 1 and 2 share a transformer


def places(case: FamilyCase, on_disk: set[str]) -> dict[str, str]:
    """A device_map of everything, by layers; what is named lies on the disk."""
    with torch.device("meta"):
        model, layers = case.build(), SUPPORTED[case.family].layers
    parts = {re.sub(rf"^({layers}\.\d+)\..*", r"\1", key) for key in model.state_dict()}
    parts = {part.removesuffix(".weight") for part in parts} | {
        key for key, _ in model.named_modules() if key.endswith("rotary_emb")
    }
    return {part: "disk" if part in on_disk else "cpu" for part in parts}


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_layers_on_the_disk(case: FamilyCase, tmp_path: Path) -> None:
    model, ids, layers = saved(case, tmp_path), random_ids(0, 1, 20), SUPPORTED[case.family].layers
    on_disk = {f"{layers}.{i}" for i in range(1, model.config.num_hidden_layers)}
    bridge = load_bridge(tmp_path, device_map=places(case, on_disk))
    logits, cache = bridge.run_with_cache(ids)
    assert torch.equal(logits, model(ids).logits)
    assert all(parameter.is_meta for parameter in bridge.model.get_submodule(f"{layers}.1").parameters())
    assert max(cache.faithfulness(layer) for layer in case.mixers) < 5e-6


def test_what_layers_share_comes_back_shared(tmp_path: Path) -> None:
    saved(GROUPED, tmp_path)
    assert not [key for key in load_file(tmp_path / "model.safetensors") if ".2.shared_transformer" in key]
    layers = load_bridge(tmp_path).model.model.layers
    assert layers[2].shared_transformer.self_attn.q_proj.weight is (
        layers[1].shared_transformer.self_attn.q_proj.weight
    )


@pytest.mark.parametrize("on_disk", ["model.layers.1", "model.layers.2"])
def test_shared_layers_partly_on_the_disk(on_disk: str, tmp_path: Path) -> None:
    saved(GROUPED, tmp_path)
    with pytest.raises(
        ModelLoadError, match=f"has {on_disk}.shared_transformer.*one and the same weight.*auto"
    ):
        load_bridge(tmp_path, device_map=places(GROUPED, {on_disk}))


@pytest.mark.parametrize("family", ["mamba2", "bamba", "granitemoehybrid", "zamba2", "falcon_h1"])
def test_tied_embeddings(family: str, tmp_path: Path) -> None:
    case = next(case for case in FAMILY_CASES if case.family == family)
    case = replace(case, options=case.options | {"tie_word_embeddings": True})
    model, ids = saved(case, tmp_path), random_ids(0, 1, 20)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    assert torch.equal(load_bridge(tmp_path).model(ids).logits, model(ids).logits)
    with pytest.raises(ModelLoadError, match=r"has lm_head.weight on the disk and .*embed.*elsewhere"):
        load_bridge(tmp_path, device_map=places(case, {"lm_head"}))


def change_weights(folder: Path, changes: dict[str, torch.Tensor | None]) -> None:
    weights = load_file(folder / "model.safetensors") | changes
    kept = {key: tensor for key, tensor in weights.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_weights_that_are_missing_or_of_another_shape_or_layer(case: FamilyCase, tmp_path: Path) -> None:
    saved(case, tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    D = next(key for key in whole if key.endswith(".D"))
    name = D.replace("backbone", "model") if "nemotron" in case.family else D
    change_weights(tmp_path, {D: torch.ones(5)})
    with pytest.raises(ModelLoadError, match=rf"{re.escape(name)} has the shape \[5\] and should have \[8\]"):
        load_bridge(tmp_path)
    change_weights(tmp_path, {D: None})
    with pytest.raises(ModelLoadError, match=rf"1 are missing \({re.escape(name)}\)"):
        load_bridge(tmp_path)
    beyond = re.sub(r"layers\.\d+", "layers.60", D)
    change_weights(tmp_path, {D: whole[D], beyond: torch.ones(8)})
    with pytest.raises(ModelLoadError, match=r"more layers than the \d in its config.json .*layers\.60"):
        load_bridge(tmp_path)


def test_a_norm_that_the_settings_leave_out(tmp_path: Path) -> None:
    saved(case_of("falcon_h1-norm-after-gate"), tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"mamba_rms_norm": true', '"mamba_rms_norm": false'))
    with pytest.raises(ModelLoadError, match=r"leaves out \(model.layers.0.mamba.norm.weight"):
        load_bridge(tmp_path)


@pytest.mark.parametrize("name", ["granitemoehybrid-experts-rope", "nemotron_h-experts-gelu"])
def test_experts_of_another_size(name: str, tmp_path: Path) -> None:
    saved(case_of(name), tmp_path)
    config = tmp_path / "config.json"
    config.write_text(re.sub(r'("(num_local|n_routed)_experts": )4', r"\g<1>5", config.read_text()))
    with pytest.raises(ModelLoadError, match=r"experts.* has the shape \[4, .* should have \[5, "):
        load_bridge(tmp_path)


def test_layers_for_further_tokens_are_left_out_as_transformers_does(tmp_path: Path) -> None:
    case, ids = case_of("nemotron_h-experts-gelu"), random_ids(0, 1, 20)
    model = saved(case, tmp_path)
    change_weights(tmp_path, {f"mtp.layers.{i}.mixer.D": torch.ones(8) for i in (0, 60)})
    assert torch.equal(load_bridge(tmp_path).model(ids).logits, model(ids).logits)


def test_code_beside_a_hybrid_is_not_run(tmp_path: Path) -> None:
    case = case_of("nemotron_h-latent")
    saved(case, tmp_path)
    config = tmp_path / "config.json"
    own = '"auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}, "model_type"'
    config.write_text(config.read_text().replace('"model_type"', own))
    (tmp_path / "own.py").write_text("raise SystemExit('it was run')")
    assert load_bridge(tmp_path).ssm_layers() == case.mixers
