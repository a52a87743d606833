"""What the pages have in common: their selection and notices, the prompt's box, the model they wait for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import streamlit as st

from components.models import ModelLoadError
from components.ssd import Place
from explorer.address import write_address
from explorer.models import bridge
from explorer.selection import Selection
from explorer.session import session
from explorer.settings import settings
from explorer.viewer import Viewer
from explorer.waiting import wait_for
from explorer.widgets import chosen


def pick(selection: Selection) -> None:
    """Let all pages show another selection."""
    session().selection = selection


def main_viewer(heads: Mapping[Place, int], length: int | None, name: str = "") -> Viewer:
    """The view of what all pages show, which the address says."""
    return Viewer(lambda: session().selection, pick, heads, length, name, on_drawn=write_address)


def tell_limits() -> None:
    """What this copy allows, if that is not everything."""
    if limits := settings().limits_in_words():
        st.caption(f":material/lock: {' '.join(limits)}")


def tell_refused() -> None:
    """Once, why the model that the address names is not opened."""
    if session().refused:
        st.text(session().refused)
        session().refused = ""


def prompt_box(key: str, help: str, on_change: Callable[[], None]) -> None:
    """The box for the prompt, which is that of all pages."""
    st.text_area(
        "Prompt",
        key=key,
        height=76,
        max_chars=settings().most_characters,
        on_change=on_change,
        help=help,
    )


def take_prompt(key: str) -> None:
    """Take another prompt from its box. The head stays; what else was picked belonged to the old text."""
    selection, prompt = session().selection, chosen(key, str) or ""
    if prompt != selection.subject.prompt:
        pick(selection.with_prompt(prompt))


def wait_for_model(model: str, on_stop: Callable[[], None]) -> str:
    """Wait until a model is loaded. Returns why it cannot be opened; "" if it is there."""
    try:
        wait_for(("model", model), partial(bridge, model), "Loading the model", on_stop)
    except ModelLoadError as error:
        return str(error) or "This model cannot be opened."
    return ""
