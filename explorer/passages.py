"""Links from a figure to the passage of "How to read this" that explains it, and scrolling to it."""

from __future__ import annotations

from typing import Literal, get_args

import streamlit as st

from components.models import DEMO
from explorer.settings import settings

Passage = Literal["row", "memory", "panels", "half-life", "distance", "faithfulness"]
"""The passages that links name; each is the anchor of a heading."""

_go = st.components.v2.component(
    "passage",
    js="""
export default function ({ data, parentElement }) {
  // Once a visit: this runs again with the page, but in the same element.
  const place = parentElement.host ?? parentElement;
  if (place.passage === data.passage) return;
  place.passage = data.passage;
  const go = () => document.getElementById(data.passage)?.scrollIntoView({ block: "start" });
  // Figures above are still growing, and what was reached would move away; until the reader goes elsewhere.
  const growing = new ResizeObserver(go);
  growing.observe(document.querySelector("[data-testid=stMainBlockContainer]"));
  for (const hand of ["wheel", "touchstart", "keydown", "pointerdown"])
    addEventListener(hand, () => growing.disconnect(), { once: true, passive: true });
  return () => growing.disconnect();
}
""",
)


def link_to(passage: Passage, figure: str) -> None:
    """Draw a link to the passage about a figure, if this copy has that page."""
    if settings().allows(DEMO):
        st.page_link(
            "app_pages/how_to_read.py",
            label=f"How to read {figure}",
            icon=":material/school:",
            query_params={"passage": passage},
        )


def named_passage() -> str:
    """The passage that the address names; empty if it names none."""
    wanted = st.query_params.get("passage", "")
    return wanted if wanted in get_args(Passage) else ""


def show_passage(wanted: str) -> None:
    """Scroll to a passage, once."""
    if wanted:
        _go(data={"passage": wanted}, key="passage")
