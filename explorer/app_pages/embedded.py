"""The page Explore in a frame of an article or of slides: the panels of the head in the address, alone."""

from dataclasses import replace
from functools import partial

import streamlit as st

from components.models import ModelLoadError
from explorer import captures
from explorer.address import tell
from explorer.costs import Ask, Refuse, decide
from explorer.frame import main_viewer, pick, tell_refused, wait_for_model
from explorer.panels import head_panels
from explorer.selection import first_selection, fitted
from explorer.session import session
from explorer.settings import settings
from explorer.switches import larger_type
from explorer.waiting import wait_for


def begin_anew() -> None:
    """Show what the page opens with, instead of what was stopped."""
    pick(first_selection(settings().offered[0]))


state = session()
tell_refused()
subject = state.selection.subject
if error := wait_for_model(subject.model, begin_anew):
    st.text(error)
    st.stop()
try:
    wait_for(("cost", subject), partial(captures.cost, subject), "Counting the tokens", begin_anew)
    decision = decide(captures.cost(subject), settings(), shown=False, agreed=False)
    if isinstance(decision, Ask | Refuse):
        raise ValueError(decision.words)
    wait_for(
        ("prompt", subject),
        partial(captures.capture, subject),
        "Running the prompt through the model",
        begin_anew,
    )
except (ModelLoadError, ValueError) as error:
    st.text(str(error))
    st.stop()
capture = captures.capture(subject)
state.selection, beyond = fitted(state.selection, capture.heads, capture.length)
tell(beyond)
viewer = replace(main_viewer(capture.heads, capture.length), alone=True)
place = state.selection.head.place
wait_for(
    ("layer", subject, place),
    partial(captures.layer_of, subject, place),
    f"Running the prompt once more, for {place}",
    begin_anew,
)
larger_type(viewer)
head_panels(viewer, capture)
