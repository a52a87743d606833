"""What is picked: queries, switches, links and exports, in a real browser."""

import re
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

from components.demo.presets import PRESETS
from components.models import load_bridge
from components.ssd import effective_attention
from tests.browser.conftest import Explorer

pytestmark = pytest.mark.browser


def test_cells_heads_and_lists_are_picked_and_every_switch_changes_what_it_says(
    explorer: Explorer,
) -> None:
    words = explorer.described("panels")
    hint = explorer.page.get_by_text("Point at a cell to see it everywhere.")  # said until it was done
    expect(hint).to_have_count(1)
    explorer.click_cell(0.1, 0.5)
    expect(hint).to_have_count(0)
    query, key = (int(explorer.parameters()[name]) for name in ("query", "key"))
    assert 10 <= query <= 20
    assert 0 < key < 6
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
    explorer.page.get_by_role("button", name="Which heads read this cell?").click()
    explorer.settle()
    assert explorer.parameters()["measure"] == "cell_share"
    assert f"Cell: query {query} " in explorer.described("head_map")
    explorer.click_cell(0.1, 0.5)  # a second press lets it go
    assert not {"query", "key"} & set(explorer.parameters())
    assert "No cell is picked." in explorer.described("head_map")
    picked_from_the_lists(explorer)
    every_switch_changes_what_it_says_and_is_kept_across_heads(explorer)


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


def every_switch_changes_what_it_says_and_is_kept_across_heads(explorer: Explorer) -> None:
    explorer.click_head(PRESETS[0].layer, PRESETS[0].head)

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
    explorer.click_head(0, 1)
    assert explorer.parameters()["view"] == "locked"

    before, words = explorer.pixels(), explorer.described("panels")
    explorer.show("Direct effect")
    assert explorer.parameters()["reading"] == "toward"
    assert (before.third(2)[:200] != explorer.pixels().third(2)[:200]).any()
    assert "(direct effect " in explorer.described("panels") != words

    heading = explorer.page.get_by_role("heading", name="Layer").first
    size = "element => parseFloat(getComputedStyle(element).fontSize)"
    small = heading.evaluate(size)
    explorer.switch("Projector")
    assert heading.evaluate(size) > 1.2 * small
    assert explorer.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(explorer.page.get_by_role("link", name="Choose others")).to_have_attribute(
        "href", re.compile("effect")
    )


def test_a_link_gives_the_same_picture_and_a_long_run_can_be_stopped(tab: Explorer) -> None:
    prompt = "Ben has a red kite. Eva has a blue drum. Ben has a"
    tab.open("?" + urlencode({"prompt": prompt, "layer": 1, "head": 3, "reading": "attention_dt"}))
    tab.brush(2, (0.02, 0.4), (0.45, 0.8))
    (window,) = tab.windows()
    assert window[1] - window[0] < 9
    assert tab.pixels().coloured(2) > 200  # a brush enlarges a short text, too
    tab.click_cell(0.3, 0.5)  # the pointer marks where it was, also once it is away
    link, picture, words = tab.copied_link(), tab.pixels().image, tab.described("panels")
    assert link.replace("?", "/?") == tab.page.url
    tab.page.goto("about:blank")
    tab.open(link.removeprefix(tab.address).lstrip("/"))
    assert tab.page.url == link.replace("?", "/?")
    assert tab.windows() == [window]
    assert tab.described("panels") == words
    assert tab.picked() == "Layer 1, head 3"
    assert tab.page.get_by_label("Prompt", exact=True).input_value() == prompt
    assert (tab.pixels().image == picture).mean() > 0.999
    what_a_chart_says_outlives_a_theme_and_another_page(tab)
    a_long_run_can_be_stopped_and_ten_thousand_tokens_are_run_and_shown(tab)


def what_a_chart_says_outlives_a_theme_and_another_page(explorer: Explorer) -> None:
    words = {key: explorer.described(key) for key in ("head_map", "panels", "decay_curves")}
    assert "layer 1, head 3" in words["head_map"]
    explorer.page.emulate_media(color_scheme="dark")
    explorer.settle()
    assert max(explorer.pixels().background()) < 60
    assert {key: explorer.described(key) for key in words} == words
    explorer.page.get_by_role("link", name="Generate").click()
    explorer.page.get_by_role("button", name="Generate").wait_for()
    explorer.page.get_by_role("link", name="Explore").click()
    explorer.chart("decay_curves").wait_for()
    explorer.settle()
    assert explorer.picked() == "Layer 1, head 3"
    assert {key: explorer.described(key) for key in words} == words


def test_exported_files_and_the_shown_program_have_the_numbers_of_the_engine(sight: Explorer) -> None:
    preset = PRESETS[0]
    _, cache = load_bridge("demo").run_with_cache(preset.prompt)
    M = effective_attention(cache.ssd_terms(preset.layer), heads=[preset.head])[0, 0].numpy()
    archive = np.load(sight.download("NPZ"), allow_pickle=False)
    np.testing.assert_array_equal(archive["attention"], M)
    assert archive["model"] == "demo"
    table = pd.read_csv(sight.download("CSV"), comment="#", index_col=0)
    np.testing.assert_array_equal(table.to_numpy(np.float32), M)
    sight.page.get_by_role("button", name="Export").click()
    code = sight.page.get_by_test_id("stPopoverBody").get_by_test_id("stCode").inner_text()
    sight.page.keyboard.press("Escape")
    made: dict[str, Any] = {}
    exec(code.replace("\xa0", " "), made)  # in a process of its own it runs in tests/explorer/test_exports.py
    np.testing.assert_array_equal(made["attention"], M)


def a_long_run_can_be_stopped_and_ten_thousand_tokens_are_run_and_shown(tab: Explorer) -> None:
    words = tab.described("panels")
    tab.begin("the " * 40_000)
    tab.page.get_by_role("button", name="Stop").click()
    tab.settle()
    tab.page.get_by_text("The page still shows the previous prompt").wait_for()
    assert tab.described("panels") == words
    assert len(tab.page.get_by_label("Prompt", exact=True).input_value()) == 160_000
    tab.type_prompt("the " * 10_000)
    tab.page.get_by_text("Whole text, 10,0").wait_for(timeout=60_000)
    assert tab.described("panels") != words
    assert tab.pixels().green(1) > 500
