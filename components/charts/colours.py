"""Colours of all charts, chosen in the browser: they follow the page's light or dark background.

Vega's own signal `background` holds the page's colour. The expressions below read it, so that one chart
specification is right in both themes and zero is exactly the background in either.
"""

from typing import Any

import altair as alt

_DARK = "luminance(background) < 0.2"

BACKGROUND = alt.ExprRef("background")
"""The page's background: the colour of zero."""


def _by_theme(light: str, dark: str) -> Any:
    return alt.ExprRef(f"{_DARK} ? '{dark}' : '{light}'")


INK = _by_theme("#1f2430", "#f4f5f7")
"""Titles and figures."""

QUIET = _by_theme("#5c6370", "#a9b0bc")
"""Notes and operators."""

FAINT = _by_theme("#b4bac4", "#565e6b")
"""What stands behind: the curves of the other heads, frames."""

ACCENT = _by_theme("#b45309", "#fbbf24")
"""What is picked or pointed at. Amber stands apart from blue, red and green in every colour vision."""

_NEGATIVE = [_by_theme("#8f1020", "#ff9d8a"), _by_theme("#d6534a", "#d9483b")]
_POSITIVE = [_by_theme("#3f83c6", "#3b82d6"), _by_theme("#0b3c7d", "#9cc9ff")]
_PALE = _by_theme("#e3efec", "#20302e")
_AMOUNT = [_by_theme("#8fb8ad", "#1d5c54"), _by_theme("#0f4f49", "#8fe3d3")]


def diverging(limit: float) -> alt.Scale:
    """Red through the background at zero to blue, reaching full colour at ±`limit`."""
    return alt.Scale(
        domain=[-limit, -limit / 2, 0, limit / 2, limit],
        range=[*_NEGATIVE, BACKGROUND, *_POSITIVE],
        interpolate="rgb",
        clamp=True,
    )


def amount(limit: float) -> alt.Scale:
    """Background at zero through green to full colour at `limit`."""
    return alt.Scale(
        domain=[0, limit / 2, limit], range=[BACKGROUND, *_AMOUNT], interpolate="rgb", clamp=True
    )


def graded(low: float, high: float, *, logarithmic: bool) -> alt.Scale:
    """Pale to full green from `low` to `high`, by ratio if `logarithmic`; even the lowest stands out."""
    middle = (low * high) ** 0.5 if logarithmic else (low + high) / 2
    return alt.Scale(
        type="log" if logarithmic else "linear",
        domain=[low, middle, high],
        range=[_PALE, *_AMOUNT],
        interpolate="rgb",
        clamp=True,
    )
