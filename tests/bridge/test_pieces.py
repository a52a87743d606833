"""A long text in pieces is the text in one pass."""

import pytest
import torch

from components.bridge import ModelBridge, matrix_inputs
from tests.tiny import random_ids, relative, tiny_model


@pytest.fixture(scope="module")
def bridge() -> ModelBridge:
    return ModelBridge(tiny_model(time_step_limit=(0.05, 1.5)))


@pytest.mark.parametrize("length", [2, 3, 40, 65, 200])
@pytest.mark.parametrize("piece", [2, 16, 33, 64])
def test_terms_logits_and_faithfulness_are_those_of_one_pass(
    bridge: ModelBridge, length: int, piece: int
) -> None:
    ids = random_ids(length, 1, length)
    logits, whole = bridge.run_with_cache(ids)
    in_pieces, cache = bridge.run_with_cache(ids, piece_tokens=piece)
    assert relative(in_pieces, logits) <= 1e-5
    for layer in bridge.ssm_layers():
        found, expected = cache.ssd_terms(layer), whole.ssd_terms(layer)
        for name in ("x", "B", "C", "dt", "cum_log_decay"):
            assert relative(getattr(found, name), getattr(expected, name)) <= 1e-5
        assert cache.faithfulness(layer) <= 5e-6


def test_one_mixer_in_pieces(bridge: ModelBridge) -> None:
    ids = random_ids(0, 1, 150)
    _, cache = bridge.run_with_cache(ids, names_filter=matrix_inputs, piece_tokens=32)
    given = cache["blocks.1.mixer.hook_in"]
    out, whole = bridge.run_mixer(1, given)
    in_pieces, alone = bridge.run_mixer(1, given, piece_tokens=32)
    assert relative(in_pieces, out) <= 1e-5
    assert relative(alone["blocks.1.mixer.hook_scan"], whole["blocks.1.mixer.hook_scan"]) <= 1e-5
    assert alone.faithfulness(1) <= 5e-6


@pytest.mark.parametrize("piece", [None, 16])
@pytest.mark.parametrize("kept", [1, 5, 16, 17, 60])
def test_only_the_last_logits(bridge: ModelBridge, piece: int | None, kept: int) -> None:
    ids = random_ids(1, 2, 60)
    logits, _ = bridge.run_with_cache(ids, names_filter=[])
    last, _ = bridge.run_with_cache(ids, names_filter=[], piece_tokens=piece, logits_to_keep=kept)
    assert relative(last, logits[:, -kept:]) <= 1e-5


def test_hooks_fire_for_each_piece_and_edits_last(bridge: ModelBridge) -> None:
    ids = random_ids(2, 1, 50)
    lengths = []

    def double(tensor: torch.Tensor, hook: object) -> torch.Tensor:
        lengths.append(tensor.shape[1])
        return 2 * tensor

    hooks = [("blocks.0.mixer.hook_dt", double)]
    in_pieces, _ = bridge.run_with_cache(ids, fwd_hooks=hooks, piece_tokens=20)
    assert lengths == [20, 20, 10]
    expected, _ = bridge.run_with_cache(ids, fwd_hooks=hooks)
    assert relative(in_pieces, expected) <= 1e-5


def test_what_cannot_be_run_in_pieces_is_told(bridge: ModelBridge) -> None:
    ids = random_ids(3, 2, 30)
    mask = torch.ones_like(ids)
    bridge.run_with_cache(ids, attention_mask=mask, piece_tokens=8)
    mask[0, :4] = 0
    with pytest.raises(ValueError, match="one by one"):
        bridge.run_with_cache(ids, attention_mask=mask, piece_tokens=8)
    with pytest.raises(ValueError, match="two and more"):
        bridge.run_with_cache(ids, piece_tokens=1)
