"""The training form against Hugging Face's own forward pass."""

import pytest
import torch
from transformers import Mamba2ForCausalLM

from components.demo.fast_forward import CHUNK, fast_logits


@pytest.mark.parametrize("chunks", [1, 5])
def test_the_training_form_gives_the_reference_logits(demo_model: Mamba2ForCausalLM, chunks: int) -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, demo_model.config.vocab_size, (3, chunks * CHUNK))
    with torch.no_grad():
        reference = demo_model(ids).logits
        fast = fast_logits(demo_model, ids)
    assert reference.std() > 0.1
    assert (fast - reference).abs().max() <= 1e-5 * reference.abs().max()
