"""Named points of a forward pass, and the run that fires them.

One model serves several threads and several bridges, so nothing about a run is kept on the model or in a
module: the current run is a context variable, separate in every thread.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    from components.bridge.attention_record import AttentionRecord
    from components.bridge.mixer_record import MixerRecord


@runtime_checkable
class HookFunction(Protocol):
    """A user's function: edits a tensor in place, returns another, or only reads it."""

    def __call__(self, tensor: Tensor, hook: HookPoint) -> Tensor | None:
        """Read the tensor at `hook`, or edit it."""


@runtime_checkable
class Conversion(Protocol):
    """Shows hook functions a tensor in another layout, and turns their edits back."""

    def convert(self, tensor: Tensor) -> Tensor:
        """Turn the model's layout into the hook's."""

    def revert(self, tensor: Tensor) -> Tensor:
        """Turn the hook's layout into the model's."""


class HookPoint:
    """A named point of the forward pass. Outside a run it does nothing.

    A function at the hook receives the point with the `positions` of the text that its tensor covers, along
    dimension `position_dim`: in pieces and in generation, a part of the text. A matrix
    [b, heads, queries, keys] holds the rows of these positions, and its keys begin at position 0. In a padded
    batch, pads count as positions.

    `prompt` are the positions of the prompt, and `mask` is 1 at the real ones of a padded batch. At the
    convolution, whose channels begin with those of x, `values_of` are the heads and their dimension.
    """

    def __init__(self, name: str, conversion: Conversion | None = None, position_dim: int = 1) -> None:
        self.name = name
        self.conversion = conversion
        self.position_dim = position_dim
        self.positions: range = range(0)
        self.prompt: range = range(0)
        self.mask: Tensor | None = None
        self.values_of: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"HookPoint({self.name!r})"

    def __call__(self, tensor: Tensor) -> Tensor:
        """Pass the tensor to the current run; the model continues with the result."""
        run = run_at(self)
        return tensor if run is None or self.name not in run.live else run.fire(self, tensor)

    def at(self, positions: range, prompt: range = range(0), mask: Tensor | None = None) -> HookPoint:
        """A copy of the point, with these positions, prompt and mask."""
        here = copy.copy(self)
        here.positions, here.prompt, here.mask = positions, prompt, mask
        return here

    def convert(self, tensor: Tensor) -> Tensor:
        """A tensor of the model in the layout of the hook."""
        return self.conversion.convert(tensor) if self.conversion else tensor

    def revert(self, tensor: Tensor) -> Tensor:
        """The reverse."""
        return self.conversion.revert(tensor) if self.conversion else tensor

    def index(self, position: int) -> int | None:
        """Index along `position_dim` of a position of the text; None if the tensor lacks it."""
        return self.positions.index(position) if position in self.positions else None


@dataclass
class Run:
    """One forward pass, or one generation, in one thread.

    `points`: the hook points of the bridge that runs; those of others on the same model do not fire. `hooks`:
    functions by hook name. `keeps`: names of the hooks whose tensors it keeps. `live`: both. `mixers`,
    `attentions`: the records to fill, by component name. `mask`: 1 at the real positions of a padded batch,
    up to the end of its prompt. `prompt`: the positions of the prompt. `grad`: whether autograd records the
    run. `positions`: those that the model is being fed now. `ids`: of all texts, as far as they have been
    fed.
    """

    points: Mapping[str, HookPoint]
    hooks: Mapping[str, Sequence[HookFunction]]
    keeps: Set[str]
    mixers: Mapping[str, MixerRecord] = field(default_factory=dict)
    attentions: Mapping[str, AttentionRecord] = field(default_factory=dict)
    mask: Tensor | None = None
    prompt: range = range(0)
    grad: bool = False
    positions: range = range(0)
    ids: Tensor | None = None
    captured: dict[str, list[Tensor]] = field(default_factory=dict)
    live: Set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.live = {*self.hooks, *self.keeps}

    def advance(self, count: int) -> None:
        """Move `positions` to the next `count`."""
        self.positions = range(self.positions.stop, self.positions.stop + count)

    def fire(self, point: HookPoint, tensor: Tensor) -> Tensor:
        """Run the functions attached to a hook point, then keep the result if wanted."""
        tensor, _ = self.edit(point, tensor)
        if self.grad and tensor.is_floating_point():
            # The same tensor may pass several hooks and be used elsewhere; a view has this path's gradient.
            tensor = tensor.view_as(tensor)
        if point.name in self.keeps:
            self.captured.setdefault(point.name, []).append(tensor)
        return tensor

    def edit(self, point: HookPoint, tensor: Tensor) -> tuple[Tensor, bool]:
        """Run the functions attached to a hook point: the resulting tensor, and whether one edited it.

        They receive a copy: the tensor may be used elsewhere, where an edit in place must have no effect.
        """
        edited = False
        # With logits_to_keep, the LM head sees the last positions alone.
        here = point.at(self.positions[-tensor.shape[point.position_dim] :], self.prompt, self.mask)
        for function in self.hooks.get(point.name, ()):
            before, shown = point.convert(tensor), point.convert(tensor.clone())
            returned = function(shown, hook=here)
            # What it returned is copied: the caller may write to it later.
            after = _fitted(
                shown if returned is None else returned,
                before,
                point,
                copy=returned is not None and returned is not shown,
            )
            looked = returned is None and _same(after, before)
            edited = edited or not looked
            if not looked or self.grad:  # gradients are of the tensor that the function saw
                tensor = point.revert(after)
        return tensor, edited


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers. (Versions miss writes through `.data` and NumPy.)"""
    return torch.equal(one, other) or (
        one.is_floating_point() and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    )


def _fitted(after: Any, before: Tensor, point: HookPoint, *, copy: bool) -> Tensor:
    """The result of a function, in the dtype and on the device of its input."""
    if not isinstance(after, Tensor) or after.shape != before.shape or after.is_complex():
        given = tuple(after.shape) if isinstance(after, Tensor) else f"a {type(after).__name__}"
        kind = " of complex numbers" if isinstance(after, Tensor) and after.is_complex() else ""
        raise ValueError(
            f"A hook at {point.name!r} returned {given}{kind}; it may return None, to look or to edit in "
            f"place, or a tensor of shape {tuple(before.shape)}, to edit."
        )
    return after.to(before, copy=copy)


_current: ContextVar[Run | None] = ContextVar("current_run", default=None)


def run_at(point: HookPoint) -> Run | None:
    """The run of this thread, if it belongs to the bridge of the point; else None."""
    run = _current.get()
    return run if run is not None and run.points.get(point.name) is point else None


@contextmanager
def running(run: Run) -> Iterator[Run]:
    """Make `run` this thread's current run, with gradients as `run.grad` says, whatever the caller set."""
    token = _current.set(run)
    try:
        # Not in inference mode, whose tensors can be neither edited nor kept outside of it.
        with torch.inference_mode(False), torch.set_grad_enabled(run.grad):
            yield run
    finally:
        _current.reset(token)
