"""The hand on the charts, in a real browser: drags that end anywhere, a pointer at rest, fingers, keys."""

import re

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.browser.conftest import Explorer, Panels, comes_true

pytestmark = pytest.mark.browser

TOUCH = pytest.mark.parametrize(
    "tab", [{"viewport": {"width": 800, "height": 1000}, "has_touch": True}], indirect=True
)


def canvas_box(explorer: Explorer) -> dict[str, float]:
    canvas = explorer.chart("panels").locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    return dict(box)


def corner(explorer: Explorer, panel: int) -> tuple[float, float, float]:
    """Left and upper edge of a panel on the page, and its side."""
    box = canvas_box(explorer)
    left, top, side = explorer.pixels().place(panel)
    return box["x"] + left, box["y"] + top, side


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(start[0] - 2, start[1])
    page.mouse.move(*start)
    page.wait_for_timeout(100)
    page.mouse.down()
    for step in (0.2, 0.4, 0.6, 0.8, 1.0):
        page.mouse.move(*(one + (other - one) * step for one, other in zip(start, end, strict=True)))
        page.wait_for_timeout(30)
    page.mouse.up()


# Drags


def test_a_drag_that_ends_outside_the_chart_reaches_up_to_the_edge(tab: Explorer) -> None:
    """And keys move what the hand has picked."""
    tab.open("?new_tokens=4")
    drags_that_end_outside_the_chart_reach_up_to_the_edge(tab)
    a_drag_from_beside_the_panels_is_nothing(tab)
    arrow_keys_move_the_head_in_the_head_map_and_the_query_in_the_panels(tab)
    arrow_keys_and_escape_move_through_the_time_of_a_generation(tab)


def drags_that_end_outside_the_chart_reach_up_to_the_edge(explorer: Explorer) -> None:
    length = 30
    query = explorer.parameters().get("query")
    at = (0.3, 0.7)
    ends = {
        "above the chart": (0, (at[0] - 0.1, -2), "queries from 0"),
        "right of the window": (2, (50, at[1] + 0.1), "keys to the last"),
        "on the labels": (0, (-0.04, at[1] + 0.1), "keys from 0"),
        "below the window": (0, (at[0] + 0.2, 20), "queries to the last"),
    }
    for name, (panel, (across, down), expected) in ends.items():
        x, y, side = corner(explorer, panel)
        drag(explorer.page, (x + at[0] * side, y + at[1] * side), (x + across * side, y + down * side))
        explorer.settle()
        assert explorer.page.get_by_test_id("stException").count() == 0, name
        (window,) = explorer.windows()
        edge = {
            "keys from 0": window[2] == 0,
            "queries from 0": window[0] <= 1,  # up to the diagonal
            "keys to the last": window[3] >= window[1] - 1,
            "queries to the last": window[1] == length - 1,
        }
        assert edge[expected], (name, window)
        if "window" in name:  # out there it points at nothing, however long it rests
            explorer.page.wait_for_timeout(600)
            assert explorer.tooltip() == {}
        explorer.back_to(0)
    assert explorer.parameters().get("query") == query


def a_drag_from_beside_the_panels_is_nothing(explorer: Explorer) -> None:
    before = explorer.parameters()
    x, y, side = corner(explorer, 0)
    drag(explorer.page, (x + 1.07 * side, y + 0.8 * side), (x + 0.2 * side, y + 0.6 * side))
    explorer.settle()
    drag(explorer.page, (x + 1.07 * side, y + 0.8 * side), (x - 200, y + 0.6 * side))
    explorer.settle()
    assert explorer.parameters() == before
    explorer.click_cell(0.1, 0.5)  # and the next press is heard
    assert explorer.parameters() != before
    x, y, side = corner(explorer, 0)
    row = y + side + 135  # of the text
    drag(explorer.page, (x + 60, row), (x - 200, row))
    explorer.settle()
    assert explorer.parameters()["span"].startswith("0-")
    explorer.page.get_by_role("button", name="Back to one row").click()
    explorer.settle()
    assert "span" not in explorer.parameters()


# A pointer that rests, or is left behind


