"""The page in a real browser: what a person sees and what a click does."""

import numpy as np
import pytest
from playwright.sync_api import expect

from components.charts import visible_tokens
from components.demo.presets import PRESETS
from components.models import load_bridge
from components.ssd import content, decay, effective_attention
from tests.browser.conftest import Explorer

pytestmark = pytest.mark.browser


def test_first_sight_shows_the_drawn_charts(sight: Explorer) -> None:
    for scheme in ("dark", "light"):
        sight.page.emulate_media(color_scheme=scheme)
        sight.settle()
        panels = sight.pixels()
        assert (max(panels.background()) < 60) == (scheme == "dark")
        assert panels.coloured(0) > 500
        assert panels.green(1) > 500
        assert panels.coloured(2) > 200
        assert panels.pointed_rows(0)
        assert sight.chart("head_map").locator("g.mark-rect.role-mark path").count() > 4
        for chart in ("panels", "decay_curves"):
            canvas = np.asarray(sight.picture(chart), dtype=np.int16)
            assert (np.abs(canvas - canvas[2, -2]).sum(axis=-1) > 100).sum() > 500


LENGTH = PRESETS[0].query + 1
"""Tokens of the text at first sight: as many rows and columns has its picture."""


def test_pointing_marks_the_same_cell_in_all_panels(sight: Explorer) -> None:
    heights = []
    for panel, down in ((0, 0.5), (2, 0.8)):
        sight.point(panel, 0.3, down)
        rows = [sight.pixels().pointed_rows(each) for each in range(3)]
        assert all(rows)
        # An edge that mixes with the colours behind it may not be amber: one frame is no taller than a row.
        assert max(map(max, rows)) - min(map(min, rows)) <= sight.pixels().place(0)[2] / LENGTH + 2
        heights.append(min(rows[0]))
    assert heights[1] > heights[0]
    expect(sight.page.locator("#vg-tooltip-element")).to_contain_text("dt of key")


def test_the_tooltip_is_that_of_the_pointed_cell(sight: Explorer) -> None:
    bridge = load_bridge("demo", device="cpu")
    tokens = visible_tokens(bridge.to_str_tokens(PRESETS[0].prompt))
    terms = bridge.run_with_cache(PRESETS[0].prompt)[1].ssd_terms(PRESETS[0].layer)
    at, drawn = {"heads": [PRESETS[0].head]}, sight.pixels()
    for panel in range(3):
        for i, j in ((25, 3), (12, 12)):  # the second is the last cell of its row
            sight.point_at(drawn, panel, i, j, LENGTH)
            told = sight.tooltip()
            assert (told["query i"], told["key j"]) == (str(i), str(j))
            assert (told["query token"], told["key token"]) == (tokens[i], tokens[j])
            for name, engine in (("content", content), ("decay", decay), ("attention", effective_attention)):
                value = float(engine(terms, **at)[0, 0, i, j])
                assert float(told[name].replace("−", "-")) == pytest.approx(value, rel=0.006)


def test_above_the_diagonal_nothing_is_told(sight: Explorer) -> None:
    drawn = sight.pixels()
    for panel in range(3):
        for i, j in ((12, 13), (5, 25)):
            sight.point_at(drawn, panel, i, j, LENGTH)
            assert sight.tooltip() == {}


def test_a_click_opens_a_head_and_a_brush_just_the_cells_that_it_touches(explorer: Explorer) -> None:
    down, up, across = ((14, 4), (21, 9)), ((25, 12), (17, 3)), ((20, 2), (22, 18))
    for panel, (one, other) in enumerate((down, up, across)):
        places = [((j + 0.5) / LENGTH, (i + 0.5) / LENGTH) for i, j in (one, other)]
        explorer.brush(panel, places[0], places[1])
        (first, last), (first_key, last_key) = map(sorted, zip(one, other, strict=True))
        assert explorer.windows() == [[first, last, first_key, last_key]]
        explorer.back_to(0)
    a_click_on_a_head_changes_the_panels_and_one_beside_nothing(explorer)
    a_pointer_dragged_above_the_diagonal_points_at_no_cell(explorer)
    explorer.page.mouse.up()
    explorer.settle()
    every_prompt_is_drawn_or_says_what_to_do(explorer)


def a_pointer_dragged_above_the_diagonal_points_at_no_cell(explorer: Explorer) -> None:
    """There no row feels the pointer, but a brush feels it everywhere."""
    drawn = explorer.pixels()

    def marked_at(i: int, j: int) -> list[list[int]]:
        """The rows marked in the panels in which nothing is brushed."""
        explorer.point_at(drawn, 0, i, j, LENGTH)
        return [explorer.pixels().pointed_rows(panel) for panel in (1, 2)]

    explorer.point_at(drawn, 0, 25, 3, LENGTH)
    explorer.page.mouse.down()
    explorer.settle()
    below = [marked_at(i, j) for i, j in ((20, 20), (12, 5), (3, 2))]
    assert all(below[0])
    assert below[0] != below[1] != below[2] != below[0]
    # Wherever it is, the row stays marked that was picked before.
    above = [marked_at(i, j) for i, j in ((12, 13), (20, 21), (12, 20), (3, 28))]
    assert all(above[0])
    assert above == above[:1] * 4
    assert above[0] not in below


def a_click_on_a_head_changes_the_panels_and_one_beside_nothing(explorer: Explorer) -> None:
    before = explorer.pixels().image
    explorer.click_head(0, 1)
    assert explorer.picked() == "Layer 0, head 1"
    picture = explorer.pixels().image
    assert before.shape != picture.shape or (before != picture).mean() > 0.001
    box = explorer.chart("head_map").bounding_box()
    assert box is not None
    explorer.page.mouse.click(box["x"] + box["width"] - 20, box["y"] + 20)  # beside the heads
    explorer.settle()
    assert explorer.picked() == "Layer 0, head 1"


def every_prompt_is_drawn_or_says_what_to_do(explorer: Explorer) -> None:
    page = explorer.page
    assert "preset" in explorer.parameters()
    explorer.type_prompt("the")  # one token is one cell
    assert explorer.pixels().green(1) > 100
    # A preset fills in its prompt and says what to look for.
    page.get_by_test_id("stButtonGroup").first.get_by_role("radio").nth(1).click()
    explorer.settle()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(PRESETS[1].prompt)
    page.get_by_text(PRESETS[1].look_for).wait_for()
    explorer.type_prompt("")
    page.get_by_text("The prompt is empty").wait_for()
    page.get_by_text("There is nothing to draw yet.").wait_for()
    assert "prompt=&" in page.url
    assert "preset" not in explorer.parameters()
    assert page.get_by_test_id("stException").count() == 0
