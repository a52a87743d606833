"""Tiny random models of every family, with the options that change the arithmetic switched on.

Options that exclude each other make several cases of a family. In a `clamped` one the limit of dt binds; in
the others decode steps do the same arithmetic as a prefill.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.tiny import VOCABULARY

TOKENS = {"vocab_size": VOCABULARY, "pad_token_id": 96, "bos_token_id": 95, "eos_token_id": None}
ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2}
# As Bamba, Granite and Falcon call it: eight heads of eight, of two groups.
MAMBA = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 2,
    "mamba_d_state": 8,
    "mamba_chunk_size": 16,
    "mamba_expand": 2,
}
LIMIT = (0.2, 0.6)
# Patterns that are not flat, and no layer that makes so much of rounding that a comparison says nothing.
GAINS = {"adapter": 0.7, "q_proj": 1.2, "k_proj": 1.2, "out_proj": 0.5, "down_proj": 0.5}


@dataclass(frozen=True)
class FamilyCase:
    """One model: its options, and which of its layers hold what."""

    family: str
    label: str
    options: dict[str, Any]
    mixers: list[int]
    attentions: list[int]
    clamped: bool = False
    has_norm: bool = True

    def __str__(self) -> str:
        return f"{self.family}-{self.label}"

    @property
    def modeling(self) -> ModuleType:
        """The module of transformers that the model's classes are in."""
        return importlib.import_module(f"transformers.models.{self.family}.modeling_{self.family}")

    def build(self, dtype: torch.dtype = torch.float32, seed: int = 0, **options: Any) -> PreTrainedModel:
        """The same model for the same seed, whatever else is asked of it."""
        config = AutoConfig.for_model(self.family, **TOKENS, hidden_size=32, **self.options)
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, **options)
        spread(model)
        return model.to(dtype).eval()


@torch.no_grad()
def spread(model: nn.Module) -> None:
    """Parameters such that every term matters and no softmax is flat."""
    for name, parameter in model.named_parameters():
        match name.rpartition(".")[2]:
            case "A_log":
                parameter.copy_(torch.linspace(-3, 1, len(parameter)))
            case "dt_bias":
                parameter.uniform_(-2, 1)
            case "D":
                parameter.normal_()
            case _ if "embed" in name:
                parameter.normal_()
            case _ if parameter.ndim > 1:
                gains = (gain for part, gain in GAINS.items() if part in name)
                parameter.normal_(std=next(gains, 1.0) * parameter.shape[-1] ** -0.5)
            case "weight":
                parameter.uniform_(0.5, 1.5)
            case _:
                parameter.normal_(std=0.3)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):  # of routers
            buffer.normal_(std=0.1)


