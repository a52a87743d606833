"""The lessons on three screens, by mouse and by keyboard alone, in the light and in the dark."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page

from explorer.lessons import LESSONS, Lesson
from explorer.lessons.checks import question
from tests.browser.conftest import HELD, Explorer
from tests.browser.test_accessible import nothing_fades, violations

SCREENS = {
    "a phone, by keyboard": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
    "a laptop, by mouse": {"viewport": {"width": 1280, "height": 720}, "color_scheme": "light"},
    "a projector, by keyboard": {"viewport": {"width": 1920, "height": 1080}, "color_scheme": "light"},
}
HEADINGS = "[...document.querySelectorAll('h1, h2, h3, h4')].map((each) => Number(each.tagName[1]))"
FITS = """() => {
    const main = document.querySelector("[data-testid=stMain]");
    return [main.scrollHeight - main.clientHeight, main.scrollWidth - main.clientWidth];
}"""


def by_keyboard(page: Page, wanted: Locator, key: str) -> None:
    """Reach what is wanted with Tab, and press a key there."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted.evaluate("each => each === document.activeElement"):
            page.keyboard.press(key)
            return
    raise AssertionError(f"Tab never reaches {wanted}.")


def charts_say(tab: Explorer) -> list[str]:
    charts = tab.page.locator("[role=graphics-document]")
    charts.first.wait_for()
    return [str(chart.get_attribute("aria-label")) for chart in charts.all()]


def done_with(tab: Explorer, lesson: Lesson, keyboard: bool) -> None:
    """Move the control until the task is done: to its ends, then from the first on."""
    page, slider = tab.page, tab.page.get_by_role("slider")
    for key in ("End", "Home", *["ArrowRight"] * len(lesson.control.options)):
        if page.get_by_text("Done:").count():
            return
        if keyboard and slider.evaluate("each => each !== document.activeElement"):
            by_keyboard(page, slider, key)
        else:
            slider.press(key)
        tab.settle()
    page.get_by_text("Done:").wait_for()


@pytest.mark.parametrize("tab", SCREENS.values(), ids=list(SCREENS), indirect=True)
def test_every_lesson_fits_and_can_be_done(tab: Explorer, request: pytest.FixtureRequest) -> None:
    """In each theme once through axe-core, too."""
    screen = request.node.callspec.id
    page, keyboard, looked = tab.page, "keyboard" in screen, "projector" not in screen
    page.goto(f"{tab.address}/lessons")
    for lesson in LESSONS:
        page.get_by_role("heading", name=lesson.words.title).wait_for(timeout=60_000)
        tab.settle()
        before = charts_say(tab)
        assert page.evaluate(FITS) == [0, 0], lesson.name
        assert page.evaluate(HEADINGS) == [1]
        assert not looked or violations(page) == []
        assert not page.get_by_role("slider").count()
        assert not page.locator(".st-key-step_next").count()
        choice = page.locator(f".st-key-choice_{lesson.right()} button")
        if keyboard:
            by_keyboard(page, choice, "Enter")
        else:
            choice.click(delay=HELD)
        page.get_by_text("Right.", exact=True).wait_for()
        tab.settle()
        nothing_fades(page)
        told = charts_say(tab)
        assert page.evaluate(FITS) == [0, 0], lesson.name
        assert not looked or violations(page) == []
        assert not page.locator(".st-key-step_next").count()
        done_with(tab, lesson, keyboard)
        assert charts_say(tab) != told, lesson.name
        assert all(before)
        if lesson is not LESSONS[-1]:
            button = page.locator(".st-key-step_next button")
            if keyboard:
                by_keyboard(page, button, "Enter")
            else:
                button.click(delay=HELD)
    page.reload()  # who comes back goes on
    page.get_by_role("heading", name=LESSONS[-1].words.title).wait_for(timeout=60_000)
    page.get_by_text("Done:").wait_for()
    page.go_back()
    page.get_by_role("heading", name=LESSONS[-2].words.title).wait_for()
    page.locator(".st-key-lesson_in_explore button").click()
    tab.chart("decay_curves").wait_for(timeout=60_000)
    tab.settle()
    assert tab.parameters()["layer"] == "2"


@pytest.mark.parametrize("tab", list(SCREENS.values())[:2], ids=list(SCREENS)[:2], indirect=True)
def test_check_yourself_fits_and_the_browser_keeps_the_score(
    tab: Explorer, request: pytest.FixtureRequest
) -> None:
    page, keyboard, seed = tab.page, "keyboard" in request.node.callspec.id, 12
    page.goto(f"{tab.address}/check_yourself?questions={seed}")
    for number, lesson in enumerate(LESSONS, 1):
        page.get_by_text(f"Question {number} of {len(LESSONS)}").wait_for(timeout=60_000)
        choice = page.locator(f".st-key-choice_{question(lesson, seed).right} button")
        for wanted in (choice, page.locator(".st-key-check_next button")):
            wanted.wait_for()
            tab.settle()
            nothing_fades(page)
            assert page.evaluate(FITS) == [0, 0], lesson.name
            assert page.evaluate(HEADINGS) == [1]
            assert number > 1 or violations(page) == []
            if keyboard:
                by_keyboard(page, wanted, "Enter")
            else:
                wanted.click(delay=HELD)
    page.get_by_role("heading", name="8 of 8").wait_for()
    tab.settle()
    nothing_fades(page)
    assert page.evaluate(FITS) == [0, 0]
    assert page.evaluate(HEADINGS) == [1, 2]
    assert violations(page) == []
    page.reload()
    page.get_by_text("Your best so far: 8 of 8.").wait_for(timeout=60_000)
    assert tab.parameters()["questions"] == str(seed)
