"""What all edits of heads share: where they apply, their sentence, their form in a link, their hooks."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, ClassVar, get_args, get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor

from components.ssd.edits import Edit, HookAt
from components.ssd.kinds import KINDS, MAMBA2


@dataclass(frozen=True)
class HeadEdit(Edit):
    """A change of heads. `layers`, `heads` and `positions` are ranges of indices; None means all.

    `positions` are those of the text, those of a continuation included. Raises ValueError for a range that
    is empty or has a step, or another value out of range.
    """

    layers: range | None = None
    heads: range | None = None
    positions: range | None = None
    kind: str = MAMBA2.name

    title: ClassVar[str]
    """What it does, in a few words."""
    kinds: ClassVar[tuple[str, ...]] = (MAMBA2.name,)
    """The kinds of heads that it applies to."""
    _ranges: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "positions", *self._ranges):
            given = getattr(self, name)
            if given is not None and (given.step != 1 or not len(given) or given.start < 0):
                raise ValueError(
                    f"{name}={given} is no range of indices; give range(first, last + 1), or None."
                )
        if self.kind not in self.kinds:
            raise ValueError(
                f"{type(self).__name__} does not apply to heads of kind {self.kind!r}, but to: "
                f"{', '.join(self.kinds)}."
            )

    @abstractmethod
    def applied(self, tensor: Tensor, at: At) -> Tensor:
        """The tensor at its hook, changed."""

    @property
    @abstractmethod
    def hook(self) -> str:
        """Where it applies, within a layer."""

    @property
    def whole_matrix(self) -> bool:
        """Whether a run with it computes whole matrices, in memory that grows with the square of the text."""
        return self.hook == KINDS[self.kind].matrix_hook

    @property
    def sentence(self) -> str:
        """What it does and where, such as "Cut tokens (reading): layer 2, head 5, positions 7 to 9"."""
        values = [getattr(self, each.name) for each in fields(self) if each.name not in _FIELDS]
        own = [f"{each:g}" if isinstance(each, float) else _words_of(each) for each in values]
        where = [
            _counted("layer", self.layers),
            *([KINDS[self.kind].words] if KINDS[self.kind].short else []),
            _counted("head", self.heads),
            _counted("position", self.positions),
        ]
        said = f" ({', '.join(own)})" if own else ""
        return f"{self.title}{said}: {', '.join(where)}"

    def hooks(self) -> Sequence[HookAt]:
        """One function for each of its layers."""
        remembered: dict[str, Tensor] = {}

        def function(tensor: Tensor, hook: Any) -> Tensor | None:
            after = self.applied(tensor, At(self, hook, remembered))
            # To write the same back would be an edit: the scan would be computed again, and round otherwise.
            return None if torch.equal(after, tensor) else after

        if self.layers is None:
            pattern = re.compile(rf"blocks\.\d+\.{re.escape(self.hook)}")
            return [(lambda name: pattern.fullmatch(name) is not None, function)]
        return [(f"blocks.{layer}.{self.hook}", function) for layer in self.layers]

    def arguments(self) -> Sequence[str]:
        """Layers, heads, positions, its own values, and a kind that is not the default."""
        own = [each.name for each in fields(self) if each.name not in _FIELDS]
        said = [_words_of(getattr(self, name)) for name in ("layers", "heads", "positions", *own)]
        return said if self.kind == MAMBA2.name else [*said, self.kind]

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Edit | None:
        """The edit with these arguments; None if invalid."""
        hints = get_type_hints(cls)
        names = ["layers", "heads", "positions", *(e.name for e in fields(cls) if e.name not in _FIELDS)]
        given = dict(zip([*names, "kind"], arguments, strict=False))
        if not len(names) <= len(arguments) <= len(names) + 1:
            return None
        try:
            return cls(**{name: _value_of(hints[name], words) for name, words in given.items()})
        except ValueError:
            return None


_FIELDS = ("layers", "heads", "positions", "kind")


@dataclass(frozen=True)
class At:
    """One call of an edit's function: the part of the text that its tensor holds."""

    edit: HeadEdit
    hook: Any
    remembered: dict[str, Tensor]

    def heads(self, count: int) -> slice:
        """The edit's heads; ValueError if the layer has fewer."""
        heads = self.edit.heads
        if heads is not None and heads.stop > count:
            raise ValueError(f"{self.hook.name} has {count} heads, 0 to {count - 1}; the edit names {heads}.")
        return slice_of(heads)

    @property
    def positions(self) -> slice:
        """The edit's positions within the tensor."""
        return self.within(self.edit.positions)

    def within(self, wanted: range | None) -> slice:
        """Positions of the text, as indices into the tensor."""
        if wanted is None:
            return slice(None)
        here = self.hook.positions
        start, stop = (min(max(each - here.start, 0), len(here)) for each in (wanted.start, wanted.stop))
        return slice(start, max(start, stop))

    def mean(self, tensor: Float[Tensor, "batch seq *dim"]) -> Float[Tensor, "batch 1 *dim"]:
        """The mean over the prompt, which later steps remember; pads of a padded batch do not count.

        ValueError if the prompt comes in pieces: the first of them would lack the rest.
        """
        name, prompt, here = self.hook.name, self.hook.prompt, self.hook.positions
        if here.start == 0:
            if len(prompt) > len(here):
                raise ValueError(
                    f"A mean over the prompt needs the whole prompt at once; this run reads its "
                    f"{len(prompt)} tokens in pieces of {len(here)}. Shorten it, or choose another edit."
                )
            read, mask = tensor[:, : len(prompt)], self.hook.mask
            real = read.new_ones(read.shape[:2]) if mask is None else mask.to(read)
            weights = real / real.sum(dim=1, keepdim=True)
            self.remembered[name] = torch.einsum("bs,bs...->b...", weights, read)[:, None]
        return self.remembered[name]


def slice_of(indices: range | None) -> slice:
    """The indices of a range without a step; None means all."""
    return slice(None) if indices is None else slice(indices.start, indices.stop)


def _counted(what: str, indices: range | None) -> str:
    if indices is None:
        return f"all {what}s"
    if len(indices) == 1:
        return f"{what} {indices[0]}"
    return f"{what}s {indices[0]} to {indices[-1]}"


def _words_of(value: object) -> str:
    """A value in a link: "all", "5", "5-9", "reading", or 0.5 as "5e-1" (a point separates arguments)."""
    match value:
        case None:
            return "all"
        case range():
            return f"{value[0]}" if len(value) == 1 else f"{value[0]}-{value[-1]}"
        case float():
            _, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
            return f"{''.join(map(str, digits))}e{exponent}"
        case _:
            return str(value)


def _value_of(hint: Any, words: str) -> Any:
    """The value of such words; ValueError if there is none."""
    if hint is float:
        if not re.fullmatch(r"\d{1,20}e-?\d{1,3}", words, re.ASCII):
            raise ValueError(words)
        return float(words)
    if hint is int:
        if not re.fullmatch(r"\d{1,9}", words, re.ASCII):
            raise ValueError(words)
        return int(words)
    if hint is str:
        return words
    if choices := get_args(hint):
        if all(isinstance(choice, str) for choice in choices):
            if words not in choices:
                raise ValueError(words)
            return words
        if words == "all":
            return None
        found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", words, re.ASCII)
        if found is None:
            raise ValueError(words)
        return range(int(found[1]), int(found[2] or found[1]) + 1)
    raise ValueError(words)