FAMILY_CASES = [
    FamilyCase(
        "mamba2",
        "biases",
        {
            "num_heads": 8,
            "head_dim": 8,
            "state_size": 8,
            "n_groups": 2,
            "chunk_size": 16,
            "num_hidden_layers": 3,
            "use_bias": True,
            "time_step_limit": LIMIT,
        },
        mixers=[0, 1, 2],
        attentions=[],
        clamped=True,
    ),
    FamilyCase(
        "mamba2",
        "gelu",
        {
            "num_heads": 8,
            "head_dim": 8,
            "state_size": 8,
            "n_groups": 4,
            "chunk_size": 16,
            "num_hidden_layers": 3,
            "use_conv_bias": False,
            "hidden_act": "gelu",
        },
        mixers=[0, 1, 2],
        attentions=[],
    ),
    FamilyCase(
        "bamba",
        "biases",
        {
            **MAMBA,
            **ATTENTION,
            "num_hidden_layers": 4,
            "attn_layer_indices": [1, 3],
            "intermediate_size": 48,
            "mamba_proj_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "time_step_limit": LIMIT,
        },
        mixers=[0, 2],
        attentions=[1, 3],
        clamped=True,
    ),
    FamilyCase(
        "bamba",
        "gelu",
        {
            **MAMBA,
            **ATTENTION,
            "mamba_n_groups": 1,
            "num_hidden_layers": 3,
            "attn_layer_indices": [0],
            "intermediate_size": 48,
            "mamba_conv_bias": False,
            "hidden_act": "gelu",
        },
        mixers=[1, 2],
        attentions=[0],
    ),
    FamilyCase(
        "granitemoehybrid",
        "experts-rope",
        {
            **MAMBA,
            **ATTENTION,
            "num_hidden_layers": 4,
            "layer_types": ["mamba", "attention", "mamba", "attention"],
            "intermediate_size": 24,
            "shared_intermediate_size": 40,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "position_embedding_type": "rope",
            "mamba_proj_bias": True,
            "attention_bias": True,
            "embedding_multiplier": 3.0,
            "logits_scaling": 1.7,
            "residual_multiplier": 0.6,
            "attention_multiplier": 0.3,
            "time_step_limit": LIMIT,
        },
        mixers=[0, 2],
        attentions=[1, 3],
        clamped=True,
    ),
    FamilyCase(
        "granitemoehybrid",
        "dense-nope",
        {
            **MAMBA,
            **ATTENTION,
            "num_hidden_layers": 3,
            "layer_types": ["mamba", "attention", "mamba"],
            "shared_intermediate_size": 40,
            "num_local_experts": 0,
            "position_embedding_type": None,
            "mamba_conv_bias": False,
            "embedding_multiplier": 2.0,
            "logits_scaling": 0.8,
            "residual_multiplier": 0.4,
            "attention_multiplier": 0.4,
        },
        mixers=[0, 2],
        attentions=[1],
    ),
    FamilyCase(
        "zamba2",
        "adapters-rope",
        {
            "n_mamba_heads": 8,
            "mamba_d_state": 8,
            "mamba_ngroups": 2,
            "chunk_size": 16,
            # Before 5.24 the adapters of a block were told by its layer, not by which hybrid layer it is.
            "layers_block_type": ["mamba", "mamba", "hybrid", "hybrid", "hybrid"],
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "num_mem_blocks": 2,
            "use_shared_attention_adapter": True,
            "adapter_rank": 4,
            "use_mem_rope": True,
            "add_bias_linear": True,
            "time_step_min": LIMIT[0],
        },
        mixers=[0, 1, 2, 3, 4],
        attentions=[2, 3, 4],
        clamped=True,
    ),
    FamilyCase(
        "zamba2",
        "grouped-nope",
        {
            **ATTENTION,
            "n_mamba_heads": 8,
            "mamba_d_state": 8,
            "mamba_ngroups": 1,
            "chunk_size": 16,
            "layers_block_type": ["mamba", "hybrid", "hybrid"],
            "num_hidden_layers": 3,
            "intermediate_size": 48,
            "adapter_rank": 4,
            "time_step_min": 1e-6,  # below every dt
        },
        mixers=[0, 1, 2],
        attentions=[1, 2],
    ),
    FamilyCase(
        "nemotron_h",
        "experts-gelu",
        {
            **ATTENTION,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 2,
            "chunk_size": 16,
            "head_dim": 8,
            "hybrid_override_pattern": "M*-EM*",
            "intermediate_size": 48,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "moe_shared_expert_intermediate_size": 40,
            "routed_scaling_factor": 1.5,
            "mamba_hidden_act": "gelu",
            "use_bias": True,
            "mlp_bias": True,
            "time_step_min": LIMIT[0],
            "time_step_limit": (0.0, 0.1),  # which its mixers do not heed
        },
        mixers=[0, 4],
        attentions=[1, 5],
        clamped=True,
    ),
    FamilyCase(
        "nemotron_h",
        "latent",
        {
            **ATTENTION,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 4,
            "chunk_size": 16,
            "head_dim": 8,
            "hybrid_override_pattern": "M*EM",
            "intermediate_size": 48,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "moe_latent_size": 16,
            "moe_shared_expert_intermediate_size": 40,
            "use_conv_bias": False,
            "time_step_min": 1e-6,  # below every dt
        },
        mixers=[0, 3],
        attentions=[1],
    ),
]

FALCON = {
    **MAMBA,
    **ATTENTION,
    "mamba_d_ssm": 64,
    "num_hidden_layers": 3,
    "intermediate_size": 48,
    "lm_head_multiplier": 0.7,
    "embedding_multiplier": 2.5,
    "mlp_multipliers": [0.8, 1.3],
    "key_multiplier": 0.6,
    "attention_in_multiplier": 1.2,
    "attention_out_multiplier": 0.9,
    "ssm_multipliers": [0.7, 1.4, 0.6, 1.3, 1.1],
    "ssm_in_multiplier": 1.25,
    "ssm_out_multiplier": 0.45,
}

FAMILY_CASES += [
    FamilyCase(
        "falcon_h1",
        "no-norm",
        FALCON
        | {
            "mamba_rms_norm": False,
            "mamba_proj_bias": True,
            "projectors_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "time_step_limit": LIMIT,
        },
        mixers=[0, 1, 2],
        attentions=[0, 1, 2],
        clamped=True,
        has_norm=False,
    ),
    FamilyCase(
        "falcon_h1",
        "no-norm-open",
        FALCON | {"mamba_rms_norm": False, "mamba_conv_bias": False},
        mixers=[0, 1, 2],
        attentions=[0, 1, 2],
        has_norm=False,
    ),
    FamilyCase(
        "falcon_h1",
        "norm-before-gate",
        FALCON | {"mamba_rms_norm": True, "mamba_norm_before_gate": True, "time_step_limit": LIMIT},
        mixers=[0, 1, 2],
        attentions=[0, 1, 2],
        clamped=True,
    ),
    FamilyCase(
        "falcon_h1",
        "norm-after-gate",
        FALCON | {"mamba_rms_norm": True, "mamba_norm_before_gate": False},
        mixers=[0, 1, 2],
        attentions=[0, 1, 2],
    ),
]

SOME = (
    "mamba2-biases",
    "bamba-gelu",
    "granitemoehybrid-experts-rope",
    "zamba2-adapters-rope",
    "nemotron_h-latent",
    "falcon_h1-no-norm-open",
    "falcon_h1-norm-before-gate",
)
SOME_CASES = [case for case in FAMILY_CASES if str(case) in SOME]
"""Every family, half of them clamped, and every place of the norm: for what does not depend on the rest."""
