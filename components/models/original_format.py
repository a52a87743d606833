"""The format of the `mamba_ssm` package, in which the authors published `state-spaces/mamba2-*`.

Its config.json names the arguments of `mamba_ssm`'s own classes and only where they differ from that
package's defaults; its weights differ from the Hugging Face model's in one name; it has no tokenizer.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from components.models.errors import ModelLoadError, first_line

if TYPE_CHECKING:
    from transformers import Mamba2Config

Value = TypeVar("Value")

TOKENIZER_REPOSITORY = "EleutherAI/gpt-neox-20b"
"""The tokenizer that the published models were trained with and do not contain."""

_END_OF_TEXT = 0
"""<|endoftext|>, the only special token of that tokenizer, which also began each training text."""

_MIXER_FIELDS = {
    "d_state": ("state_size", 128),
    "d_conv": ("conv_kernel", 4),
    "expand": ("expand", 2),
    "headdim": ("head_dim", 64),
    "ngroups": ("n_groups", 1),
    "bias": ("use_bias", False),
    "conv_bias": ("use_conv_bias", True),
    "chunk_size": ("chunk_size", 256),
    "dt_min": ("time_step_min", 0.001),
    "dt_max": ("time_step_max", 0.1),
    "dt_init_floor": ("time_step_floor", 1e-4),
    "dt_limit": ("time_step_limit", (0.0, float("inf"))),
}
"""`mamba_ssm`'s argument of Mamba2, and Mamba2Config's name for it with `mamba_ssm`'s default."""

_WITHOUT_EFFECT = {
    "layer",
    "A_init_range",
    "dt_init",
    "conv_init",
    "use_mem_eff_path",
    "rmsnorm",
    "norm_before_gate",
}
"""Arguments that matter only before training or for speed, or that `_check_supported` checks."""


def is_original_format(settings: Mapping[str, Any]) -> bool:
    """Whether `mamba_ssm` wrote a config.json, even if somebody added a `model_type` to it.

    A config.json of Hugging Face may still have these fields beside its `hidden_size`.
    """
    is_mamba2 = settings.get("model_type") in (None, "mamba2")
    return is_mamba2 and {"d_model", "n_layer"} <= settings.keys() and "hidden_size" not in settings


def mamba2_config(settings: Mapping[str, Any], name: str) -> "Mamba2Config":
    """Translate a `mamba_ssm` config.json.

    Raises ModelLoadError for what a Hugging Face Mamba-2 model cannot express: Mamba-1 layers,
    attention layers, MLPs, and mixers built differently.
    """
    mixer = dict(settings.get("ssm_cfg") or {})
    _check_supported(settings, mixer, name)

    from transformers import Mamba2Config

    fields = {ours: mixer.get(theirs, default) for theirs, (ours, default) in _MIXER_FIELDS.items()}
    hidden = settings["d_model"]
    try:
        return Mamba2Config(
            hidden_size=hidden,
            num_hidden_layers=settings["n_layer"],
            vocab_size=_padded(settings["vocab_size"], settings.get("pad_vocab_size_multiple", 8)),
            num_heads=fields["expand"] * hidden // fields["head_dim"],
            residual_in_fp32=settings.get("residual_in_fp32", True),
            tie_word_embeddings=settings.get("tie_embeddings", True),
            bos_token_id=_END_OF_TEXT,
            eos_token_id=_END_OF_TEXT,
            pad_token_id=_END_OF_TEXT,
            architectures=["Mamba2ForCausalLM"],
            **fields,
        )
    # transformers raises its own errors for the fields; a missing vocab_size or a text fails here.
    except Exception as error:
        raise ModelLoadError(
            f'The config.json of "{name}" is in the original Mamba format but does not describe a Mamba-2 '
            f"model ({type(error).__name__}: {first_line(error)}). "
            "It needs d_model, n_layer and vocab_size as whole numbers."
        ) from error


def rename_weights(weights: Mapping[str, Value]) -> dict[str, Value]:
    """Rename the weights of `mamba_ssm` as in Mamba2ForCausalLM; one name differs."""
    renamed = {"backbone.embedding.weight": "backbone.embeddings.weight"}
    return {renamed.get(key, key): value for key, value in weights.items()}


def _check_supported(settings: Mapping[str, Any], mixer: Mapping[str, Any], name: str) -> None:
    layer = mixer.get("layer", "Mamba1")  # mamba_ssm's default: its first models do not name it
    obstacles = {
        f"layers of kind {layer}": layer != "Mamba2",
        "attention layers (attn_layer_idx)": bool(settings.get("attn_layer_idx")),
        "MLP layers (d_intermediate)": bool(settings.get("d_intermediate")),
        "layer norms instead of RMS norms (rms_norm)": settings.get("rms_norm", True) is False,
        "mixers without gated RMS norm (rmsnorm)": mixer.get("rmsnorm", True) is False,
        "a norm before the gate (norm_before_gate)": bool(mixer.get("norm_before_gate")),
    }
    unknown = sorted(set(mixer) - set(_MIXER_FIELDS) - _WITHOUT_EFFECT)
    found = [text for text, present in obstacles.items() if present] + [
        f'the mixer setting "{u}"' for u in unknown
    ]
    if found:
        raise ModelLoadError(
            f'"{name}" is in the original Mamba format and has {found[0]}, which is not supported. Supported '
            'are its pure Mamba-2 models, such as "state-spaces/mamba2-130m".'
        )


def _padded(vocabulary: int, multiple: int) -> int:
    """Round up, as `mamba_ssm` does: the embedding's rows come in blocks that suit a GPU."""
    return -(-vocabulary // multiple) * multiple
