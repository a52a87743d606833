"""A clock in the browser, by which a fragment runs again.

Streamlit's own, `run_every`, ends with each run of the whole page, and what starts it again can be lost where
a run and a tick cross. This one goes on for as long as it stands on the page, and says which state the page
shows, so that a page that has missed a change is noticed at the next tick.
"""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from explorer.widgets import told_by

_clock = st.components.v2.component(
    "clock",
    # The component shows nothing: it takes no room.
    css=".st-key-clock { position: absolute; }",
    js="""
export default function ({ data, setTriggerValue }) {
  const tick = () => document.hidden || setTriggerValue("tick", { shown: data.shown, at: Date.now() });
  const timer = setInterval(tick, 1000 * data.seconds);
  return () => clearInterval(timer);
}
""",
    isolate_styles=False,
)


def tick(seconds: float, shown: str = "") -> str:
    """Run this fragment again after so many seconds. Returns the state that the browser shows.

    `shown` names the state that this run shows. Call it last in a fragment, whose place on the page stays the
    same: the browser then names a state only once all of it has arrived. One clock fits on a page.
    """
    _clock(data={"seconds": seconds, "shown": shown}, key="clock", on_tick_change=_heard)
    told = told_by("clock", "tick")
    found = told.get("shown") if isinstance(told, Mapping) else None
    return found if isinstance(found, str) else shown


def _heard() -> None:
    """Do nothing: the run itself is what the tick is for."""
