"""Heads like one: those whose attention falls on the same places of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32


class Alike(NamedTuple):
    """Another head, and how much its picture is that of the first, from 0 to 1."""

    head: int
    similarity: float


def heads_like(pictures: Float32[np.ndarray, "head row column"], head: int, most: int = 3) -> Sequence[Alike]:
    """The heads whose pictures are nearest to that of `head`, nearest first.

    `pictures` hold no negative value: |M| or its root mean square over tiles. Similar is what has a large
    cosine, Σ a·b / √(Σ a² · Σ b²) over all cells of two pictures: 1 where one is a multiple of the other, 0
    where no cell is read in both. Heads that read nothing are like none.
    """
    flat = pictures.reshape(len(pictures), -1)
    largest = flat.max(axis=1, keepdims=True)
    flat = flat / np.where(largest > 0, largest, 1)  # squares of small numbers would be zero
    sizes = np.sqrt(np.einsum("ij,ij->i", flat, flat))
    cosines = flat @ flat[head] / np.where(sizes > 0, sizes, 1) / (sizes[head] or 1)
    cosines[head] = 0
    nearest = np.argsort(-cosines, kind="stable")[:most]
    return [Alike(int(other), min(float(cosines[other]), 1.0)) for other in nearest if cosines[other] > 0]
