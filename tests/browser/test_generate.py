"""The page "Generate" in a real browser: a text comes, is stopped, and is gone through."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Explorer, comes_true, picture_of, settled_picture, without_dialogs

pytestmark = pytest.mark.browser

NEXT_TOKEN, PANELS, NORMS, SHARES = range(4)
LABELS = 40  # pixels of height: the longer the labels, the less is left for the panels


@pytest.fixture
def page(tab: Explorer) -> Iterator[Page]:
    """The page, opened by its address; it asks for more tokens than come while a test looks."""
    tab.page.goto(f"{tab.address}/generate?new_tokens=512")
    yield tab.page
    assert tab.page.get_by_test_id("stException").count() == 0


def choose_pace(page: Page, pace: str) -> None:
    page.get_by_role("combobox", name="Tokens per second").click()
    page.get_by_role("option", name=pace, exact=True).click()


def ask_for(page: Page, new_tokens: int) -> None:
    box = page.get_by_role("spinbutton", name="New tokens")
    box.fill(str(new_tokens))
    box.press("Enter")


def text_of(page: Page) -> str:
    box = page.locator(".st-key-motion_text")
    expect(box).to_have_text(re.compile(r"\S"))
    return str(box.inner_text())


def so_far(page: Page) -> int:
    """How many new tokens the page says there are."""
    words = page.get_by_text(re.compile(r"^\d+ of \d+ new tokens$")).inner_text()
    return int(words.split()[0])


def chart(page: Page, place: int) -> Locator:
    return page.get_by_test_id("stVegaLiteChart").nth(place)


def pixels(page: Page, place: int) -> np.ndarray:
    return np.asarray(picture_of(chart(page, place).locator("canvas")), dtype=np.int16)


def settled(page: Page, place: int) -> np.ndarray:
    """A chart, once it has stopped changing."""
    return settled_picture(chart(page, place).locator("canvas"))


def lowest_colour(image: np.ndarray) -> int:
    """The lowest row of pixels in which the decay, the middle panel, is green."""
    middle = image[:, image.shape[1] // 3 : 2 * image.shape[1] // 3]
    red, green, blue = np.moveaxis(middle, -1, 0)
    rows = np.flatnonzero(((green > red + 20) & (green > blue)).sum(axis=1) > 3)
    return int(max(rows, default=0))


def coloured_below(page: Page, row: int) -> np.ndarray:
    """The panels, as soon as the decay reaches below a row of pixels."""
    assert comes_true(page, lambda: lowest_colour(pixels(page, PANELS)) > row)
    return pixels(page, PANELS)  # by then it may reach further


def shown_time(page: Page) -> int:
    """The position after which the next token is shown."""
    return int(page.get_by_role("heading", name="Next token after position").inner_text().split()[-1])


def test_a_text_streams_is_stopped_and_gone_through(page: Page) -> None:
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()
    chart(page, PANELS).locator("canvas").wait_for()
    before = coloured_below(page, 0)
    first_text, first_count = text_of(page), so_far(page)
    after = coloured_below(page, lowest_colour(before))  # the rows of new tokens come below
    expect(page.get_by_text(f"{first_count} of 512 new tokens", exact=True)).to_have_count(0)
    assert so_far(page) > first_count
    assert text_of(page).removesuffix("▍").startswith(first_text.removesuffix("▍"))
    assert len(text_of(page)) > len(first_text)
    assert abs(len(after) - len(before)) <= LABELS

    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped after ").wait_for()
    chart(page, SHARES).locator("canvas").wait_for()
    expect(page.get_by_role("button", name="Generate")).to_be_enabled()
    kept = text_of(page)
    assert "▍" not in kept
    last = settled(page, PANELS)
    assert (np.abs(pixels(page, NORMS) - pixels(page, NORMS)[2, -2]).sum(axis=-1) > 100).sum() > 500

    end = shown_time(page)
    page.get_by_role("slider", name="Time").focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    page.get_by_role("heading", name=f"Next token after position {end - 10}").wait_for()
    earlier = settled(page, PANELS)
    assert abs(len(earlier) - len(last)) <= LABELS
    assert lowest_colour(earlier) < lowest_colour(last)
    assert text_of(page) == kept
    expect(chart(page, NEXT_TOKEN)).to_have_attribute(
        "aria-label", re.compile(rf"After position {end - 10} the model expects '.*' came")
    )
    chart(page, NEXT_TOKEN).locator("canvas").hover(position={"x": 140, "y": 16})
    expect(page.locator("#vg-tooltip-element")).to_contain_text("probability")
    any_text_is_shown_as_text_and_is_there_after_another_page(page)


def any_text_is_shown_as_text_and_is_there_after_another_page(page: Page) -> None:
    hostile = "<img src=x onerror=alert(1)> **bold** <script>alert(2)</script> \u202eabc 🦊\n\n  two lines"
    box = page.get_by_role("textbox", name="Prompt")
    with without_dialogs(page):
        box.fill(hostile)
        box.press("Control+Enter")
        choose_pace(page, "no limit")
        ask_for(page, 15)
        page.get_by_role("button", name="Generate").click()
        page.get_by_text("15 of 15 new tokens").wait_for()
        assert hostile in text_of(page).replace("\xa0", " ")
        assert page.locator("img[src=x]").count() == 0
    main = page.get_by_test_id("stMain")
    assert main.evaluate("element => element.scrollWidth <= element.clientWidth")
    chart(page, SHARES).locator("canvas").wait_for()
    settled(page, PANELS)
    kept, last = text_of(page), shown_time(page)
    press_a_row(page)
    page.get_by_role("heading", name=f"Next token after position {last}").wait_for(state="hidden")
    assert shown_time(page) < last
    page.get_by_role("link", name="How to read this").click()
    page.get_by_role("heading", name="How to read this").wait_for()
    page.get_by_role("link", name="Generate").click()
    page.get_by_text("15 of 15 new tokens").wait_for()
    assert text_of(page) == kept
    expect(page.get_by_role("spinbutton", name="New tokens")).to_have_value("15")
    box.fill("")
    box.press("Control+Enter")
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("The prompt is empty").wait_for()


def press_a_row(page: Page) -> None:
    """In the first panel, above the last row."""
    canvas = chart(page, PANELS).locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    side = box["width"] / 3.5
    canvas.hover(position={"x": side * 0.5, "y": side * 0.6})
    page.mouse.down()
    page.mouse.up()
