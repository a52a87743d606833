"""The panels in a frame of somebody's article."""

import html
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Explorer, Panels, comes_true, picture_of, settled_picture

pytestmark = pytest.mark.browser


def test_the_copied_frame_shows_the_panels_alone(tab: Explorer, tmp_path: Path) -> None:
    tab.open("?layer=1&head=4&query=29")
    page = tab.page
    page.get_by_role("button", name="Copy link").click()
    code = page.get_by_test_id("stPopoverBody").get_by_test_id("stCode").nth(1).inner_text().strip()
    assert code.startswith(f'<iframe src="{tab.address}')
    assert "&amp;layer=1&amp;head=4" in code
    assert 'title="Layer 1, head 4 of demo"' in code

    article = tmp_path / "article.html"
    article.write_text(f"<!doctype html><html><body style='margin:0'>{code}</body></html>", "utf-8")
    page.goto(article.as_uri())
    inside = page.frame_locator("iframe")
    canvas = inside.locator("canvas")
    canvas.wait_for(timeout=60_000)
    inside.get_by_text("Row 29, kept.").wait_for()
    expect(inside.get_by_test_id("stVegaLiteChart")).to_have_count(1)
    for control in ("Export", "Copy link", "Pick from lists"):
        expect(inside.get_by_role("button", name=control)).to_have_count(0)
    expect(inside.get_by_label("Prompt")).to_have_count(0)
    expect(inside.get_by_role("link", name="Generate")).to_have_count(0)

    # A press keeps its row, and the frame stays one.
    drawn = settled_picture(canvas)
    left, top, side = Panels(drawn).place(0)
    box = canvas.bounding_box()
    assert box is not None
    for aside in (-2, 0):
        page.mouse.move(box["x"] + left + side * 0.1 + aside, box["y"] + top + side * 15.5 / 30)
    assert comes_true(page, lambda: not np.array_equal(picture_of(canvas), drawn))
    page.mouse.down()
    page.mouse.up()
    inside.get_by_text("Row 15, kept.").wait_for()
    page.frames[1].wait_for_url("**query=15*")
    assert "embed=true" in page.frames[1].url

    link = inside.get_by_role("link", name="Open in Mamba-2 Explorer")
    assert link.get_attribute("target") == "_blank"
    with page.context.expect_page() as opened:
        link.click()
    whole = Explorer(opened.value, tab.address)
    whole.chart("decay_curves").wait_for(timeout=60_000)
    assert whole.picked() == "Layer 1, head 4"
    assert whole.parameters()["query"] == "15"
    assert "embed" not in whole.page.url
    whole.page.close()
    assert html.unescape(code).count("embed=true") == 1