def pointing(explorer: Explorer) -> bool:
    """Whether the panels say that they are pointed at: their picture is another than that of the kept row."""
    return bool((explorer.pixels().image != KEPT[0].image).any())


KEPT: list[Panels] = []


def test_the_tooltip_comes_to_a_pointer_that_rests(sight: Explorer) -> None:
    x, y, side = corner(sight, 0)
    sight.page.mouse.move(x + 0.21 * side, y + 0.61 * side)
    told = sight.page.locator("#vg-tooltip-element.visible")
    expect(told).to_contain_text("query i")


def test_a_pointer_left_behind_by_scrolling_lets_go(sight: Explorer) -> None:
    sight.page.set_viewport_size({"width": 1280, "height": 500})
    sight.settle()
    KEPT[:] = [sight.pixels()]
    x, y, side = corner(sight, 0)
    for part in (0.2, 0.21):
        sight.page.mouse.move(x + part * side, y + 0.6 * side)
    sight.still(5)
    assert pointing(sight)
    # By a key or a script, as a reader of the page may: no move of the mouse comes with it.
    sight.page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")
    assert comes_true(sight.page, lambda: not pointing(sight))


# Fingers


@pytest.fixture
def finger(explorer: Explorer) -> "Finger":
    return Finger(explorer.page, explorer.page.context.new_cdp_session(explorer.page))


class Finger:
    """One finger on the glass."""

    def __init__(self, page: Page, session: CDPSession) -> None:
        self.page, self.session = page, session

    def _send(self, kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y} for x, y in places]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def tap(self, x: float, y: float) -> None:
        self._send("touchStart", (x, y))
        self.page.wait_for_timeout(60)
        self._send("touchEnd")

    def drag(self, start: tuple[float, float], end: tuple[float, float], hold: int = 0) -> None:
        self._send("touchStart", start)
        self.page.wait_for_timeout(hold)
        for step in range(1, 11):
            self._send(
                "touchMove",
                (start[0] + (end[0] - start[0]) * step / 10, start[1] + (end[1] - start[1]) * step / 10),
            )
            self.page.wait_for_timeout(20)
        self._send("touchEnd")


def scrolled(explorer: Explorer) -> float:
    return float(explorer.page.get_by_test_id("stMain").evaluate("element => element.scrollTop"))


def first_panel(explorer: Explorer) -> tuple[float, float, float]:
    """Left and upper edge of the first of panels that stand one below the other, and its side."""
    canvas = explorer.chart("panels").locator("canvas")
    canvas.evaluate("canvas => canvas.scrollIntoView({block: 'start'})")  # it is higher than the screen
    explorer.settle()
    box = canvas.bounding_box()
    assert box is not None
    image = explorer.pixels().image
    height, width = image.shape[:2]
    assert height > 1.5 * width  # one below the other
    grey = (abs(image - image[2, -2]).sum(axis=-1) > 60)[:600]
    left = int(grey.sum(axis=0).argmax())
    return box["x"] + left, box["y"] + 5, 560


@TOUCH
def test_a_tap_a_drag_and_a_long_press_of_one_finger(explorer: Explorer, finger: Finger) -> None:
    """A tap keeps a row, and elsewhere lets it go; a drag scrolls; after a long press it brushes."""
    x, y, side = first_panel(explorer)
    ring = explorer.page.locator(".hand-holds")
    finger._send("touchStart", (x + 0.1 * side, y + 0.5 * side))
    ring.wait_for()
    finger._send("touchEnd")
    expect(ring).to_have_count(0)
    explorer.settle()
    assert explorer.windows() == []

    x, y, side = first_panel(explorer)
    finger.tap(x + 0.1 * side, y + 0.5 * side)
    explorer.settle()
    query = int(explorer.parameters()["query"])
    assert 12 <= query <= 18
    assert explorer.windows() == []
    # A switch is no way to let go.
    explorer.page.get_by_text("Row as a table").tap()
    explorer.settle()
    assert explorer.parameters()["query"] == str(query)
    x, y, side = first_panel(explorer)
    finger.tap(x + 0.95 * side, y + 0.4 * side)  # the blank triangle
    explorer.settle()
    assert "query" not in explorer.parameters()

    x, y, side = first_panel(explorer)
    before, at = explorer.parameters(), scrolled(explorer)
    finger.drag((x + 0.3 * side, y + 0.8 * side), (x + 0.3 * side, y + 0.3 * side))
    explorer.settle()
    assert scrolled(explorer) > at + 100
    assert explorer.parameters() == before
    x, y, side = first_panel(explorer)
    at = scrolled(explorer)
    finger.drag((x + 0.1 * side, y + 0.5 * side), (x + 0.4 * side, y + 0.8 * side), hold=600)
    assert scrolled(explorer) == at
    explorer.settle()
    (window,) = explorer.windows()
    assert 12 <= window[0] <= 17
    assert 21 <= window[1] <= 26


