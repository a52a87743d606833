"""One look for all axes: large enough for the back rows of a lecture hall."""

from typing import Any

import altair as alt

LABEL_SIZE, TITLE_SIZE = 12, 13


def readable_axis(title: str, **options: Any) -> alt.Axis:
    """An axis with labels and title in the sizes of all charts; `options` are those of `alt.Axis`."""
    return alt.Axis(
        **{
            "title": title,
            "labelFontSize": LABEL_SIZE,
            "titleFontSize": TITLE_SIZE,
            "titlePadding": 6,
            "labelPadding": 4,
            "labelOverlap": "parity",
            **options,
        }
    )


FILL_WIDTH = alt.AutoSizeParams(type="fit-x", contains="padding")
"""As wide as the page allows, labels included; the height is that of the plot itself."""
EDGE = {"left": 5, "right": 12, "top": 5, "bottom": 5}
