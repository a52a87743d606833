"""A running explorer and a real Chromium, and ways to read what is drawn.

What is to appear is awaited with `wait_for`: an `expect` that fails at first describes the whole page each
time that it looks, which keeps the page busy.
"""

import base64
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Locator, Page, expect, sync_playwright

from benchmarks.browser import APP, FLAGS, found

RIGHT_PADDING = 12
SIZE = {"width": 1280, "height": 900}
HELD = 50
"""Milliseconds for which a hand holds a button down."""

WATCH = """
{
    window.happened = 0;  // how much of what the page shows, or may change what it shows
    window.awaited = false;  // whether the server was asked for a run that has not finished
    const note = () => { window.happened += 1; };
    const after = (owner, name, act) => {
        const own = owner[name];
        owner[name] = function (...given) { act(this, ...given); return own.apply(this, given); };
    };
    for (const name of ["clearRect", "fillRect", "fill", "stroke", "fillText", "drawImage"]) {
        after(CanvasRenderingContext2D.prototype, name, note);
    }
    for (const type of ["pointermove", "pointerdown", "pointerup", "click", "keydown", "keyup", "input",
                        "touchstart", "touchend", "scroll", "resize", "popstate"]) {
        addEventListener(type, ({ isTrusted }) => isTrusted && note(), { capture: true, passive: true });
    }
    // Of a pointer that rests the page tells the chart again and again, which writes the same tooltip again.
    const isTooltip = ({ target }) => (target.parentElement ?? target).closest?.("#vg-tooltip-element")
        || target.id === "vg-tooltip-element";
    new MutationObserver((changes) => changes.every(isTooltip) || note()).observe(document, {
        subtree: true, childList: true, attributes: true, characterData: true,
    });
    // A message to the server begins with the number of its kind. That a run has finished, and how, are the
    // last two bytes of a short one from it: see Streamlit's BackMsg.proto and ForwardMsg.proto.
    const RERUN = 0x5a, FINISHED = 0x30, WHOLE = [0, 1, 3];
    const heard = new WeakSet();
    after(WebSocket.prototype, "send", (socket, sent) => {
        note();
        if (new Uint8Array(sent.buffer ?? sent, sent.byteOffset)[0] === RERUN) window.awaited = true;
        if (heard.has(socket)) return;
        heard.add(socket);
        socket.addEventListener("message", ({ data }) => {
            note();
            const [kind, how] = data.byteLength < 200 ? new Uint8Array(data).slice(-2) : [];
            if (kind === FINISHED && WHOLE.includes(how)) window.awaited = false;
        });
        socket.addEventListener("close", () => { window.awaited = false; });
    });
}
"""
"""Lets a page note what happens in it."""
STILL = """
([begun, looks]) => {
    const app = document.querySelector("[data-test-script-state]");
    const busy = window.awaited || app?.dataset.testScriptState !== "notRunning"
        || [...document.querySelectorAll("[data-testid=stVegaLiteChart]")].some(
            (chart) => !chart.matches("[role=graphics-document], :has([role=graphics-document])"));
    const now = `${begun} ${window.happened}`;
    if (busy || window.looked !== now) { window.looked = now; window.looks = 0; }
    return window.looks++ >= looks;
}
"""
"""Whether nothing has happened for so many looks. A busy browser looks late, and does first what was due."""
LOOK = 20
"""Milliseconds from one look to the next."""

PATIENCE = 30
"""Seconds to wait for what a test needs: a busy machine takes many times as long as an idle one."""

expect.set_options(timeout=1000 * PATIENCE)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Without one the tests are skipped on a user's machine and fail in CI."""
    chromium = found()
    if chromium is None:
        reason = "No Chromium found on PATH, so the page cannot be looked at."
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def served(app: Path, folder: Path, **environment: str) -> Iterator[str]:
    """The address of a server of this app, started from a folder that is not the repository's."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(app)]
    options = ["--server.port", str(port), "--server.headless", "true"]
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [*command, *options],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )
    address = f"http://localhost:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "log.txt").read_text()
                time.sleep(0.25)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The explorer, started from a folder that is not the repository's."""
    with served(APP, tmp_path_factory.mktemp("elsewhere")) as address:
        yield address


def new_tab(browser: Browser, **options: Any) -> Page:
    """A tab of its own, in which `Explorer` can tell when the page has settled."""
    context = browser.new_context(**{"viewport": SIZE, **options})
    context.add_init_script(WATCH)
    return context.new_page()


@contextmanager
def listening(page: Page, event: Any, handler: Callable[[Any], None]) -> Iterator[None]:
    """While a handler hears an event of a page."""
    page.on(event, handler)
    try:
        yield
    finally:
        page.remove_listener(event, handler)


