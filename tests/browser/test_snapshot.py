"""A snapshot, opened as a file in a browser without a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from explorer import snapshot_command
from tests.browser.conftest import (
    HELD,
    comes_true,
    picture_of,
    settled_picture,
    without_dialogs,
    without_errors,
)
from tests.browser.test_accessible import violations

PROMPT = "Mia is </script><img src=x onerror=alert(1)> in the kitchen. \U0001f600 Where is Mia?"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page without layer 3."""
    out = tmp_path_factory.mktemp("snapshot") / "page.html"
    snapshot_command.run(["--prompt", PROMPT, "--layers", "0-2", "--out", str(out)])
    return out


@contextmanager
def opened(browser: Browser, file: Path, fragment: str = "", **options: Any) -> Iterator[Page]:
    """The page, drawn; it must fetch nothing and have no errors."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "offline": True, **options})
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    with without_errors(page), without_dialogs(page):
        page.goto(f"{file.as_uri()}{fragment}")
        page.locator("#panels canvas").wait_for()
        page.locator("#map svg").wait_for()
        yield page
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()


def click_head(page: Page, layer: int, head: int) -> None:
    box = page.locator(
        f"#map path[aria-label*='head: {head};'][aria-label*='layer: {layer};']"
    ).first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, delay=HELD)


def name(page: Page) -> Any:
    return page.locator("#name")


def test_heads_rows_keys_links_and_the_way_back(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        assert page.title().startswith("Mia is </script><img src=x")
        click_head(page, 1, 5)
        expect(name(page)).to_have_text("Layer 1, head 5")
        assert page.url.endswith("#layer=1&head=5")
        panels = page.locator("#panels [role=graphics-document]")
        assert str(panels.get_attribute("aria-label")).startswith("The last row. Layer 1, head 5 ")
        canvas = page.locator("#panels canvas")
        before = settled_picture(canvas)

        box = canvas.bounding_box()
        assert box is not None
        at = box["x"] + box["width"] * 0.12, box["y"] + box["width"] * 0.2
        for aside in (-2, 0):
            page.mouse.move(at[0] + aside, at[1])
        expect(page.locator("#vg-tooltip-element")).to_contain_text("query token")

        def marked() -> bool:
            changed = np.ptp(np.asarray(picture_of(canvas), dtype=np.int16) - before, axis=-1) > 30
            return all(third.any() for third in np.array_split(changed, 3, axis=1))

        assert comes_true(page, marked)

        page.mouse.down()
        page.mouse.up()
        page.wait_for_url("**&query=*")
        expect(page.locator("#row")).to_have_text(f"Row {page.url.rpartition('=')[2]}, kept.")
        page.mouse.down()
        page.mouse.up()
        expect(page.locator("#row")).to_have_text("The last row.")

        page.mouse.down()  # a drag draws no band
        page.mouse.move(at[0] + 60, at[1] + 60)
        page.mouse.move(0, 0)
        page.mouse.up()
        page.wait_for_timeout(200)
        assert comes_true(page, lambda: np.array_equal(picture_of(canvas), before))
        assert page.url.endswith("#layer=1&head=5")

        page.locator("#panels").focus()
        page.keyboard.press("ArrowUp")
        expect(page.locator("#row")).to_contain_text("kept.")
        page.go_back()
        expect(page.locator("#row")).to_have_text("The last row.")
        page.go_back()
        page.go_back()
        page.go_back()
        expect(name(page)).to_have_text("Layer 2, head 2")
        keys_links_and_what_is_left_out(page)


def keys_links_and_what_is_left_out(page: Page) -> None:
    page.locator("#map").focus()
    page.keyboard.press("ArrowUp")
    expect(name(page)).to_have_text("Layer 1, head 2")
    # Keys that come before the first of them is drawn.
    page.evaluate(
        """keys => keys.forEach(key => document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", { key, bubbles: true })))""",
        ["ArrowRight", "ArrowRight", "ArrowLeft"],
    )
    expect(name(page)).to_have_text("Layer 1, head 3")
    click_head(page, 3, 0)
    expect(page.locator("#told")).to_have_text("Layer 3 is not in this page. Layer 3 is left out, as asked.")
    expect(name(page)).to_have_text("Layer 1, head 3")
    page.locator("summary").click()
    expect(page.locator("#program")).to_contain_text("heads=[3]")
    page.evaluate("location.hash = 'layer=3&head=1'")
    expect(name(page)).to_have_text("Layer 2, head 2")


def test_a_link_opens_a_row_and_the_page_fits_in_both_themes(browser: Browser, file: Path) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True}
    with opened(browser, file, "#layer=0&head=7&query=2", **options) as page:
        expect(name(page)).to_have_text("Layer 0, head 7")
        expect(page.locator("#row")).to_have_text("Row 2, kept.")

        def paper() -> int:
            return int(np.asarray(picture_of(page.locator("#panels canvas")))[2, -2].sum())

        assert comes_true(page, lambda: paper() < 150)
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert violations(page) == []
        page.emulate_media(color_scheme="light")
        assert comes_true(page, lambda: paper() == 765)
