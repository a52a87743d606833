"""Where everything stands in the panels' view, as Vega expressions of its width.

The view's width follows the page, so the browser computes the layout. From about `_ABREAST` pixels on, the
three panels stand side by side; on a narrower page one below the other, each as wide as the page. Below them
stand the text and the bars of a row.

For a window on the diagonal the upper triangles are empty and hold titles, figures and legends; any other
window fills its panels, and they move down to make room above (`head_room`).
"""

from __future__ import annotations

from components.charts.panels.look import Look
from components.charts.strip import LINE, letters_across

MIN_SLOTS = 12
"""A panel is at least this many slots wide, so that the cells of a very short text are not huge."""

GAP = 0.14
"""Space between two panels in sides of a panel; holds "∘" and "="."""

ROOM_ABOVE = 84
"""Pixels of the titles, figures and legends above panels that are filled to their corners."""

DT_HEIGHT = 30
"""Height of the bars of dt, in pixels."""

ROW_HEIGHT = 130
"""Height of the bars of a row, in pixels."""

ABOUT_HEIGHT = 18 * 7 + 12
"""Height of the words in the room of a third panel, in pixels."""

FILLED = "(rows / row_slots)"
FILLED_ACROSS = "(columns / key_slots)"
"""Part of a panel's side that the cells take: all, except for very short texts."""

LABEL_LIMIT = 88
"""Longest label in pixels; on a narrow page half of it."""

_ABREAST = 780
"""Least width in pixels at which three panels side by side leave room for their words."""
_WIDEST = 560
"""Largest side in pixels of panels that stand one below the other."""
_ACROSS = 3 + 2 * GAP


def label_limit(look: Look) -> str:
    """Longest label in pixels."""
    return f"(width < 480 ? {LABEL_LIMIT * look.scale / 2} : {LABEL_LIMIT * look.scale})"


def label_size(what: str, look: Look) -> str:
    """Font size in pixels of the labels of rows ("row") or columns ("key")."""
    return f"clamp(side / {what}_slots, {11 * look.scale}, {15 * look.scale})"


def dt_room(look: Look) -> float:
    """Pixels below a panel that the bars of dt take."""
    return (DT_HEIGHT + 8) * look.scale if look.shown.with_dt else 0.0


def layout(look: Look) -> dict[str, str]:
    """Parameters by name: sizes and corners in pixels, of up to three panels, 0, 1 and 2. The words
    about a kind of head stand where panel 2 would.

    `lefts` and `tops` are the upper left corners of the panels, one below the other if `stacked`.
    """
    scale, panels, below = look.scale, len(look.panels), dt_room(look)
    step = f"head_room + side * {FILLED} + label_room + {16 * scale}"
    words = f"(stacked ? tops[2] + {ABOUT_HEIGHT * scale} : 0)" if look.kind.about else "0"
    last = f"tops[{panels - 1}] + side * {FILLED} + label_room + (stacked ? 0 : {below})"
    return {
        "stacked": f"width < {_ABREAST * scale}",
        "side": f"stacked ? min(width, {_WIDEST * scale}) : width / {_ACROSS}",
        "lefts": f"stacked ? [0, 0, 0] : [0, {1 + GAP} * side, {2 * (1 + GAP)} * side]",
        "label_room": f"min({label_limit(look)}, longest * 0.6 * {label_size('key', look)}) + {46 * scale}",
        "tops": f"stacked ? [head_room, head_room + {step}, head_room + 2 * ({step}) + {below}]"
        " : [head_room, head_room, head_room]",
        # also below the figures, which reach further down than a very short text's panels
        "strip_top": f"max({last}, {words}, tops[{panels - 1}] + {170 * scale}) + {24 * scale}",
        "across": letters_across(scale),
        "letter": "width / (across * 0.61)",
        "strip_bottom": f"strip_top + data('scene')[0]['lines_' + across] * letter * {LINE}",
        "row_top": f"strip_bottom + {48 * scale}",
        "row_bottom": f"row_top + {ROW_HEIGHT * scale}" if look.with_bars else "strip_bottom",
        # The view is as high as its marks. Without one down to here, a text with more lines would have its
        # labels cut off.
        "view_bottom": f"row_bottom + min({LABEL_LIMIT * scale}, longest * {0.6 * 14 * scale}) + {16 * scale}"
        if look.with_bars
        else "row_bottom",
    }


def panel_at(x: str, y: str, panels: int) -> str:
    """The number of the panel whose part of the view contains a point."""
    last = panels - 1
    down = "".join(f"{y} < tops[{panel + 1}] - head_room ? {panel} : " for panel in range(last)) + str(last)
    return f"(stacked ? ({down}) : clamp(floor({x} / side / {1 + GAP}), 0, {last}))"
