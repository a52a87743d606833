"""A page of a class runs again now and then, since what makes its fragments run can be lost.

Streamlit's `run_every` ends with each run of the whole page. Where a run and a tick cross on a busy server,
what starts it again may not arrive, and the page would stay as it is until it is reloaded.
"""

from __future__ import annotations

import streamlit as st

SECONDS = 15
"""Between two runs. Each takes the server as long as a click."""

_clock = st.components.v2.component(
    "clock",
    # The component shows nothing: it takes no room.
    css=".st-key-clock { position: absolute; }",
    js="""
const RESTS = 3000;  // milliseconds without a hand: a run would take a slider out of it

let touched = 0;
for (const type of ["pointerdown", "pointermove", "keydown"])
  addEventListener(type, () => { touched = Date.now(); }, { capture: true, passive: true });

export default function ({ data, setTriggerValue }) {
  const tick = () => document.hidden || Date.now() - touched < RESTS || setTriggerValue("tick", Date.now());
  const timer = setInterval(tick, 1000 * data.seconds);
  return () => clearInterval(timer);
}
""",
    isolate_styles=False,
)


def run_again() -> None:
    """Run the whole page again every SECONDS. Call it outside fragments."""
    _clock(data={"seconds": SECONDS}, key="clock", on_tick_change=_nothing)


def _nothing() -> None:
    """Do nothing: the run itself is what the tick is for."""
