"""Long texts in a real browser: brushed open down to single tokens, and every way back."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from components.demo.presets import PRESETS
from tests.browser.conftest import Explorer, new_tab, without_errors

pytestmark = pytest.mark.browser

SENTENCES = [f"{name} is in the {place}." for name in ("Leo", "Mia", "Ben") for place in ("garden", "cave")]
LONG = " ".join(SENTENCES * 60)
"""2,160 tokens."""
LENGTH = 2160


@pytest.fixture(scope="module")
def of_the_text(browser: Browser, address: str) -> Iterator[Explorer]:
    """A page with the long text."""
    explorer = Explorer(new_tab(browser), address)
    explorer.open()
    explorer.type_prompt(LONG)
    yield explorer
    explorer.page.context.close()


@pytest.fixture
def long_text(of_the_text: Explorer) -> Iterator[Explorer]:
    """The whole text and no row kept, for tests that share a page."""
    with without_errors(of_the_text.page):
        of_the_text.page.set_viewport_size({"width": 1280, "height": 900})
        of_the_text.settle()
        yield of_the_text
        of_the_text.page.mouse.move(0, 0)
        if of_the_text.windows():
            of_the_text.back_to(0)
        if "query" in of_the_text.parameters():
            of_the_text.page.keyboard.press("Escape")
            of_the_text.settle()
    assert not {"window", "query"} & set(of_the_text.parameters())


def test_a_brush_opens_windows_down_to_single_tokens_and_the_trail_leads_back(long_text: Explorer) -> None:
    words = long_text.described("panels")
    assert not words.startswith("Queries")
    long_text.brush(0, (0.1, 0.5), (0.35, 0.75))
    ((first, last, key, last_key),) = long_text.windows()
    side = LENGTH / 128
    for found, part in ((first, 0.5), (last, 0.75), (key, 0.1), (last_key, 0.35)):
        assert abs(found - part * LENGTH) <= 1.5 * side
    long_text.page.get_by_role("img", name="The whole text in layer").wait_for()
    # In the third panel, of the window.
    long_text.brush(2, (0.5, 0.2), (0.6, 0.3))
    one, two = long_text.windows()
    assert one == [first, last, key, last_key]
    assert first <= two[0] < two[1] <= last
    assert key <= two[2] < two[3] <= last_key
    assert two[1] - two[0] < 128
    assert long_text.described("panels").startswith(f"Queries {two[0]:,}–{two[1]:,}, keys {two[2]:,}–")
    assert "reads" in long_text.described("panels")
    long_text.back_to(1)
    assert long_text.windows() == [one]
    long_text.back_to(0)
    assert long_text.windows() == []
    assert "query" not in long_text.parameters()  # a brush keeps no row
    assert long_text.described("panels").startswith(words[: words.index(";")])


def test_after_a_brush_the_tooltip_is_that_of_the_cell_under_the_pointer(long_text: Explorer) -> None:
    page = long_text.page
    listen = "({ x, y, isTrusted }) => { if (isTrusted) last = [x, y]; }"
    page.evaluate(f"addEventListener('pointermove', {listen}, true)")
    long_text.brush(2, (0.1, 0.6), (0.5, 0.9))
    page.locator("#vg-tooltip-element.visible").wait_for()
    page.wait_for_timeout(600)  # in which the page would look again what is under a pointer that rests
    shown = long_text.tooltip()
    x, y = page.evaluate("last")
    page.mouse.move(x + 0.4, y)
    long_text.still(5)
    assert long_text.tooltip() == shown != {}


def test_the_same_brush_opens_the_same_window_again(long_text: Explorer) -> None:
    for _ in range(2):
        long_text.brush(1, (0.2, 0.6), (0.4, 0.8))
        assert len(long_text.windows()) == 1
        long_text.back_to(0)
        assert long_text.windows() == []


def test_a_press_without_a_drag_picks_a_row_and_opens_nothing(long_text: Explorer) -> None:
    long_text.brush(1, (0.2, 0.6), (0.4, 0.8))
    window = long_text.windows()
    long_text.click_cell(0.2, 0.5)
    assert long_text.windows() == window
    query = int(long_text.parameters()["query"])
    first, last, *_ = window[0]
    assert abs(query - (first + last) / 2) < 0.1 * (last - first)


def test_a_brush_that_ends_beside_the_panel_ends_at_its_edge(long_text: Explorer) -> None:
    long_text.brush(0, (0.5, 0.8), (0.6, 1.04))
    (window,) = long_text.windows()
    assert window[1] == LENGTH - 1


def test_a_zoom_keeps_the_views_that_are_drawn(long_text: Explorer) -> None:
    long_text.page.evaluate(
        "document.querySelectorAll('[data-testid=stVegaLiteChart] :is(canvas, svg)')"
        ".forEach(view => { view.dataset.first = 'yes'; })"
    )
    long_text.page.get_by_role("button", name="Open the strongest tile").click()
    long_text.settle()
    assert len(long_text.windows()) == 1
    assert long_text.page.locator("[data-testid=stVegaLiteChart] [data-first=yes]").count() == 3


@pytest.mark.parametrize("tab", [{"color_scheme": "dark"}], indirect=True)
def test_the_gallery_picks_heads(explorer: Explorer) -> None:
    explorer.switch("Gallery")
    gallery = explorer.chart("gallery").locator("canvas")
    picture = np.asarray(explorer.picture("gallery"), dtype=np.int16)
    assert (np.ptp(picture, axis=-1) > 40).sum() > 1000
    gallery.scroll_into_view_if_needed()
    box = gallery.bounding_box()
    assert box is not None
    # Heads stand beside each other, layers below: the second row, beyond the labels.
    explorer.page.mouse.click(box["x"] + 60, box["y"] + 0.45 * box["height"])
    explorer.settle()
    assert explorer.picked() == "Layer 1, head 0"
    assert "layer 1, head 0" in explorer.described("gallery")
    assert explorer.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_text_file_is_opened_and_a_wrong_one_is_told(explorer: Explorer, tmp_path: Path) -> None:
    good, bad = tmp_path / "chapter.md", tmp_path / "old.txt"
    good.write_text(LONG)
    bad.write_bytes("Käse".encode("latin-1"))
    before = explorer.described("panels")
    explorer.page.get_by_role("button", name="Open a text").click()
    explorer.settle()  # what the menu holds is drawn when it opens
    explorer.page.locator("input[type=file]").set_input_files(bad)
    explorer.page.get_by_text("cannot be read as UTF-8").wait_for()
    assert explorer.described("panels") == before
    explorer.settle()
    explorer.page.get_by_role("button", name="Open a text").click()
    explorer.settle()
    explorer.page.locator("input[type=file]").set_input_files(good)
    explorer.page.get_by_text(f"Whole text, {LENGTH:,} tokens").wait_for()
    assert explorer.page.get_by_label("Prompt", exact=True).input_value() == LONG


def test_nothing_scrolls_sideways_in_a_window(long_text: Explorer) -> None:
    long_text.brush(0, (0.1, 0.5), (0.35, 0.75))
    for width in (1280, 1920):
        long_text.page.set_viewport_size({"width": width, "height": 900})
        long_text.settle()
        assert long_text.fits(width)
    assert PRESETS[0].prompt not in long_text.page.get_by_label("Prompt", exact=True).input_value()
