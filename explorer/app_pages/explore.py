"""The explorer's page: pick a model and a prompt, pick a head, see its content ∘ decay = attention."""

import streamlit as st

from components.demo.presets import PRESETS
from components.models import CATALOGUE, ModelLoadError
from explorer import resources
from explorer.figures import head_figures
from explorer.selection import Selection, first_selection

DEMO = CATALOGUE[0].name

st.session_state.setdefault("selection", first_selection(DEMO))
st.session_state.setdefault("model", DEMO)
st.session_state.setdefault("preset", PRESETS[0].name)
st.session_state.setdefault("prompt", PRESETS[0].prompt)


def take_preset() -> None:
    """Fill in the preset's prompt and go to its head."""
    preset = next((preset for preset in PRESETS if preset.name == st.session_state.preset), None)
    if preset is not None:
        st.session_state.prompt = preset.prompt
        st.session_state.selection = st.session_state.selection.with_preset(preset)


def take_prompt() -> None:
    """A typed prompt is no preset any more."""
    st.session_state.preset = next((p.name for p in PRESETS if p.prompt == st.session_state.prompt), None)
    st.session_state.selection = st.session_state.selection.with_prompt(st.session_state.prompt)


# Model and prompt

st.title("Mamba-2 Explorer", anchor=False)
model_column, prompt_column = st.columns([2, 5], gap="medium")
with model_column:
    labels = {entry.name: entry.label for entry in CATALOGUE}
    wanted = st.selectbox(
        "Model",
        list(labels),
        key="model",
        format_func=lambda name: labels.get(name, name),
        accept_new_options=True,
        placeholder="Choose a model",
        help="Choose one, or type any hub id or the path of a folder and press Enter.",
    )
    model_slot = st.container()
with prompt_column:
    prompt = st.text_area(
        "Prompt",
        key="prompt",
        height=76,
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

# Load

selection: Selection = st.session_state.selection
figure = st.container()
with model_slot:
    progress = st.empty()

    def show_progress(text: str, part: float | None) -> None:
        """Say what is being done; without a known part, the bar stays empty."""
        progress.progress(part or 0.0, text=text)

    try:
        resources.load(wanted or "", show_progress)
        selection = st.session_state.selection = selection.with_model(wanted)
    except ModelLoadError as error:
        st.error("This model cannot be opened. Below is still the one before.", icon=":material/error:")
        st.text(str(error))
    finally:
        progress.empty()

# Figure

with figure:
    try:
        with st.spinner("Running the prompt through the model"):
            capture = resources.capture(selection.model, prompt)
    except ModelLoadError as error:
        st.text(str(error))
        st.stop()
    except ValueError as error:
        st.warning("There is nothing to draw yet.", icon=":material/edit:")
        st.text(str(error))
        st.stop()
    head_figures(capture)
