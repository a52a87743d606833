"""Validates the selections of charts.

A browser may send anything that has the form of a selection (see `explorer.wire`). A value that is no head,
position or window becomes None here, and picks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.charts import Window
from components.ssd import KINDS, Head, Place

_MAX_POSITION = 10**9
"""Beyond every position of every text."""


def point_of(points: object) -> Mapping[str, Any]:
    """The first point of a selection; empty if it has none."""
    first = points[0] if isinstance(points, list) and points else None
    return first if isinstance(first, dict) else {}


def head_of(points: object) -> Head | None:
    """The head of a selection's first point."""
    layer, index = position_of(points, "layer"), position_of(points, "head")
    kind = next((each for each in KINDS if each == point_of(points).get("kind")), None)
    return None if layer is None or index is None or kind is None else Head(Place(layer, kind), index)


def stamp_of(points: object) -> float | None:
    """When a selection's first point was clicked."""
    stamp = point_of(points).get("stamp")
    return stamp if isinstance(stamp, int | float) else None


def span_of(points: object) -> range | None:
    """The brushed positions of the text."""
    first, stop = position_of(points, "span_start"), position_of(points, "span_stop")
    return None if first is None or stop is None or first >= stop else range(first, stop)


def window_of(points: object) -> Window | None:
    """The brushed window."""
    first, stop = position_of(points, "query_start"), position_of(points, "query_stop")
    first_key, stop_key = position_of(points, "key_start"), position_of(points, "key_stop")
    if first is None or stop is None or first_key is None or stop_key is None:
        return None
    queries, keys = range(first, stop), range(first_key, stop_key)
    return Window(queries, keys) if queries and keys else None


def position_of(points: object, field: str) -> int | None:
    """The whole number, from 0, in a field of a selection's first point."""
    value = point_of(points).get(field)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_POSITION:
        return int(value) if value == int(value) else None
    return None
