"""Named places in a forward pass, and the run that looks at them.

One model serves several threads, so nothing about a run is kept on the model or in a module: the running
capture is a context variable, which every thread has for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

if TYPE_CHECKING:
    from components.bridge.attention_record import AttentionRecord
    from components.bridge.mixer_record import MixerRecord


@runtime_checkable
class HookFunction(Protocol):
    """What a user attaches: returns a tensor to edit, None to look."""

    def __call__(self, tensor: Tensor, hook: HookPoint) -> Tensor | None:
        """Look at what passes `hook`, or replace it."""


@runtime_checkable
class Conversion(Protocol):
    """Shows hook functions a tensor in another layout, and turns their edits back."""

    def convert(self, tensor: Tensor) -> Tensor:
        """Turn the model's layout into the hook's."""

    def revert(self, tensor: Tensor) -> Tensor:
        """Turn the hook's layout into the model's."""


class HookPoint:
    """A named place in the forward pass. Outside a run, what passes is left alone and unseen."""

    def __init__(self, name: str, conversion: Conversion | None = None) -> None:
        self.name = name
        self.conversion = conversion

    def __repr__(self) -> str:
        return f"HookPoint({self.name!r})"

    def __call__(self, tensor: Tensor) -> Tensor:
        """Show the tensor to the current run; what comes back is what the model goes on with."""
        run = current_run()
        return tensor if run is None or self.name not in run.live else run.fire(self, tensor)


@dataclass
class Run:
    """One forward pass, or one generation, in one thread.

    `hooks`: functions by hook name. `keeps`: names of the hooks whose tensors are wanted. `live`: both.
    `mixers`, `attentions`: a record, by the component's name, of those that it has to record. `mask`: 1 at
    the real positions of a padded batch, as far as its prompt goes.
    """

    hooks: Mapping[str, Sequence[HookFunction]]
    keeps: Set[str]
    mixers: Mapping[str, MixerRecord] = field(default_factory=dict)
    attentions: Mapping[str, AttentionRecord] = field(default_factory=dict)
    mask: Tensor | None = None
    captured: dict[str, list[Tensor]] = field(default_factory=dict)
    live: Set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.live = {*self.hooks, *self.keeps}

    def fire(self, point: HookPoint, tensor: Tensor) -> Tensor:
        """Run the functions attached to a hook point, then keep what goes on if it is wanted."""
        tensor, _ = self.edit(point, tensor)
        if point.name in self.keeps:
            self.captured.setdefault(point.name, []).append(tensor.detach())
        return tensor

    def edit(self, point: HookPoint, tensor: Tensor) -> tuple[Tensor, bool]:
        """Run the functions attached to a hook point: the tensor to go on with, and whether one edited it."""
        edited = False
        for function in self.hooks.get(point.name, ()):
            shown = point.conversion.convert(tensor) if point.conversion else tensor
            replacement = function(shown, hook=point)
            if replacement is None:
                continue
            if not isinstance(replacement, Tensor) or replacement.shape != shown.shape:
                given = tuple(replacement.shape) if isinstance(replacement, Tensor) else type(replacement)
                raise ValueError(
                    f"A hook at {point.name!r} returned {given}; it may return None, to look, "
                    f"or a tensor of shape {tuple(shown.shape)}, to edit."
                )
            tensor = point.conversion.revert(replacement) if point.conversion else replacement
            edited = True
        return tensor, edited


_current: ContextVar[Run | None] = ContextVar("current_run", default=None)


def current_run() -> Run | None:
    """The run of this thread, or None when the model is being used without the bridge."""
    return _current.get()


@contextmanager
def running(run: Run) -> Iterator[Run]:
    """Make `run` this thread's current run."""
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)
