"""One figure per head: how far it looks, how long it remembers. A measure is one entry of `MEASURES`.

Other quantities are of one cell, which somebody has picked: those of `OF_CELL`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float32
from torch import Tensor

from components.ssd.attention import absolute_sums
from components.ssd.kinds import attention_of
from components.ssd.mixer_terms import MixerTerms
from components.ssd.terms import SSDTerms

MEASURED_ROWS = 256
"""Rows of M that a measure of a whole text reads."""

_ROOM = 2**25
"""Bytes of rows of attention in memory at a time."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure per head, and its standard error: zero where it is exact."""

    value: Float32[Tensor, "batch head"]
    error: Float32[Tensor, "batch head"]


def half_life(terms: SSDTerms) -> Float32[Tensor, "batch head"]:
    """Tokens after which half of what was written is left, ln 2 / (mean over k of abs(A·dt[k])).

    From L[i,j] = exp(Σ A·dt) ≈ exp(mean A·dt · (i − j)) = 1/2. Infinite where a head never decays.
    ValueError where a hook replaced rows of L, which then follow from no A·dt.
    """
    if terms.edited_decay:
        raise ValueError("A hook replaced rows of L in this run, so no half-life follows from A·dt.")
    mean_decay = terms.cum_log_decay[..., -1].abs() / terms.length
    return (math.log(2) / mean_decay).to(terms.dt.device, torch.float32)


def mean_distance(terms: MixerTerms, *, rows: int = MEASURED_ROWS) -> Estimate:
    """Tokens between a query and what it reads: mean over i of Σ_j p[i,j]·(i − j), p = |M| over its row sum.

    Of softmax attention, M is its pattern P. Source: DeciMamba, arXiv 2406.14528, section 4. Rows that read
    nothing (all zero, as at padding) do not count; NaN where no row reads anything.

    Each row costs work in proportion to the text. Up to `rows` positions every row counts and the figure is
    exact. Of a longer text it samples `rows` evenly spread rows; the error is s·√((1 − rows/length)/rows), s
    being the deviation between rows (sampling without replacement, Cochran 1977, eq. 2.12).
    """
    count = min(rows, terms.length)
    chosen = ((torch.arange(count) * 2 + 1) * terms.length // (2 * count)).tolist()
    distances = _distances(terms, chosen)
    mean = distances.nanmean(dim=-1)
    counted = (~distances.isnan()).sum(dim=-1)
    squares = (distances - mean[..., None]).square().nansum(dim=-1)
    unseen = 1 - count / terms.length
    error = (squares / (counted - 1).clamp(min=1) * unseen / counted).sqrt()
    return Estimate(mean, error)


def _distances(terms: MixerTerms, queries: Sequence[int]) -> Float32[Tensor, "batch head query"]:
    """Mean distance of what each of these queries reads, in ascending order; NaN if it reads nothing."""
    if isinstance(terms, SSDTerms) and not terms.edited_attention:
        read, reach = absolute_sums(terms, queries)
        return reach / read
    at_a_time = max(1, _ROOM // (4 * terms.batch * terms.heads * terms.length))
    found = []
    for start in range(0, len(queries), at_a_time):
        rows = queries[start : start + at_a_time]
        weight = attention_of(terms, queries=rows, keys=slice(0, rows[-1] + 1)).abs_()
        read = weight.sum(dim=-1)
        positions = torch.arange(weight.shape[-1], device=weight.device)
        lags = torch.tensor(rows, device=weight.device)[:, None] - positions
        found.append(weight.mul_(lags).sum(dim=-1) / read)
    return torch.cat(found, dim=-1)


def row_share(terms: MixerTerms, query: int, key: int) -> Float32[Tensor, "batch head"]:
    """What part of all that a query reads is one key: |M[i,j]| / Σ_k |M[i,k]|, from 0 to 1.

    Of softmax attention, M is its pattern P. NaN where the query reads nothing. This needs one row of each
    head, so memory in proportion to the text. IndexError where there is no such query, or it cannot read
    such a key.
    """
    if not 0 <= key <= query:
        raise IndexError(f"Query {query} reads no key {key}: give a key from 0 up to the query.")
    row = attention_of(terms, queries=[query], keys=slice(0, query + 1))[:, :, 0].abs_()
    return row[..., key] / row.sum(dim=-1)


@dataclass(frozen=True)
class Quantity:
    """A number of every head that maps of heads can be coloured and sorted by."""

    name: str
    label: str
    meaning: str
    """A sentence."""
    unit: str = field(default="tokens", kw_only=True)
    signed: bool = field(default=False, kw_only=True)
    """Whether its colours go both ways from zero."""


@dataclass(frozen=True)
class Measure(Quantity):
    """A quantity of a whole text."""

    of: Callable[[MixerTerms], Estimate | None]
    """From the terms of one layer; None where heads of this kind have no such figure."""


def _half_life(terms: MixerTerms) -> Estimate | None:
    if not isinstance(terms, SSDTerms):
        return None
    exact = half_life(terms)
    return Estimate(exact, torch.zeros_like(exact))


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            "mean_distance",
            "Mean distance",
            "Tokens between a query and what it reads, weighted by |attention|.",
            mean_distance,
        ),
        Measure(
            "half_life",
            "Half-life",
            "Tokens after which half of what was written is left, at the mean dt.",
            _half_life,
        ),
    )
}
"""By name; the first colours the map that a page opens with."""

CELL_SHARE = Quantity(
    "cell_share",
    "Cell's share of its row",
    "|attention| of the picked cell, divided by that of its whole row.",
    unit="0 to 1",
)
CELL_EFFECT = Quantity(
    "cell_effect",
    "Effect of cutting the cell",
    "How far the logit difference of an answer falls when the picked cell is set to zero in this head alone.",
    unit="logits",
    signed=True,
)
OF_CELL: dict[str, Quantity] = {each.name: each for each in (CELL_SHARE, CELL_EFFECT)}
"""Quantities of one cell, query i and key j, by name."""
