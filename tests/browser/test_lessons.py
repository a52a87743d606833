"""The lessons on three screens, by mouse and by keyboard alone, in the light and in the dark."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

from explorer.lessons import LESSONS
from explorer.lessons.checks import question
from tests.browser.conftest import HELD, Explorer, comes_true
from tests.browser.test_accessible import nothing_fades, violations

SCREENS = (("a phone", 390, 844), ("a projector", 1920, 1080), ("a laptop", 1280, 720))
BACK = SCREENS[::-1]
HEADINGS = "[...document.querySelectorAll('h1, h2, h3, h4')].map((each) => Number(each.tagName[1]))"
FITS = """() => {
    const main = document.querySelector("[data-testid=stMain]");
    return [main.scrollHeight - main.clientHeight, main.scrollWidth - main.clientWidth];
}"""


def fits(
    tab: Explorer, wanted: Locator, screens: tuple[tuple[str, int, int], ...], looked: bool = True
) -> None:
    """On each screen nothing scrolls and a mouse can press what is wanted.

    If it is looked at, axe-core finds nothing on the last one.
    """
    for name, width, height in screens:
        tab.page.set_viewport_size({"width": width, "height": height})
        tab.settle()
        assert comes_true(tab.page, lambda: tab.page.evaluate(FITS) == [0, 0]), name  # charts come last
        wanted.click(trial=True)
    if looked:
        nothing_fades(tab.page)
        assert violations(tab.page) == [], name


def by_keyboard(page: Page, wanted: Locator) -> None:
    """Reach what is wanted with Tab."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted.evaluate("each => each === document.activeElement"):
            return
    raise AssertionError(f"Tab never reaches {wanted}.")


def press(page: Page, wanted: Locator, number: int) -> None:
    """In the first step by keyboard alone, and then with the mouse."""
    if number == 1:
        by_keyboard(page, wanted)
        page.keyboard.press("Enter")
    else:
        wanted.click(delay=HELD)


def charts_say(tab: Explorer) -> list[str]:
    charts = tab.page.locator("[role=graphics-document]")
    charts.first.wait_for()
    return [str(chart.get_attribute("aria-label")) for chart in charts.all()]


def done_with(tab: Explorer, number: int) -> None:
    """Move the control until the task is done: to its ends, and one step from the last."""
    page, slider = tab.page, tab.page.get_by_role("slider")
    if number == 1:
        by_keyboard(page, slider)
    for key in ("End", "ArrowLeft", "Home"):
        slider.press(key)
        tab.settle()
        if page.get_by_text("Done:").count():
            return
    raise AssertionError("The task cannot be done.")


def test_every_lesson_fits_and_can_be_done(tab: Explorer) -> None:
    """In one theme after the other."""
    page = tab.page
    page.goto(f"{tab.address}/lessons")
    for lesson in LESSONS:
        page.get_by_role("heading", name=lesson.words.title).wait_for(timeout=60_000)
        page.emulate_media(color_scheme="dark" if lesson.number % 2 else "light")
        choice = page.locator(f".st-key-choice_{lesson.right()} button")
        fits(tab, choice, SCREENS)
        assert all(charts_say(tab))
        assert page.evaluate(HEADINGS) == [1]
        assert not page.get_by_role("slider").count()
        assert not page.locator(".st-key-step_next").count()
        press(page, choice, lesson.number)
        page.get_by_text("Right.", exact=True).wait_for()
        fits(tab, page.locator(".st-key-lesson_control"), BACK)
        told = charts_say(tab)
        assert not page.locator(".st-key-step_next").count()
        done_with(tab, lesson.number)
        assert charts_say(tab) != told, lesson.name
        if lesson is not LESSONS[-1]:
            press(page, page.locator(".st-key-step_next button"), lesson.number)
    page.reload()  # who comes back goes on
    page.get_by_role("heading", name=LESSONS[-1].words.title).wait_for(timeout=60_000)
    page.get_by_text("Done:").wait_for()
    page.go_back()
    page.get_by_role("heading", name=LESSONS[-2].words.title).wait_for()
    page.locator(".st-key-lesson_in_explore button").click()
    tab.chart("decay_curves").wait_for(timeout=60_000)
    tab.settle()
    assert tab.parameters()["layer"] == "2"


def test_check_yourself_fits_and_the_browser_keeps_the_score(tab: Explorer) -> None:
    page, seed = tab.page, 12
    page.goto(f"{tab.address}/check_yourself?questions={seed}")
    for number, lesson in enumerate(LESSONS, 1):
        page.get_by_text(f"Question {number} of {len(LESSONS)}").wait_for(timeout=60_000)
        page.emulate_media(color_scheme="dark" if number == 1 else "light")
        choice = page.locator(f".st-key-choice_{question(lesson, seed).right} button")
        onwards = page.locator(".st-key-check_next button")
        for wanted, screens in ((choice, SCREENS), (onwards, BACK)):
            wanted.wait_for()
            fits(tab, wanted, screens, looked=number == 1)
            assert page.evaluate(HEADINGS) == [1]
            press(page, wanted, number)
    score = page.get_by_role("heading", name="8 of 8")
    score.wait_for()
    fits(tab, score, SCREENS)
    assert page.evaluate(HEADINGS) == [1, 2]
    page.reload()
    page.get_by_text("Your best so far: 8 of 8.").wait_for(timeout=60_000)
    assert tab.parameters()["questions"] == str(seed)