# Keys


def graphic(explorer: Explorer, chart: str) -> object:
    return explorer.page.locator(f".st-key-{chart} [role=graphics-document]")


def focused(explorer: Explorer, chart: str) -> bool:
    return bool(
        explorer.page.evaluate(
            "chart => document.activeElement.matches(`.st-key-${chart} [role=graphics-document]`)", chart
        )
    )


def tab_to(explorer: Explorer, chart: str) -> None:
    """Press Tab until the chart has the focus."""
    for _ in range(60):
        explorer.page.keyboard.press("Tab")
        if focused(explorer, chart):
            return
    raise AssertionError(f"Tab does not reach {chart}.")


def arrow_keys_move_the_head_in_the_head_map_and_the_query_in_the_panels(explorer: Explorer) -> None:
    layer, head = (int(explorer.parameters()[name]) for name in ("layer", "head"))
    tab_to(explorer, "head_map")
    outline = explorer.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    for key, (layers, heads) in {
        "ArrowRight": (0, 1),
        "ArrowUp": (-1, 0),
        "ArrowLeft": (0, -1),
        "ArrowDown": (1, 0),
    }.items():
        layer, head = layer + layers, head + heads
        explorer.page.keyboard.press(key)
        explorer.page.get_by_role("heading", name=f"Layer {layer}, head {head}").wait_for()
        assert focused(explorer, "head_map")
    explorer.settle()
    for _ in range(6):  # faster than the page draws
        explorer.page.keyboard.press("ArrowRight")
    explorer.page.get_by_role("heading", name=f"Layer {layer}, head {min(head + 6, 7)}").wait_for()
    explorer.settle()
    explorer.click_cell(0.1, 0.5)
    query = int(explorer.parameters()["query"])
    tab_to(explorer, "panels")
    for key, by in {"ArrowDown": 1, "ArrowUp": -1}.items():
        for _ in range(3):
            explorer.page.keyboard.press(key)
        query += 3 * by
        explorer.page.get_by_text(f"Row {query}, kept.").wait_for()
        explorer.settle()
        assert explorer.parameters()["query"] == str(query)
        assert focused(explorer, "panels")
    explorer.page.keyboard.press("Escape")
    explorer.page.get_by_text("The last row.").wait_for()
    explorer.settle()
    assert "query" not in explorer.parameters()
    assert focused(explorer, "panels")


def arrow_keys_and_escape_move_through_the_time_of_a_generation(explorer: Explorer) -> None:
    page = explorer.page
    page.get_by_role("link", name="Generate").click()
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("4 of 4 new tokens").wait_for(timeout=60_000)
    heading = page.get_by_role("heading", name=re.compile("Next token after position"))
    page.locator(".st-key-motion-panels [role=graphics-document][tabindex='0']").wait_for()
    last = int(heading.inner_text().split()[-1])
    tab_to(explorer, "motion-panels")
    for _ in range(2):
        page.keyboard.press("ArrowUp")
    expect(heading).to_have_text(f"Next token after position {last - 2}")
    page.keyboard.press("ArrowDown")
    expect(heading).to_have_text(f"Next token after position {last - 1}")
    page.keyboard.press("Escape")
    expect(heading).to_have_text(f"Next token after position {last}")
    assert focused(explorer, "motion-panels")
