"""The explorer's page: pick a model and a prompt, pick a head, see its content ∘ decay = attention."""

from functools import partial

import streamlit as st

from components.demo.presets import PRESETS
from components.models import CATALOGUE, ModelLoadError
from explorer import jobs, resources
from explorer.figures import head_figures, picked
from explorer.selection import first_selection, selection_of
from explorer.settings import settings

LABELS = {entry.name: entry.label for entry in CATALOGUE}
FIRST_MODEL = settings().offered[0]
any_model = settings().models is None

refused = ""
if "selection" not in st.session_state:
    st.session_state.selection, unread = selection_of(st.query_params.to_dict(), FIRST_MODEL)
    if unread:
        st.caption(
            f":material/link_off: The link's {' and '.join(unread)} could not be read; "
            "in its place is what the page opens with."
        )
    if not settings().allows(picked().model):
        refused = settings().refusal(picked().model)
        st.session_state.selection = picked().with_model(FIRST_MODEL)
selection = picked()
st.session_state.setdefault("model", selection.model)
st.session_state.setdefault("prompt", selection.prompt)
st.session_state.preset = selection.preset.name if selection.preset else None


def take_preset() -> None:
    """Fill in the preset's prompt and go to its head."""
    preset = next((preset for preset in PRESETS if preset.name == st.session_state.preset), None)
    if preset is not None:
        st.session_state.prompt = preset.prompt
        st.session_state.selection = picked().with_preset(preset)


def take_prompt() -> None:
    """Keep the head; the query belonged to the old text."""
    st.session_state.selection = picked().with_prompt(st.session_state.prompt)


def stop_loading() -> None:
    """Go back to the model before."""
    jobs.stop(("model", st.session_state.model))
    st.session_state.model = picked().model


def stop_running() -> None:
    """Go back to the picture before; the typed prompt stays in its box."""
    jobs.stop(("prompt", picked().model, picked().prompt))
    st.session_state.selection = st.session_state.get("drawn") or first_selection(FIRST_MODEL)


def wait_for(key: tuple[str, ...], work: jobs.Work, first_words: str, on_stop: jobs.Callback) -> None:
    """Wait for a job; once that takes time, say what it does and offer to stop it."""
    place = st.empty()
    bar = None

    def show(text: str, part: float | None) -> None:
        nonlocal bar
        if bar is None:
            with place.container(horizontal=True, vertical_alignment="center"):
                bar = st.empty()
                st.button("Stop", key=f"stop_{key[0]}", icon=":material/stop:", on_click=on_stop)
        bar.progress(part or 0.0, text=text)

    try:
        jobs.watch(key, work, show, first_words)
    finally:
        place.empty()


# While a session's first model is being loaded, the browser has time to fetch what draws charts.
first_chart = st.empty()
if "drawn" not in st.session_state:
    first_chart.vega_lite_chart({"mark": "point", "data": {"values": []}, "height": 1}, alt="Nothing yet.")

# Model and prompt

if limits := settings().limits_in_words():
    st.caption(f":material/lock: {' '.join(limits)}")
model_column, prompt_column = st.columns([2, 5], gap="medium")
with model_column:
    wanted = st.selectbox(
        "Model",
        list(settings().offered),
        key="model",
        format_func=lambda name: LABELS.get(name, name),
        accept_new_options=any_model,
        placeholder="Choose a model",
        help="Choose one, or type any hub id or the path of a folder and press Enter." if any_model else None,
    )
    if refused:
        st.text(refused)
    model_slot = st.container()
with prompt_column:
    st.text_area(
        "Prompt",
        key="prompt",
        height=76,
        max_chars=settings().most_characters,
        on_change=take_prompt,
        help="Ctrl + Enter, or a click beside it, applies it.",
    )
    st.pills(
        "Presets",
        [preset.name for preset in PRESETS],
        key="preset",
        on_change=take_preset,
        label_visibility="collapsed",
    )
    prompt_slot = st.container()

# Load

with model_slot:
    try:
        wait_for(
            ("model", wanted or ""),
            partial(resources.bridge, wanted or ""),
            "Loading the model",
            stop_loading,
        )
        selection = st.session_state.selection = selection.with_model(wanted or "")
    except ModelLoadError as error:
        st.error("This model cannot be opened. Below is still the one before.", icon=":material/error:")
        st.text(str(error))
        if selection.model == wanted:  # it came with the link, so there is none before
            selection = st.session_state.selection = selection.with_model(FIRST_MODEL)

first_chart.empty()

# Run

with prompt_slot:
    try:
        wait_for(
            ("prompt", selection.model, selection.prompt),
            partial(resources.capture, selection.model, selection.prompt),
            "Running the prompt through the model",
            stop_running,
        )
    except ModelLoadError as error:
        st.text(str(error))
        st.stop()
    except ValueError as error:
        st.warning("There is nothing to draw yet.", icon=":material/edit:")
        st.text(str(error))
        st.stop()

    if st.session_state.prompt != selection.prompt:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption("Stopped. Below is still the prompt before.", width="content")
            st.button("Run the prompt", on_click=take_prompt)

# Figures

st.session_state.drawn = selection
head_figures(resources.capture(selection.model, selection.prompt))
