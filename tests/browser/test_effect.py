"""The page "Does it matter?" in a real browser: heads are picked, edits stack up, and travel in the link."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import HELD, Explorer, comes_true, picture_of

pytestmark = pytest.mark.browser

MAP, _, SCATTER = range(3)


@pytest.fixture
def page(tab: Explorer) -> Iterator[Page]:
    """The page with the first preset, opened by its address."""
    tab.page.goto(f"{tab.address}/effect")
    tab.page.get_by_role("heading", name="Edit the run").wait_for(timeout=60_000)
    chart(tab.page, SCATTER).locator("svg").wait_for()
    yield tab.page
    assert tab.page.get_by_test_id("stException").count() == 0


def chart(page: Page, place: int) -> Locator:
    return page.get_by_test_id("stVegaLiteChart").nth(place)


def probability(page: Page) -> float:
    shown = page.get_by_test_id("stMetric").filter(has_text="Probability of the answer")
    return float(re.findall(r"([\d.]+)%", shown.inner_text())[0])


def click_head(page: Page, layer: int, head: int) -> None:
    """Click a cell of the map of effects."""
    cells = chart(page, MAP).locator("g.mark-rect.role-mark").first
    cell = cells.locator(f"path[aria-label*='head: {head};'][aria-label*='layer: {layer};']").first
    box = cell.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, delay=HELD)


def test_heads_are_muted_edits_undone_and_an_exported_experiment_opened(
    page: Page, tab: Explorer, tmp_path: Path
) -> None:
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="JSON", exact=True).click()
    saved.value.save_as(tmp_path / "experiment.json")
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("stPopoverBody")).to_have_count(0)
    a_head_is_picked_muted_and_let_go_again(page)
    sweeps_are_stopped_and_the_page_goes_on(page)
    page.get_by_role("button", name="Open an experiment").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_test_id("stFileUploaderDropzone").locator("button").click()
    chooser.value.set_files(tmp_path / "experiment.json")
    page.get_by_text("This is the experiment of").wait_for()
    page.get_by_text("Layer 2, head 2: without it the answer loses").wait_for()
    expect(page.get_by_text("The figures are those in the document")).to_be_visible()
    bars_have_a_frame_of_reference_and_an_edit_goes_along(page, tab)


def a_head_is_picked_muted_and_let_go_again(page: Page) -> None:
    before = probability(page)
    click_head(page, 2, 0)
    page.get_by_text("Layer 2, head 0: without it the answer loses").wait_for()
    page.get_by_role("button", name="Mute the picked head in the run").click()
    heading = page.get_by_role("heading", name="Before and after")
    heading.wait_for()
    page.get_by_text("Mute heads (attention): layer 2, head 0, all positions").wait_for()
    assert comes_true(page, lambda: probability(page) < before)
    expect(page).to_have_url(re.compile(r"mute\.2\.0\.all\.attention"))
    compared = page.locator(".st-key-two_runs canvas")
    compared.wait_for()
    assert len(np.unique(np.asarray(picture_of(compared)).reshape(-1, 3), axis=0)) > 20
    page.reload()  # the address has the edits
    heading.wait_for(timeout=60_000)
    page.get_by_role("button", name="Undo the last").click()
    expect(heading).to_have_count(0)
    assert comes_true(page, lambda: probability(page) == before)
    page.go_back()
    heading.wait_for()


def sweeps_are_stopped_and_the_page_goes_on(page: Page) -> None:
    box = page.get_by_label("Prompt", exact=True)
    box.fill(10 * f"{box.input_value()} garden. ")
    box.press("Control+Enter")
    for sweep in ("muted", "cut"):
        page.locator(f".st-key-stop_{sweep} button").click(timeout=60_000)
        page.locator(f".st-key-start_{sweep}").get_by_role("button", name="Compute").wait_for()
    page.get_by_role("heading", name="How far back does it need to read?").wait_for()
    expect(page.get_by_test_id("stMetric").filter(has_text="Probability of the answer")).to_be_visible()
    assert not page.locator(".st-key-token_effects").count()


def bars_have_a_frame_of_reference_and_an_edit_goes_along(page: Page, tab: Explorer) -> None:
    page.locator(".st-key-token_effects canvas").wait_for()
    words = page.locator(".st-key-token_effects [aria-label*='The answer loses most without']")
    expect(words).to_have_count(1)
    page.get_by_text("Lines mark a random change of the same size.").wait_for()
    page.get_by_test_id("stButtonGroup").get_by_text("In the picked head").click()
    told = page.get_by_text("Rank correlation of sizes with the effect").or_(page.get_by_text("No cut in"))
    told.wait_for()
    for width in (390, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        tab.settle()  # charts take their new width after the page
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        main = page.get_by_test_id("stMain")
        assert main.evaluate("element => element.scrollWidth <= element.clientWidth"), width
    page.get_by_label("Positions", exact=True).fill("7-10")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("Mute heads (attention): layer 2, head 2, positions 7 to 10").wait_for()
    expect(page.get_by_text("This is the experiment of")).to_have_count(0)
    page.get_by_role("link", name="Explore", exact=True).click()
    page.get_by_text("This run is edited.").wait_for()
