"""What a page shows while it waits for a job, and how the job is stopped."""

from __future__ import annotations

import streamlit as st

from explorer import jobs


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
