"""Text in the charts and on the page: at least 4.5 : 1, by the formula of WCAG 2.2."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from components.charts.axes import readable_axis
from components.charts.colours import ACCENT, AMOUNT, INK, NEGATIVE, PAGE, POSITIVE, QUIET, letters_turn
from explorer.text_so_far import PALE

ROOT = Path(__file__).parents[2]
THEME = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
CAPTION = float(
    re.search(
        r"stCaptionContainer\"\] \{ opacity: ([\d.]+)", (ROOT / "explorer" / "accessible.css").read_text()
    )[1]
)


def channels(colour: str) -> np.ndarray:
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], dtype=float)


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    def luminance(colour: np.ndarray) -> float:
        parts = colour / 255
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def of_theme(colour: object, theme: str) -> np.ndarray:
    """One of the two colours in a Vega expression."""
    dark, light = re.findall(r"#[0-9a-f]{6}", str(colour.to_dict()))
    return channels({"dark": dark, "light": light}[theme])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_in_charts_are_legible(theme: str) -> None:
    page = channels(PAGE[theme])
    assert THEME[theme]["backgroundColor"] == PAGE[theme]
    for colour in (INK, QUIET, ACCENT):
        assert contrast(of_theme(colour, theme), page) >= 4.5
    axis = readable_axis("title").to_dict()
    assert axis["labelColor"] == QUIET.to_dict()
    assert axis["titleColor"] == INK.to_dict()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_of_the_page_are_legible(theme: str) -> None:
    page, text, primary = (
        channels(THEME[theme][name]) for name in ("backgroundColor", "textColor", "primaryColor")
    )
    for opacity in (1.0, CAPTION, PALE):
        assert contrast(page + (text - page) * opacity, page) >= 4.5
    assert contrast(primary, page) >= 4.5
    assert contrast(primary, page + (primary - page) * 0.1) >= 4.5  # a chosen option


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ramp", [NEGATIVE, POSITIVE, AMOUNT])
def test_letters_are_legible_on_every_shade(ramp: object, theme: str) -> None:
    page, (half, full) = channels(PAGE[theme]), map(channels, getattr(ramp, theme))
    turn = letters_turn(ramp, theme)
    before, after = np.zeros(3), np.full(3, 255.0)
    if theme == "dark":
        before, after = after, before
    assert 0.1 < turn < 1
    for strength in np.linspace(0, 1, 201):
        below = strength < 0.5
        shade = page + (half - page) * 2 * strength if below else half + (full - half) * (2 * strength - 1)
        assert contrast(after if strength > turn else before, shade) >= 4.5, strength
