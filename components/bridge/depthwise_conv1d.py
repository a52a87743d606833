"""The short causal convolution of a Mamba-2 mixer.

Since transformers 5.15 the mixer reads `conv1d.weight` and never calls `conv1d`, so a hook on the module
stays silent. The mixer's bridge therefore derives the convolution from the projection and fires these hook
points.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from components.bridge.generalized_component import GeneralizedComponent


class DepthwiseConv1DBridge(GeneralizedComponent):
    """Wraps the mixer's `conv1d`.

    hook_in [b, conv_dim, s]: the channels x, B and C before the convolution.
    hook_out [b, conv_dim, s + kernel − 1]: after it, before the activation and before the causal trim, as the
    padded convolution returns it; the first s columns belong to the text.
    """

    def _attach(self, module: nn.Module) -> list[RemovableHandle]:
        return []


def depthwise_causal_conv(
    channels: Float[Tensor, "batch channel seq"],
    earlier: Float[Tensor, "batch channel past"],
    weight: Float[Tensor, "channel 1 kernel"],
    bias: Float[Tensor, " channel"] | None,
) -> Float[Tensor, "batch channel padded"]:
    """The mixer's convolution, padded = seq + kernel − 1; `earlier` are the inputs before these, if any."""
    text = torch.cat([earlier, channels], dim=-1).to(weight.dtype)
    out = F.conv1d(text, weight, bias, padding=weight.shape[-1] - 1, groups=weight.shape[0])
    return out[..., earlier.shape[-1] :]
