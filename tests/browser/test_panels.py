"""The panels under the pointer and at every width, in a real browser."""

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import vl_convert
from playwright.sync_api import Browser, Page, expect

from components.charts import Window, head_cells, panels_chart, span_sums, visible_tokens
from components.demo.presets import PRESETS
from components.models import load_bridge
from components.ssd import SSDTerms
from explorer import exports
from tests.browser.conftest import Explorer, comes_true

pytestmark = pytest.mark.browser

WIDTHS = [360, 390, 560, 640, 700, 768, 800, 940, 1024, 1280, 1920, 2560]
ABREAST = 300
"""Pixels from the top of the canvas in which only the panels stand, at 1,280 px."""


def becomes(explorer: Explorer, picture: np.ndarray) -> bool:
    """Whether the panels come to look like this."""
    return comes_true(explorer.page, lambda: bool((explorer.pixels().image == picture).all()))


def test_what_is_pointed_at_goes_with_the_pointer(sight: Explorer) -> None:
    kept, drawn = sight.pixels().image, sight.pixels()
    left, top, side = drawn.place(0)
    canvas = sight.chart("panels").locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    away = {
        "up": (left + side * 0.3, -30),
        "left": (-30, top + side * 0.6),
        "the blank triangle": (left + side * 0.95, top + side * 0.3),
        "between the panels": (left + side * 1.07, top + side * 0.6),
        "below the cells": (left + side * 0.3, top + side + 30),
        "the text": (left + 2, top + side + 110),
    }
    for direction, (x, y) in away.items():
        sight.point(0, 0.2, 0.6, drawn)
        assert (sight.pixels().image != kept).any(), direction
        sight.page.mouse.move(box["x"] + x, box["y"] + y)
        assert becomes(sight, kept), direction


def test_a_bar_and_its_cell_point_at_each_other(sight: Explorer) -> None:
    before = sight.pixels()
    left, _, _ = before.place(0)
    canvas = sight.chart("panels").locator("canvas")
    box = canvas.bounding_box()
    assert box is not None
    height = before.image.shape[0]
    sight.point(0, 0.2, 0.6)
    pointed = sight.pixels().image
    below = slice(height - 200, height - 90)
    assert (pointed[below] != before.image[below]).any()  # the bars are those of the pointed row
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    # Over the first bar's place: its key is marked in the panels.
    bars_width = box["width"] - left - 12
    for step in (0, 1):
        sight.page.mouse.move(box["x"] + left + bars_width / 60 + step, box["y"] + height - 130)
    sight.still(5)
    marked = sight.pixels().image[:ABREAST]
    assert (marked != before.image[:ABREAST]).any()
    assert sight.pixels().pointed_rows(0) == before.pointed_rows(0)


def drag_over_the_text(explorer: Explorer, start: int, end: int) -> None:
    """Drag over the text from one letter to another, counted from its beginning."""
    canvas = explorer.chart("panels").locator("canvas")
    canvas.scroll_into_view_if_needed()
    box, drawn = canvas.bounding_box(), explorer.pixels()
    assert box is not None
    left, _, side = drawn.place(0)
    width = box["width"] - left - 12
    letter = width / next(across for across in (150, 116, 90) if width >= across * 0.61 * 12)
    # Dark pixels below the labels of the panels: the title of the text, and then the text.
    image = drawn.image
    lines = np.flatnonzero((image[:, int(left) : int(left) + 400] < 120).all(axis=-1).any(axis=1))
    panels_end = drawn.place(0)[1] + side
    below = lines[lines > panels_end + 95]
    y = int(below[np.flatnonzero(np.diff(below) > 4)[0] + 1])
    places = [box["x"] + left + letter * (each + 0.5) for each in (start, (start + end) / 2, end)]
    explorer.page.mouse.move(places[0], box["y"] + y + 4)
    explorer.page.mouse.down()
    for x in places[1:]:
        explorer.page.mouse.move(x, box["y"] + y + 4)
        explorer.still(3)
    explorer.page.mouse.up()
    explorer.settle()


