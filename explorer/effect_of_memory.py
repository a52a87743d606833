"""How far back an answer reads: its probability when every head may read only the last tokens."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st
from jaxtyping import Float32

from components.charts import memory_chart
from components.ssd import KeepLast
from explorer import effects
from explorer.costs import is_large
from explorer.drawing import draw
from explorer.effects import Question
from explorer.frame import pick
from explorer.models import bridge
from explorer.on_demand import worked
from explorer.session import session
from explorer.viewer import Viewer
from explorer.widgets import chosen, put

MEMORY_WIDTH = "memory"
"""The key of the slider."""
MEMORY = "The probability of the answer, by how many of the last tokens every head may read."


def first_that_holds(probabilities: Float32[np.ndarray, " width"]) -> int:
    """The smallest width from which on the probability is at least half of what it is without a limit."""
    below = np.flatnonzero(probabilities < probabilities[-1] / 2)
    return int(below[-1]) + 1 if len(below) else 0


def effect_of_memory(viewer: Viewer, question: Question) -> dict[str, str]:
    """Draw the probability of the answer against the memory of all Mamba-2 heads. Returns it in words."""
    st.subheader("How far back does it need to read?", anchor=False)
    model = bridge(question.subject.model)
    asked = (question.subject, question.position, question.target)
    widths = question.position + 2
    at_once = not is_large(model.model.num_parameters(), question.position + 1, widths)
    work = partial(effects.answer_by_memory, *asked)
    if not worked(("memory", *asked), work, "Running every window", at_once=at_once):
        return {}
    probabilities = np.exp(effects.answer_by_memory(*asked))
    enough = first_that_holds(probabilities)
    width = chosen(MEMORY_WIDTH, int)
    if width is None or not 0 <= width < widths:
        width = min(enough, widths - 1)
        put(MEMORY_WIDTH, width)
    st.slider(
        "Memory window w, in tokens",
        0,
        widths - 1,
        key=MEMORY_WIDTH,
        help="Every query reads the last w tokens, itself included: at w = 1 itself alone, at 0 nothing.",
    )
    draw(memory_chart(probabilities, width, larger=viewer.shown.view.large), key="memory_curve", alt=MEMORY)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.metric(f"Probability with a memory of {width} tokens", f"{probabilities[width]:.2%}")
        st.button(
            "Add this window to the run",
            key="add_window",
            icon=":material/history:",
            on_click=_add,
            args=(width,),
        )
    told = (
        f"From w = {enough} on the probability is at least half of the {probabilities[-1]:.2%} that it is "
        "without a limit."
        if enough
        else f"At every w the probability is at least half of the {probabilities[-1]:.2%} of the full run."
    )
    notes = [
        told,
        "Every Mamba-2 head of all layers forgets what is w or more tokens back; w counts the token itself.",
        "Layers add up, so the answer can still reach further back through tokens between; and the "
        "convolution mixes neighbours.",
        "Windows are tried in the run without edits.",
    ]
    if model.attention_layers():
        notes.append("Softmax layers still read everything.")
    st.caption(" ".join(notes))
    return {"memory_curve": f"{MEMORY} With {width}: {probabilities[width]:.2%}. {told}"}


def _add(width: int) -> None:
    """Add the edit that gives every Mamba-2 head this window, unless it is there."""
    selection, edit = session().selection, KeepLast(width=width)
    if edit not in selection.subject.edits:
        pick(selection.with_edits((*selection.subject.edits, edit)))
