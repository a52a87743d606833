"""Heads similar to a given one: their attention falls on the same cells of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32


class Alike(NamedTuple):
    """Another head, and how similar its picture is to the first, from 0 to 1."""

    head: int
    similarity: float


def heads_like(pictures: Float32[np.ndarray, "head row column"], head: int, most: int = 3) -> Sequence[Alike]:
    """The heads whose pictures are most similar to that of `head`, most similar first.

    `pictures` hold no negative value: |M| or its root mean square over tiles. `similarity` is the cosine
    Σ a·b / √(Σ a² · Σ b²) over all cells of two pictures: 1 if one is a multiple of the other, 0 if no cell
    is read in both. Leaves out heads with similarity 0.
    """
    flat = pictures.reshape(len(pictures), -1)
    largest = flat.max(axis=1, keepdims=True)
    flat = flat / np.where(largest > 0, largest, 1)  # squares of small numbers would underflow
    sizes = np.sqrt(np.einsum("ij,ij->i", flat, flat))
    cosines = flat @ flat[head] / np.where(sizes > 0, sizes, 1) / (sizes[head] or 1)
    cosines[head] = 0
    nearest = np.argsort(-cosines, kind="stable")[:most]
    return [Alike(int(other), min(float(cosines[other]), 1.0)) for other in nearest if cosines[other] > 0]
