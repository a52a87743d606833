"""Two views on one page, in a real browser: each is picked, brushed and hovered on its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.conftest import Explorer, served

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


def test_each_view_is_under_the_hand_for_itself(tab: Explorer, tmp_path: Path) -> None:
    page = tab.page
    page.set_viewport_size({"width": 1920, "height": 1000})
    with served(APP, tmp_path, **ENVIRONMENT) as address:
        page.goto(address)
        left, right = View(page, address), View(page, address)
        for view, name in ((left, "left"), (right, "right")):
            view.name = name
            view.chart("decay_curves").wait_for(timeout=60_000)
            view.settle()
        before, beside = left.seen(), right.seen()
        left.point(2, 0.3, 0.6)  # hovered
        assert differ(left.seen(), before)
        assert not differ(right.seen(), beside)
        page.mouse.down()  # picked
        page.mouse.up()
        page.mouse.move(5, 5)
        left.settle()
        left.says("kept.")
        assert "kept." in left.described("panels")
        assert "kept." not in right.described("panels")
        left.chart("head_map").focus()  # by keys
        page.keyboard.press("ArrowRight")
        left.says("Layer 1, head 1")
        left.settle()
        assert "head 1." in left.described("head_map")
        assert "head 0." in right.described("head_map")
        left.brush(0, (0.2, 0.6), (0.5, 0.9))  # brushed
        left.says("Whole text")
        assert "Queries" in left.described("panels")
        assert "Queries" not in right.described("panels")
        assert not differ(right.seen(), beside)

        words = left.described("panels")
        right.click_cell(0.3, 0.6)
        right.says("kept.")
        assert "kept." in right.described("panels")
        assert left.described("panels") == words
        left.point(2, 0.5, 0.8)
        page.keyboard.press("Escape")  # of the view that the hand is on
        left.says("The last row.")
        left.settle()
        assert "kept." in right.described("panels")
        page.goto("about:blank")  # before its server is gone, which the page would tell of
