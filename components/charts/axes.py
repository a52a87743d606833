"""One look for all axes: large enough for the back rows of a lecture hall."""

from typing import Any

import altair as alt

from components.charts.colours import INK, QUIET

LABEL_SIZE, TITLE_SIZE = 12, 13

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
