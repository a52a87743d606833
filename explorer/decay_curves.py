"""The decay curves of the picked layer."""

from __future__ import annotations

import streamlit as st

from components.charts import LONG_TIME, decay_curves_chart
from explorer.captures import Capture
from explorer.drawing import draw
from explorer.passages import link_to
from explorer.pictures import survival_of
from explorer.switches import toggle
from explorer.viewer import Viewer

DECAY_CURVES = "Survival of the first shown token in every head of the picked layer."
"""The chart's initial `alt`; `live_alt` replaces it."""


def decay_curves(viewer: Viewer, capture: Capture) -> None:
    """Draw the curves, the picked head's in front, below their switches."""
    place, view = viewer.shown.head.place, viewer.shown.view
    always = capture.length > LONG_TIME
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"Decay curves of layer {place.layer}", anchor=False, width="content")
        toggle(
            viewer,
            "log",
            "Logarithmic",
            "Survival on a logarithmic scale: a constant decay is a straight line.",
        )
        if not always:
            toggle(viewer, "log_time", "Log time", "Tokens on a logarithmic axis, as always for long texts.")
        link_to("memory", "decay curves")
    draw(
        decay_curves_chart(
            survival_of(capture, place),
            viewer.shown.head.index,
            capture.measured[viewer.shown.head]["half_life"],
            log=view.log,
            log_time=view.log_time or always,
            larger=view.large,
        ),
        key=viewer.key("decay_curves"),
        alt=DECAY_CURVES,
    )
    st.caption(
        "What is left, 1, 2, 3 … tokens later, of what the first token wrote. The picked head is in "
        "front, the layer's other heads are grey."
    )
