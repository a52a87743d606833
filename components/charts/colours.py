"""Colours of all charts, for a light and a dark page alike.

Vega's own signal `background` holds the page's colour, so the browser picks the colours, and a change of
theme needs no rerun. Zero has the page's own colour in both themes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import altair as alt
import numpy as np
from jaxtyping import Float, Float32, UInt8

IS_DARK = "luminance(background) < 0.2"
"""Vega expression: whether the page is dark."""

BACKGROUND = alt.ExprRef("background")
"""The page's background: the colour of zero."""


def _by_theme(light: str, dark: str) -> Any:
    return alt.ExprRef(f"{IS_DARK} ? '{dark}' : '{light}'")


INK = _by_theme("#1f2430", "#f4f5f7")
"""Titles and figures."""

QUIET = _by_theme("#5c6370", "#a9b0bc")
"""Notes and operators."""

FAINT = _by_theme("#b4bac4", "#565e6b")
"""Marks in the background: the curves of the other heads, edges."""

ACCENT = _by_theme("#b45309", "#fbbf24")
"""Selected and hovered marks. Amber stands apart from blue, red and green in every colour vision."""


@dataclass(frozen=True)
class Ramp:
    """Colours from the background at zero through `half` to `full`, for either theme."""

    light: tuple[str, str]
    dark: tuple[str, str]

    def scheme(self) -> list[Any]:
        """The colours at half and at full, for a Vega scale."""
        return [_by_theme(light, dark) for light, dark in zip(self.light, self.dark, strict=True)]

    def palette(self, steps: int, dark: bool) -> UInt8[np.ndarray, "{steps} 4"]:
        """Red, green, blue, opacity from step 1 to full. Zero, which is not among them, is transparent."""
        half, full = (_channels(colour) for colour in (self.dark if dark else self.light))
        strength = np.arange(1, steps + 1)[:, None] / steps
        opacity = np.clip(strength * 2, 0, 1) * 255
        colours = half + (full - half) * np.clip(strength * 2 - 1, 0, 1)
        return np.concatenate([colours, opacity], axis=-1).round().astype(np.uint8)


def _channels(colour: str) -> Float[np.ndarray, " 3"]:
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], dtype=np.float64)


NEGATIVE = Ramp(light=("#d6534a", "#8f1020"), dark=("#d9483b", "#ff9d8a"))
POSITIVE = Ramp(light=("#3f83c6", "#0b3c7d"), dark=("#3b82d6", "#9cc9ff"))
"""Red and blue, the pair that most colour vision deficiencies keep apart."""

AMOUNT = Ramp(light=("#8fb8ad", "#0f4f49"), dark=("#1d5c54", "#8fe3d3"))
_PALE = _by_theme("#e3efec", "#20302e")


MIN_PART = 1e-3
"""Part of a limit. Above about this, logarithmic colours are logarithmic; below, linear through zero."""


def strength(values: Float32[np.ndarray, "*shape"], limit: float) -> Float32[np.ndarray, "*shape"]:
    """Values on a symmetric-logarithmic scale: ±`limit` becomes ±1, and zero stays zero.

    sign(v) · log(1 + |v| / (c · limit)) / log(1 + 1 / c), with c = MIN_PART: about three powers of ten.
    """
    c = np.float32(MIN_PART)
    scaled = np.abs(values) / np.float32(limit) / c
    grown: Float32[np.ndarray, "*shape"] = np.sign(values) * (np.log1p(scaled) / np.log1p(1 / c))
    return grown


def strength_expr(value: str, limit: str, *, logarithmic: bool) -> str:
    """Vega expression: `strength` or, if not `logarithmic`, the value divided by the limit."""
    if not logarithmic:
        return f"({value}) / {limit}"
    grown = f"log(1 + abs({value}) / {limit} / {MIN_PART}) / log(1 + 1 / {MIN_PART})"
    return f"(({value}) < 0 ? -1 : 1) * {grown}"


def value_at_expr(strength: str, limit: str, *, logarithmic: bool) -> str:
    """Vega expression: the value that has a `strength`."""
    if not logarithmic:
        return f"({strength}) * {limit}"
    grown = f"(pow(1 + 1 / {MIN_PART}, abs({strength})) - 1)"
    return f"(({strength}) < 0 ? -1 : 1) * {grown} * {MIN_PART} * {limit}"


ROUND_ZERO = "datum.value ? format(datum.value, '+.2~r') : '0'"
"""The label of a legend's tick, where colours go both ways from zero."""


def diverging(limit: str = "1") -> alt.Scale:
    """Red through the background at zero to blue, reaching full colour at ±`limit`, a Vega expression."""
    return alt.Scale(
        domain=[alt.ExprRef(f"{part} * {limit}") for part in (-1, -0.5, 0, 0.5, 1)],
        range=[*reversed(NEGATIVE.scheme()), BACKGROUND, *POSITIVE.scheme()],
        interpolate="rgb",
        clamp=True,
    )


def _luminance(colour: Float[np.ndarray, " 3"]) -> float:
    """Relative luminance, as WCAG 2.2 defines it, of red, green and blue from 0 to 255."""
    parts = colour / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


_BOTH_LEGIBLE = 0.05 * 21**0.5 - 0.05
"""Luminance on which black and white letters have the same contrast, √21 = 4.58 : 1."""

