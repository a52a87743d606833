"""The page "Generate": the model continues a text, and the page shows how the picked head reads it."""

from functools import partial

import streamlit as st

from explorer import models
from explorer.address import tell, write_address
from explorer.edit_stack import tell_edits
from explorer.frame import (
    main_viewer,
    pick,
    prompt_box,
    take_prompt,
    tell_limits,
    tell_refused,
    wait_for_model,
)
from explorer.generating import Continuation
from explorer.motion import in_motion
from explorer.sampling import GREEDY, MAX_NEW_TOKENS, PACES, SAMPLED, SETTINGS, sampling_options
from explorer.selection import fitted
from explorer.session import session
from explorer.settings import settings
from explorer.switches import larger_type
from explorer.waiting import wait_for
from explorer.whole_number import tell_repair, whole_number
from explorer.widgets import chosen, put, put_first

PROMPT = "continued_prompt"  # the key of its box

state = session()
notice = st.empty()
tell_refused()
subject, continuation = state.selection.subject, state.continuation
if continuation is not None and continuation.subject.model != subject.model:
    continuation.stop()
put(PROMPT, subject.prompt)
for name, value in state.sampling.items():
    put_first(name, value)


def begin() -> None:
    """Drop the previous text. The new one starts below, where the page can show errors."""
    take_prompt(PROMPT)
    stop()
    state.continuation = None
    state.begins = True


def stop() -> None:
    """Stop; keep the text so far."""
    if state.continuation is not None:
        state.continuation.stop()


def stop_loading() -> None:
    """Go back to the model that the page opens with."""
    pick(state.selection.with_model(settings().offered[0]))


def stop_counting() -> None:
    """Leave the prompt as it is."""


# Prompt and controls

tell_limits()
prompt_box(
    PROMPT,
    "The prompt of the page Explore. The model continues it below.",
    partial(take_prompt, PROMPT),
)
tell_edits()
with st.container(horizontal=True, vertical_alignment="bottom"):
    buttons = st.container(horizontal=True, width="content")
    st.segmented_control(
        "Next token",
        [GREEDY, SAMPLED],
        key="draws",
        required=True,
        help="Greedy takes the most probable token; sampled draws one.",
    )
    whole_number("New tokens", 1, MAX_NEW_TOKENS, 64, key="new_tokens", width=130)
    st.selectbox(
        "Tokens per second",
        list(PACES),
        key="pace",
        width=140,
        help="The most tokens per second, so that you can follow.",
    )
    samples = chosen("draws", str) == SAMPLED
    if samples:
        st.slider(
            "Temperature",
            0.1,
            3.0,
            step=0.1,
            key="temperature",
            width=120,
            help="The logits are divided by it: below 1, probable tokens become more probable.",
        )
        st.slider(
            "Top-p",
            0.05,
            1.0,
            step=0.05,
            key="top_p",
            width=120,
            help="Draws only from the most probable tokens that together have this probability.",
        )
        whole_number(
            "Seed",
            0,
            2**31 - 1,
            0,
            key="seed",
            width=115,
            help="With the same settings, the same seed draws the same text.",
        )
tell_repair("new_tokens", *(["seed"] if samples else []))
state.sampling = {name: each.nearest(chosen(name, object)) for name, each in SETTINGS.items()}
told = st.container()

# Model

with told:
    if error := wait_for_model(subject.model, stop_loading):
        st.error("This model cannot be opened. Choose another on the page Explore.", icon=":material/error:")
        st.text(error)
        write_address()
        with notice:
            tell()
        st.stop()
    state.selection, beyond = fitted(state.selection, models.bridge(subject.model).heads)
    with notice:
        tell(beyond)

    # Begin

    if state.begins:
        state.begins = False
        text = subject.model, subject.prompt
        try:
            wait_for(("tokens", *text), partial(models.encoded, *text), "Counting the tokens", stop_counting)
            continuation = state.continuation = Continuation(subject, sampling_options(state.sampling))
        except ValueError as error:
            st.warning("This prompt cannot be continued.", icon=":material/edit:")
            st.text(str(error))
with buttons:
    running = continuation is not None and continuation.running
    st.button(
        "Generate",
        key="generate",
        on_click=begin,
        icon=":material/play_arrow:",
        disabled=running,
    )
    st.button("Stop", key="stop", on_click=stop, icon=":material/stop:", disabled=not running)

# The text

viewer = main_viewer(models.bridge(subject.model).heads, None, "motion")
larger_type(viewer)
if continuation is None:
    st.caption("While the model writes, the picked head is shown here: each new token adds a row.")
else:
    if continuation.subject.model != subject.model:
        st.caption(
            ":material/stop_circle: You changed the model, so the text of the previous one was stopped. "
            "Generate starts a text of the new one."
        )
    in_motion(main_viewer(continuation.heads, None, "motion"), continuation)
write_address()
