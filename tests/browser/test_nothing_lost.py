"""What a reader has made outlives a reload, Back, another page, another model and another server."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Response, expect

from benchmarks.browser import APP
from components.demo.presets import PRESETS
from explorer.address import NO_TEXT
from tests.browser.conftest import HELD, Explorer, listening, new_tab, without_errors

pytestmark = pytest.mark.browser

KITE = "Ben has a red kite. Eva has a blue drum. Ben has a"
LONG = "Leo is in the garden. Mia has a ball. " * 60
ANOTHER_MODEL = str(Path(__file__).parents[1] / "data" / "golden" / "grouped")


def prompt(page: Page) -> Any:
    return page.get_by_label("Prompt", exact=True)


def away(page: Page) -> Locator:
    """The sentence that stands while there is no server."""
    return page.get_by_role("status").filter(has_text="The server does not answer.")


def entries(explorer: Explorer) -> int:
    return int(explorer.page.evaluate("history.length"))


def back(explorer: Explorer) -> None:
    explorer.page.go_back()
    explorer.settle()


def forward(explorer: Explorer) -> None:
    explorer.page.go_forward()
    explorer.settle()


def reload(explorer: Explorer) -> None:
    explorer.page.reload()
    explorer.chart("decay_curves").wait_for(timeout=60_000)
    explorer.settle()


# A long prompt


def test_a_long_prompt_comes_back_and_where_it_is_not_a_sentence_says_so(
    explorer: Explorer, browser: Browser
) -> None:
    """Also where the storage is full of older texts."""
    explorer.page.evaluate("sessionStorage.setItem('text-old', 'x'.repeat(5 * 1024 * 1024 - 100))")
    explorer.type_prompt(LONG)
    explorer.click_head(1, 3)
    explorer.show("Attention·dt")
    words, address = explorer.described("panels"), explorer.page.url
    assert len(address) < 200
    reload(explorer)
    expect(prompt(explorer.page)).to_have_value(LONG)
    assert (explorer.picked(), explorer.described("panels")) == ("Layer 1, head 3", words)
    assert explorer.page.url == address
    explorer.brush(2, (0.1, 0.8), (0.4, 0.95))
    explorer.click_cell(0.3, 0.5)
    link = explorer.copied_link()
    assert {"text", "window", "query"} <= set(parse_qs(urlsplit(link).query))
    assert "prompt" not in {*explorer.parameters(), *parse_qs(urlsplit(link).query)}
    explorer.page.get_by_text("left out").wait_for()
    explorer.page.get_by_text("in this browser tab only").wait_for()
    other = Explorer(new_tab(browser), explorer.address)
    other.open(link.removeprefix(explorer.address).lstrip("/"))
    expect(other.page.get_by_text(NO_TEXT)).to_have_count(1)
    expect(prompt(other.page)).to_have_value(PRESETS[0].prompt)
    assert other.picked() == f"Layer {PRESETS[0].layer}, head {PRESETS[0].head}"
    assert not {"text", "window"} & set(other.parameters())
    assert other.parameters()["query"] == str(PRESETS[0].query)
    other.page.context.close()


def test_a_browser_that_keeps_nothing_says_so(browser: Browser, address: str) -> None:
    forgetful = Explorer(new_tab(browser), address)
    forgetful.page.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('forbidden'); } })"
    )
    with without_errors(forgetful.page):
        forgetful.open()
        forgetful.type_prompt(LONG)
        reload(forgetful)
        expect(forgetful.page.get_by_text(NO_TEXT)).to_have_count(1)
    forgetful.page.context.close()


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
    page.close()


# Back and Forward


def test_back_undoes_a_prompt_a_pick_a_row_and_a_window(explorer: Explorer) -> None:
    first, before = entries(explorer), explorer.described("panels")
    explorer.type_prompt(KITE)
    explorer.click_head(1, 3)
    explorer.click_cell(0.1, 0.5)
    query = explorer.parameters()["query"]
    assert entries(explorer) == first + 3
    back(explorer)
    assert "query" not in explorer.parameters()
    assert explorer.picked() == "Layer 1, head 3"
    back(explorer)
    assert explorer.picked() == f"Layer {PRESETS[0].layer}, head {PRESETS[0].head}"
    expect(prompt(explorer.page)).to_have_value(KITE)
    back(explorer)
    expect(prompt(explorer.page)).to_have_value(PRESETS[0].prompt)
    assert explorer.described("panels") == before
    for _ in range(3):
        forward(explorer)
    expect(prompt(explorer.page)).to_have_value(KITE)
    assert (explorer.picked(), explorer.parameters()["query"]) == ("Layer 1, head 3", query)
    assert entries(explorer) == first + 3
    explorer.type_prompt(LONG)
    explorer.page.get_by_role("button", name="Open the strongest tile").click()
    explorer.settle()
    opened = explorer.windows()
    assert len(opened) == 1
    back(explorer)
    assert explorer.windows() == []
    back(explorer)
    expect(prompt(explorer.page)).to_have_value(KITE)
    forward(explorer)
    expect(prompt(explorer.page)).to_have_value(LONG)
    forward(explorer)
    assert explorer.windows() == opened


def test_what_changes_nothing_makes_no_entry_and_pages_keep_everything(explorer: Explorer) -> None:
    first = entries(explorer)
    explorer.open()  # the address as typed is put right
    assert explorer.parameters()["model"] == "demo"
    assert entries(explorer) == first + 1  # the visit
    explorer.point(2, 0.2, 0.6)
    explorer.page.get_by_role("button", name="Copy link").click()
    explorer.settle()
    assert entries(explorer) == first + 1
    explorer.page.keyboard.press("Escape")  # closes the menu
    a_slider_makes_no_entry_and_a_page_one(explorer)
    every_page_keeps_everything_through_reloads(explorer)


# Pages


def a_slider_makes_no_entry_and_a_page_one(explorer: Explorer) -> None:
    page, first = explorer.page, entries(explorer)
    page.get_by_role("link", name="Generate").click()
    page.get_by_text("Sampled", exact=True).click()
    page.get_by_role("slider", name="Temperature").press("ArrowRight")
    expect(page).to_have_url(re.compile("temperature=1.1"))
    assert entries(explorer) == first + 1
    page.go_back()
    explorer.chart("decay_curves").wait_for()
    explorer.settle()
    assert explorer.picked() == f"Layer {PRESETS[0].layer}, head {PRESETS[0].head}"


def every_page_keeps_everything_through_reloads(explorer: Explorer) -> None:
    page = explorer.page
    explorer.type_prompt(KITE)
    explorer.click_head(1, 3)
    for name, path in (("Generate", "/generate"), ("How to read this", "/how_to_read")):
        page.get_by_role("link", name=name).click()
        expect(page).to_have_url(re.compile(rf"{path}\?.*head=3"), timeout=60_000)
        page.reload()
        page.get_by_text("The same for all rows").or_(prompt(page)).wait_for(timeout=60_000)
        if name == "Generate":
            expect(prompt(page)).to_have_value(KITE)
    page.get_by_role("link", name="Explore").click()
    expect(prompt(page)).to_have_value(KITE)
    explorer.settle()
    assert explorer.picked() == "Layer 1, head 3"


@contextmanager
def without_failed_requests(page: Page) -> Iterator[None]:
    failed: list[str] = []

    def note(got: Response) -> None:
        if got.status >= 400:
            failed.append(got.url)

    with listening(page, "response", note):
        yield
    assert failed == []


def generated(page: Page, new: int, before: str = "") -> str:
    page.get_by_role("button", name="Generate").click()
    text = page.locator(".st-key-motion_text")
    if before:  # whose "15 of 15" may still stand there
        page.wait_for_function(
            "before => (document.querySelector('.st-key-motion_text')?.innerText ?? before) !== before",
            arg=before,
        )
    page.get_by_text(f"{new} of {new} new tokens").wait_for()
    expect(text).not_to_be_empty()  # its box is drawn before it
    expect(text).not_to_contain_text("▍")  # stands after the last token until the page knows it was the last
    return str(text.inner_text())


def test_pages_open_directly_and_a_sampled_text_comes_again_after_a_reload(tab: Explorer) -> None:
    with without_failed_requests(tab.page):
        for path in ("generate", "how_to_read"):
            query = "model=demo&prompt=Ben+has&layer=1&head=3&draws=sampled&new_tokens=15&pace=no-limit"
            tab.page.goto(f"{tab.address}/{path}?{query}&temperature=2.0&seed=7")
            if path == "generate":
                expect(prompt(tab.page)).to_have_value("Ben has")
                a_sampled_text_comes_again_after_a_reload(tab.page)
            tab.page.get_by_role("link", name="Explore").click()
            expect(prompt(tab.page)).to_have_value("Ben has")
            tab.settle()
            assert tab.picked() == "Layer 1, head 3"


def a_sampled_text_comes_again_after_a_reload(page: Page) -> None:
    seed = page.get_by_role("spinbutton", name="Seed")
    expect(seed).to_have_value("7")
    text = generated(page, 15)
    seed.fill("8")
    seed.press("Enter")
    expect(page).to_have_url(re.compile("seed=8"))
    other = generated(page, 15, text)
    assert other != text
    page.reload()
    assert generated(page, 15) == other


def test_another_model_has_other_heads_and_stops_a_text_and_keeps_it(explorer: Explorer) -> None:
    page = explorer.page
    assert "preset" in explorer.parameters()
    explorer.type_prompt("")
    page.get_by_text("There is nothing to draw yet.").wait_for()
    assert "prompt=&" in page.url
    assert "preset" not in explorer.parameters()
    explorer.type_prompt(KITE)
    explorer.click_head(3, 7)
    page.get_by_role("link", name="Generate").click()
    page.get_by_role("button", name="Generate").click()
    page.get_by_text(re.compile(r"^([3-9]|[1-5]\d) of 64 new tokens")).wait_for()
    kept = str(page.locator(".st-key-motion_text").inner_text()).removesuffix("▍")
    page.get_by_role("link", name="Explore").click()
    explorer.chart("decay_curves").wait_for()
    explorer.settle()
    explorer.type_model(ANOTHER_MODEL)
    expect(page).to_have_url(re.compile("golden"))
    page.get_by_text("Out of range here:").wait_for()
    shown = explorer.parameters()
    assert explorer.picked() == f"Layer {shown['layer']}, head {shown['head']}"
    assert (shown["layer"], shown["head"]) != ("3", "7")
    page.get_by_role("link", name="Generate").click()
    page.get_by_text("You changed the model").wait_for()
    page.get_by_text(re.compile(r"Stopped after \d+ of 64")).wait_for()
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


class Server:
    """A server that can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            self.port = free.getsockname()[1]
        self.address, self.folder = f"http://localhost:{self.port}", folder
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.headless", "true"]
        with (self.folder / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--server.port", str(self.port)],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        given_up = time.monotonic() + 60
        while time.monotonic() < given_up:
            try:
                urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.25)
        raise AssertionError((self.folder / "log.txt").read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


def test_the_page_comes_back_with_the_server(browser: Browser, server: Server) -> None:
    """The light page rests, with a long prompt; the dark one is in a run."""
    pages = {
        scheme: Explorer(new_tab(browser, color_scheme=scheme), server.address)
        for scheme in ("light", "dark")
    }
    prompts = {"light": LONG, "dark": KITE}
    links = {"light": "?layer=1&head=3&reading=attention_dt", "dark": "?layer=1&head=3&query=7"}
    before: dict[str, tuple[str, str]] = {}
    for scheme, explorer in pages.items():
        explorer.open(links[scheme])
        explorer.type_prompt(prompts[scheme])
        assert explorer.parameters()["head"] == "3"
        before[scheme] = explorer.described("panels"), explorer.page.url
        explorer.page.evaluate("window.first = true")
    page = pages["dark"].page
    prompt(page).fill("the " * 30_000)
    prompt(page).press("Control+Enter")
    running = page.get_by_text("Running the prompt")
    asked = page.get_by_role("button", name="Run the prompt")
    running.or_(asked).first.wait_for()
    if asked.is_visible():  # on a slow or busy machine the run would take long, and the page asks first
        pages["dark"].settle()
        asked.click(delay=HELD)
    running.wait_for()
    server.kill()
    for explorer in pages.values():
        away(explorer.page).wait_for()
    page.wait_for_timeout(2000)  # by now Streamlit would have told of it, too
    for scheme, explorer in pages.items():
        page = explorer.page
        assert page.get_by_role("dialog").count() == 0
        assert "yourscript" not in page.content()
        paper = away(page).evaluate("e => getComputedStyle(e).backgroundColor")
        assert paper.startswith("rgb(")  # nothing shines through
        assert all(int(part) > 200 for part in re.findall(r"\d+", paper)) == (scheme == "light")
    server.start()
    for scheme, explorer in pages.items():
        page = explorer.page
        page.wait_for_function("!window.first", timeout=60_000)  # what the dead server drew has given way
        expect(away(page)).not_to_be_attached(timeout=60_000)
        # The text of the run was not in the address yet.
        expect(prompt(page)).to_have_value(prompts[scheme], timeout=60_000)
        explorer.chart("decay_curves").wait_for(timeout=60_000)
        words, address = before[scheme]
        expect(explorer.chart("panels")).to_have_attribute("aria-label", words, timeout=60_000)
        explorer.settle()
        assert explorer.picked() == "Layer 1, head 3"
        assert page.url == address
        assert page.get_by_test_id("stException").count() == 0
        explorer.click_head(0, 1)  # and it goes on
        page.get_by_role("heading", name="Layer 0, head 1").wait_for()
        page.context.close()
