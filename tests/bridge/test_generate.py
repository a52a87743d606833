"""Captures over prompt and continuation."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.bridge import ModelBridge
from tests.tiny import GOLDEN, random_ids, relative, tiny_model

TERMS = ("x", "B", "C", "dt", "cum_log_decay")


@pytest.mark.parametrize("prompt_length", [1, 2, 5, 33])
def test_generation_gives_the_terms_of_one_pass_over_the_whole_text(prompt_length: int) -> None:
    model = tiny_model()
    plain = copy.deepcopy(model)
    bridge = ModelBridge(model)
    ids = random_ids(0, 2, prompt_length)
    continued, cache = bridge.generate(ids, max_new_tokens=20, do_sample=False, with_cache=True)
    assert torch.equal(continued, plain.generate(ids, max_new_tokens=20, do_sample=False))
    assert continued.shape == (2, prompt_length + 20)
    logits, whole = bridge.run_with_cache(continued)
    for layer in bridge.ssm_layers():
        stepped, at_once = cache.ssd_terms(layer), whole.ssd_terms(layer)
        for name in TERMS:
            assert relative(getattr(stepped, name), getattr(at_once, name)) <= 1e-5, name
        found = cache.compute_ssm_effective_attention(layer)
        assert relative(found, whole.compute_ssm_effective_attention(layer)) <= 1e-5
        assert cache.faithfulness(layer) <= 5e-6
        for hook in ("conv1d.hook_in", "conv1d.hook_out", "hook_scan", "hook_out"):
            name = f"blocks.{layer}.mixer.{hook}"
            assert relative(cache[name], whole[name]) <= 1e-5, name
    assert cache.notes == []
    assert relative(logits, plain(continued).logits.detach()) == 0


def test_sampling_is_seeded_and_passed_on() -> None:
    bridge = ModelBridge(tiny_model())

    def sample(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return bridge.generate(random_ids(0, 1, 4), max_new_tokens=12, do_sample=True, temperature=2.0)

    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))


def test_decode_steps_skip_the_clamp_and_the_capture_says_so() -> None:
    """The model clamps dt in prefill only; the capture follows each step as it ran."""
    model = AutoModelForCausalLM.from_pretrained(GOLDEN / "clamped")
    bridge = ModelBridge(model)
    ids = random_ids(3, 1, 10)
    continued, cache = bridge.generate(
        ids, max_new_tokens=8, min_new_tokens=8, do_sample=False, with_cache=True
    )
    _, whole = bridge.run_with_cache(continued)
    dt, clamped = cache.ssd_terms(0).dt, whole.ssd_terms(0).dt
    torch.testing.assert_close(dt[:, :10], clamped[:, :10])
    torch.testing.assert_close(dt.clamp(0.01, 0.2), clamped)
    assert float(dt[:, 10:].max()) > 0.2
    for layer in bridge.ssm_layers():
        assert cache.faithfulness(layer) <= 5e-6
    assert len(cache.notes) == 2
    assert "blocks.0.mixer" in cache.notes[0]
    assert "[0.01, 0.2]" in cache.notes[0]
    assert "8 generated positions, the first being 10" in cache.notes[0]
    assert whole.notes == []


def test_beam_search_is_refused() -> None:
    with pytest.raises(ValueError, match="Beam search"):
        ModelBridge(tiny_model()).generate([1, 2], max_new_tokens=2, num_beams=2)
