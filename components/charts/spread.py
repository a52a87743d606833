"""The colour scale of a measure between pale and full colour, and the values in its legend."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float32

MIN_EFFECT = 1e-3
"""Least end of a scale round zero: effects are differences of logits, which round to about a millionth."""

_MIN_PART = 1e-6
"""Part of the largest value below which values count as zero."""
_BEYOND = 0.2
"""Distance of infinite values beyond the largest, as a part of the scale up to it."""
_TICKS = 4


@dataclass(frozen=True)
class Spread:
    """The parameters of `components.charts.colours.graded`, and round values for its legend."""

    low: float
    high: float
    """The largest value or, if some are infinite, the end of the scale for these."""
    bend: float
    """Far above all values for even steps, below them for ratios."""
    endless: bool
    """Whether some values are infinite."""
    ticks: tuple[float, ...]


def spread_of(values: pd.Series[float]) -> Spread:
    """The colour scale for values ≥ 0; ignores NaN.

    The median m gets the middle colour, so as many values are paler as are fuller: the bend c solves
    (1 + m/c)² = (1 + l/c)(1 + h/c) for the ends l and h. There is no such c if m ≥ (l + h) / 2, where the
    steps are even (c is large), or if m² ≤ l·h, where they are ratios (c is small).
    """
    every = values.to_numpy()  # one step of pandas takes as long as all of these
    finite = every[every < math.inf]
    above_zero = finite[finite > 0]
    low, largest = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    least = max(float(above_zero.min()) if len(above_zero) else 0.0, largest * _MIN_PART)
    median = float(np.median(finite)) if len(finite) else 0.5
    bend = 1e3 * (largest or 1.0)
    if 2 * median < low + largest:
        bend = min((median**2 - low * largest) / (low + largest - 2 * median), bend)
        bend = max(bend, least / 10)
    from_here = max(low, bend, least)
    ticks = _powers(from_here, largest) if largest > 10 * from_here else _even(low, largest)
    if low == 0 and ticks[0] > 0:
        ticks.insert(0, 0.0)
    high, endless = largest, bool((every == math.inf).any())
    if endless:
        way = math.log1p(largest / bend) - math.log1p(low / bend)
        high = bend * math.expm1(math.log1p(largest / bend) + _BEYOND * way) if way else 2 * largest or 1.0
        ticks.append(high)
    return Spread(low, high, bend, endless, tuple(ticks))


def largest_effect(*effects: Float32[np.ndarray, "*shape"]) -> float:
    """The end of a scale round zero; never so small that rounding would be drawn as an effect."""
    found = [float(np.nanmax(np.abs(each))) for each in effects if np.isfinite(each).any()]
    return max([MIN_EFFECT, *found])


def spread_round_zero(values: pd.Series[float]) -> Spread:
    """The colour scale for values of either sign, in even steps; ignores NaN."""
    limit = largest_effect(values.to_numpy(np.float32))
    return Spread(-limit, limit, bend=limit, endless=False, ticks=(-limit, 0.0, limit))


def _powers(low: float, high: float) -> list[float]:
    """A few powers of ten within a range wider than one power."""
    powers = [10.0**k for k in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    return powers[:: math.ceil(len(powers) / _TICKS)]


def _even(low: float, high: float) -> list[float]:
    """A few round values within a range; if it is one value, that value."""
    if low == high:
        return [low]
    least = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(least))
    step = next(part * power for part in (1, 2, 5, 10) if part * power >= least)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
