"""The parameters that turn a mixer's projection into its scan's output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn


@dataclass(frozen=True)
class ScanParameters:
    """The parameters that a mixer reads between its projection and its norm.

    Read during the forward pass: where accelerate offloads a layer, its parameters are `meta` outside it.
    The tensors are copies, so a record keeps what its run computed with, even if the weights change.
    """

    heads: int
    head_dim: int
    groups: int
    state: int
    A_log: Float[Tensor, " head"]
    dt_bias: Float[Tensor, " head"]
    D: Float[Tensor, " head"]
    conv_weight: Float[Tensor, "channel 1 kernel"]
    conv_bias: Float[Tensor, " channel"] | None
    scale: Float[Tensor, "1 1 projection"] | None
    """Multiplies the output of `in_proj`."""
    activation: Callable[[Tensor], Tensor]
    dt_limit: tuple[float, float]
    config_dt_limit: tuple[float, float]
    """The model's configuration has this one; not every model applies it."""
    has_norm: bool
    """Whether a norm takes the scan's output y and the gate z; if not, y is times silu(z)."""

    @staticmethod
    def of(mixer: Any, projection_scale: str | None = None, config: Any = None) -> ScanParameters:
        """Read them from a mixer that is in its forward pass."""
        copies: dict[str, Any] = {
            name: None if tensor is None else tensor.detach().clone()
            for name, tensor in _tensors(mixer, projection_scale).items()
        }
        low, high = mixer.time_step_limit
        config_low, config_high = getattr(config, "time_step_limit", None) or (low, high)
        return ScanParameters(
            heads=mixer.num_heads,
            head_dim=mixer.head_dim,
            groups=mixer.n_groups,
            state=mixer.ssm_state_size,
            activation=mixer.act,
            dt_limit=(float(low), float(high)),
            config_dt_limit=(float(config_low), float(config_high)),
            has_norm=has_norm(mixer),
            **copies,
        )

    @property
    def A(self) -> Float32[Tensor, " head"]:
        """The decay rates, −exp(A_log)."""
        return -torch.exp(self.A_log.float())

    def are_still_of(self, mixer: Any, projection_scale: str | None = None) -> bool:
        """Whether the mixer, in its forward pass, reads the same numbers. (Versions miss `.data`.)"""
        return all(
            copy is tensor or (copy is not None and copy.dtype == tensor.dtype and torch.equal(copy, tensor))
            for copy, tensor in (
                (getattr(self, name), tensor) for name, tensor in _tensors(mixer, projection_scale).items()
            )
        )


def _tensors(mixer: Any, projection_scale: str | None) -> dict[str, Any]:
    """The tensors of a mixer, by field of ScanParameters."""
    return {
        "A_log": mixer.A_log,
        "dt_bias": mixer.dt_bias,
        "D": mixer.D,
        "conv_weight": mixer.conv1d.weight,
        "conv_bias": mixer.conv1d.bias,
        "scale": getattr(mixer, projection_scale) if projection_scale else None,
    }


def has_norm(mixer: nn.Module) -> bool:
    """Whether a mixer has an inner norm; without one, some have an identity or None."""
    return not isinstance(getattr(mixer, "norm", None), nn.Identity | None)
