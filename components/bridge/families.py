"""The families of models that hold Mamba-2 mixers: where their parts are, and how their mixers differ.

Nothing else in the bridge knows a family by name. A mixer is recognised by its attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Family:
    """Where a causal language model of one `model_type` keeps what the bridge reads.

    `embed`, `layers` and `ln_final` are paths in the model; `norm`, `mixer`, `attention` and the norms that
    attention or an MLP has of its own are paths in a layer: the first that exists counts; there may be none.
    `projection_scale` is the attribute of a mixer
    that multiplies the output of `in_proj`; `output_scale` that of a layer that multiplies what the mixer
    returns, before it is added to the residual stream. `logit_scale` and `logit_divisor` are paths of the
    model's attributes that multiply and divide the logits.
    """

    model_type: str
    embed: str
    layers: str
    ln_final: str
    norm: tuple[str, ...]
    mixer: tuple[str, ...]
    attention: tuple[str, ...] = ()
    attention_norm: tuple[str, ...] = ()
    mlp_norm: tuple[str, ...] = ()
    projection_scale: str | None = None
    output_scale: str | None = None
    logit_scale: str | None = None
    logit_divisor: str | None = None
    example: str = ""
    """A public checkpoint, small where possible."""


FAMILIES = (
    Family(
        "mamba2",
        embed="backbone.embeddings",
        layers="backbone.layers",
        ln_final="backbone.norm_f",
        norm=("norm",),
        mixer=("mixer",),
        example="AntonV/mamba2-130m-hf",
    ),
    Family(
        "bamba",
        embed="model.embed_tokens",
        layers="model.layers",
        ln_final="model.final_layernorm",
        norm=("input_layernorm",),
        mixer=("mamba",),
        attention=("self_attn",),
        mlp_norm=("pre_ff_layernorm",),
        example="ibm-ai-platform/Bamba-9B-v2",
    ),
    Family(
        "granitemoehybrid",
        embed="model.embed_tokens",
        layers="model.layers",
        ln_final="model.norm",
        norm=("input_layernorm",),
        mixer=("mamba",),
        attention=("self_attn",),
        mlp_norm=("post_attention_layernorm",),
        output_scale="residual_multiplier",
        logit_divisor="config.logits_scaling",
        example="ibm-granite/granite-4.0-h-350m",
    ),
    Family(
        "zamba2",
        embed="model.embed_tokens",
        layers="model.layers",
        ln_final="model.final_layernorm",
        # A hybrid layer runs a shared transformer, whose output goes into the Mamba layer inside it.
        norm=("input_layernorm", "mamba_decoder.input_layernorm"),
        mixer=("mamba", "mamba_decoder.mamba"),
        attention=("shared_transformer.self_attn",),
        attention_norm=("shared_transformer.input_layernorm",),
        mlp_norm=("shared_transformer.pre_ff_layernorm",),
        example="Zyphra/Zamba2-1.2B",
    ),
    Family(
        "nemotron_h",
        embed="model.embeddings",
        layers="model.layers",
        ln_final="model.norm_f",
        norm=("norm",),
        # Every layer has a `mixer`: a Mamba-2 one, softmax attention, an MLP or experts.
        mixer=("mixer",),
        attention=("mixer",),
        example="nvidia/NVIDIA-Nemotron-3-Nano-4B-BF16",
    ),
    Family(
        "falcon_h1",
        embed="model.embed_tokens",
        layers="model.layers",
        ln_final="model.final_layernorm",
        norm=("input_layernorm",),
        mixer=("mamba",),
        attention=("self_attn",),
        mlp_norm=("pre_ff_layernorm",),
        projection_scale="mup_vector",
        output_scale="ssm_out_multiplier",
        logit_scale="model.lm_head_multiplier",
        example="tiiuae/Falcon-H1-0.5B-Base",
    ),
)

SUPPORTED = {family.model_type: family for family in FAMILIES}

_ATTENTION_ONLY = "It has softmax attention and no state-space layer."
_MAMBA_1 = (
    "Its mixers are Mamba-1: every channel decays at its own rate for every state, so there is no matrix "
    "M = L ∘ (C Bᵀ) of a head."
)
_DELTA = (
    "Its linear layers are gated delta nets: they decay too, but correct what they have written, which "
    "M = L ∘ (C Bᵀ) does not describe."
)
_INSIDE_ANOTHER = (
    "It holds such a model beside others, for sounds and images, and is not a language model alone."
)
# Model types that look like Mamba-2 but are not: why, and the nearest supported type.
_RELATIVES = {
    "mamba": (_MAMBA_1, "mamba2"),
    "falcon_mamba": (_MAMBA_1, "falcon_h1"),
    "jamba": (_MAMBA_1, "bamba"),
    "zamba": (_MAMBA_1, "zamba2"),
    "nemotron": (_ATTENTION_ONLY, "nemotron_h"),
    "nemotron_h_omni": (_INSIDE_ANOTHER, "nemotron_h"),
    "granite": (_ATTENTION_ONLY, "granitemoehybrid"),
    "granitemoe": (_ATTENTION_ONLY, "granitemoehybrid"),
    "granitemoeshared": (_ATTENTION_ONLY, "granitemoehybrid"),
    "falcon": (_ATTENTION_ONLY, "falcon_h1"),
    "qwen3_next": (_DELTA, "granitemoehybrid"),
    "qwen3_5": (_DELTA, "granitemoehybrid"),
    "qwen3_5_text": (_DELTA, "granitemoehybrid"),
    "qwen3_5_moe": (_DELTA, "granitemoehybrid"),
    "qwen3_5_moe_text": (_DELTA, "granitemoehybrid"),
    "olmo_hybrid": (_DELTA, "granitemoehybrid"),
    "lara_mini": (_DELTA, "granitemoehybrid"),
}


def is_mamba2_mixer(module: nn.Module) -> bool:
    """Whether a module is a Mamba-2 mixer, by its attributes.

    Mamba-1 has an `A_log` of two dimensions; a gated delta net has `A_log` and `dt_bias` too, but no skip D,
    no groups and no state size.
    """
    rates = [getattr(module, name, None) for name in ("A_log", "dt_bias", "D")]
    return (
        all(isinstance(getattr(module, name, None), nn.Module) for name in ("in_proj", "conv1d", "out_proj"))
        and all(isinstance(rate, Tensor) and rate.ndim == 1 for rate in rates)
        and all(isinstance(getattr(module, name, None), int) for name in ("n_groups", "ssm_state_size"))
    )


def is_softmax_attention(module: nn.Module) -> bool:
    """Whether a module looks like softmax attention that uses transformers' attention interface."""
    projections = ("q_proj", "k_proj", "v_proj", "o_proj")
    return hasattr(module, "config") and all(
        isinstance(getattr(module, name, None), nn.Module) for name in projections
    )