def test_a_span_of_the_text_is_read_as_one_row(explorer: Explorer) -> None:
    drag_over_the_text(explorer, 5, 10)
    first, last = map(int, explorer.parameters()["span"].split("-"))
    assert first < last < 8
    preset = PRESETS[0]
    bridge = load_bridge("demo")
    _, cache = bridge.run_with_cache(preset.prompt)
    tokens = visible_tokens(bridge.to_str_tokens(preset.prompt))
    terms = cache.ssd_terms(preset.layer)
    whole, span = Window.whole(len(tokens)), range(first, last + 1)
    read = span_sums(terms, preset.head, tokens, span, whole)
    words = explorer.described("panels")
    assert f"Together they read '{tokens[read.strongest]}' at {read.strongest} most" in words
    explorer.switch("What reads it")
    assert explorer.parameters()["view"] == "read_by"
    reader = span_sums(terms, preset.head, tokens, span, whole, read_by=True)
    words = explorer.described("panels")
    assert f"They are read most by '{tokens[reader.strongest]}' at {reader.strongest}" in words
    another_span_is_taken_from_the_lists_and_let_go(explorer, last)
    a_drag_keeps_the_kept_row_and_a_second_press_lets_it_go(explorer)
    a_pointer_that_leaves_leaves_no_mark_on_another_head(explorer)


def a_drag_keeps_the_kept_row_and_a_second_press_lets_it_go(explorer: Explorer) -> None:
    explorer.click_cell(0.1, 0.5)
    query = explorer.parameters()["query"]
    explorer.brush(2, (0.02, 0.4), (0.3, 0.7))
    assert explorer.parameters()["query"] == query
    explorer.back_to(0)
    explorer.click_cell(0.1, 0.5)
    assert "query" not in explorer.parameters()
    explorer.click_cell(0.1, 0.8)
    # What is kept stays visible beside what is pointed at.
    explorer.click_cell(0.1, 0.9)
    drawn = explorer.pixels()
    (top, bottom) = drawn.pointed_rows(0)[0], drawn.pointed_rows(0)[-1]
    explorer.point(0, 0.1, 0.4, drawn)
    now = explorer.pixels()
    assert not set(now.pointed_rows(0)) & {top, bottom}  # another row has the frame
    left, _, side = drawn.place(0)
    band = now.image[top - 1 : top + 2, int(left) + 5 : int(left + side / 2)]
    amber = (band[..., 0] > band[..., 2] + 60).any(axis=0)
    assert 0.3 < amber.mean() < 0.9  # dashed


def another_span_is_taken_from_the_lists_and_let_go(explorer: Explorer, last: int) -> None:
    page, menu = explorer.page, explorer.page.get_by_test_id("stPopoverBody")
    page.get_by_role("button", name="Pick from lists").click()
    box = page.get_by_label("First", exact=True)
    box.fill("0")
    box.press("Enter")
    explorer.settle()
    assert explorer.parameters()["span"] == f"0-{last}"
    assert f"Positions 0–{last}, kept. They are read most by" in explorer.described("panels")
    page.keyboard.press("Escape")  # closes the menu
    expect(menu).to_have_count(0)
    page.keyboard.press("Escape")
    page.get_by_text("The last row.").wait_for()
    explorer.settle()
    assert "span" not in explorer.parameters()


def a_pointer_that_leaves_leaves_no_mark_on_another_head(explorer: Explorer) -> None:
    explorer.point(2, 0.2, 0.6)
    explorer.click_head(1, 3)
    found = explorer.pixels().image
    explorer.page.reload()
    explorer.chart("decay_curves").wait_for(timeout=60_000)
    explorer.settle()
    again = explorer.pixels().image
    high = min(len(again), len(found))  # a canvas that has been resized may be a pixel higher
    assert (again[:high] == found[:high]).mean() > 0.999
    a_chart_that_moves_away_from_a_resting_pointer_leaves_nothing_pointed_at(explorer)


def a_chart_that_moves_away_from_a_resting_pointer_leaves_nothing_pointed_at(explorer: Explorer) -> None:
    explorer.page.add_style_tag(content="* { overflow-anchor: none; }")  # else the browser may scroll along
    kept, drawn = explorer.pixels().image, explorer.pixels()
    explorer.point(0, 0.2, 0.6, drawn)
    assert (explorer.pixels().image != kept).any()
    explorer.page.get_by_label(re.compile("^Gallery")).press("Space")  # it comes above the panels
    expect(explorer.page).to_have_url(re.compile("gallery"))
    explorer.settle()
    assert becomes(explorer, kept)


