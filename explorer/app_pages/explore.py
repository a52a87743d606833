"""The explorer's page: pick a model and a prompt, pick a head, see its content ∘ decay = attention."""

import math
from functools import partial

import streamlit as st
from streamlit.typing import UploadedFile

from components.demo import PRESETS
from components.models import CATALOGUE, DEMO, ModelLoadError
from explorer import captures
from explorer.address import tell, write_address
from explorer.costs import Ask, Refuse, decide
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
from explorer.head_view import head_view
from explorer.pictures import prepare
from explorer.selection import first_selection, fitted
from explorer.session import session
from explorer.settings import settings
from explorer.uploads import content_of, text_of_file
from explorer.waiting import wait_for
from explorer.widgets import chosen, put, put_first

# (As a docstring this would appear on the page.)
SHORT_BYTES = 1024  # Of a prompt. The page shows no cost for one that is no longer.

LABELS = {entry.name: entry.label for entry in CATALOGUE}
FIRST_MODEL = settings().offered[0]
any_model = settings().models is None

notice = st.empty()
state = session()
put_first("model", state.selection.subject.model)
put_first("prompt", state.selection.subject.prompt)
# Only in the embedded model do heads do what presets say.
presets = [preset for preset in PRESETS if chosen("model", str) == DEMO or not preset.names_head]
put("preset", state.selection.preset.name if state.selection.preset in presets else None)


def take_preset() -> None:
    """Fill in the preset's prompt and go to its head."""
    preset = next((preset for preset in PRESETS if preset.name == chosen("preset", str)), None)
    if preset is not None:
        put("prompt", preset.prompt)
        pick(state.selection.with_preset(preset))


def stop_loading() -> None:
    """Go back to the previous model."""
    put("model", state.selection.subject.model)


def stop_running() -> None:
    """Go back to the last drawn selection; the prompt stays in its box."""
    pick(state.drawn or first_selection(FIRST_MODEL))


def drawn_now() -> None:
    """Note what the page shows, in the address too."""
    state.drawn = state.selection
    write_address()


def agree() -> None:
    """Run the typed prompt, whatever its cost."""
    take_prompt("prompt")
    state.agreed = state.selection.subject


def take_file() -> None:
    """Put the text of the uploaded file into the box, and run it."""
    file = chosen("upload", UploadedFile)
    if file is None:
        return
    put("upload_menu", False)  # it would cover the result
    try:
        put("prompt", text_of_file(file.name, content_of(file)))
    except ValueError as error:
        state.upload_error = str(error)
    else:
        take_prompt("prompt")


# While a session's first model loads, the browser has time to fetch the chart library.
first_chart = st.empty()
if state.drawn is None:
    first_chart.vega_lite_chart({"mark": "point", "data": {"values": []}, "height": 1}, alt="Nothing yet.")

# Model and prompt

tell_limits()
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
    tell_refused()
    model_slot = st.container()
with prompt_column:
    prompt_box("prompt", "Ctrl + Enter, or a click beside it, applies it.", partial(take_prompt, "prompt"))
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
    if state.upload_error:
        st.warning("This file cannot be read.", icon=":material/upload_file:")
        st.text(state.upload_error)
        state.upload_error = ""
    prompt_slot = st.container()

# Load

with model_slot:
    if error := wait_for_model(wanted or "", stop_loading):
        st.error(
            "This model cannot be opened. The page still shows the previous one.", icon=":material/error:"
        )
        st.text(error)
        if state.selection.subject.model == wanted:  # it came with the link: there is no previous one
            pick(state.selection.with_model(FIRST_MODEL))
    else:
        pick(state.selection.with_model(wanted or ""))

first_chart.empty()

# Run

with prompt_slot:
    subject, drawn = state.selection.subject, state.drawn
    cost = None
    try:
        if len(subject.prompt.encode(errors="replace")) > SHORT_BYTES:
            wait_for(("cost", subject), partial(captures.cost, subject), "Counting the tokens", stop_running)
            cost = captures.cost(subject)
        decision = decide(
            cost,
            settings(),
            shown=drawn is not None and drawn.subject == subject,
            agreed=state.agreed == subject,
        )
        if isinstance(decision, Refuse):
            raise ValueError(decision.words)
        if not isinstance(decision, Ask):
            if decision.words:
                st.caption(f":material/timer: {decision.words}")
            wait_for(
                ("prompt", subject),
                partial(prepare, subject, state.selection.head),
                "Running the prompt through the model",
                stop_running,
            )
    except ModelLoadError as error:
        st.text(str(error))
        write_address()
        st.stop()
    except ValueError as error:
        if drawn is None or not subject.prompt:
            st.warning("There is nothing to draw yet.", icon=":material/edit:")
            st.text(str(error))
            write_address()
            with notice:
                tell()
            st.stop()
        st.warning("This prompt was not run. The page still shows the previous one.", icon=":material/edit:")
        st.text(str(error))
        pick(drawn)
    else:
        asks = isinstance(decision, Ask)
        if asks or chosen("prompt", str) != subject.prompt:
            why = decision.words if asks else "Stopped."
            if drawn is not None:
                why += " The page still shows the previous prompt."
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(why, width="content")
                st.button("Run the prompt", on_click=agree, icon=":material/play_arrow:")
            if asks:
                if drawn is None:  # the address, which has led here, holds what is picked
                    with notice:
                        tell()
                    st.stop()
                pick(drawn)

# Figures

tell_edits()
capture = captures.capture(state.selection.subject)
state.selection, beyond = fitted(state.selection, capture.heads, capture.length)
with notice:
    tell(beyond)
head_view(main_viewer(capture.heads, capture.length, on_drawn=drawn_now), capture)
