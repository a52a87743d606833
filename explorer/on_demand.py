"""Work that a reader can stop, and that then waits until asked for."""

from __future__ import annotations

from functools import partial

import streamlit as st

from explorer import jobs
from explorer.drawing import plain
from explorer.session import session
from explorer.settings import LimitError
from explorer.waiting import wait_for

REMEMBERED = 64
"""Choices of a session, started or stopped, that are kept."""


def worked(
    key: tuple[object, ...], work: jobs.Work, first_words: str, *, at_once: bool = True, button: str = ""
) -> bool:
    """Wait for a job; returns whether it is done.

    If the reader or a limit of this copy has stopped it, or not `at_once`, show why and a button instead,
    which starts it. `button` is the key of the buttons, by default the first part of `key`.
    """
    wanted, name = session().wanted, button or str(key[0])
    why_not = "Stopped." if key in wanted else "This takes a while in this model."
    if wanted.get(key, at_once):
        try:
            wait_for(key, work, first_words, partial(want, key, False), button=f"stop_{name}")
            return True
        except LimitError as refused:
            want(key, False)
            why_not = str(refused)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(plain(why_not), width="content")
        st.button(
            "Compute", key=f"start_{name}", icon=":material/play_arrow:", on_click=want, args=(key, True)
        )
    return False


def want(key: tuple[object, ...], wanted: bool) -> None:
    """Start or stop the work with this key."""
    choices = session().wanted
    choices.pop(key, None)  # so that the latest choice is the last to be forgotten
    choices[key] = wanted
    for oldest in list(choices)[:-REMEMBERED]:
        del choices[oldest]
