"""The model's next-token probabilities after the shown time."""

from __future__ import annotations

import streamlit as st

from components.charts import next_token_chart, next_token_table
from explorer.drawing import draw
from explorer.moment import Moment
from explorer.viewer import Viewer


def next_token(viewer: Viewer, moment: Moment) -> str:
    """Draw the most probable tokens after the shown time, and the one that came. Returns a sentence."""
    continuation = moment.continuation
    step = continuation.generation.step(moment.time)
    ids, probabilities = map(list, zip(*step.likely, strict=True))
    if moment.time + 1 >= moment.length:
        came = None
    elif step.id in ids:
        came = ids.index(step.id)
    else:
        came = len(ids)
        ids, probabilities = [*ids, step.id], [*probabilities, step.probability]
    names = continuation.tokens_after(moment.time, ids)
    if came is not None:  # later tokens may have completed its character
        names[came] = moment.tokens[moment.time + 1]
    st.subheader(f"Next token after position {moment.time}", anchor=False)
    draw(
        next_token_chart(next_token_table(names, probabilities, came), larger=viewer.shown.view.large),
        key=viewer.key("next_token"),
        alt="Probabilities of the next token.",
    )
    words = f"After position {moment.time} the model expects '{names[0]}' ({probabilities[0]:.0%})"
    return f"{words}; '{names[came]}' came ({probabilities[came]:.0%})." if came is not None else f"{words}."
