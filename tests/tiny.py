"""Tiny random Mamba-2 models, made on the spot, and text to give them."""

from pathlib import Path
from typing import Any

import torch
from transformers import Mamba2Config, Mamba2ForCausalLM

GOLDEN = Path(__file__).parent / "data" / "golden"
VOCABULARY = 97


def tiny_model(seed: int = 0, dtype: torch.dtype = torch.float32, **options: Any) -> Mamba2ForCausalLM:
    """Two layers, eight heads of eight; parameters spread out so that every term matters."""
    defaults: dict[str, Any] = {
        "num_heads": 8,
        "head_dim": 8,
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "state_size": 8,
        "num_hidden_layers": 2,
        "n_groups": 2,
        "chunk_size": 16,
        "pad_token_id": 96,
        "bos_token_id": 95,
        "eos_token_id": None,
    }
    torch.manual_seed(seed)
    model = Mamba2ForCausalLM(Mamba2Config(**(defaults | options)))
    with torch.no_grad():
        for layer in model.backbone.layers:
            mixer = layer.mixer
            mixer.A_log.copy_(torch.linspace(-3, 1, len(mixer.A_log)))
            mixer.dt_bias.uniform_(-2, 1)
            mixer.D.normal_()
            mixer.in_proj.weight.normal_(std=0.3)
            mixer.norm.weight.uniform_(0.5, 1.5)
            if mixer.conv1d.bias is not None:
                mixer.conv1d.bias.normal_(std=0.3)
            if mixer.in_proj.bias is not None:
                mixer.in_proj.bias.normal_(std=0.3)
    return model.to(dtype).eval()


def random_ids(seed: int, batch: int, length: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 90, (batch, length), generator=draw)


def relative(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Largest difference over the largest entry of the truth."""
    assert found.shape == truth.shape
    return float((found.double() - truth.double()).abs().max() / truth.double().abs().max())
