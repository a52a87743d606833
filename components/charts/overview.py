"""Where the opened windows lie in the whole text: a small picture for a page that shows the last one."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw

from components.charts.colours import glaze_levels, glaze_palette
from components.charts.window import Window

_ACCENT = (214, 122, 20, 255)
"""Between the accents of a light and of a dark page: a picture does not know which it is on."""

_MIN_FRAME = 18
"""Pixels."""


def overview_picture(
    pooled: Float32[np.ndarray, "tile tile"], length: int, windows: Sequence[Window], side: int = 256
) -> bytes:
    """A PNG of `side` × `side` pixels: a head's `pooled` |M| over the whole text, and each window framed.

    Zero is transparent, so it stands on a light and on a dark page. `length` is that of the text, in tokens.
    """
    largest = float(pooled.max()) or 1.0
    colours = glaze_palette()[glaze_levels(pooled / np.float32(largest))]
    picture = Image.fromarray(colours).resize((side, side), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    pen.line([(0, 0), (0, side - 1), (side - 1, side - 1)], fill=(128, 128, 128, 255))
    for window in windows:
        columns, rows = (_seen(each, side / length) for each in (window.keys, window.queries))
        pen.rectangle((columns[0], rows[0], columns[1], rows[1]), outline=_ACCENT, width=4)
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def _seen(positions: range, pixels: float) -> tuple[float, float]:
    """First and last pixel of a range, widened so that the frame of ten tokens in a book is visible."""
    first, last = positions.start * pixels, positions.stop * pixels
    wider = max(_MIN_FRAME - (last - first), 0) / 2
    return first - wider, last + wider
