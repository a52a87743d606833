"""What is picked: queries, switches, links and exports, in a real browser."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

from components.demo.presets import PRESETS
from components.models import load_bridge
from components.ssd import effective_attention
from tests.browser.conftest import HELD, Explorer

pytestmark = pytest.mark.browser


def test_a_cell_a_head_and_the_lists_are_picked(explorer: Explorer) -> None:
    words = explorer.described("panels")
    hint = explorer.page.get_by_text("Point at a cell to see it everywhere.")  # said until it was done
    expect(hint).to_have_count(1)
    explorer.click_cell(0.1, 0.5)
    expect(hint).to_have_count(0)
    query = int(explorer.parameters()["query"])
    assert 10 <= query <= 20
    assert explorer.described("panels") != words
    assert f"Row {query}, kept" in explorer.described("panels")
    # Streamlit reruns the fragment alone: the head map is not drawn anew and keeps its words.
    assert explorer.picked() == f"Layer {PRESETS[0].layer}, head {PRESETS[0].head}"
    # Another head keeps the views that are drawn: building one anew takes longer than all else in a pick.
    explorer.page.evaluate(
        "document.querySelectorAll('[data-testid=stVegaLiteChart] :is(canvas, svg)')"
        ".forEach(view => { view.dataset.first = 'yes'; })"
    )
    before = explorer.pixels().image
    explorer.click_head(3, 1)
    assert explorer.page.locator("[data-testid=stVegaLiteChart] [data-first=yes]").count() == 3
    after = explorer.pixels().image
    assert after.shape != before.shape or (after != before).any()
    a_kept_cell_colours_the_heads_and_sorts_the_gallery(explorer)
    picked_from_the_lists(explorer)


def a_kept_cell_colours_the_heads_and_sorts_the_gallery(explorer: Explorer) -> None:
    page = explorer.page
    explorer.click_cell(0.1, 0.9)
    query, key = (int(explorer.parameters()[name]) for name in ("query", "key"))
    before = explorer.described("head_map")
    cell = re.compile(f"Cell: query {query} .* reads key {key} ")
    page.get_by_role("button", name="Which heads read this cell?").click()
    explorer.settle()
    assert explorer.parameters()["measure"] == "cell_share"
    shares = explorer.described("head_map")
    assert shares != before
    assert cell.search(shares)
    page.get_by_test_id("stButtonGroup").get_by_text("Effect of cutting the cell").first.click()
    expect(page.get_by_text("when the cell is cut in one head alone.")).to_be_visible()
    explorer.settle()
    page.get_by_role("button", name="Sort the gallery by it").click()
    explorer.settle()
    expect(page.locator(".st-key-gallery_of_heads")).to_be_visible()
    assert {name: explorer.parameters()[name] for name in ("sort", "view")} == {
        "sort": "cell_effect",
        "view": "gallery",
    }
    explorer.click_cell(0.3, 0.8)  # the maps follow another cell
    assert "Cell: query" in explorer.described("head_map")
    assert not cell.search(explorer.described("head_map"))
    explorer.click_cell(0.3, 0.8)
    assert "key" not in explorer.parameters()
    assert "No cell is picked." in explorer.described("head_map")


def picked_from_the_lists(explorer: Explorer) -> None:
    """By keyboard alone."""
    before = explorer.picked()
    menu = explorer.page.get_by_role("button", name="Pick from lists")
    menu.focus()
    menu.press("Enter")
    for label, key in (("Layer", "layer"), ("Head", "head")):
        box = explorer.page.get_by_role("combobox", name=label, exact=True)
        box.focus()
        box.press("ArrowDown")
        box.press("ArrowUp")
        box.press("ArrowUp")
        box.press("Enter")
        explorer.settle()
        assert key in explorer.parameters()
    assert explorer.picked() == "Layer {layer}, head {head}".format(**explorer.parameters())
    assert explorer.picked() != before


ABREAST = 300
"""Pixels from the top of the canvas in which only the panels stand, at 1,280 px."""


def test_every_switch_changes_what_it_says_and_is_kept_across_heads(explorer: Explorer) -> None:
    def coloured() -> int:
        return int((np.ptp(explorer.pixels().image[:ABREAST], axis=-1) > 25).sum())

    linear = coloured()
    explorer.switch("Log colours")
    assert explorer.parameters()["view"] == "symlog"
    assert coloured() > 1.2 * linear  # what is weak shows
    explorer.switch("Log colours")

    free = explorer.pixels().coloured(2)
    explorer.switch("Lock scale")
    assert explorer.pixels().coloured(2) < free  # this head is not the strongest of all, so it turns paler
    assert explorer.parameters()["view"] == "locked"
    explorer.click_head(0, 1)
    assert explorer.parameters()["view"] == "locked"
    explorer.switch("Lock scale")

    before, words = explorer.pixels(), explorer.described("panels")
    explorer.show("Attention·dt")
    after = explorer.pixels()
    assert explorer.parameters()["reading"] == "attention_dt"
    assert (before.third(2)[:200] != after.third(2)[:200]).any()
    assert explorer.described("panels") != words
    explorer.show("Contribution norm")
    assert explorer.parameters()["reading"] == "contribution"
    assert (after.third(2)[:200] != explorer.pixels().third(2)[:200]).any()
    assert "its skip D·x (contribution norm " in explorer.described("panels")
    explorer.show("Direct effect")
    assert "(direct effect " in explorer.described("panels")

    explorer.switch("Row as a table")
    explorer.page.get_by_test_id("stDataFrame").wait_for()

    heading = explorer.page.get_by_role("heading", name="Layer").first
    size = "element => parseFloat(getComputedStyle(element).fontSize)"
    small = heading.evaluate(size)
    explorer.switch("Projector")
    assert heading.evaluate(size) > 1.2 * small
    assert explorer.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    explorer.page.get_by_role("link", name="Choose others").click()
    explorer.page.get_by_role("combobox", name="Compared with").wait_for()


def test_a_link_gives_the_same_picture(explorer: Explorer) -> None:
    explorer.type_prompt("Ben has a red kite. Eva has a blue drum. Ben has a")
    explorer.click_head(1, 3)
    explorer.brush(2, (0.02, 0.4), (0.45, 0.8))
    (window,) = explorer.windows()
    assert window[1] - window[0] < 9
    assert explorer.pixels().coloured(2) > 200  # a brush enlarges a short text, too
    explorer.brush(2, (0.1, 0.1), (0.6, 0.8))
    explorer.click_cell(0.3, 0.5)  # the pointer marks where it was, also once it is away
    explorer.show("Attention·dt")
    link, picture, words = explorer.copied_link(), explorer.pixels().image, explorer.described("panels")
    windows = explorer.windows()
    assert len(windows) == 2
    assert link.replace("?", "/?") == explorer.page.url
    explorer.page.goto("about:blank")
    explorer.open(link.removeprefix(explorer.address).lstrip("/"))
    assert explorer.page.url == link.replace("?", "/?")
    assert explorer.windows() == windows
    assert explorer.described("panels") == words
    assert explorer.picked() == "Layer 1, head 3"
    assert explorer.page.get_by_label("Prompt", exact=True).input_value().startswith("Ben has a red kite.")
    assert (explorer.pixels().image == picture).mean() > 0.999
    what_a_chart_says_outlives_a_theme_and_another_page(explorer)


def test_exported_numbers_are_the_engine_s(sight: Explorer) -> None:
    preset = PRESETS[0]
    _, cache = load_bridge("demo").run_with_cache(preset.prompt)
    M = effective_attention(cache.ssd_terms(preset.layer), heads=[preset.head])[0, 0].numpy()
    archive = np.load(sight.download("NPZ"), allow_pickle=False)
    np.testing.assert_array_equal(archive["attention"], M)
    assert archive["model"] == "demo"
    table = pd.read_csv(sight.download("CSV"), comment="#", index_col=0)
    np.testing.assert_array_equal(table.to_numpy(np.float32), M)


def test_the_shown_program_runs(sight: Explorer) -> None:
    sight.page.get_by_role("button", name="Export").click()
    code = sight.page.get_by_test_id("stPopoverBody").get_by_test_id("stCode").inner_text()
    sight.page.keyboard.press("Escape")
    made: dict[str, Any] = {}
    exec(code.replace("\xa0", " "), made)  # in a process of its own it runs in tests/explorer/test_exports.py
    length = len(load_bridge("demo").to_str_tokens(PRESETS[0].prompt))
    assert made["attention"].shape == (length, length)


def test_a_long_run_can_be_stopped_and_taken_up_again(explorer: Explorer) -> None:
    explorer.click_head(1, 3)
    words = explorer.described("panels")
    box = explorer.page.get_by_label("Prompt", exact=True)
    box.fill("the " * 40_000)
    box.press("Control+Enter")
    stop, asked = (explorer.page.get_by_role("button", name=name) for name in ("Stop", "Run the prompt"))
    stop.or_(asked).first.wait_for()
    if asked.is_visible():  # on a slow or busy machine the run would take long, and the page asks first
        explorer.settle()
        asked.click(delay=HELD)
    stop.click()
    explorer.settle()
    explorer.page.get_by_text("The page still shows the previous prompt").wait_for()
    assert explorer.described("panels") == words
    assert len(box.input_value()) == 160_000
    box.fill("Mia is in the tower.")
    box.press("Control+Enter")
    explorer.settle()
    assert explorer.described("panels") != words
    ten_thousand_tokens_are_run_and_shown(explorer)


def ten_thousand_tokens_are_run_and_shown(explorer: Explorer) -> None:
    explorer.type_prompt("the " * 10_000)
    explorer.page.get_by_text("Whole text, 10,0").wait_for(timeout=60_000)
    assert explorer.pixels().green(1) > 500


def what_a_chart_says_outlives_a_theme_and_another_page(explorer: Explorer) -> None:
    words = {key: explorer.described(key) for key in ("head_map", "panels", "decay_curves")}
    assert "layer 1, head 3" in words["head_map"]
    explorer.page.emulate_media(color_scheme="dark")
    explorer.settle()
    assert max(explorer.pixels().background()) < 60
    assert {key: explorer.described(key) for key in words} == words
    explorer.page.get_by_role("link", name="How to read this").click()
    explorer.page.get_by_role("heading", name="How to read this").wait_for()
    explorer.page.get_by_test_id("stVegaLiteChart").first.wait_for()
    assert explorer.page.get_by_test_id("stException").count() == 0
    explorer.page.get_by_role("link", name="Explore").click()
    explorer.chart("decay_curves").wait_for()
    explorer.settle()
    assert explorer.picked() == "Layer 1, head 3"
    assert {key: explorer.described(key) for key in words} == words