def family_of(model: PreTrainedModel) -> Family:
    """The family of a model that holds a Mamba-2 mixer; for any other, ValueError says what it is."""
    model_type = str(model.config.model_type)
    family = SUPPORTED.get(model_type)
    if family is None:
        where = next((name for name, module in model.named_modules() if is_mamba2_mixer(module)), None)
        if where is not None:
            raise ValueError(
                f"{type(model).__name__} holds a Mamba-2 mixer ({where}), but the layout of a model of "
                f"type {model_type!r} is not known here. {_supported()}"
            )
        raise ValueError(f"{type(model).__name__} cannot be read here. {unsupported(model_type)}")
    layers = list(layers_of(model, family))
    if not any(path_of(layer, family.mixer, is_mamba2_mixer) for _, layer in layers):
        raise ValueError(f"{type(model).__name__} cannot be read here. {without_mixers(family, len(layers))}")
    return family


def layers_of(model: nn.Module, family: Family) -> Iterator[tuple[str, nn.Module]]:
    """The path and the module of each layer."""
    for name, layer in model.get_submodule(family.layers).named_children():
        yield f"{family.layers}.{name}", layer


def path_of(
    layer: nn.Module, paths: Iterable[str], fits: Callable[[nn.Module], bool] | None = None
) -> str | None:
    """The first of these paths at which a layer has a module, one that `fits`; None if there is none."""
    for path in paths:
        try:
            module = layer.get_submodule(path)
        except AttributeError:
            continue
        if fits is None or fits(module):
            return path
    return None


def unsupported(model_type: str) -> str:
    """The error text for a model of another type: what it is, and the nearest supported type."""
    nature, nearest = _RELATIVES.get(model_type, ("It is not known to hold Mamba-2 mixers.", "mamba2"))
    return (
        f"It is a model of type {model_type!r}. {nature} Nearest is the type {nearest!r}, such as "
        f"{SUPPORTED[nearest].example}. {_supported()}"
    )


def without_mixers(family: Family, layers: int) -> str:
    """The error text for a hybrid in which no layer holds a Mamba-2 mixer."""
    return (
        f"Its type {family.model_type!r} can hold Mamba-2 mixers, but none of its {layers} layers does. "
        f"Nearest is {family.example}, of the same type with Mamba-2 layers. {_supported()}"
    )


def _supported() -> str:
    return f"Supported types: {', '.join(SUPPORTED)}."
