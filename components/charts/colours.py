"""Colours of all charts, right on a light and on a dark page without knowing which it is.

Vega's own signal `background` holds the page's colour, so the browser chooses; nothing has to be drawn again
on the server when a reader changes the theme. Zero is the page's own colour in both.
"""

from __future__ import annotations

from dataclasses import dataclass
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
"""What stands behind: the curves of the other heads, edges."""

ACCENT = _by_theme("#b45309", "#fbbf24")
"""What is picked or pointed at. Amber stands apart from blue, red and green in every colour vision."""


@dataclass(frozen=True)
class Ramp:
    """Colours from the background at zero through `half` to `full`, for either theme."""

    light: tuple[str, str]
    dark: tuple[str, str]

    def scheme(self) -> list[Any]:
        """The colours at half and at full, for a Vega scale."""
        return [_by_theme(light, dark) for light, dark in zip(self.light, self.dark, strict=True)]

    def paint(self, strength: Float32[np.ndarray, "*shape"], dark: bool) -> UInt8[np.ndarray, "*shape 4"]:
        """Red, green, blue, opacity of each strength in 0 … 1. Zero is transparent: the page shows."""
        half, full = (_channels(colour) for colour in (self.dark if dark else self.light))
        beyond = np.clip(strength * 2 - 1, 0, 1)[..., None]
        opacity = np.clip(strength * 2, 0, 1)[..., None] * 255
        return np.concatenate([half + (full - half) * beyond, opacity], axis=-1).round().astype(np.uint8)


def _channels(colour: str) -> Float[np.ndarray, " 3"]:
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], dtype=np.float64)


NEGATIVE = Ramp(light=("#d6534a", "#8f1020"), dark=("#d9483b", "#ff9d8a"))
POSITIVE = Ramp(light=("#3f83c6", "#0b3c7d"), dark=("#3b82d6", "#9cc9ff"))
"""Red and blue, the pair that most colour vision deficiencies keep apart."""

AMOUNT = Ramp(light=("#8fb8ad", "#0f4f49"), dark=("#1d5c54", "#8fe3d3"))
_PALE = _by_theme("#e3efec", "#20302e")


def diverging(limit: str) -> alt.Scale:
    """Red through the background at zero to blue, reaching full colour at ±`limit`, a Vega expression."""
    return alt.Scale(
        domain=[alt.ExprRef(f"{part} * {limit}") for part in (-1, -0.5, 0, 0.5, 1)],
        range=[*reversed(NEGATIVE.scheme()), BACKGROUND, *POSITIVE.scheme()],
        interpolate="rgb",
        clamp=True,
    )


def paint_diverging(
    values: Float32[np.ndarray, "*shape"], limit: float, dark: bool
) -> UInt8[np.ndarray, "*shape 4"]:
    """The colours that `diverging` gives, as red, green, blue, opacity."""
    negative = NEGATIVE.paint(-values / np.float32(limit), dark)
    positive = POSITIVE.paint(values / np.float32(limit), dark)
    return np.where((values < 0)[..., None], negative, positive)


def amount() -> alt.Scale:
    """Background at zero through green to full colour at one."""
    return alt.Scale(
        domain=[0, 0.5, 1],
        range=[BACKGROUND, *AMOUNT.scheme()],
        interpolate="rgb",
        clamp=True,
    )


def paint_amount(
    values: Float32[np.ndarray, "*shape"], limit: float, dark: bool
) -> UInt8[np.ndarray, "*shape 4"]:
    """The colours that `amount` gives, as red, green, blue, opacity."""
    return AMOUNT.paint(values / np.float32(limit), dark)


def graded(low: str, high: str, *, logarithmic: bool) -> alt.Scale:
    """Pale to full green from `low` to `high`, by ratio if `logarithmic`; even the lowest stands out.

    `low` and `high` are Vega expressions.
    """
    middle = f"sqrt({low} * {high})" if logarithmic else f"({low} + {high}) / 2"
    return alt.Scale(
        type="log" if logarithmic else "linear",
        domain=[alt.ExprRef(end) for end in (low, middle, high)],
        range=[_PALE, *AMOUNT.scheme()],
        interpolate="rgb",
        clamp=True,
    )
