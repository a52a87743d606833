"""The address holds everything picked. Pages read it on opening, Back and Forward, and then update it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from explorer import keeper
from explorer.links import selection_of, short_query_of, text_key, without_text
from explorer.sampling import SETTINGS, query_of_settings, settings_of
from explorer.session import session
from explorer.settings import settings
from explorer.widgets import forget

NO_TEXT = (
    "This address names a text that is too long for a link, and this browser tab does not have it. The page "
    "shows its first preset instead, without the head, row and window of that text."
)


def read_address() -> None:
    """Apply the address, if the page was just opened or the reader went back or forward.

    Stops the script until the browser has sent the text.
    """
    state = session()
    parameters = st.query_params.to_dict()
    wanted = parameters.get("text", "")
    again, prompt = state.opened, state.selection.subject.prompt
    if again and not state.asked and not _went_back():
        keep_text()
        return
    known = dict(state.found)
    if again:
        known[text_key(prompt)] = prompt
    if wanted and wanted not in known:
        state.asked = True
        keeper.keeper({}, wanted, _take_text)
        st.caption("Fetching the text")
        st.stop()
    state.asked = False
    state.found = {}
    told = []
    if wanted:
        text = known[wanted]
        parameters = without_text(parameters) if text is None else parameters | {"prompt": text}
        told = [NO_TEXT] if text is None else []
    first_model = settings().offered[0]
    state.selection, unread = selection_of(parameters, first_model)
    values, unread_settings, beyond = settings_of(parameters)
    state.sampling, state.opened = values, True
    if again:
        for name in ("model", "prompt", *SETTINGS):  # the values of a page's widgets
            forget(name)
    state.refused = ""
    model = state.selection.subject.model
    if not settings().allows(model):
        state.refused = settings().refusal(model)
        state.selection = state.selection.with_model(first_model)
    if unread := [*unread, *unread_settings]:
        told.append(
            f"The link's {' and '.join(unread)} could not be read. The page shows its default instead."
        )
    state.told, state.beyond = told, beyond
    keep_text()


def _went_back() -> bool:
    """Whether Back or Forward, which change the address first, started this run."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def _take_text() -> None:
    """Keep the browser's answer. A text with another key counts as none."""
    key, text = keeper.found()
    session().found = {key: text if text is not None and text_key(text) == key else None}


def keep_text() -> None:
    """Let the browser keep the picked prompt, if it is too long for the address."""
    selection = session().selection
    parameters, cut = short_query_of(st.context.url or "", selection)
    keeper.keeper({parameters["text"]: selection.subject.prompt} if cut else {}, "", _take_text)


def tell(beyond: Sequence[str] = ()) -> None:
    """Show once, in a caption, what was replaced; `beyond` adds names of values out of range."""
    state = session()
    told, names = state.told, [*beyond, *state.beyond]
    state.told, state.beyond = [], []
    if names:
        words = ", ".join(name.replace("_", " ") for name in names)
        told = [*told, f"Out of range here: {words}. The nearest is shown."]
    if told:
        st.caption(f":material/link_off: {' '.join(told)}")


def write_address(**of_page: str) -> None:
    """Write everything picked to the address; a key replaces a prompt that makes it too long.

    `of_page` are further parameters, which only this page reads; empty ones are left out.
    """
    parameters, _ = short_query_of(st.context.url or "", session().selection)
    parameters |= query_of_settings(session().sampling)
    parameters |= {name: value for name, value in of_page.items() if value}
    if st.query_params.to_dict() != parameters:
        st.query_params.from_dict(parameters)
