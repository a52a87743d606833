"""What a session has picked, and what its widgets and charts say: read here, and trusted nowhere else.

A browser may send anything that has the form of a widget's value (see `explorer.wire`). What is no head, no
position, no window and no option of a list is None here, and picks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import streamlit as st

from components.charts import Window
from components.ssd import KINDS, Place
from explorer.selection import Selection

Option = TypeVar("Option")

_MAX_POSITION = 10**9
"""Beyond every position of every text."""


def picked() -> Selection:
    """What this session has picked."""
    selection: Selection = st.session_state.selection
    return selection


def choose_head(layer: str, head: str, shown_place: Place, shown_head: int) -> None:
    """Take the head from two lists, named by their keys, which a keyboard reaches.

    What they have shown picks nothing: lists that are put away tell it once more.
    """
    place, index = chosen(layer, Place), chosen(head, int)
    if place is not None and index is not None and (place, index) != (shown_place, shown_head):
        st.session_state.selection = picked().with_head(place.layer, index, place.kind)


def chosen(key: str, kind: type[Option]) -> Option | None:
    """The choice of a widget whose options are all of this kind; of a list, what is no option is a text."""
    value = st.session_state.get(key)
    return value if isinstance(value, kind) else None


def pressed(chart: str, selection: str) -> object:
    """The points that a selection of a chart holds, as the browser sent them."""
    return st.session_state[chart].selection.get(selection)


def point_of(points: object) -> Mapping[str, Any]:
    """The first of the points that a selection holds; empty if it holds none."""
    first = points[0] if isinstance(points, list) and points else None
    return first if isinstance(first, dict) else {}


def head_of(points: object) -> tuple[int, int, str] | None:
    """The layer, the head and its kind, of the first of a selection's points."""
    layer, head = position_of(points, "layer"), position_of(points, "head")
    kind = next((each for each in KINDS if each == point_of(points).get("kind")), None)
    return None if layer is None or head is None or kind is None else (layer, head, kind)


def taken_anew(selection: str, points: object) -> bool:
    """Whether a selection that stays in its chart tells of a press that was not taken before."""
    stamp = point_of(points).get("stamp")
    taken = st.session_state.setdefault("taken", {})
    if not isinstance(stamp, int | float) or taken.get(selection) == stamp:
        return False
    taken[selection] = stamp
    return True


def span_of(points: object) -> range | None:
    """The positions of the text that a brush has left."""
    first, stop = position_of(points, "span_start"), position_of(points, "span_stop")
    return None if first is None or stop is None or first >= stop else range(first, stop)


def window_of(points: object) -> Window | None:
    """The window that a brush has left."""
    first, stop = position_of(points, "query_start"), position_of(points, "query_stop")
    first_key, stop_key = position_of(points, "key_start"), position_of(points, "key_stop")
    if first is None or stop is None or first_key is None or stop_key is None:
        return None
    queries, keys = range(first, stop), range(first_key, stop_key)
    return Window(queries, keys) if queries and keys else None


def position_of(points: object, field: str) -> int | None:
    """What a field of the first of a selection's points counts, from zero."""
    value = point_of(points).get(field)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_POSITION:
        return int(value) if value == int(value) else None
    return None
