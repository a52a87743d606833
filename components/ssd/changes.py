"""The changes that edits of heads make, as pure functions of tensors.

`heads` and positions are slices; a matrix [b, heads, queries, keys] holds some rows of the text, and its keys
begin at position 0. For query i and key j, with M and L of one head (`components.ssd.terms`), what the scan
returns is

    y[i] = Σ_j M[i,j]·dt[j]·x[j] + D·x[i]        M = L ∘ C Bᵀ        L[i,j] = exp(Σ_{j<k≤i} A·dt[k])
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

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
