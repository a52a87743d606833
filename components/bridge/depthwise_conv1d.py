"""The short causal convolution of a Mamba-2 mixer.

Since transformers 5.15 the mixer reads `conv1d.weight` and never calls `conv1d`, so a hook on the module
never fires. The mixer's bridge therefore derives the convolution from the projection and fires these hook
points.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from components.bridge.generalized_component import GeneralizedComponent, Removable


class DepthwiseConv1DBridge(GeneralizedComponent):
    """Wraps the mixer's `conv1d`.

    hook_in [b, conv_dim, s]: the channels x, B and C before the convolution.
    hook_out [b, conv_dim, s + kernel − 1]: after it, before the activation and before the causal trim, as the
    padded convolution returns it; the first s columns belong to the text.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hook_in.position_dim = self.hook_out.position_dim = 2

    def _attach(self, module: nn.Module) -> list[Removable]:
        return []
