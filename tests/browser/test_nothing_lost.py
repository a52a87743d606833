"""What a reader has made outlives a reload, Back, another page, another model and another server."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Response, expect

from components.demo.presets import PRESETS
from explorer.address import NO_TEXT
from explorer.links import text_key
from tests.browser.conftest import Explorer, listening, new_tab, without_errors
from tests.deploy.containers import Container, containers, free_port

pytestmark = pytest.mark.browser

KITE = "Ben has a red kite. Eva has a blue drum. Ben has a"
LONG = "Leo is in the garden. Mia has a ball. " * 60
AT_HOME = {"EXPLORER_HOSTED": "0"}
"""What makes a container's server that of one's own computer."""
ANOTHER_MODEL = str(Path(__file__).parents[1] / "data" / "golden" / "grouped")


def prompt(page: Page) -> Any:
    return page.get_by_label("Prompt", exact=True)


def away(page: Page) -> Locator:
    """The sentence that stands while there is no server."""
    return page.get_by_role("status").filter(has_text="The server does not answer.")


def paper(page: Page) -> list[int]:
    """Red, green and blue on which it stands: nothing shines through."""
    colour = away(page).evaluate("e => getComputedStyle(e).backgroundColor")
    assert colour.startswith("rgb(")
    return [int(part) for part in re.findall(r"\d+", colour)]


def entries(explorer: Explorer) -> int:
    return int(explorer.page.evaluate("history.length"))


def back(explorer: Explorer) -> None:
    explorer.page.go_back()
    explorer.settle()


def reload(explorer: Explorer) -> None:
    explorer.page.reload()
    explorer.chart("decay_curves").wait_for(timeout=60_000)
    explorer.settle()


def open_the_strongest_tile(explorer: Explorer) -> None:
    explorer.page.get_by_role("button", name="Open the strongest tile").click()
    explorer.settle()


# A long prompt


def test_a_long_prompt_comes_back_and_where_it_is_not_a_sentence_says_so(tab: Explorer) -> None:
    """Also where the storage is full of older texts."""
    tab.open("?layer=1&head=3&reading=attention_dt")
    tab.page.evaluate("sessionStorage.setItem('text-old', 'x'.repeat(5 * 1024 * 1024 - 100))")
    tab.type_prompt(LONG)
    tab.click_cell(0.3, 0.5)
    open_the_strongest_tile(tab)
    words, address = tab.described("panels"), tab.page.url
    assert len(address) < 200
    reload(tab)
    expect(prompt(tab.page)).to_have_value(LONG)
    assert (tab.picked(), tab.described("panels")) == ("Layer 1, head 3", words)
    assert tab.page.url == address
    link = tab.copied_link()
    assert {"text", "window", "query"} <= set(parse_qs(urlsplit(link).query))
    assert "prompt" not in {*tab.parameters(), *parse_qs(urlsplit(link).query)}
    tab.page.get_by_text("left out").wait_for()
    tab.page.get_by_text("in this browser tab only").wait_for()
    tab.page.evaluate("sessionStorage.clear()")  # as it is in another tab
    tab.open(link.removeprefix(tab.address).lstrip("/"))
    expect(tab.page.get_by_text(NO_TEXT)).to_have_count(1)
    expect(prompt(tab.page)).to_have_value(PRESETS[0].prompt)
    assert tab.picked() == f"Layer {PRESETS[0].layer}, head {PRESETS[0].head}"
    assert not {"text", "window"} & set(tab.parameters())
    assert tab.parameters()["query"] == str(PRESETS[0].query)


def test_a_browser_that_keeps_nothing_says_so(tab: Explorer) -> None:
    forgetful = Explorer(tab.page.context.new_page(), tab.address)
    forgetful.page.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('forbidden'); } })"
    )
    with without_errors(forgetful.page):
        forgetful.open(f"?text={text_key(LONG)}")
        expect(forgetful.page.get_by_text(NO_TEXT)).to_have_count(1)
        forgetful.type_prompt(LONG)
        assert forgetful.parameters()["text"] == text_key(LONG)
    forgetful.page.close()


def test_a_page_that_never_gets_a_connection_says_so(tab: Explorer) -> None:
    page = tab.page.context.new_page()
    page.route_web_socket(re.compile("_stcore/stream"), lambda socket: socket.close())
    page.clock.install()
    page.goto(tab.address)
    page.get_by_test_id("stApp").wait_for()
    page.clock.run_for(10_000)
    assert away(page).count() == 0
    page.clock.run_for(10_000)
    away(page).wait_for()
    assert min(paper(page)) > 200
    page.close()


# Back and Forward


def test_back_undoes_a_prompt_a_pick_a_row_and_a_window_and_what_changes_nothing_makes_no_entry(
    tab: Explorer,
) -> None:
    page = tab.page
    page.goto(f"{tab.address}/_stcore/health")
    first = entries(tab)
    tab.open()  # the address as typed is put right
    assert tab.parameters()["model"] == "demo"
    assert entries(tab) == first + 1  # the visit
    before = tab.described("panels")
    tab.point(2, 0.2, 0.6)
    page.get_by_role("button", name="Copy link").click()
    tab.settle()
    assert entries(tab) == first + 1
    page.keyboard.press("Escape")  # closes the menu

    tab.type_prompt(LONG)
    tab.click_head(1, 3)
    tab.click_cell(0.3, 0.5)
    query = tab.parameters()["query"]
    open_the_strongest_tile(tab)
    opened = tab.windows()
    assert len(opened) == 1
    assert entries(tab) == first + 5
    back(tab)
    assert (tab.windows(), tab.parameters()["query"]) == ([], query)
    back(tab)
    assert "query" not in tab.parameters()
    assert tab.picked() == "Layer 1, head 3"
    back(tab)
    assert tab.picked() == f"Layer {PRESETS[0].layer}, head {PRESETS[0].head}"
    expect(prompt(page)).to_have_value(LONG)
    back(tab)
    expect(prompt(page)).to_have_value(PRESETS[0].prompt)
    assert tab.described("panels") == before
    page.evaluate("history.go(4)")
    expect(prompt(page)).to_have_value(LONG)
    tab.settle()
    assert (tab.picked(), tab.parameters()["query"]) == ("Layer 1, head 3", query)
    assert tab.windows() == opened
    assert entries(tab) == first + 5


# Pages


@contextmanager
def without_failed_requests(page: Page) -> Iterator[None]:
    failed: list[str] = []

    def note(got: Response) -> None:
        if got.status >= 400:
            failed.append(got.url)

    with listening(page, "response", note):
        yield
    assert failed == []


def generated(page: Page, new: int) -> str:
    page.get_by_role("button", name="Generate").click()
    text = page.locator(".st-key-motion_text")
    page.get_by_text(f"{new} of {new} new tokens").wait_for()
    expect(text).not_to_be_empty()  # its box is drawn before it
    expect(text).not_to_contain_text("▍")  # stands after the last token until the page knows it was the last
    return str(text.inner_text())


def test_pages_open_directly_and_keep_everything_through_reloads(tab: Explorer) -> None:
    """A sampled text comes again. A slider makes no entry in the history, and a page makes one."""
    page = tab.page
    query = "model=demo&prompt=Ben+has&layer=1&head=3&draws=sampled&new_tokens=15&pace=no-limit"
    with without_failed_requests(page):
        page.goto(f"{tab.address}/generate?{query}&temperature=2.0&seed=7")
        expect(prompt(page)).to_have_value("Ben has")
        seed = page.get_by_role("spinbutton", name="Seed")
        expect(seed).to_have_value("7")
        seed.fill("8")
        seed.press("Enter")
        expect(page).to_have_url(re.compile("seed=8"))
        text = generated(page, 15)
        page.reload()
        assert generated(page, 15) == text

        first = entries(tab)
        page.get_by_role("slider", name="Temperature").press("ArrowLeft")
        expect(page).to_have_url(re.compile("temperature=1.9"))
        page.get_by_role("link", name="How to read this").click()
        expect(page).to_have_url(re.compile(r"/how_to_read\?.*head=3"))
        assert entries(tab) == first + 1
        page.reload()
        page.get_by_text("The same for all rows").wait_for(timeout=60_000)
        page.get_by_role("link", name="Explore").click()
        expect(prompt(page)).to_have_value("Ben has")
        tab.settle()
        assert tab.picked() == "Layer 1, head 3"
        page.go_back()
        page.get_by_role("heading", name="How to read this").wait_for()


def test_another_model_has_other_heads_and_stops_a_text_and_keeps_it(tab: Explorer) -> None:
    page = tab.page
    asked = {"prompt": KITE, "layer": 3, "head": 7, "new_tokens": 512}  # more than are written meanwhile
    page.goto(f"{tab.address}/generate?{urlencode(asked)}")
    page.get_by_role("button", name="Generate").click()
    page.get_by_text(re.compile(r"^([3-9]|\d\d+) of 512 new tokens")).wait_for()
    kept = str(page.locator(".st-key-motion_text").inner_text()).removesuffix("▍")
    page.get_by_role("link", name="Explore").click()
    tab.chart("decay_curves").wait_for()
    tab.settle()
    tab.type_model(ANOTHER_MODEL)
    expect(page).to_have_url(re.compile("golden"))
    page.get_by_text("Out of range here:").wait_for()
    shown = tab.parameters()
    assert tab.picked() == f"Layer {shown['layer']}, head {shown['head']}"
    assert (shown["layer"], shown["head"]) != ("3", "7")
    page.get_by_role("link", name="Generate").click()
    page.get_by_text("You changed the model").wait_for()
    page.get_by_text(re.compile(r"Stopped after \d+ of 512")).wait_for()
    expect(page.locator(".st-key-motion_text")).to_have_text(re.compile(f"^{re.escape(kept)}"))
    assert page.get_by_test_id("stException").count() == 0


# The address is what is shown


def test_a_link_beyond_everything_opens_with_one_quiet_notice(tab: Explorer) -> None:
    tab.open("?layer=99&head=50&query=5000&window=900-950x0-20&new_tokens=9999&span=800-900&seed=x")
    notice = tab.page.get_by_text("Out of range here:")
    expect(notice).to_have_count(1)
    for name in ("layer", "head", "query", "window", "span", "new tokens"):
        expect(notice).to_contain_text(name)
    expect(notice).to_contain_text("seed could not be read")
    shown = tab.parameters()
    assert tab.picked() == f"Layer {shown['layer']}, head {shown['head']}"
    assert int(shown["query"]) < 100
    assert shown["new_tokens"] == "512"
    assert not {"window", "span", "seed"} & set(shown)


# Another server


def test_the_page_comes_back_with_the_server(browser: Browser, tmp_path: Path) -> None:
    """That of a visitor in a run."""
    explorer = Explorer(new_tab(browser, color_scheme="dark"), f"http://localhost:{(port := free_port())}")
    page = explorer.page
    with containers(server := Container(tmp_path, AT_HOME, port)):
        explorer.open("?" + urlencode({"prompt": KITE, "layer": 1, "head": 3, "query": 7}))
        words, address = explorer.described("panels"), page.url
        page.evaluate("window.first = true")
        explorer.begin("the " * 30_000)
        server.kill()
    away(page).wait_for()
    page.wait_for_timeout(2000)  # by now Streamlit would have told of it, too
    assert page.get_by_role("dialog").count() == 0
    assert "yourscript" not in page.content()
    assert max(paper(page)) < 100
    with containers(Container(tmp_path, AT_HOME, port)):
        page.wait_for_function("!window.first", timeout=60_000)  # what the dead server drew has given way
        expect(away(page)).not_to_be_attached(timeout=60_000)
        # The text of the run was not in the address yet.
        expect(prompt(page)).to_have_value(KITE, timeout=60_000)
        explorer.chart("decay_curves").wait_for(timeout=60_000)
        expect(explorer.chart("panels")).to_have_attribute("aria-label", words, timeout=60_000)
        explorer.settle()
        assert explorer.picked() == "Layer 1, head 3"
        assert page.url == address
        assert page.get_by_test_id("stException").count() == 0
        explorer.click_head(0, 1)  # and it goes on
        page.get_by_role("heading", name="Layer 0, head 1").wait_for()
        page.context.close()
