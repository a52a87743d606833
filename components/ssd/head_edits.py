"""What can be changed in heads: their attention, their decay, how strongly they write.

Each class applies one of `components.ssd.changes` to chosen layers, heads and positions of a run, and is an
entry of `EDITS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from components.ssd.changes import cut, keep_last, mute, put, scale, take_out
from components.ssd.edits import EDITS
from components.ssd.head_edit import At, HeadEdit, slice_of
from components.ssd.kinds import KINDS, MAMBA2

Muted = Literal["attention", "all", "mean"]


@dataclass(frozen=True)
class Mute(HeadEdit):
    """Takes what heads read out of their output.

    `what`: "attention" sets their rows of M to zero, and the skip D·x stays; "all" sets their whole output y
    to zero; "mean" sets y to its mean over the prompt, which the layers above are used to.
    """

    name: ClassVar[str] = "mute"
    title: ClassVar[str] = "Mute heads"
    kinds: ClassVar[tuple[str, ...]] = tuple(KINDS)[:2]

    what: Muted = "attention"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.what != "attention" and self.kind != MAMBA2.name:
            raise ValueError("A head of softmax attention has no skip: mute its attention.")

    @property
    def hook(self) -> str:
        """M, or the output of the scan."""
        return KINDS[self.kind].matrix_hook if self.what == "attention" else "mixer.hook_scan"

    def applied(self, tensor: Tensor, at: At) -> Tensor:
        """Without what the heads read."""
        if self.what == "attention":
            return mute(tensor, at.heads(tensor.shape[1]), at.positions)
        value = at.mean(tensor) if self.what == "mean" else 0.0
        return put(tensor, value, at.heads(tensor.shape[2]), at.positions)


Cut = Literal["reading", "skip", "token"]


@dataclass(frozen=True)
class CutSource(HeadEdit):
    """Takes tokens, its `positions`, out of what heads read.

    `what`: "reading" sets their columns of M to zero, and each token's own skip D·x stays; "skip" takes that
    too; "token" zeroes what they write before the convolution, which would spread it over the next tokens.
    None of them changes the decay. Softmax rows are scaled so that they sum to one again.
    """

    name: ClassVar[str] = "cut"
    title: ClassVar[str] = "Cut tokens"
    kinds: ClassVar[tuple[str, ...]] = tuple(KINDS)[:2]

    what: Cut = "reading"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.what != "reading" and self.kind != MAMBA2.name:
            raise ValueError("Softmax attention has neither a skip nor a convolution: cut the reading.")

    @property
    def hook(self) -> str:
        """M, x, or the channels before the convolution."""
        places = {"skip": "mixer.hook_x", "token": "mixer.conv1d.hook_in"}
        return places.get(self.what, KINDS[self.kind].matrix_hook)

    def applied(self, tensor: Tensor, at: At) -> Tensor:
        """Without these tokens."""
        match self.what:
            case "reading":
                cut_out = cut(tensor, at.heads(tensor.shape[1]), keys=slice_of(self.positions))
                return _rescaled(cut_out, self.kind)
            case "skip":
                return put(tensor, 0.0, at.heads(tensor.shape[2]), at.positions)
            case "token":
                count, head_dim = at.hook.values_of
                return take_out(tensor, head_dim, count, at.heads(count), at.positions)


@dataclass(frozen=True)
class CutEdge(HeadEdit):
    """M[i, j] = 0 for the queries i in `positions` and the keys j in `keys`.

    Softmax rows are scaled so that they sum to one again.
    """

    name: ClassVar[str] = "edge"
    title: ClassVar[str] = "Cut edges"
    kinds: ClassVar[tuple[str, ...]] = tuple(KINDS)[:2]
    _ranges: ClassVar[tuple[str, ...]] = ("keys",)

    keys: range | None = None

    @property
    def hook(self) -> str:
        """M."""
        return KINDS[self.kind].matrix_hook

    def applied(self, tensor: Tensor, at: At) -> Tensor:
        """Without these entries."""
        cut_out = cut(tensor, at.heads(tensor.shape[1]), at.positions, slice_of(self.keys))
        return _rescaled(cut_out, self.kind)


@dataclass(frozen=True)
class KeepLast(HeadEdit):
    """Queries read the last `width` tokens only: 1 is the diagonal (amnesia), 0 nothing.

    Softmax rows are scaled so that they sum to one again.
    """

    name: ClassVar[str] = "window"
    title: ClassVar[str] = "Keep the last tokens"
    kinds: ClassVar[tuple[str, ...]] = tuple(KINDS)[:2]

    width: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 0:
            raise ValueError(f"The width of a window is {self.width}; give 0 or more tokens.")

    @property
    def hook(self) -> str:
        """M."""
        return KINDS[self.kind].matrix_hook

    def applied(self, tensor: Tensor, at: At) -> Tensor:
        """Without what lies further back."""
        first = at.hook.positions.start
        return _rescaled(
            keep_last(tensor, self.width, at.heads(tensor.shape[1]), at.positions, first), self.kind
        )


@dataclass(frozen=True)
class _Scale(HeadEdit):
    """One number per head and position, times a finite `factor` from 0 on."""

    factor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.factor < math.inf:
            raise ValueError(f"The factor is {self.factor}; give a finite number from 0 on.")

    def applied(self, tensor: Tensor, at: At) -> Tensor:
        """Times the factor."""
        return scale(tensor, self.factor, at.heads(tensor.shape[2]), at.positions)


@dataclass(frozen=True)
class ScaleDecay(_Scale):
    """A·dt times `factor` at these positions: 0 is perfect memory, L = 1; a large one forgets there.

    How strongly tokens are written, dt, stays.
    """

    name: ClassVar[str] = "decay"
    title: ClassVar[str] = "Scale the decay"

    @property
    def hook(self) -> str:
        """A·dt."""
        return "mixer.hook_log_decay"


@dataclass(frozen=True)
class ScaleDt(_Scale):
    """dt times `factor` at these positions: how strongly they write, and what they leave of the rest."""

    name: ClassVar[str] = "dt"
    title: ClassVar[str] = "Scale dt"

    @property
    def hook(self) -> str:
        """The step sizes."""
        return "mixer.hook_dt"


@dataclass(frozen=True)
class FreezeDt(HeadEdit):
    """dt set to its mean over the prompt at these positions: nothing is selected any more.

    A continuation keeps the prompt's mean.
    """

    name: ClassVar[str] = "freeze"
    title: ClassVar[str] = "Freeze dt at its mean"

    @property
    def hook(self) -> str:
        """The step sizes."""
        return "mixer.hook_dt"

    def applied(self, tensor: Tensor, at: At) -> Tensor:
        """With the mean."""
        return put(tensor, at.mean(tensor), at.heads(tensor.shape[2]), at.positions)


EDITS.update(
    {edit.name: edit for edit in (Mute, CutSource, CutEdge, KeepLast, ScaleDecay, ScaleDt, FreezeDt)}
)


def _rescaled(M: Float[Tensor, "batch head query key"], kind: str) -> Float[Tensor, "batch head query key"]:
    """Rows of softmax attention as a distribution again; a row without any key stays zero."""
    if not KINDS[kind].rows_sum_to_one:
        return M
    sums = M.sum(dim=-1, keepdim=True)
    return M / torch.where(sums > 0, sums, 1)
