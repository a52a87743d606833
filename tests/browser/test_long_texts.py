"""Long texts in a real browser: brushed open down to single tokens, and every way back."""

from pathlib import Path

import numpy as np
import pytest

from tests.browser.conftest import Explorer

pytestmark = pytest.mark.browser

SENTENCES = [f"{name} is in the {place}." for name in ("Leo", "Mia", "Ben") for place in ("garden", "cave")]
LONG = " ".join(SENTENCES * 60)
"""2,160 tokens."""
LENGTH = 2160
BRUSHED = (0.1, 0.5), (0.35, 0.75)
"""Where a brush begins and ends in a panel."""


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
    explorer.settle()
    window = a_brush_opens_windows_down_to_single_tokens_and_the_trail_leads_back(explorer)
    the_same_brush_opens_the_same_window_again_in_the_views_that_are_drawn(explorer, window)


def a_brush_opens_windows_down_to_single_tokens_and_the_trail_leads_back(explorer: Explorer) -> list[int]:
    words = explorer.described("panels")
    assert not words.startswith("Queries")
    listen = "({ x, y, isTrusted }) => { if (isTrusted) last = [x, y]; }"
    explorer.page.evaluate(f"addEventListener('pointermove', {listen}, true)")
    explorer.brush(0, *BRUSHED)
    the_tooltip_is_that_of_the_cell_under_the_pointer(explorer)
    ((first, last, key, last_key),) = explorer.windows()
    side = LENGTH / 128
    for found, part in ((first, 0.5), (last, 0.75), (key, 0.1), (last_key, 0.35)):
        assert abs(found - part * LENGTH) <= 1.5 * side
    explorer.page.get_by_role("img", name="The whole text in layer").wait_for()
    explorer.page.set_viewport_size({"width": 1920, "height": 900})
    explorer.settle()
    assert explorer.fits(1920)
    explorer.page.set_viewport_size({"width": 1280, "height": 900})
    explorer.settle()
    assert explorer.fits(1280)
    # In the third panel, of the window.
    explorer.brush(2, (0.5, 0.2), (0.6, 0.3))
    one, two = explorer.windows()
    assert one == [first, last, key, last_key]
    assert first <= two[0] < two[1] <= last
    assert key <= two[2] < two[3] <= last_key
    assert two[1] - two[0] < 128
    assert explorer.described("panels").startswith(f"Queries {two[0]:,}–{two[1]:,}, keys {two[2]:,}–")
    assert "reads" in explorer.described("panels")
    assert "query" not in explorer.parameters()  # a brush keeps no row
    explorer.back_to(1)
    assert explorer.windows() == [one]
    explorer.click_cell(0.2, 0.5)  # a press without a drag picks a row and opens nothing
    assert explorer.windows() == [one]
    assert abs(int(explorer.parameters()["query"]) - (first + last) / 2) < 0.1 * (last - first)
    explorer.back_to(0)
    assert explorer.windows() == []
    assert not explorer.described("panels").startswith("Queries")
    return one


def the_tooltip_is_that_of_the_cell_under_the_pointer(explorer: Explorer) -> None:
    page = explorer.page
    page.locator("#vg-tooltip-element.visible").wait_for()
    page.wait_for_timeout(600)  # in which the page would look again what is under a pointer that rests
    shown = explorer.tooltip()
    x, y = page.evaluate("last")
    page.mouse.move(x + 0.4, y)
    explorer.still(5)
    assert explorer.tooltip() == shown != {}


def the_same_brush_opens_the_same_window_again_in_the_views_that_are_drawn(
    explorer: Explorer, window: list[int]
) -> None:
    explorer.page.evaluate(
        "document.querySelectorAll('[data-testid=stVegaLiteChart] :is(canvas, svg)')"
        ".forEach(view => { view.dataset.first = 'yes'; })"
    )
    explorer.brush(0, *BRUSHED)
    assert explorer.windows() == [window]
    assert explorer.page.locator("[data-testid=stVegaLiteChart] [data-first=yes]").count() == 3
    explorer.back_to(0)
    explorer.brush(0, (0.5, 0.8), (0.6, 1.04))  # that ends beside the panel ends at its edge
    assert [last for _, last, _, _ in explorer.windows()] == [LENGTH - 1]


def test_the_gallery_picks_heads(tab: Explorer) -> None:
    tab.page.emulate_media(color_scheme="dark")
    tab.open("?view=gallery")
    gallery = tab.chart("gallery").locator("canvas")
    picture = np.asarray(tab.picture("gallery"), dtype=np.int16)
    assert (np.ptp(picture, axis=-1) > 40).sum() > 1000
    gallery.scroll_into_view_if_needed()
    box = gallery.bounding_box()
    assert box is not None
    # Heads stand beside each other, layers below: the second row, beyond the labels.
    tab.page.mouse.click(box["x"] + 60, box["y"] + 0.45 * box["height"])
    tab.settle()
    assert tab.picked() == "Layer 1, head 0"
    assert "layer 1, head 0" in tab.described("gallery")
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
