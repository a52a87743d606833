"""The hand on the charts: mouse, touch and keyboard input beyond what Vega handles.

`hand.js`, in the page's head, turns gestures into events that Vega understands. Only keys come here, as
counts since the page was loaded, so none is lost while the script is running.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from explorer.picks import position_of
from explorer.session import session
from explorer.widgets import told_by

KEYS = ("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Escape")

_hand = st.components.v2.component(
    "hand",
    js="""
export default ({ data, setTriggerValue }) =>
  window.hearKeys(data.chart, (keys) => setTriggerValue("moved", keys));
""",
    isolate_styles=False,
)


@dataclass(frozen=True)
class Moves:
    """How far arrow keys moved `down` and `right`, negative for the other way; `back`: to the last row."""

    down: int
    right: int
    back: bool


def listen(chart: str, on_moved: Callable[[], None]) -> None:
    """Send a chart's arrow keys and Escape to `on_moved`, which reads them with `moves`."""
    _hand(data={"chart": chart}, key=f"{chart}_hand", on_moved_change=on_moved)


def moves(chart: str) -> Moves:
    """The key presses on a chart since the last call."""
    counts = [told_by(f"{chart}_hand", "moved")]
    taken = session().keys.setdefault(chart, dict.fromkeys(KEYS, 0))
    new = {}
    for key in KEYS:
        count = position_of(counts, key) or 0
        new[key] = count - taken[key] if count >= taken[key] else count  # fewer: the page was reloaded
        taken[key] = max(count, 0)
    return Moves(new["ArrowDown"] - new["ArrowUp"], new["ArrowRight"] - new["ArrowLeft"], new["Escape"] > 0)
