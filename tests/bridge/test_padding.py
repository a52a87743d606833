"""Left-padded batches."""

from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from components.bridge import ModelBridge
from tests.tiny import GOLDEN, random_ids, relative, tiny_model


@pytest.mark.parametrize("options", [{}, {"time_step_limit": (0.05, 0.4), "n_groups": 1}])
@pytest.mark.parametrize("padding", [1, 2, 17])
def test_real_positions_match_the_unpadded_run(options: dict[str, Any], padding: int) -> None:
    bridge = ModelBridge(tiny_model(**options))
    long, short = random_ids(0, 1, 25), random_ids(1, 1, 25 - padding)
    batch = torch.cat([long, torch.cat([torch.full((1, padding), 96), short], dim=1)])
    mask = torch.ones_like(batch)
    mask[1, :padding] = 0
    _, both = bridge.run_with_cache(batch, attention_mask=mask)
    _, alone = bridge.run_with_cache(short)
    for layer in bridge.ssm_layers():
        padded, truth = both.ssd_terms(layer), alone.ssd_terms(layer)
        for name in ("x", "B", "C", "dt"):
            assert relative(getattr(padded, name)[1:, padding:], getattr(truth, name)) <= 1e-5, name
        for scaled in (False, True):
            M = both.compute_ssm_effective_attention(layer, scaled)[1:]
            expected = alone.compute_ssm_effective_attention(layer, scaled)
            assert relative(M[..., padding:, padding:], expected) <= 1e-5
            assert float(M[..., :padding].abs().max()) == 0
            assert float(M[..., :padding, :].abs().max()) == 0
        assert both.faithfulness(layer) <= 5e-6


def test_texts_of_different_lengths_are_padded_on_the_left() -> None:
    tokenizer = AutoTokenizer.from_pretrained(GOLDEN / "grouped")
    bridge = ModelBridge(tiny_model(), tokenizer)
    texts = [tokenizer.decode(random_ids(seed, 1, length)[0]) for seed, length in ((0, 12), (1, 5))]
    lengths = [len(bridge.to_str_tokens(text)) for text in texts]
    assert lengths[0] != lengths[1]
    logits, cache = bridge.run_with_cache(texts)
    assert logits.shape[:2] == (2, max(lengths))
    short = 0 if lengths[0] < lengths[1] else 1
    alone, _ = bridge.run_with_cache(texts[short])
    assert relative(logits[short, -min(lengths) :], alone[0]) <= 1e-5
    ids, cache = bridge.generate(texts, max_new_tokens=4, do_sample=False, with_cache=True)
    by_itself = bridge.generate(texts[short], max_new_tokens=4, do_sample=False)
    assert torch.equal(ids[short, -4:], by_itself[0, -4:])
    assert cache.faithfulness(0) <= 5e-6