PAGE = {"light": "#ffffff", "dark": "#12151c"}
"""The page's background in either theme."""


def letters_turn(ramp: Ramp, theme: str) -> float:
    """The strength, 0 to 1, above which letters on a shade of a ramp need the other colour."""
    half, full = (_channels(colour) for colour in getattr(ramp, theme))
    page = _channels(PAGE[theme])

    def at(strength: float) -> float:
        shade = page + (half - page) * 2 * strength
        return _luminance(shade if strength < 0.5 else half + (full - half) * (2 * strength - 1))

    is_dark = at(0.0) < _BOTH_LEGIBLE
    turn, beyond = 0.0, 1.0
    for _ in range(20):
        middle = (turn + beyond) / 2
        turn, beyond = (middle, beyond) if (at(middle) < _BOTH_LEGIBLE) == is_dark else (turn, middle)
    return turn


def letters_on(strength: str, *, signed: bool) -> Any:
    """Vega expression: black or white, whichever is legible on the shade of `strength`, a Vega expression."""

    def turned(theme: str) -> str:
        if not signed:
            return f"{strength} > {letters_turn(AMOUNT, theme):.4f}"
        turns = [letters_turn(ramp, theme) for ramp in (NEGATIVE, POSITIVE)]
        return f"({strength} < 0 ? -({strength}) > {turns[0]:.4f} : {strength} > {turns[1]:.4f})"

    return f"{IS_DARK} ? ({turned('dark')} ? 'black' : 'white') : ({turned('light')} ? 'white' : 'black')"


_STEPS = 127
"""Shades of either sign: with zero, both signs fill 255 colours of a palette picture."""
_CLEAR = np.zeros((1, 4), dtype=np.uint8)


def diverging_levels(values: Float32[np.ndarray, "*shape"], limit: float) -> UInt8[np.ndarray, "*shape"]:
    """The index of each value in `diverging_palette`."""
    steps = np.clip(values / np.float32(limit), -1, 1) * _STEPS
    levels: UInt8[np.ndarray, "*shape"] = np.rint(steps + _STEPS).astype(np.uint8)
    return levels


@cache
def diverging_palette(dark: bool) -> UInt8[np.ndarray, "level 4"]:
    """The colours of `diverging`, from −limit to +limit, as red, green, blue, opacity."""
    negative, positive = NEGATIVE.palette(_STEPS, dark), POSITIVE.palette(_STEPS, dark)
    return np.concatenate([negative[::-1], _CLEAR, positive])


def amount(limit: str = "1") -> alt.Scale:
    """Background at zero through green to full colour at `limit`, a Vega expression."""
    return alt.Scale(
        domain=[alt.ExprRef(f"{part} * {limit}") for part in (0, 0.5, 1)],
        range=[BACKGROUND, *AMOUNT.scheme()],
        interpolate="rgb",
        clamp=True,
    )


def amount_levels(values: Float32[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """The index of values from 0 to 1 in `amount_palette`."""
    levels: UInt8[np.ndarray, "*shape"] = np.rint(np.clip(values, 0, 1) * 2 * _STEPS).astype(np.uint8)
    return levels


@cache
def amount_palette(dark: bool) -> UInt8[np.ndarray, "level 4"]:
    """The colours of `amount`, from zero to full, as red, green, blue, opacity."""
    return np.concatenate([_CLEAR, AMOUNT.palette(2 * _STEPS, dark)])


_GLAZE = "#179a8d"
"""A tone that stands out from a light page and from a dark one."""
_GLAZE_STEPS = 15
"""With zero these fill half a byte, so even a large picture of noise stays small."""
_GLAZE_POWER = 0.7
"""Exponent from value to opacity: one tone has little contrast, and weak values would be lost in it."""


def glaze_levels(values: Float32[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """The index of values from 0 to 1 in `glaze_palette`."""
    steps = np.clip(values, 0, 1) ** np.float32(_GLAZE_POWER) * _GLAZE_STEPS
    levels: UInt8[np.ndarray, "*shape"] = np.rint(steps).astype(np.uint8)
    return levels


@cache
def glaze_palette() -> UInt8[np.ndarray, "level 4"]:
    """Green over a page of either theme, from zero to full, as red, green, blue, opacity."""
    opacity = np.linspace(0, 255, _GLAZE_STEPS + 1)[:, None]
    colours = np.broadcast_to(_channels(_GLAZE), (_GLAZE_STEPS + 1, 3))
    return np.concatenate([colours, opacity], axis=-1).round().astype(np.uint8)


def graded(low: str, high: str, bend: str) -> alt.Scale:
    """Pale to full green from `low` to `high`, in even steps below `bend` and by ratio above.

    A value v ≥ 0 maps to log(1 + v / bend). Even the lowest stands out from the page. All three are Vega
    expressions.
    """
    middle = f"{bend} * (sqrt((1 + {low} / {bend}) * (1 + {high} / {bend})) - 1)"
    return alt.Scale(
        type="symlog",
        constant=alt.ExprRef(bend),
        domain=[alt.ExprRef(end) for end in (low, middle, high)],
        range=[_PALE, *AMOUNT.scheme()],
        interpolate="rgb",
        clamp=True,
    )
