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
    """Set the selection that all pages show."""
    session().selection = selection


def main_viewer(
    heads: Mapping[Place, int],
    length: int | None,
    name: str = "",
    on_drawn: Callable[[], None] = write_address,
) -> Viewer:
    """A viewer of the selection that all pages share. Picks are drawn by fragments, which call `on_drawn`."""
    return Viewer(lambda: session().selection, pick, heads, length, name, on_drawn=on_drawn)


def tell_limits() -> None:
    """Show the limits of this copy, if it has any."""
    if limits := settings().limits_in_words():
        st.caption(f":material/lock: {' '.join(limits)}")


def tell_refused() -> None:
    """Show once why the model in the address was not opened."""
    if session().refused:
        st.text(session().refused)
        session().refused = ""


def prompt_box(key: str, help: str, on_change: Callable[[], None]) -> None:
    """The box for the prompt, which all pages share."""
    st.text_area(
        "Prompt",
        key=key,
        height=76,
        max_chars=settings().most_characters,
        on_change=on_change,
        help=help,
    )


def take_prompt(key: str) -> None:
    """Take a new prompt from its box. The head stays; all other picks belonged to the old text."""
    selection, prompt = session().selection, chosen(key, str) or ""
    if prompt != selection.subject.prompt:
        pick(selection.with_prompt(prompt))


def wait_for_model(model: str, on_stop: Callable[[], None]) -> str:
    """Wait until a model is loaded. Returns why it cannot be opened; "" if it is loaded."""
    try:
        wait_for(("model", model), partial(bridge, model), "Loading the model", on_stop)
    except ModelLoadError as error:
        return str(error) or "This model cannot be opened."
    return ""
