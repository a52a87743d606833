"""The explorer's page: pick a model and a prompt, pick a head, see its content ∘ decay = attention."""

import math
from functools import partial

import streamlit as st
from streamlit.typing import UploadedFile

from components.demo.presets import PRESETS
from components.models import CATALOGUE, ModelLoadError
from components.models.catalogue import DEMO
from explorer import captures, jobs, models
from explorer.address import tell, write_address
from explorer.head_view import head_view
from explorer.picks import chosen, picked
from explorer.selection import Selection, first_selection, fitted
from explorer.settings import settings
from explorer.uploads import text_of_file
from explorer.waiting import wait_for

# (As docstrings these two would stand on the page.)
SHORT_BYTES = 1024  # Of a prompt. Running one that is no longer costs nothing worth a word.
ASK_SECONDS = 20  # A run that takes longer is not begun unasked.

LABELS = {entry.name: entry.label for entry in CATALOGUE}
FIRST_MODEL = settings().offered[0]
any_model = settings().models is None

notice = st.empty()
selection = picked()
st.session_state.setdefault("model", selection.model)
st.session_state.setdefault("prompt", selection.prompt)
# What a head does in the embedded model, it does in no other.
presets = [preset for preset in PRESETS if st.session_state.model == DEMO or not preset.names_head]
st.session_state.preset = selection.preset.name if selection.preset in presets else None


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


def agree() -> None:
    """Run a prompt of which the page has said what it will cost."""
    st.session_state.agreed = st.session_state.model, st.session_state.prompt
    take_prompt()


def take_file() -> None:
    """Put the text of the uploaded file into the box, and run it."""
    file = chosen("upload", UploadedFile)
    if file is None:
        return
    st.session_state.upload_menu = False  # it would stand before what comes of it
    most = settings().most_upload_kilobytes
    try:
        if file.size > most * 1024:
            raise ValueError(
                f'"{file.name}" has {file.size / 1024:,.0f} KB. At most {most:,} KB are read. '
                "Choose a shorter text."
            )
        st.session_state.prompt = text_of_file(file.name, file.getvalue())
    except ValueError as error:
        st.session_state.upload_error = str(error)
    else:
        take_prompt()


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
        help="Choose one, or type the hub id or the folder of any model with Mamba-2 layers and press Enter."
        if any_model
        else None,
    )
    if refused := st.session_state.pop("refused", ""):
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
    with st.container(horizontal=True, vertical_alignment="center"):
        st.pills(
            "Presets",
            [preset.name for preset in presets],
            key="preset",
            on_change=take_preset,
            label_visibility="collapsed",
            width="content",
        )
        with st.popover("Open a text", icon=":material/upload_file:", key="upload_menu", on_change="rerun"):
            st.file_uploader(
                "A text file, .txt or .md, in UTF-8",
                max_upload_size=math.ceil(settings().most_upload_kilobytes / 1024),
                key="upload",
                on_change=take_file,
            )
    if "upload_error" in st.session_state:
        st.warning("This file cannot be read.", icon=":material/upload_file:")
        st.text(st.session_state.pop("upload_error"))
    prompt_slot = st.container()

# Load

with model_slot:
    try:
        wait_for(
            ("model", wanted or ""),
            partial(models.bridge, wanted or ""),
            "Loading the model",
            stop_loading,
        )
        selection = st.session_state.selection = selection.with_model(wanted or "")
    except ModelLoadError as error:
        st.error(
            "This model cannot be opened. The page still shows the previous one.", icon=":material/error:"
        )
        st.text(str(error))
        if selection.model == wanted:  # it came with the link, so there is none before
            selection = st.session_state.selection = selection.with_model(FIRST_MODEL)

first_chart.empty()

# Run

drawn: Selection | None = st.session_state.get("drawn")
with prompt_slot:
    key = selection.model, selection.prompt
    waits = ""
    try:
        if len(selection.prompt.encode(errors="replace")) > SHORT_BYTES:
            wait_for(("cost", *key), partial(captures.cost, *key), "Counting the tokens", stop_running)
            cost = captures.cost(*key)
            known = drawn is not None and key == (drawn.model, drawn.prompt)
            if (cost.seconds or 0) > ASK_SECONDS and not known and st.session_state.get("agreed") != key:
                waits = f"{cost.in_words()}."
            else:
                st.caption(f":material/timer: {cost.in_words()}")
        if not waits:
            wait_for(
                ("prompt", *key),
                partial(captures.capture, *key),
                "Running the prompt through the model",
                stop_running,
            )
    except ModelLoadError as error:
        st.text(str(error))
        write_address(selection)
        st.stop()
    except ValueError as error:
        if drawn is None or not selection.prompt:
            st.warning("There is nothing to draw yet.", icon=":material/edit:")
            st.text(str(error))
            write_address(selection)
            with notice:
                tell()
            st.stop()
        st.warning("This prompt was not run. The page still shows the previous one.", icon=":material/edit:")
        st.text(str(error))
        selection = st.session_state.selection = drawn
    else:
        if waits or st.session_state.prompt != selection.prompt:
            if waits:
                selection = st.session_state.selection = drawn or first_selection(FIRST_MODEL)
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(
                    f"{waits or 'Stopped.'} The page still shows the previous prompt.", width="content"
                )
                st.button("Run the prompt", on_click=agree, icon=":material/play_arrow:")

# Figures

capture = captures.capture(selection.model, selection.prompt)
selection, beyond = fitted(selection, capture.heads, capture.length)
st.session_state.selection = st.session_state.drawn = selection
with notice:
    tell(beyond)
head_view(capture)
