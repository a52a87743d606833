"""The norm inside a Mamba-2 mixer, which takes two inputs: the scan's output and the gate."""

from typing import Any

from torch import nn

from components.bridge.generalized_component import GeneralizedComponent, Removable, show_input
from components.bridge.hook_point import HookPoint


class GatedRMSNormBridge(GeneralizedComponent):
    """Wraps `MambaRMSNormGated`; hook_in is the scan's output y, hook_gate the gate z, both [b, s, h·p]."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hook_gate = HookPoint(f"{self.name}.hook_gate")

    def _attach(self, module: nn.Module) -> list[Removable]:
        gate = show_input(self.hook_gate, index=1, keyword="gate")
        return [*super()._attach(module), module.register_forward_pre_hook(gate, with_kwargs=True)]
