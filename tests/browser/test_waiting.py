"""Work that a page waits for is stopped by a click, wherever on the page its button stands."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.conftest import new_tab, served

PAGE = """
import sys
import time

sys.path.insert(0, {root!r})
import streamlit as st

from explorer.waiting import wait_for


def count_to_a_minute(report):
    for seconds in range(600):
        report(f"{{seconds / 10}} s", None)
        time.sleep(0.1)


def wait(name):
    if st.session_state.get(name):
        st.text(f"{{name}}: stopped")
    elif st.toggle(name) or name == "whole page":
        stop = lambda: st.session_state.update({{name: True}})
        wait_for((name,), count_to_a_minute, "Counting", stop)


@st.fragment
def inner():
    wait("inner")


@st.fragment
def outer():
    wait("outer")
    inner()


@st.fragment
def first():
    wait("whole page")


first()
outer()
st.toggle("Other")
"""


def test_a_click_stops_what_a_fragment_waits_for(browser: Browser, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text(PAGE.format(root=str(Path(__file__).parents[2])))
    with served(script, tmp_path) as address:
        page = new_tab(browser)
        page.goto(address)
        main = page.get_by_test_id("stMain")  # Streamlit has a Stop of its own above it
        for name in ("whole page", "outer", "inner"):
            if name != "whole page":
                main.get_by_text(name, exact=True).click()
            main.get_by_role("button", name="Stop").click()
            main.get_by_text(f"{name}: stopped").wait_for(timeout=10_000)
            expect(main.get_by_role("button", name="Stop")).to_have_count(0)
        page.context.close()