def test_nothing_is_cut_at_any_width(tab: Explorer) -> None:
    """Loaded at the first width, also of a beamer's, and resized to the others."""
    for query, widths in (("", [360, 640, 1280, 1920, 2560]), ("?view=large", [640, 1280])):
        tab.page.set_viewport_size({"width": widths[0], "height": 900})
        tab.open(query)
        for width in widths:
            tab.page.set_viewport_size({"width": width, "height": 900})
            tab.settle()
            inside(tab, width)


def inside(explorer: Explorer, width: int) -> None:
    assert explorer.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
    main = explorer.page.get_by_test_id("stMain")
    assert main.evaluate("element => element.scrollWidth <= element.clientWidth"), width
    for chart in explorer.page.get_by_test_id("stVegaLiteChart").all():
        box = chart.locator("canvas, svg").first.bounding_box()
        assert box is not None
        assert box["x"] >= 0, width
        assert box["x"] + box["width"] <= width + 1, width


# The view by itself: where things stand, read from Vega


@pytest.fixture(scope="module")
def terms() -> SSDTerms:
    _, cache = load_bridge("demo").run_with_cache(PRESETS[0].prompt)
    return cache.ssd_terms(PRESETS[0].layer)


@pytest.fixture(scope="module")
def sheet(browser: Browser) -> Iterator[Page]:
    """An empty page that can draw."""
    page = browser.new_page(viewport={"width": max(WIDTHS), "height": 900})
    page.set_content("<body style='margin:0'><div id='chart' style='display:block'></div></body>")
    page.add_script_tag(content=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    yield page
    page.close()


SIGNALS = ["side", "lefts", "tops", "stacked", "strip_top", "strip_bottom", "row_top", "row_bottom", "letter"]
SIGNALS += ["across", "width", "head_room"]
DRAW = "spec => vegaEmbed('#chart', spec, {actions: false}).then(({view}) => { window.view = view; })"
AT_WIDTH = """async ([width, signals]) => {
    document.querySelector('#chart').style.width = `${width}px`;
    dispatchEvent(new Event('resize'));
    await view.runAsync();
    const legends = [];
    const look = item => {
        if (item.role === 'legend') for (const each of item.items) legends.push(each.bounds);
        for (const each of item.items || []) look(each);
    };
    look(view.scenegraph().root);
    return {...Object.fromEntries(signals.map(name => [name, view.signal(name)])), legends};
}"""


@pytest.mark.parametrize("larger", [False, True])
@pytest.mark.parametrize("window", [None, Window(range(20, 30), range(0, 12))], ids=["triangle", "filled"])
def test_panels_are_readable_and_nothing_lies_on_their_cells(
    sheet: Page, terms: SSDTerms, window: Window | None, larger: bool
) -> None:
    cells = head_cells(terms, 2, ["·token"] * terms.length, window, reading="attention_dt")
    figure = panels_chart(cells, pointed=(29, 3), with_bars=True, larger=larger)
    spec = exports.specification(figure, "container", False)
    sheet.evaluate(DRAW, spec)
    stacked = set()
    for width in (width - 80 for width in WIDTHS):
        at = sheet.evaluate(AT_WIDTH, [width, SIGNALS])
        assert at["width"] < width
        stacked.add(at["stacked"])
        assert at["side"] >= 170, width
        corners = list(zip(at["lefts"], at["tops"], strict=True))
        for (left, top), (next_left, next_top) in pairwise(corners):
            apart = next_top - top if at["stacked"] else next_left - left
            assert apart > at["side"], width
        for legend, (left, top) in zip(at["legends"], corners, strict=True):
            if window is None:  # cells reach from the left edge to the diagonal
                assert legend["x1"] - left > legend["y2"] - top, width
            else:
                assert legend["y2"] < top, width
            assert legend["x2"] <= at["width"] + 1, width
        assert max(at["tops"]) + at["side"] * (0.8 if window else 1) < at["strip_top"] < at["strip_bottom"]
        assert at["strip_bottom"] < at["row_top"] < at["row_bottom"]
        assert at["across"] * at["letter"] * 0.61 == pytest.approx(at["width"])
    assert stacked == {True, False}


def test_a_words_note_says_which_cell_is_shown(terms: SSDTerms) -> None:
    """Everything that tells of a cell in the view says whether it is pointed at or kept."""
    cells = head_cells(terms, 2, ["·token"] * terms.length)
    text = str(panels_chart(cells, with_bars=True).chart)
    assert len(re.findall(r"pointing \? '(?:, )?pointed at' : '(?:, )?kept'", text)) == 3
