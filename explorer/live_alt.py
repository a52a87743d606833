"""Keeps the words that stand for a chart true while the chart changes.

Streamlit writes `alt` into the chart's specification, and a browser builds a view anew when its specification
changes, which takes longer than everything else that picking a head does. So a chart is drawn with an `alt`
that says what kind of picture it is and stays, and this replaces it, in the page, by what it shows now.
"""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

_say = st.components.v2.component(
    "live_alt",
    js="""
const say = () => {
  for (const chart of document.querySelectorAll("[role=graphics-document]")) {
    const words = chart.getAttribute("aria-label");
    if (Object.hasOwn(window.liveAlt, words)) chart.dataset.kind = words;
    const now = window.liveAlt[chart.dataset.kind];
    if (now !== undefined && words !== now) chart.setAttribute("aria-label", now);
  }
};

// One for the page, whatever is mounted again: two with different words would answer each other for ever.
if (!window.liveAlt) {
  window.liveAlt = {};
  // Charts are drawn after this runs, and drawn anew when the reader changes the theme.
  new MutationObserver(say).observe(document.body, {
    subtree: true, attributes: true, attributeFilter: ["aria-label"],
  });
}

export default function ({ data }) {
  Object.assign(window.liveAlt, data);
  say();
}
""",
)


def live_alt(words: Mapping[str, str]) -> None:
    """From an `alt` that stays to what a reader of the chart drawn with it is told now."""
    _say(data=dict(words), key="live_alt")
