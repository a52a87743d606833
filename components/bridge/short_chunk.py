"""Runs a text that is shorter than the scan's chunk in a chunk of its own length.

The scan of transformers pads a text to whole chunks, of 256 positions in most models, and compares all pairs
within a chunk. In a chunk of 64, a text of 60 tokens takes a sixteenth of the pairs, and the output is the
same bit for bit, as long as products of both sizes add up in the same order. That depends on the machine's
matrix library, so it is checked once for every shape. Where one bit differs, the model's own chunk stays.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

STEP = 16
"""A short chunk is a multiple of this, the float32 numbers in the widest vector of a CPU."""

Model = TypeVar("Model", bound=nn.Module)

_equal: dict[tuple[object, ...], bool] = {}
"""What was found, by shape."""


def in_short_chunk(model: Model, mixers: Mapping[str, nn.Module], batch: int, length: int) -> Model:
    """The model that runs `batch` texts of `length` tokens with the least padding, from no carried state.

    That is the model itself, or a copy whose `mixers` (by their path in it) take a shorter chunk. The copy
    shares all else: tensors, hooks, other modules. So nothing of the model changes, and threads with
    different texts do not meet.
    """
    alike = all(_may_be_short(mixer, batch, length) for mixer in mixers.values())
    return short_model(model, mixers, length + 1) if alike else model


def short_model(model: Model, mixers: Mapping[str, nn.Module], positions: int) -> Model:
    """The copy of `in_short_chunk`, with chunks of so many positions; it may round otherwise."""
    copies: dict[str, Any] = {"": _own_modules(model)}
    for path, mixer in mixers.items():
        names = path.split(".")
        for depth, name in enumerate(names):
            above, here = ".".join(names[:depth]), ".".join(names[: depth + 1])
            if here not in copies:
                copies[here] = _own_modules(copies[above].get_submodule(name))
                setattr(copies[above], name, copies[here])
        copies[path].chunk_size = _short(mixer, positions)
    twin: Model = copies[""]
    return twin


def _own_modules(module: nn.Module) -> nn.Module:
    """A copy that shares all with a module, but can be given other modules inside."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


def _short(mixer: Any, positions: int) -> int:
    """The shortest chunk with so many positions."""
    return min(-(-positions // STEP) * STEP, int(mixer.chunk_size))


def _may_be_short(mixer: Any, batch: int, length: int) -> bool:
    """Whether a short chunk gives this mixer's scan the same bits; checked on a CPU alone.

    It has one position of padding at least. Without any, as without a need to copy, tensors would be laid out
    otherwise and products add up otherwise.
    """
    chunk = _short(mixer, length + 1)
    if chunk == mixer.chunk_size or mixer.A_log.device.type != "cpu":
        return False
    shape = mixer.num_heads, mixer.head_dim, mixer.n_groups, mixer.ssm_state_size, mixer.chunk_size
    key = type(mixer), *shape, mixer.A_log.dtype, batch, chunk, torch.get_num_threads()
    if key not in _equal:
        _equal[key] = _gives_the_same_bits(mixer, batch, chunk)
    return _equal[key]


class _First(nn.Module):
    """Stands in for the modules around a scan."""

    def forward(self, first: Tensor, *others: object) -> Tensor:
        return first


def _gives_the_same_bits(mixer: Any, batch: int, chunk: int) -> bool:
    """Whether they do, on random projections of the longest text for the short chunk.

    A shorter one adds zeros in the place of these numbers.
    """
    width = getattr(mixer.in_proj, "out_features", None)
    if width is None:
        return False
    numbers = torch.Generator().manual_seed(0)
    projected = torch.randn(batch, chunk - 1, width, generator=numbers).to(mixer.A_log.dtype)
    found = []
    with torch.inference_mode(False), torch.no_grad():
        for size in (mixer.chunk_size, chunk):
            alone: Any = _own_modules(mixer)
            alone._modules |= {
                name: _First() for name in ("in_proj", "norm", "out_proj") if name in alone._modules
            }
            alone.chunk_size = size
            found.append(alone.forward(projected))
    return torch.equal(*found)
