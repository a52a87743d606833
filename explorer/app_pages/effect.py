"""The page "Does it matter?": edit a run, watch the prediction, find the heads and tokens that carry it."""

from functools import partial

import streamlit as st

from components.charts import visible_tokens
from components.models import ModelLoadError
from explorer import effects, models
from explorer.address import tell, write_address
from explorer.edit_stack import drop_edits
from explorer.edited_run import edited_run, prediction_now
from explorer.effect_of_heads import effects_of_heads
from explorer.effect_of_memory import effect_of_memory
from explorer.effect_of_tokens import attention_and_effect, effects_of_tokens
from explorer.experiments import Shown, export_menu, open_menu, tell_reopened, tell_unopened
from explorer.frame import (
    main_viewer,
    prompt_box,
    take_prompt,
    tell_limits,
    tell_refused,
    wait_for_model,
)
from explorer.live_alt import live_alt
from explorer.question import ask
from explorer.selection import fitted
from explorer.session import session
from explorer.subject import Subject
from explorer.switches import larger_type
from explorer.waiting import wait_for
from explorer.widgets import put

PROMPT = "asked_prompt"  # the key of its box

state = session()
notice = st.empty()
tell_refused()
tell_limits()
put(PROMPT, state.selection.subject.prompt)
prompt_box(PROMPT, "The prompt of the page Explore.", partial(take_prompt, PROMPT))
with st.container(horizontal=True):
    open_menu()
    export_slot = st.container(width="content")
tell_unopened()
reopened_slot = st.container()

# The prediction, without edits and with them

subject = state.selection.subject
clean = Subject(subject.model, subject.prompt)
if error := wait_for_model(subject.model, drop_edits):
    st.error("This model cannot be opened. Choose another on the page Explore.", icon=":material/error:")
    st.text(error)
    write_address()
    st.stop()
try:
    for run in (clean, subject):
        work = partial(effects.prediction, run)
        button = f"stop_predicting_{len(run.edits)}"
        wait_for(("predicted", run), work, "Running the prompt", drop_edits, button=button)
    before = effects.prediction(clean)
except (ModelLoadError, ValueError) as error:
    st.warning("There is nothing to show for this prompt.", icon=":material/edit:")
    st.text(str(error))
    if subject.edits:
        st.button("Run without edits", key="without_edits", icon=":material/undo:", on_click=drop_edits)
    write_address()
    st.stop()
tokens = visible_tokens(models.encoded(subject.model, subject.prompt)[1])
state.selection, beyond = fitted(state.selection, models.bridge(subject.model).heads, len(tokens))
with notice:
    tell(beyond)
viewer = main_viewer(models.bridge(subject.model).heads, len(tokens))
larger_type(viewer)
question = ask(clean, tokens, before)
prediction_now(question)

# What carries it

figure, words = effects_of_heads(viewer, question)
words |= effects_of_tokens(viewer, question, tokens, figure)
words |= attention_and_effect(viewer, question, tokens, figure)
words |= effect_of_memory(viewer, question)

# Edits

edited_run(viewer, question, tokens)

# Keep it

shown = Shown(question, viewer.shown, tokens)
with export_slot:
    export_menu(shown)
with reopened_slot:
    tell_reopened(shown)
live_alt(viewer, words)
write_address()
