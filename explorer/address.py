"""The address holds everything picked, on every page: read when a page opens or goes back, written after.

What is kept of a session for this: `selection`, the `sampling` of a continuation, and in `told`
and `beyond` what of the address could not be taken as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from explorer import keeper
from explorer.picks import picked
from explorer.sampling import SETTINGS, query_of_settings, settings_of
from explorer.selection import Selection, selection_of, short_query_of, text_key, without_text
from explorer.settings import settings

NO_TEXT = (
    "This address names a text that is too long for a link, and this browser tab does not have it. The page "
    "shows its first preset instead, without the head, row and window of that text."
)


def read_address() -> None:
    """Take over what the address says, if the page was opened or the reader went back or forward.

    Stops the script while a text is on its way from the browser.
    """
    state = st.session_state
    parameters = st.query_params.to_dict()
    wanted = parameters.get("text", "")
    again = "selection" in state
    if again and not state.get("asked") and not _went_back():
        keep_text()
        return
    known = dict(state.get("found", {}))
    if again:
        known[text_key(picked().prompt)] = picked().prompt
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
    state.sampling = values
    if again:
        for name in ("model", "prompt", *SETTINGS):  # what stands in the boxes of a page
            state.pop(name, None)
    state.refused = ""
    if not settings().allows(picked().model):
        state.refused = settings().refusal(picked().model)
        state.selection = picked().with_model(first_model)
    if unread := [*unread, *unread_settings]:
        told.append(
            f"The link's {' and '.join(unread)} could not be read. The page shows its default instead."
        )
    state.told, state.beyond = told, beyond
    keep_text()


def _went_back() -> bool:
    """Whether this run is for Back or Forward, which change the address before they ask for it."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def _take_text() -> None:
    """What the browser has answered. No text but the right one has the key."""
    key, text = keeper.found()
    st.session_state.found = {key: text if text is not None and text_key(text) == key else None}


def keep_text() -> None:
    """Let the browser keep the picked prompt, if it is too long for the address."""
    parameters, cut = short_query_of(st.context.url or "", picked())
    keeper.keeper({parameters["text"]: picked().prompt} if cut else {}, "", _take_text)


def tell(beyond: Sequence[str] = ()) -> None:
    """One quiet notice, once, of what was not taken as it was; `beyond` names what else is out of range."""
    state = st.session_state
    told, names = state.get("told", []), [*beyond, *state.get("beyond", [])]
    state.told, state.beyond = [], []
    if names:
        words = ", ".join(name.replace("_", " ") for name in names)
        told = [*told, f"Out of range here: {words}. The nearest is shown."]
    if told:
        st.caption(f":material/link_off: {' '.join(told)}")


def write_address(selection: Selection, passage: str = "") -> None:
    """Put everything picked into the address bar; a prompt that makes it too long goes by its key.

    `passage` is the one of "How to read this" that a link has led to.
    """
    parameters, _ = short_query_of(st.context.url or "", selection)
    parameters |= query_of_settings(st.session_state.sampling)
    if passage:
        parameters["passage"] = passage
    if st.query_params.to_dict() != parameters:
        st.query_params.from_dict(parameters)
