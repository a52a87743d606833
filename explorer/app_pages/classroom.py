"""A class: start one, join one, lead it, follow it."""

from __future__ import annotations

import secrets

import streamlit as st

from explorer.address import tell
from explorer.browser_store import browser_store, has_told, in_browser, put_in_browser
from explorer.classes import ClassEndedError, ClassError, address_for_others, in_groups, rooms
from explorer.clock import run_again
from explorer.lecturer_view import lecturer_view
from explorer.lesson_words import language_of_visit
from explorer.lessons import compute_ahead
from explorer.session import session
from explorer.student_view import student_view
from explorer.widgets import chosen

READING_WIDTH = 1180

state = session()
tell()


def start() -> None:
    """Start a class, which this browser leads."""
    try:
        code, secret = rooms().start()
    except ClassError as error:
        state.class_error = str(error)
        return
    compute_ahead()
    put_in_browser(f"lead-{code}", secret)
    st.query_params["code"] = code


def join() -> None:
    """Join the class whose code was typed."""
    st.query_params["code"] = chosen("class_code", str) or ""


def leave() -> None:
    """Back to where classes are started and joined."""
    st.query_params.pop("code", None)


def student() -> str:
    """The random name of this browser."""
    if not in_browser("student"):
        put_in_browser("student", secrets.token_urlsafe(16))
    return in_browser("student")


def start_or_join() -> None:
    """What a visitor without a class sees."""
    st.title("A class", anchor=False)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Teach", anchor=False)
        st.markdown(
            "You project the lessons. Your students open a link on their own devices and predict. You see "
            "their answers as they come, and show what is right."
        )
        st.button(
            "Start a class", key="class_start", icon=":material/groups:", type="primary", on_click=start
        )
        st.caption(
            "Nobody needs an account. Kept are the answers and a random name of each browser, for a day at "
            "most."
        )
    with right:
        st.subheader("Join", anchor=False)
        st.text_input("Code of the class", key="class_code", max_chars=20, on_change=join)
        st.button("Join", key="class_join", icon=":material/login:", on_click=join)


with st.container(width=READING_WIDTH):
    if not has_told():
        st.caption("Asking the browser for your place")
        browser_store()
        st.stop()
    if state.class_error:
        st.warning(state.class_error, icon=":material/info:")
        state.class_error = ""
    code = st.query_params.get("code", "")
    if not code:
        start_or_join()
        browser_store()
        st.stop()
    try:
        secret = in_browser(f"lead-{code}")
        if secret and code not in state.led and rooms().leads(code, secret):
            state.led.add(code)
        if code in state.led:
            address = address_for_others(st.context.url or "")
            lecturer_view(rooms(), code, secret, language_of_visit(), address)
        else:
            if code not in state.joined:
                code, _ = rooms().join(code, student())
                state.joined.add(code)
                st.query_params["code"] = code
            student_view(rooms(), code, student(), language_of_visit())
        run_again()
    except ClassError as error:
        st.title(f"Class {in_groups(code)}" if len(code) == 8 else "A class", anchor=False)
        st.warning(str(error), icon=":material/info:")
        if isinstance(error, ClassEndedError):
            st.caption("All answers of it are deleted.")
        st.button(
            "Start or join another class", key="class_leave", icon=":material/arrow_back:", on_click=leave
        )
browser_store()
