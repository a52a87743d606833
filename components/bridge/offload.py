"""Models whose weights accelerate moves in and out during a forward pass: one run at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock, get_ident
from weakref import WeakKeyDictionary

from torch import nn


@dataclass
class _Turn:
    """The thread that runs a model."""

    lock: Lock = field(default_factory=Lock)
    thread: int | None = None


# By model, since several bridges may wrap one.
_turns: WeakKeyDictionary[nn.Module, _Turn] = WeakKeyDictionary()


@contextmanager
def turn_of(model: nn.Module, modules: Iterable[nn.Module]) -> Iterator[None]:
    """Wait until no other thread runs the model, if accelerate moves weights of its `modules`.

    Raises RuntimeError for a run inside another of the same thread: the inner one would take away the weights
    that the outer one is using.
    """
    # Not getattr: it is slow where a module lacks the attribute.
    if not any(getattr(vars(each).get("_hf_hook"), "offload", False) for each in modules):
        yield
        return
    turn = _turns.setdefault(model, _Turn())
    if turn.thread == get_ident():
        raise RuntimeError(
            "This model's weights are moved in and out while it runs, so a hook cannot run it again: the "
            "second run would take the first one's weights away. Keep what the hook sees, and run afterwards."
        )
    with turn.lock:
        turn.thread = get_ident()
        try:
            yield
        finally:
            turn.thread = None
