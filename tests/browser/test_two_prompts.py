"""The page "Two prompts" in a real browser: unequal lengths are a sentence, and a click picks a head."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import HELD, Explorer, picture_of

pytestmark = pytest.mark.browser


def test_two_prompts_are_compared_and_unequal_lengths_are_a_sentence(tab: Explorer) -> None:
    page = tab.page
    page.goto(f"{tab.address}/two_prompts")
    cells = page.locator(".st-key-patched_heads g.mark-rect.role-mark path")
    expect(cells.first).to_be_visible(timeout=60_000)
    tab.settle()
    for key in ("two_runs", "patched_stream", "estimated_stream"):
        shown = np.asarray(picture_of(page.locator(f".st-key-{key} canvas"))).reshape(-1, 3)
        assert len(np.unique(shown, axis=0)) > 20, key
    expect(page.get_by_text("Pearson's correlation of both")).to_have_count(2)
    expect(page.locator("[aria-label*='recovers, at each position. Most at layer']")).to_have_count(1)
    cell = page.locator(".st-key-patched_heads path[aria-label*='layer: 2;'][aria-label*='head: 0;']").first
    cell.click(delay=HELD)
    expect(page.get_by_text("Layer 2, head 0: attention in the first prompt")).to_be_visible()

    box_of_other = page.get_by_label("Other prompt", exact=True)
    box_of_other.fill("Leo is in the garden. Mia is in the old kitchen.")
    box_of_other.press("Control+Enter")
    sentence = page.get_by_text(re.compile(r"The first prompt has 30 tokens and the other \d+\."))
    expect(sentence).to_contain_text("They part at position 10")
    expect(page.locator(".st-key-patched_heads")).to_have_count(0)
    expect(page).to_have_url(re.compile("other="))
    page.set_viewport_size({"width": 390, "height": 900})
    tab.settle()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.get_by_test_id("stException").count() == 0
