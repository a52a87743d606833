"""The page "Generate": a text goes on, token by token, and the picked head is seen to read it."""

from functools import partial

import streamlit as st

from components.models import CATALOGUE, ModelLoadError
from explorer import jobs, models
from explorer.address import tell, write_address
from explorer.generating import MAX_NEW_TOKENS, Continuation
from explorer.motion import in_motion
from explorer.picks import picked
from explorer.sampling import GREEDY, PACES, SAMPLED, SETTINGS, sampling_options
from explorer.selection import fitted
from explorer.settings import settings
from explorer.waiting import wait_for
from explorer.whole_number import tell_repair, whole_number

LABELS = {entry.name: entry.label for entry in CATALOGUE}
FIRST_MODEL = settings().offered[0]

state = st.session_state
notice = st.empty()
if refused := state.pop("refused", ""):
    st.text(refused)
model = picked().model
continuation: Continuation | None = state.get("continuation")
if continuation is not None and continuation.model != model:
    continuation.stop()
state.continued_prompt = picked().prompt
for name, value in state.sampling.items():
    state.setdefault(name, value)


def take_prompt() -> None:
    """Keep the head; the prompt is that of all pages."""
    state.selection = picked().with_prompt(state.continued_prompt)


def begin() -> None:
    """Let what was before go; the new text begins below, where it can say what hinders it."""
    if state.continued_prompt != picked().prompt:
        take_prompt()
    if state.get("continuation"):
        state.continuation.stop()
    state.continuation = None
    state.begins = True


def stop() -> None:
    """Keep what has come."""
    if state.get("continuation"):
        state.continuation.stop()


def stop_loading() -> None:
    """Go back to the model that the page opens with."""
    jobs.stop(("model", picked().model))
    state.selection = picked().with_model(FIRST_MODEL)


def stop_counting() -> None:
    """Leave the prompt as it is."""
    jobs.stop(("tokens", picked().model, picked().prompt))


# Prompt and controls

if limits := settings().limits_in_words():
    st.caption(f":material/lock: {' '.join(limits)}")
st.text_area(
    "Prompt",
    key="continued_prompt",
    height=76,
    max_chars=settings().most_characters,
    on_change=take_prompt,
    help="The prompt of the page Explore. The model continues it below.",
)
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
    if state.draws == SAMPLED:
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
tell_repair("new_tokens", *(["seed"] if state.draws == SAMPLED else []))
state.sampling = {name: each.nearest(state[name]) for name, each in SETTINGS.items()}
told = st.container()

# Model

with told:
    try:
        wait_for(("model", model), partial(models.bridge, model), "Loading the model", stop_loading)
    except ModelLoadError as error:
        st.error("This model cannot be opened. Choose another on the page Explore.", icon=":material/error:")
        st.text(str(error))
        write_address(picked())
        with notice:
            tell()
        st.stop()
    state.selection, beyond = fitted(picked(), models.bridge(model).heads)
    with notice:
        tell(beyond)

    # Begin

    if state.pop("begins", False):
        prompt = picked().prompt
        try:
            wait_for(
                ("tokens", model, prompt),
                partial(models.encoded, model, prompt),
                "Counting the tokens",
                stop_counting,
            )
            continuation = state.continuation = Continuation(model, prompt, sampling_options(state.sampling))
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

# What comes

if picked().view.large:
    st.html("<style>html { font-size: 20px; }</style>")
if continuation is None:
    st.caption("While the model writes, the picked head is shown here: each new token adds a row.")
else:
    if continuation.model != model:
        st.caption(
            ":material/stop_circle: You changed the model, so the text of the previous one was stopped. "
            "Generate starts a text of the new one."
        )
    in_motion(continuation)
write_address(picked())
