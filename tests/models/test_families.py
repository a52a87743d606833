"""Every family loads from a folder as Hugging Face saves it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from components.models import load_bridge
from tests.families import FAMILY_CASES, FamilyCase
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


@pytest.mark.parametrize("case", FAMILY_CASES, ids=str)
def test_half_precision_and_a_device_map(case: FamilyCase, tmp_path: Path) -> None:
    saved(case, tmp_path)
    bridge = load_bridge(tmp_path, device_map="auto", dtype="bfloat16")
    assert bridge.model.dtype == torch.bfloat16
    _, cache = bridge.run_with_cache(random_ids(0, 1, 20))
    for layer in bridge.ssm_layers():
        assert cache.faithfulness(layer) <= cache.tolerance(layer)
