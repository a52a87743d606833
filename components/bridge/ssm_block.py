"""One layer of a Mamba-2 model: a norm and a mixer around a residual stream."""

from typing import Any

from components.bridge.generalized_component import GeneralizedComponent
from components.bridge.ssm2_mixer import SSM2MixerBridge


class SSMBlockBridge(GeneralizedComponent):
    """Wraps `Mamba2Block`; hook_in and hook_out are the residual stream around it, [b, s, hidden]."""

    mixer: SSM2MixerBridge

    def __init__(self, name: str, config: Any = None) -> None:
        inside = {"norm": GeneralizedComponent("norm"), "mixer": SSM2MixerBridge("mixer", config)}
        super().__init__(name, config, inside)
