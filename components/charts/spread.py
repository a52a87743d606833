"""Where the values of a measure stand between pale and full colour, and the figures of the legend."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

_POWER = 10
"""Values that span more than this are told apart by their ratios."""
_LEAST_PART = 1e-6
"""Of the largest value: what is smaller is as good as zero."""
_BEYOND = 0.2
"""How much further than the largest value what is infinite stands, as a part of the way there."""
_TICKS = 4


@dataclass(frozen=True)
class Spread:
    """The parameters of `components.charts.colours.graded`, and round values for its legend."""

    low: float
    high: float
    """The largest value or, if some are infinite, where these stand."""
    bend: float
    """Below the least value above zero, or far above all of them if even steps tell them apart."""
    endless: bool
    """Whether some values are infinite."""
    ticks: tuple[float, ...]


def spread_of(values: pd.Series[float]) -> Spread:
    """How to tell values ≥ 0 apart; NaN counts for nothing."""
    finite = values[values < math.inf]
    low, largest = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    least = max(float(finite[finite > 0].min()) if largest > 0 else 0.0, largest * _LEAST_PART)
    by_ratio = largest > _POWER * least
    bend = least / _POWER if by_ratio else 1e3 * (largest or 1.0)
    ticks = _powers(least, largest) if by_ratio else _even(low, largest)
    if low < least and by_ratio:
        ticks.insert(0, 0.0)
    high, endless = largest, bool((values == math.inf).any())
    if endless:
        way = math.log1p(largest / bend) - math.log1p(low / bend)
        high = bend * math.expm1(math.log1p(largest / bend) + _BEYOND * way) if way else 2 * largest or 1.0
        ticks.append(high)
    return Spread(low, high, bend, endless, tuple(ticks))


def _powers(low: float, high: float) -> list[float]:
    """A few powers of ten within a range that is wider than one."""
    powers = [10.0**k for k in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    return powers[:: math.ceil(len(powers) / _TICKS)]


def _even(low: float, high: float) -> list[float]:
    """A few round values within a range; of one value, that one."""
    if low == high:
        return [low]
    least = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(least))
    step = next(part * power for part in (1, 2, 5, 10) if part * power >= least)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
