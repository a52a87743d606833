"""What can be changed in heads: their attention, their decay, how strongly they write.

The functions are the changes themselves, tensor to tensor. `heads` and positions are slices; a matrix
[b, heads, queries, keys] holds some rows of the text, and its keys begin at position 0. The classes apply
them to chosen layers, heads and positions of a run, and are the entries of `EDITS`.

For query i and key j, with M and L of one head (`components.ssd.terms`), what the scan returns is

    y[i] = Σ_j M[i,j]·dt[j]·x[j] + D·x[i]        M = L ∘ C Bᵀ        L[i,j] = exp(Σ_{j<k≤i} A·dt[k])
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, ClassVar, Literal, get_args, get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor

from components.ssd.edits import EDITS, Edit, HookAt
from components.ssd.kinds import KINDS, MAMBA2

_ALL = slice(None)


def mute(
    M: Float[Tensor, "batch head query key"], heads: slice = _ALL, rows: slice = _ALL
) -> Float[Tensor, "batch head query key"]:
    """M[i, :] = 0: these queries read nothing; y[i] = D·x[i] stays."""
    M = M.clone()
    M[:, heads, rows] = 0
    return M


def cut(
    M: Float[Tensor, "batch head query key"], heads: slice = _ALL, rows: slice = _ALL, keys: slice = _ALL
) -> Float[Tensor, "batch head query key"]:
    """M[i, j] = 0: these queries read nothing of these keys; D·x[j] stays."""
    M = M.clone()
    M[:, heads, rows, keys] = 0
    return M


def keep_last(
    M: Float[Tensor, "batch head query key"],
    width: int,
    heads: slice = _ALL,
    rows: slice = _ALL,
    first: int = 0,
) -> Float[Tensor, "batch head query key"]:
    """M[i, j] = 0 where i − j ≥ width: these queries read the last `width` tokens, themselves included.

    `first` is the position of the first row.
    """
    M = M.clone()
    i = torch.arange(first, first + M.shape[2], device=M.device)[rows, None]
    far = i - torch.arange(M.shape[3], device=M.device) >= width
    M[:, heads, rows] = M[:, heads, rows].masked_fill(far, 0)
    return M


def scale(
    tensor: Float[Tensor, "batch seq head"], factor: float, heads: slice = _ALL, positions: slice = _ALL
) -> Float[Tensor, "batch seq head"]:
    """A·dt[k] or dt[k] times a factor. A·dt = 0 keeps all of the state at a step: L = 1 if at every one."""
    tensor = tensor.clone()
    tensor[:, positions, heads] *= factor
    return tensor


def put(
    tensor: Float[Tensor, "batch seq head *dim"],
    value: Float[Tensor, "batch 1 head *dim"] | float,
    heads: slice = _ALL,
    positions: slice = _ALL,
) -> Float[Tensor, "batch seq head *dim"]:
    """dt[k], x[k] or y[k] replaced by a value: zero, or a mean over the text."""
    tensor = tensor.clone()
    tensor[:, positions, heads] = value[:, :, heads] if isinstance(value, Tensor) else value
    return tensor


def take_out(
    channels: Float[Tensor, "batch channel seq"],
    head_dim: int,
    count: int,
    heads: slice = _ALL,
    positions: slice = _ALL,
) -> Float[Tensor, "batch channel seq"]:
    """Zero what `count` heads would write of these tokens, before the convolution spreads it.

    The first `count · head_dim` channels are x; B and C, the addresses, stay.
    """
    channels = channels.clone()
    x = channels[:, : count * head_dim].unflatten(1, (count, head_dim))
    x[:, heads, :, positions] = 0
    return channels


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
    def applied(self, tensor: Tensor, at: _At) -> Tensor:
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
            after = self.applied(tensor, _At(self, hook, remembered))
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
class _At:
    """One call of an edit's function: the part of the text that its tensor holds."""

    edit: HeadEdit
    hook: Any
    remembered: dict[str, Tensor]

    def heads(self, count: int) -> slice:
        """The edit's heads; ValueError if the layer has fewer."""
        heads = self.edit.heads
        if heads is not None and heads.stop > count:
            raise ValueError(f"{self.hook.name} has {count} heads, 0 to {count - 1}; the edit names {heads}.")
        return _ALL if heads is None else slice(heads.start, heads.stop)

    @property
    def positions(self) -> slice:
        """The edit's positions within the tensor."""
        return self.within(self.edit.positions)

    def within(self, wanted: range | None) -> slice:
        """Positions of the text, as indices into the tensor."""
        if wanted is None:
            return _ALL
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

    def applied(self, tensor: Tensor, at: _At) -> Tensor:
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

    def applied(self, tensor: Tensor, at: _At) -> Tensor:
        """Without these tokens."""
        match self.what:
            case "reading":
                keys = _ALL if self.positions is None else slice(self.positions.start, self.positions.stop)
                return _rescaled(cut(tensor, at.heads(tensor.shape[1]), keys=keys), self.kind)
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

    def applied(self, tensor: Tensor, at: _At) -> Tensor:
        """Without these entries."""
        keys = _ALL if self.keys is None else slice(self.keys.start, self.keys.stop)
        return _rescaled(cut(tensor, at.heads(tensor.shape[1]), at.positions, keys), self.kind)


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

    def applied(self, tensor: Tensor, at: _At) -> Tensor:
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

    def applied(self, tensor: Tensor, at: _At) -> Tensor:
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

    def applied(self, tensor: Tensor, at: _At) -> Tensor:
        """With the mean."""
        return put(tensor, at.mean(tensor), at.heads(tensor.shape[2]), at.positions)


EDITS.update(
    {edit.name: edit for edit in (Mute, CutSource, CutEdge, KeepLast, ScaleDecay, ScaleDt, FreezeDt)}
)


def _counted(what: str, indices: range | None) -> str:
    if indices is None:
        return f"all {what}s"
    if len(indices) == 1:
        return f"{what} {indices[0]}"
    return f"{what}s {indices[0]} to {indices[-1]}"


def _rescaled(M: Float[Tensor, "batch head query key"], kind: str) -> Float[Tensor, "batch head query key"]:
    """Rows of softmax attention as a distribution again; a row without any key stays zero."""
    if not KINDS[kind].rows_sum_to_one:
        return M
    sums = M.sum(dim=-1, keepdim=True)
    return M / torch.where(sums > 0, sums, 1)


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
