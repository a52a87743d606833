"""The state of the picked head during a continuation: its norm, and what it holds of each token."""

from __future__ import annotations

import streamlit as st
from torch.nn import functional as F

from components.charts import (
    Figure,
    state_norm_chart,
    state_norm_table,
    state_shares_chart,
    state_shares_table,
)
from components.ssd import SSDTerms, state_contributions, state_norms, state_shares
from explorer.drawing import draw
from explorer.moment import Moment
from explorer.viewer import Viewer


def states(viewer: Viewer, moment: Moment) -> None:
    """Draw the norm of the state at all times, and each token's share of it at the shown time."""
    larger, layer, head = viewer.shown.view.large, moment.head.place.layer, moment.head.index
    time, terms = moment.time, moment.terms
    if not isinstance(terms, SSDTerms):
        raise TypeError(f"{moment.head} has no state.")
    norms = moment.continuation.made(
        "norms", (moment.length, layer), lambda: state_norm_table(state_norms(terms), moment.tokens)
    )
    prompt = moment.continuation.generation.prompt_length
    shares, left = (
        F.pad(of(terms, time, heads=[head]), (0, moment.length - time - 1))  # aligned with the norms above
        for of in (state_shares, state_contributions)
    )
    over_time: Figure = state_norm_chart(norms, head, time, prompt_length=prompt, larger=larger)
    st.subheader(f"State of layer {layer}, head {head}", anchor=False)
    draw(over_time, key=viewer.key("state_norms"), alt="Norm of the state of every head of the picked layer.")
    table = state_shares_table(shares, left, moment.tokens)
    draw(
        state_shares_chart(table, larger=larger),
        key=viewer.key("state_shares"),
        alt="Each token's share of the state.",
    )
    held = (
        "Shares sum to one. A token that wrote against the state has a negative share."
        if shares.any()
        else "That state is zero, so there are no shares."
    )
    st.caption(
        "Above: how large the state is after each token; the layer's other heads are grey. Below: each "
        f"token's share of the state after position {time}. {held}"
    )
