"""A checkpoint is opened only if the model computes with exactly what it holds."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.models import load_bridge
from tests.models.conftest import GOLDEN, refused
from tests.models.test_families import ONE_OF_EACH, FamilyCase, case_of, change_weights, saved
from tests.tiny import random_ids

EXPERTS = case_of("nemotron_h-experts-gelu")


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def as_float8(folder: Path, part: str, *, with_scales: bool = True) -> None:
    """Store the matrices whose name has `part` as ModelOpt does: float8, and a scale beside each."""
    changes: dict[str, torch.Tensor | None] = {}
    for key, tensor in weights_of(folder).items():
        if part in key and tensor.ndim > 1 and key.endswith("weight"):
            scale = tensor.abs().max() / 448
            changes[key] = (tensor / scale).to(torch.float8_e4m3fn)
            if with_scales:
                changes[f"{key}_scale"] = scale
    assert changes
    change_weights(folder, changes)


# Numbers that are no weights


@pytest.mark.parametrize("part", [".mixer.up_proj", ".mixer.experts.", "shared_experts", "mixer.o_proj"])
def test_float8_in_a_part_of_the_model(part: str, tmp_path: Path) -> None:
    saved(EXPERTS, tmp_path)
    as_float8(tmp_path, part)
    with refused(r"holds weights in F8_E4M3 \(model.layers.*is quantized.*Open the checkpoint it was made"):
        load_bridge(tmp_path)


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_one_matrix_in_float8_in_every_family(case: FamilyCase, tmp_path: Path) -> None:
    saved(case, tmp_path)
    key = next(key for key in weights_of(tmp_path) if key.endswith("out_proj.weight"))
    as_float8(tmp_path, key, with_scales=False)
    with refused(rf"holds weights in F8_E4M3 \(\w+\.{re.escape(key.partition('.')[2])}\)"):
        load_bridge(tmp_path)


@pytest.mark.parametrize(
    ("dtype", "named"),
    [
        (torch.float8_e5m2, "F8_E5M2"),
        (torch.int8, "I8"),
        (torch.uint8, "U8"),
        (torch.int32, "I32"),
        (torch.bool, "BOOL"),
    ],
)
def test_what_is_no_float_of_16_bits(folder: Path, dtype: torch.dtype, named: str) -> None:
    key = "backbone.layers.0.mixer.in_proj.weight"
    change_weights(folder, {key: weights_of(folder)[key].to(dtype)})
    with refused(rf"holds weights in {named} \({re.escape(key)}\)"):
        load_bridge(folder)


def test_int8_in_a_bin_file(original_folder: Path) -> None:
    file = original_folder / "pytorch_model.bin"
    weights = torch.load(file, weights_only=True)
    torch.save(weights | {"backbone.embedding.weight": weights["backbone.embedding.weight"].char()}, file)
    with refused(r"holds weights in int8 \(backbone.embeddings.weight"):
        load_bridge(original_folder)


def test_packed_weights_are_told_by_their_type_and_not_by_their_shape(folder: Path) -> None:
    """As bitsandbytes (4 bits), NVFP4 and MLX pack them: several numbers in one integer."""
    key = "backbone.layers.0.mixer.in_proj.weight"
    rows, columns = weights_of(folder)[key].shape
    change_weights(folder, {key: torch.zeros(rows * columns // 2, 1, dtype=torch.uint8)})
    with refused(rf"holds weights in U8 \({re.escape(key)}\)"):
        load_bridge(folder)


def test_float64_is_whole(folder: Path) -> None:
    change_weights(folder, {key: tensor.double() for key, tensor in weights_of(folder).items()})
    ids = random_ids(0, 1, 20)
    assert torch.equal(load_bridge(folder).model(ids).logits, load_bridge(GOLDEN).model(ids).logits)


# Weights that the model does not take


GPTQ = {"qweight": torch.int32, "qzeros": torch.int32, "scales": torch.float16, "g_idx": torch.int32}


LEFTOVERS = ["weight_scale", "weight_scale_2", "input_scale", "lora_A.weight"]


@pytest.mark.parametrize(
    ("case", "leftover"), list(zip(ONE_OF_EACH, cycle(LEFTOVERS), strict=False)), ids=str
)
def test_leftovers_beside_a_matrix(case: FamilyCase, leftover: str, tmp_path: Path) -> None:
    saved(case, tmp_path)
    key = max(key for key, tensor in weights_of(tmp_path).items() if tensor.ndim == 2 and "layers" in key)
    key = key.removesuffix("weight") + leftover
    change_weights(tmp_path, {key: torch.ones(1)})
    with refused(rf"weights that its model does not take \(\S*{re.escape(leftover)}\).*not merged"):
        load_bridge(tmp_path)


@pytest.mark.parametrize("leftover", ["self_attn.k_scale", "lm_head.bias", "model.norm.bias", "logit_scale"])
def test_leftovers_beside_other_modules(leftover: str, tmp_path: Path) -> None:
    saved(case_of("granitemoehybrid-dense-nope"), tmp_path)
    key = f"model.layers.1.{leftover}" if "attn" in leftover else leftover
    change_weights(tmp_path, {key: torch.ones(1)})
    with refused(rf"weights that its model does not take \({re.escape(key)}\)"):
        load_bridge(tmp_path)


def test_a_matrix_in_the_parts_of_gptq(folder: Path) -> None:
    place = "backbone.layers.0.mixer.in_proj"
    parts = {f"{place}.{part}": torch.ones(8, 8).to(dtype) for part, dtype in GPTQ.items()}
    change_weights(folder, {f"{place}.weight": None, **parts})
    with refused(rf"weights that its model does not take \({place}.g_idx, .* and 1 more\).*quantization"):
        load_bridge(folder)


def test_an_adapter_in_the_weights(folder: Path) -> None:
    wrapped = {f"base_model.model.{key}": tensor for key, tensor in weights_of(folder).items()}
    save_file(wrapped, folder / "model.safetensors", metadata={"format": "pt"})
    with refused(r"weights of an adapter that is not merged.*merge_and_unload\(\).save_pretrained"):
        load_bridge(folder)


SWITCHES = [
    ("mamba2-biases", ["use_bias"], "in_proj.bias"),
    ("mamba2-biases", ["use_conv_bias"], "conv1d.bias"),
    ("bamba-biases", ["attention_bias"], "self_attn.k_proj.bias"),
    ("bamba-biases", ["mlp_bias"], "feed_forward.down_proj.bias"),
    ("bamba-biases", ["mamba_proj_bias"], "mamba.in_proj.bias"),
    ("bamba-biases", ["mamba_conv_bias"], "mamba.conv1d.bias"),
    ("bamba-biases", ["attention_bias", "mlp_bias"], "feed_forward.down_proj.bias"),
    ("granitemoehybrid-experts-rope", ["attention_bias"], "self_attn.k_proj.bias"),
    ("granitemoehybrid-experts-rope", ["mamba_proj_bias"], "mamba.in_proj.bias"),
    ("zamba2-adapters-rope", ["add_bias_linear"], "mamba.in_proj.bias"),
    ("nemotron_h-experts-gelu", ["mlp_bias"], "mixer.down_proj.bias"),
    ("nemotron_h-experts-gelu", ["use_bias"], "mixer.in_proj.bias"),
    ("nemotron_h-experts-gelu", ["use_conv_bias"], "mixer.conv1d.bias"),
    ("falcon_h1-no-norm", ["attention_bias"], "self_attn.k_proj.bias"),
    ("falcon_h1-no-norm", ["mlp_bias"], "feed_forward.down_proj.bias"),
    ("falcon_h1-no-norm", ["projectors_bias"], "mamba.out_proj.bias"),
    ("falcon_h1-no-norm", ["mamba_proj_bias"], "mamba.in_proj.bias"),
    ("falcon_h1-norm-after-gate", ["mamba_rms_norm"], "mamba.norm.weight"),
]


@pytest.mark.parametrize(("case", "fields", "key"), SWITCHES, ids=str)
def test_what_the_settings_switch_off_is_named_with_its_field(
    case: str, fields: list[str], key: str, tmp_path: Path, edit_config: Callable[..., None]
) -> None:
    """With them true, the model comes back whole, as any that was saved."""
    saved(case_of(case), tmp_path)
    assert {json.loads((tmp_path / "config.json").read_text())[field] for field in fields} == {True}
    edit_config(tmp_path, **dict.fromkeys(fields, False))
    with refused(rf"leaves out \(.*{key}.*set {' and '.join(fields)} to true in this one") as caught:
        load_bridge(tmp_path)
    assert str(caught.value).count("_bias") == sum("bias" in field for field in fields)


def test_a_bias_that_no_field_switches(tmp_path: Path) -> None:
    """As Nemotron-H has a field attention_bias, and attention without biases all the same."""
    saved(case_of("nemotron_h-latent"), tmp_path)
    change_weights(tmp_path, {"backbone.layers.1.mixer.q_proj.bias": torch.ones(32)})
    with refused(r"weights that its model does not take \(model.layers.1.mixer.q_proj.bias\)"):
        load_bridge(tmp_path)


# What is no fault


@pytest.mark.parametrize("case", ["mamba2-biases", "zamba2-adapters-rope", "nemotron_h-latent"])
def test_modules_that_the_model_does_not_have(case: str, tmp_path: Path) -> None:
    model, ids = saved(case_of(case), tmp_path), random_ids(0, 1, 20)
    extra = {
        "vision_tower.layers.60.weight": torch.ones(4, 4).to(torch.float8_e4m3fn),
        "mtp.layers.0.mixer.D": torch.ones(8),
        "score.weight": torch.ones(2, 32),
        "model.heads.0.weight": torch.ones(3, dtype=torch.int64),
    }
    change_weights(tmp_path, extra)
    assert torch.equal(load_bridge(tmp_path).model(ids).logits, model(ids).logits)


def test_frequencies_that_older_versions_stored(tmp_path: Path) -> None:
    case, ids = case_of("bamba-gelu"), random_ids(0, 1, 20)
    model = saved(case, tmp_path)
    change_weights(tmp_path, {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    assert torch.equal(load_bridge(tmp_path).model(ids).logits, model(ids).logits)


def test_a_head_beside_tied_embeddings_counts(tmp_path: Path, edit_config: Callable[..., None]) -> None:
    """Where config.json ties them and the weights differ, the model computes with both as they are."""
    model, ids = saved(case_of("mamba2-gelu"), tmp_path), random_ids(0, 1, 20)
    edit_config(tmp_path, tie_word_embeddings=True)
    assert torch.equal(load_bridge(tmp_path).model(ids).logits, model(ids).logits)


def test_a_weight_file_of_another_name(folder: Path, edit_config: Callable[..., None]) -> None:
    """transformers would open it in place of the file that was checked."""
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")
    change_weights(folder, {"backbone.layers.0.mixer.D": torch.full((8,), 7.0)})
    edit_config(folder, transformers_weights="other.safetensors")
    with refused("names its weight file itself .transformers_weights.*Rename the file to model.safetensors"):
        load_bridge(folder)


# How it is found out


def test_nothing_large_is_read_before_the_headers_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_weights(folder, {"backbone.layers.0.mixer.in_proj.weight_scale": torch.ones(1)})
    monkeypatch.setattr("components.models.loader._load", lambda *args, **options: pytest.fail("was read"))
    with refused("does not take"):
        load_bridge(folder)


def test_the_rehearsal_is_not_seen(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change_weights(folder, {"extra.weight": torch.ones(1, dtype=torch.int8)})
    reports: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = reports.append
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addHandler(handler)
    try:
        load_bridge(folder)
    finally:
        logger.removeHandler(handler)
    assert [report.getMessage().count("extra.weight") for report in reports] == [1]
    assert capfd.readouterr().err.count("Loading weights: 100%") == 1


def test_experts_of_shapes_that_make_no_tensor(tmp_path: Path) -> None:
    saved(EXPERTS, tmp_path)
    key = next(key for key in weights_of(tmp_path) if "experts.1.up_proj" in key)
    change_weights(tmp_path, {key: torch.ones(3, 3)})
    with refused("The weights of .* do not fit its config.json"):
        load_bridge(tmp_path)
