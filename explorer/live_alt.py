"""Keeps a chart's alternative text true while the chart changes.

Streamlit writes `alt` into the chart's specification, and a browser rebuilds a view when its specification
changes, which takes longer than everything else that picking a head does. So a chart is drawn with a constant
`alt` that names the chart, and this component replaces it in the page by what the chart shows now. It finds a
chart by the CSS class that Streamlit derives from its key.
"""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from explorer.viewer import Viewer

_say = st.components.v2.component(
    "live_alt",
    js="""
const say = () => {
  for (const [key, { words }] of Object.entries(window.liveAlt)) {
    const chart = document.querySelector(`.st-key-${key.replace(/[^\\w-]/g, "-")} [role=graphics-document]`);
    if (chart && chart.getAttribute("aria-label") !== words) chart.setAttribute("aria-label", words);
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
  const mine = Object.fromEntries(Object.entries(data).map(([key, words]) => [key, { words }]));
  Object.assign(window.liveAlt, mine);
  say();
  return () => {  // only what is still this run's: the next one may have come before
    for (const key in mine) if (window.liveAlt[key] === mine[key]) delete window.liveAlt[key];
  };
}
""",
)


def live_alt(viewer: Viewer, words: Mapping[str, str], key: str = "live_alt") -> None:
    """Set the alternative text of charts, by the chart's key within the view.

    A fragment that tells of charts of its own needs a `key` of its own.
    """
    _say(data={viewer.key(chart): text for chart, text in words.items()}, key=viewer.key(key))
