"""Layers as texts of one batch: operations on small layers take less time than starting them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any, cast

import torch

from components.ssd.mixer_terms import MixerTerms
from components.ssd.terms import SSDTerms

STACKED_BYTES = 2**25
"""Memory of a batch. The mean distances of 24 layers of 24 heads over 60, 240 and 1,000 tokens take 0.3, 0.35
and 0.7 times as long as layer by layer (`python -m benchmarks.tricks`). Over 5,000 tokens, whose layers fill
154 MB, five at a time take 0.9 times."""

_OF_MATRICES = ("B", "C", "dt", "cum_log_decay")


def stacked(layers: Iterable[MixerTerms]) -> Iterator[MixerTerms]:
    """The terms of all layers in their order, alike neighbours as one batch: its texts are the layers.

    For matrices, which need neither x nor A and D: a batch has no x, and NaN for A and D. Layers of other
    kinds, and those in which hooks replaced rows, come alone, as they are given.
    """
    for shape, group in groupby(layers, key=_shape):
        alike = list(group)
        if shape is None:
            yield from alike
            continue
        each = cast("list[SSDTerms]", alike)
        at_a_time = max(STACKED_BYTES // sum(getattr(each[0], name).nbytes for name in _OF_MATRICES), 1)
        for start in range(0, len(each), at_a_time):
            yield _as_batch(each[start : start + at_a_time])


def _shape(terms: MixerTerms) -> tuple[object, ...] | None:
    """What layers of one batch have in common; None for terms that no batch takes."""
    if not isinstance(terms, SSDTerms) or terms.edited_attention or terms.edited_decay:
        return None
    return terms.batch, terms.length, terms.heads, terms.B.shape, terms.B.device


def _as_batch(layers: list[SSDTerms]) -> SSDTerms:
    first = layers[0]
    if len(layers) == 1:
        return first
    unknown = torch.full_like(first.A, torch.nan)
    parts: dict[str, Any] = {
        name: torch.cat([getattr(each, name) for each in layers]) for name in _OF_MATRICES
    }
    x = first.x[..., :0].expand(len(parts["dt"]), -1, -1, -1)
    return replace(first, **parts, x=x, A=unknown, D=unknown)
