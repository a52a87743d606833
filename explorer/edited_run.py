"""What the edits change on the page "Does it matter?": the prediction, and the section that edits the run.

All other charts and figures there are of the run without edits. A new edit draws these two fragments alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from components.bridge import Prediction
from components.models import ModelLoadError
from explorer import effects
from explorer.address import write_address
from explorer.before_and_after import before_and_after
from explorer.edit_stack import PREDICTION, RUN, add_form, drop_edits, edit_list
from explorer.effects import Question
from explorer.live_alt import live_alt
from explorer.question import tell_prediction
from explorer.session import session
from explorer.viewer import Viewer
from explorer.waiting import wait_for


@st.fragment(key=PREDICTION)
def prediction_now(question: Question) -> None:
    """Show the prediction under the edits, and what it was without them."""
    before, after = _both(question, "prediction")
    tell_prediction(question, before, after, edited=bool(session().selection.subject.edits))


@st.fragment(key=RUN)
def edited_run(viewer: Viewer, question: Question, tokens: Sequence[str]) -> None:
    """List the edits, offer more, and show the picked head and the predictions before and after."""
    before, after = _both(question, "run")
    st.subheader("Edit the run", anchor=False)
    edit_list(after.sizes)
    add_form(viewer.shown.head, len(tokens))
    subject = session().selection.subject
    if subject.edits:
        words = before_and_after(viewer, question, subject, tokens, before, after, drop_edits)
        live_alt(viewer, words, "live_alt_of_edits")
    write_address()


def _both(question: Question, name: str) -> tuple[Prediction, Prediction]:
    """The predictions without the edits and with them. If one cannot be made, the whole page says why.

    `name` is that of the fragment, in the keys of its buttons.
    """
    runs = question.subject, session().selection.subject
    try:
        for number, run in enumerate(runs):
            work, button = partial(effects.prediction, run), f"stop_{name}_{number}"
            wait_for(("predicted", run), work, "Running the prompt", drop_edits, button=button)
        before, after = map(effects.prediction, runs)
    except (ModelLoadError, ValueError):
        st.rerun()
    return before, after
