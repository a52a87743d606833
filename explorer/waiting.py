"""What a page shows while it waits for a job, and how the job is stopped."""

from __future__ import annotations

import streamlit as st

from explorer import jobs
from explorer.visit import clicked, visit


def wait_for(
    key: tuple[object, ...],
    work: jobs.Work,
    first_words: str,
    on_stop: jobs.Callback,
    button: str = "",
) -> None:
    """Wait for a job; if it takes time, show its progress and a button to stop it.

    A click on it calls `on_stop`. `button` is its key, by default from the first part of `key`. If the
    visitor closes the page, or clicks anything else, the wait ends, and the script with it.
    """
    is_open = visit()

    def stop() -> None:
        jobs.stop(key)
        on_stop()

    line = st.empty()
    bar = None

    def show(text: str, part: float | None) -> None:
        nonlocal bar
        if not is_open():
            st.stop()
        if clicked():
            st.rerun()
        if bar is None:
            with line.container(horizontal=True, vertical_alignment="center"):
                bar = st.empty()
                st.button("Stop", key=button or f"stop_{key[0]}", icon=":material/stop:", on_click=stop)
        bar.progress(part or 0.0, text=text)

    try:
        jobs.watch(key, work, show, first_words)
    finally:
        line.empty()