@contextmanager
def without_errors(page: Page) -> Iterator[None]:
    """Errors and warnings in the page's console fail the test."""
    errors: list[str] = []

    def note_message(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            errors.append(message.text)

    def note_error(error: Error) -> None:
        errors.append(str(error))

    with listening(page, "console", note_message), listening(page, "pageerror", note_error):
        yield
    assert errors == []


@contextmanager
def without_dialogs(page: Page) -> Iterator[None]:
    """A dialog, such as a script in a text would open, fails the test."""
    dialogs: list[str] = []

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    with listening(page, "dialog", note):
        yield
    assert dialogs == []


@pytest.fixture(scope="session")
def tabs() -> dict[str, Page]:
    """Those that no test has now, by name."""
    return {}


@contextmanager
def taken_from(
    tabs: dict[str, Page], name: str, browser: Browser, viewport: Any = SIZE, **options: Any
) -> Iterator[Page]:
    """A tab, made with options of `new_context`, in whose console no error comes to stand.

    A tab that has shown the page shows it anew in 1.6 s and not in 2.7, since its process has compiled
    Streamlit's scripts.
    """
    page = tabs.pop(name, None) or new_tab(browser, **options)
    page.set_viewport_size(viewport)
    page.emulate_media(color_scheme="light")
    with without_errors(page):
        yield page
    tabs[name] = page  # after an error the next test gets another


@pytest.fixture
def tab(
    request: pytest.FixtureRequest, tabs: dict[str, Page], browser: Browser, address: str
) -> Iterator["Explorer"]:
    """For a test that opens a link itself. Parametrize indirectly with options of `new_context`."""
    options = getattr(request, "param", {})
    with taken_from(tabs, repr(options), browser, **options) as page:
        page.context.new_cdp_session(page).send("Page.resetNavigationHistory")
        yield Explorer(page, address)
        page.mouse.move(0, 0)
        page.goto(f"{address}/_stcore/health")
        page.evaluate("localStorage.clear(); sessionStorage.clear()")


@pytest.fixture
def explorer(tab: "Explorer") -> "Explorer":
    """A fresh session, drawn. Parametrize `tab` indirectly with options of `new_context`."""
    tab.open()
    return tab


@pytest.fixture
def sight(tabs: dict[str, Page], browser: Browser, address: str) -> Iterator["Explorer"]:
    """The page at first sight, for a test that picks nothing: such tests share it, and are held to that."""
    with taken_from(tabs, "sight", browser) as page:
        explorer = Explorer(page, address)
        if page.url == "about:blank":
            explorer.open()
        explorer.settle()
        before = page.url
        yield explorer
        page.mouse.move(0, 0)
        assert page.url == before, "This test changes what is shown: it needs a page of its own."
        assert not page.get_by_test_id("stPopoverBody").count(), "A menu is left open."


def comes_true(page: Page, seen: Callable[[], bool]) -> bool:
    """Whether something comes to be seen in a page."""
    given_up = time.monotonic() + PATIENCE
    while not (true := seen()) and time.monotonic() < given_up:
        page.wait_for_timeout(100)
    return true


def picture_of(canvas: Locator) -> Image.Image:
    """What stands on a canvas."""
    address = canvas.evaluate("canvas => canvas.toDataURL()")
    return Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")


def settled_picture(canvas: Locator) -> np.ndarray:
    """What stands on a canvas, once it has stopped changing."""
    seen = [np.asarray(picture_of(canvas), dtype=np.int16)]

    def same() -> bool:
        canvas.page.wait_for_timeout(300)
        seen.append(np.asarray(picture_of(canvas), dtype=np.int16))
        return np.array_equal(*seen[-2:])

    assert comes_true(canvas.page, same)
    return seen[-1]


@dataclass
class Explorer:
    """One page of the explorer."""

    page: Page
    address: str
    drawn: "Panels | None" = None
    """The panels as they were when the page had settled and nothing was pointed at since."""

    def open(self, query: str = "", last: str = "decay_curves") -> None:
        """Go to the page, as a link with this query does, and wait for its `last` chart."""
        self.page.goto(f"{self.address}/{query}")
        self.chart(last).wait_for(timeout=60_000)
        self.settle()

    def settle(self) -> None:
        """Wait until the script has run and all is drawn: 200 ms in which nothing happens, since the page
        tells of keys up to 180 ms after they are pressed."""
        self.still(10)
        self.drawn = None

    def still(self, looks: int) -> None:
        """Wait until the page has looked so often that nothing happens in it."""
        begun = time.monotonic()  # so that this wait counts its own looks
        self.page.wait_for_function(STILL, arg=[begun, looks], polling=LOOK, timeout=1000 * PATIENCE)

    def fits(self, width: int) -> bool:
        """Whether the page, this wide, scrolls nothing sideways and shows the panels whole."""
        main = self.page.get_by_test_id("stMain")
        left, _, side = self.pixels().place(2)
        canvas = self.chart("panels").locator("canvas").bounding_box()
        assert canvas is not None
        return bool(
            self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            and main.evaluate("element => element.scrollWidth <= element.clientWidth")
            and left + side <= canvas["width"] <= width
        )

    def chart(self, key: str) -> Any:
        """One of the page's charts: they stand in this order."""
        shown = ["head_map", "panels", "decay_curves"]
        if "gallery" in self.parameters().get("view", ""):
            shown.insert(1, "gallery")
        return self.page.get_by_test_id("stVegaLiteChart").nth(shown.index(key))

    def pixels(self) -> "Panels":
        """What stands on the canvas of the three panels."""
        return Panels(np.asarray(self.picture("panels"), dtype=np.int16))

    def picture(self, key: str) -> Image.Image:
        """What stands on the canvas of a chart."""
        return picture_of(self.chart(key).locator("canvas"))

    def type_prompt(self, prompt: str) -> None:
        """Replace the prompt and apply it."""
        box = self.page.get_by_label("Prompt", exact=True)
        box.fill(prompt)
        box.press("Control+Enter")
        self.settle()

    def begin(self, prompt: str) -> None:
        """Give a prompt that takes long. On a slow or busy machine the page asks first."""
        box = self.page.get_by_label("Prompt", exact=True)
        box.fill(prompt)
        box.press("Control+Enter")
        running = self.page.get_by_text("Running the prompt")
        asked = self.page.get_by_role("button", name="Run the prompt")
        running.or_(asked).first.wait_for()
        if asked.is_visible():
            self.settle()
            asked.click(delay=HELD)
        running.wait_for()

    def type_model(self, name: str) -> None:
        """Type a model that is not in the list."""
        box = self.page.get_by_role("combobox", name="Model")
        box.click()
        box.fill(name)
        box.press("Enter")
        self.settle()

    def switch(self, label: str) -> None:
        """Turn a switch."""
        self.page.get_by_test_id("stCheckbox").filter(has_text=label).locator("label").click(delay=HELD)
        self.settle()

    def show(self, reading: str) -> None:
        """Choose what the last panel shows."""
        self.page.get_by_role("radio", name=reading, exact=True).click(delay=HELD)
        self.settle()

    def parameters(self) -> dict[str, str]:
        """What stands in the address bar."""
        return {name: value[0] for name, value in parse_qs(urlsplit(self.page.url).query).items()}

    def described(self, key: str) -> str:
        """The words that stand for a chart."""
        return str(self.chart(key).get_attribute("aria-label"))

    def click_cell(self, across: float, down: float) -> None:
        """Click a place in the third panel, in parts of its width and height."""
        self.point(2, across, down)
        self.page.mouse.down()
        self.page.mouse.up()
        self.settle()

    def brush(self, panel: int, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag from one place in a panel to another, in parts of its width and height."""
        self.point(panel, *start)
        begun, ended = self.on_the_page(panel, *start), self.on_the_page(panel, *end)
        self.page.mouse.down()
        for part in (0.5, 0.99, 1):
            self.page.mouse.move(
                *(one + (other - one) * part for one, other in zip(begun, ended, strict=True))
            )
            self.still(2)
        self.page.mouse.up()
        self.settle()

    def back_to(self, depth: int) -> None:
        """Click a step of the trail: 0 is the whole text."""
        self.page.locator(f".st-key-back_to_{depth} button").click()
        self.settle()

    def windows(self) -> list[list[int]]:
        """First and last query, first and last key of the windows in the address bar."""
        opened = self.parameters().get("window", "")
        return [list(map(int, re.split("[-x]", window))) for window in filter(None, opened.split("_"))]

    def download(self, label: str) -> Path:
        """Export the picture or the matrix."""
        self.page.get_by_role("button", name="Export").click()
        button = self.page.get_by_test_id("stPopoverBody").get_by_role("button", name=label, exact=True)
        with self.page.expect_download() as download:
            button.click()
        self.page.keyboard.press("Escape")
        expect(self.page.get_by_test_id("stPopoverBody")).to_have_count(
            0
        )  # a press of its button would close it
        self.settle()
        return Path(download.value.path())

    def copied_link(self) -> str:
        """What the menu offers to copy."""
        self.page.get_by_role("button", name="Copy link").click()
        link = self.page.get_by_test_id("stPopoverBody").get_by_test_id("stCode").first.inner_text()
        return link.strip()

    def picked(self) -> str:
        """The heading that names the picked head."""
        return self.page.get_by_role("heading", name=re.compile("^Layer")).inner_text()

    def click_head(self, layer: int, head: int, kind: str = "Mamba-2") -> None:
        """Click a cell of the head map."""
        cells = self.chart("head_map").locator("g.mark-rect.role-mark").first
        named = f"[aria-label*='head: {head};'][aria-label*='layer: {layer}; kind: {kind};']"
        cell = cells.locator(f"path{named}").first
        cell.scroll_into_view_if_needed()
        box = cell.bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, delay=HELD)
        self.settle()

    def point_at(self, drawn: "Panels", panel: int, i: int, j: int, length: int) -> None:
        """Move the pointer to the cell in row `i` and column `j` of panels `drawn` of a text of this length.

        What is told of it is that of its frame, which has to be drawn before the pointer can be in it.
        """
        for across in (0.4, 0.5):
            self.point(panel, (j + across) / length, (i + 0.5) / length, drawn)

    def tooltip(self) -> dict[str, str]:
        """What is told of what is pointed at, by name; empty if nothing is."""
        rows = self.page.locator("#vg-tooltip-element.visible tr").all()
        cells = [[cell.inner_text() for cell in row.locator("td").all()] for row in rows]
        return {name.removesuffix(":"): value for name, value in cells}

    def point(self, panel: int, across: float, down: float, drawn: "Panels | None" = None) -> None:
        """Move the pointer to a place in a panel, in parts of the panel's width and height.

        Frames may cover the edges by which a panel's place is found; it is that of the panels `drawn` before.
        """
        x, y = self.on_the_page(panel, across, down, drawn)
        self.page.mouse.move(x - 2, y)
        self.page.mouse.move(x, y)
        self.still(5)  # longer than the 80 ms after which the page takes a pointer to rest

    def on_the_page(
        self, panel: int, across: float, down: float, drawn: "Panels | None" = None
    ) -> tuple[float, float]:
        """Where a place in a panel is on the page."""
        self.drawn = drawn or self.drawn or self.pixels()
        left, top, side = self.drawn.place(panel)
        canvas = self.chart("panels").locator("canvas")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box is not None
        return box["x"] + left + side * across, box["y"] + top + side * down


@dataclass
class Panels:
    """The canvas with the three panels: red, green, blue of each pixel."""

    image: np.ndarray

    def third(self, panel: int) -> np.ndarray:
        """One panel, with its labels."""
        width = self.image.shape[1] // 3
        return self.image[:, panel * width : (panel + 1) * width]

    def coloured(self, panel: int) -> int:
        """How many pixels of a panel are neither grey nor amber."""
        third = self.third(panel)
        return int(((np.ptp(third, axis=-1) > 40) & ~_amber(third)).sum())

    def green(self, panel: int) -> int:
        """How many pixels of a panel have the colour of decay."""
        red, green, blue = np.moveaxis(self.third(panel), -1, 0)
        return int(((green > red + 20) & (green > blue)).sum())

    def background(self) -> list[int]:
        """The page's colour: that of the upper right corner."""
        return [int(channel) for channel in self.image[2, -2]]

    def pointed_rows(self, panel: int) -> list[int]:
        """Rows of pixels where the frame of the query row crosses the left quarter of a panel."""
        left, _, side = self.place(panel)
        amber = _amber(self.image[:, int(left) : int(left + side / 4)]).sum(axis=1)
        return [int(row) for row in np.flatnonzero(amber > 0.9 * int(side / 4))]

    def place(self, panel: int) -> tuple[float, float, float]:
        """Left edge, upper edge and side of a panel's plot, from its drawn left edge."""
        left, top = self._corner
        width = self.image.shape[1] - RIGHT_PADDING - left
        return left + panel * 1.14 / 3.28 * width, top, width / 3.28

    @cached_property
    def _corner(self) -> tuple[int, int]:
        """Where the first panel's left edge begins: no other line so far left is as long.

        Its colour tells nothing, since a frame may cover it, and pale cells may be as grey as it is.
        """
        drawn = np.abs(self.image - self.background()).sum(axis=-1) > 60
        run, runs = np.zeros(drawn.shape[1], dtype=int), []
        for row in drawn:
            run = (run + 1) * row
            runs.append(run)
        longest = np.max(runs, axis=0)
        left = int(np.flatnonzero(longest > 0.6 * longest.max())[0])
        return left, int(np.stack(runs)[:, left].argmax() + 1 - longest[left])


def _amber(image: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(image, -1, 0)
    return (red > 150) & (red > green + 40) & (green > blue + 40) & (blue < 80)
