"""Two views on one page, in a real browser: each is picked, brushed and hovered on its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Explorer, new_tab, served, without_errors

pytestmark = pytest.mark.browser

APP = Path(__file__).parents[1] / "two_views" / "app.py"
ENVIRONMENT = {"PYTHONPATH": str(APP.parents[2]), "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false"}


class View(Explorer):
    """One of the views."""

    name = ""

    def chart(self, key: str) -> Any:
        return self.page.locator(f".st-key-{self.name}-{key}").get_by_test_id("stVegaLiteChart")

    def says(self, words: str) -> None:
        """Wait until a sentence stands in this view."""
        column = self.page.get_by_test_id("stColumn").filter(
            has=self.page.locator(f".st-key-{self.name}-panels")
        )
        column.first.get_by_text(words).first.wait_for()

    def seen(self) -> np.ndarray:
        return np.asarray(self.picture("panels"), dtype=np.int16)


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures differ by more than a view that was drawn anew differs from itself."""
    return one.shape != other.shape or bool((np.abs(one - other) > 40).any())


@pytest.fixture(scope="module")
def two_views(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page with two views."""
    with served(APP, tmp_path_factory.mktemp("two_views"), **ENVIRONMENT) as address:
        yield address


@pytest.fixture(scope="module")
def views(browser: Browser, two_views: str) -> Iterator[tuple[View, View]]:
    page = new_tab(browser, viewport={"width": 1920, "height": 1000})
    with without_errors(page):
        page.goto(two_views)
        both = View(page, two_views), View(page, two_views)
        for view, name in zip(both, ("left", "right"), strict=True):
            view.name = name
            view.chart("decay_curves").wait_for(timeout=60_000)
            view.settle()
        yield both
    page.close()


def test_each_view_is_under_the_hand_for_itself(views: tuple[View, View]) -> None:
    for view, other in (views, views[::-1]):
        page = view.page
        before, beside = view.seen(), other.seen()
        view.point(2, 0.3, 0.6)  # hovered
        assert differ(view.seen(), before)
        assert not differ(other.seen(), beside)
        page.mouse.down()  # picked
        page.mouse.up()
        page.mouse.move(5, 5)
        view.settle()
        view.says("kept.")
        assert "kept." in view.described("panels")
        assert "kept." not in other.described("panels")
        assert not differ(other.seen(), beside)
        view.chart("head_map").focus()  # by keys
        page.keyboard.press("ArrowRight")
        view.says("Layer 1, head 1")
        view.settle()
        assert "head 1." in view.described("head_map")
        assert "head 0." in other.described("head_map")
        view.brush(0, (0.2, 0.6), (0.5, 0.9))  # brushed
        view.says("Whole text")
        assert "Queries" in view.described("panels")
        assert "Queries" not in other.described("panels")
        assert not differ(other.seen(), beside)
        page.locator(f".st-key-{view.name}-back_to_0 button").click()
        view.settle()
        view.point(1, 0.3, 0.6)
        page.keyboard.press("Escape")  # of the view that the hand is on
        view.says("The last row.")
        page.mouse.move(5, 5)
        view.settle()
        # As the other one has to find it: its picks are behind it.
        view.chart("head_map").focus()
        page.keyboard.press("ArrowLeft")
        view.says("Layer 1, head 0")
        view.settle()


def test_escape_lets_go_of_the_row_under_the_hand_alone(views: tuple[View, View]) -> None:
    left, right = views
    for view in views:
        view.click_cell(0.3, 0.6)
        view.says("kept.")
    left.point(2, 0.5, 0.8)
    left.page.keyboard.press("Escape")
    left.says("The last row.")
    left.settle()
    assert "kept." in right.described("panels")
