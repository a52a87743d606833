"""Changes to what a model computes, as values: equal edits give equal runs.

An edit is a frozen dataclass and its class one entry of `EDITS`. Links use its `words`, programs its `code`,
and runs its `hooks`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

HookAt = tuple[str | Callable[[str], bool], Callable[..., Any]]
"""The name of a hook point, or a function of names, and the function (tensor, hook) there."""

_WORDS = re.compile(r"[a-z][a-z0-9-]*(\.[A-Za-z0-9-]+)*")


class Edit(ABC):
    """One change. Its subclasses are frozen dataclasses, so that equal edits are one key of every cache."""

    name: ClassVar[str]
    """Key in `EDITS`: a-z, digits and hyphens."""

    @abstractmethod
    def arguments(self) -> Sequence[str]:
        """What follows the name in a link, such as ("2", "5"): letters, digits and hyphens."""

    @classmethod
    @abstractmethod
    def read(cls, arguments: Sequence[str]) -> Edit | None:
        """The edit with these arguments; None if invalid."""

    @abstractmethod
    def hooks(self) -> Sequence[HookAt]:
        """Its hooks for one run, as `fwd_hooks` of `ModelBridge.run_with_cache`."""

    @property
    def words(self) -> str:
        """Its form in a link, such as "mute.2.5"; unique to an edit."""
        return ".".join([self.name, *self.arguments()])

    @property
    def code(self) -> str:
        """The Python expression that creates it, given its class."""
        return repr(self)


EDITS: dict[str, type[Edit]] = {}
"""Every class of edits, by name."""


def edit_of(words: str) -> Edit | None:
    """The edit that these words of a link name; None if they name none."""
    name, *arguments = words.split(".") if _WORDS.fullmatch(words) else [""]
    edit = EDITS[name].read(arguments) if name in EDITS else None
    return edit if edit is not None and edit.words == words else None


def hooks_of(edits: Iterable[Edit]) -> list[HookAt]:
    """The hooks of a stack of edits: where two act at one hook, the first acts first."""
    return [hook for edit in edits for hook in edit.hooks()]


class Sizes:
    """How much each edit of a stack changed the tensors at its hooks, in the run with these `hooks`."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self._changed = [0.0] * len(edits)
        self._before = [0.0] * len(edits)
        self.hooks: list[HookAt] = [
            (where, self._measured(function, number))
            for number, edit in enumerate(edits)
            for where, function in edit.hooks()
        ]

    @property
    def relative(self) -> list[float]:
        """For each edit ‖after − before‖ / ‖before‖ over all tensors at its hooks; zero if none changed."""
        pairs = zip(self._changed, self._before, strict=True)
        return [
            (changed / before) ** 0.5 if changed and before else float(changed > 0)
            for changed, before in pairs
        ]

    def _measured(self, function: Callable[..., Any], number: int) -> Callable[..., Any]:
        def measured(tensor: Float[Tensor, "*shape"], hook: Any) -> Float[Tensor, "*shape"] | None:
            before = tensor.detach().double()
            returned: Tensor | None = function(tensor, hook)
            after = tensor if returned is None else returned
            self._changed[number] += float((after.detach().double() - before).square().sum())
            self._before[number] += float(before.square().sum())
            return returned

        return measured
