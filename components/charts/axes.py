"""One look for all axes: large enough for the back rows of a lecture hall."""

from typing import Any

import altair as alt

from components.charts.colours import INK, QUIET

LABEL_SIZE, TITLE_SIZE = 12, 13
_ROW_HEIGHT, _MIN_HEIGHT, _MAX_HEIGHT = 26, 104, 416

LEGIBLE = {"labelColor": QUIET, "titleColor": INK}
"""For axes and legends: a contrast of at least 4.5 : 1 on either theme, which the page's own greys lack."""


def type_scale(larger: bool) -> float:
    """Factor of the type size: 1, or 1.35 for a projector."""
    return 1.35 if larger else 1.0


def readable_axis(title: str, scale: float = 1.0, **options: Any) -> alt.Axis:
    """An axis with labels and title in the sizes of all charts, times `scale`; `options` of `alt.Axis`."""
    return alt.Axis(
        **{
            "title": title,
            "labelFontSize": LABEL_SIZE * scale,
            "titleFontSize": TITLE_SIZE * scale,
            "titlePadding": 6,
            "labelPadding": 4,
            "labelOverlap": "parity",
            **LEGIBLE,
            **options,
        }
    )


def legend_above(title: str, scale: float = 1.0, **options: Any) -> alt.Legend:
    """The legend of a map: a bar above it, in the sizes of all charts, times `scale`."""
    return alt.Legend(
        title=title,
        orient="top",
        direction="horizontal",
        gradientLength=180,
        gradientThickness=10,
        labelFontSize=LABEL_SIZE * scale,
        titleFontSize=TITLE_SIZE * scale,
        titleLimit=400,
        titlePadding=4,
        labelPadding=2,
        offset=4,
        padding=0,
        **LEGIBLE,
        **options,
    )


def map_height(rows: int, scale: float) -> int | float:
    """Pixels of a map with so many rows."""
    return min(max(rows * _ROW_HEIGHT * scale, _MIN_HEIGHT), _MAX_HEIGHT)


def x_pixels(field: str) -> alt.X:
    """An x channel: the field in pixels from the left."""
    return alt.X(f"{field}:Q", scale=None, axis=None)


def y_pixels(field: str) -> alt.Y:
    """A y channel: the field in pixels from the top."""
    return alt.Y(f"{field}:Q", scale=None, axis=None)


FILL_WIDTH = alt.AutoSizeParams(type="fit-x", contains="padding")
"""As wide as the page allows, labels included; the height is that of the plot itself."""
EDGE = {"left": 5, "right": 12, "top": 5, "bottom": 5}

CANVAS = {"embedOptions": {"renderer": "canvas"}}
"""For `usermeta`: the canvas renderer, which redraws faster than SVG with an element for every mark."""
