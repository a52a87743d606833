"""One layer of a model with Mamba-2 mixers: its parts and its residual stream."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from components.bridge.families import Family, is_mamba2_mixer, is_softmax_attention, path_of
from components.bridge.generalized_component import GeneralizedComponent
from components.bridge.heads import HeadsBridge
from components.bridge.softmax_attention import SoftmaxAttentionBridge
from components.bridge.ssm2_mixer import SSM2MixerBridge


class SSMBlockBridge(GeneralizedComponent):
    """Wraps one layer; hook_in and hook_out are the residual stream around it, [b, s, hidden].

    Their aliases are those of TransformerLens, hook_resid_pre and hook_resid_post.

    It has a `mixer` if the layer holds a Mamba-2 mixer, `attn` if it holds softmax attention. A layer of a
    hybrid holds one of them, both, or neither. `norm` is the norm before them; where softmax attention or an
    MLP reads through a norm of its own, these are `attn_norm` and `mlp_norm`.
    """

    hook_aliases: ClassVar[Mapping[str, str]] = {"hook_resid_pre": "hook_in", "hook_resid_post": "hook_out"}

    mixer: SSM2MixerBridge
    attn: SoftmaxAttentionBridge

    def __init__(self, name: str, layer: nn.Module, family: Family, config: Any = None) -> None:
        inside: dict[str, GeneralizedComponent] = {}
        norms = {"norm": family.norm, "attn_norm": family.attention_norm, "mlp_norm": family.mlp_norm}
        for key, paths in norms.items():
            if norm := path_of(layer, paths):
                inside[key] = GeneralizedComponent(norm)
        if mixer := path_of(layer, family.mixer, is_mamba2_mixer):
            inside["mixer"] = mixer_bridge = SSM2MixerBridge(mixer, config)
            mixer_bridge.projection_scale = family.projection_scale
        if attention := path_of(layer, family.attention, is_softmax_attention):
            inside["attn"] = SoftmaxAttentionBridge(attention, config)
        super().__init__(name, config, inside)
        # Read when asked: a user may change it on the model.
        self._output_scale = family.output_scale

    @property
    def output_scale(self) -> float:
        """What the layer multiplies its mixer's output by before adding it to the residual stream."""
        return float(getattr(self._wrapped(), self._output_scale)) if self._output_scale else 1.0

    @property
    def with_heads(self) -> list[HeadsBridge]:
        """The components that have heads, one for each kind."""
        return [part for _, part in self.real_components.values() if isinstance(part, HeadsBridge)]

    def __getattr__(self, name: str) -> Any:
        if name in ("mixer", "attn") and name not in self.__dict__.get("submodules", {}):
            kind = "Mamba-2 mixer" if name == "mixer" else "softmax attention"
            raise AttributeError(f"Layer {self.__dict__.get('name')!r} holds no {kind}.")
        return super().__getattr__(name)
