"""A class in a real browser: one lecturer, two students, each with a browser of their own."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from playwright.sync_api import Browser, Page, expect

from explorer.lessons import LESSONS, english
from tests.browser.conftest import Explorer, new_tab, without_errors
from tests.browser.test_accessible import THEMES, nothing_fades, violations

PHONE = {"width": 390, "height": 844}
LANGUAGE = english()
FRAME = LANGUAGE.frame


@contextmanager
def students(browser: Browser, count: int) -> Iterator[list[Page]]:
    """A page for each, on a phone that shares nothing with the others'."""
    with ExitStack() as stack:
        pages = [new_tab(browser, viewport=PHONE) for _ in range(count)]
        for page in pages:
            stack.callback(page.context.close)
            stack.enter_context(without_errors(page))
        yield pages


def title(step: int) -> str:
    return LANGUAGE.words[LESSONS[step].name].title


def at_step(page: Page, step: int) -> None:
    """Wait until a page shows a step."""
    page.get_by_role("heading", name=title(step), exact=True).wait_for()


def choice(page: Page, index: int) -> str:
    """Where the button of an answer is."""
    return f".st-key-choice_{index} button"


def answer(page: Page, index: int) -> None:
    page.locator(choice(page, index)).click()
    page.get_by_text(FRAME.waiting).wait_for()


def counted(lecturer: Page, *counts: int) -> None:
    """Wait until the lecturer's page tells so many answers for each choice, to eyes and ears."""
    lecturer.get_by_text(re.compile(f"^{sum(counts)} of [0-9]+ have answered")).wait_for()
    said = ", ".join(f"{count} for {letter}" for count, letter in zip(counts, "ABCDE", strict=False))
    chart = lecturer.locator(".st-key-tally [role=graphics-document]")
    expect(chart).to_have_attribute("aria-label", re.compile(f"^Answers of the class: {said}[.]"))


def is_fit(page: Page) -> None:
    """It has no violation in either theme, and scrolls nothing sideways."""
    for scheme, rules in THEMES.items():
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(500)  # in which the charts are drawn anew
        nothing_fades(page)
        assert violations(page, *rules) == [], scheme
    assert page.evaluate(
        "() => [document.documentElement, document.querySelector('[data-testid=stMain]')]"
        ".every((each) => each.scrollWidth <= each.clientWidth)"
    )


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_a_class_from_its_start_to_its_end(tab: Explorer, browser: Browser) -> None:
    lecturer = tab.page
    with students(browser, 2) as (first, second):
        lecturer.goto(f"{tab.address}/classroom")
        press(lecturer, "Start a class")
        lecturer.get_by_text("have joined").wait_for()
        is_fit(lecturer)
        for student in (first, second):
            student.goto(lecturer.url)
            at_step(student, 0)
        lecturer.get_by_role("heading", name="2", exact=True).wait_for()
        press(lecturer, "Begin")
        counted(lecturer, 0, 0)
        is_fit(lecturer)
        is_fit(first)

        answers_count_once(lecturer, first, second)
        press(lecturer, "Show the answer")
        for student in (first, second):
            student.get_by_text(FRAME.task).wait_for()
        is_fit(first)
        is_fit(lecturer)
        press(lecturer, "Next")
        for page in (lecturer, first, second):
            at_step(page, 1)

        each_goes_on_alone(lecturer, first, second)
        press(lecturer, "Next")
        for page in (lecturer, first, second):
            at_step(page, 2)
        time_runs_out(lecturer, first, second)

        press(lecturer, "End")
        press(lecturer, "End the class")
        for page in (lecturer, first, second):
            page.get_by_text("This class has ended.").wait_for()
        second.reload()
        second.get_by_text("There is no class").wait_for()


def answers_count_once(lecturer: Page, first: Page, second: Page) -> None:
    """One by keyboard alone, one from two tabs."""
    first.locator("body").press("Home")
    for _ in range(40):
        first.keyboard.press("Tab")
        if first.locator(f"{choice(first, 0)}:focus").count():
            break
    first.keyboard.press("Enter")
    first.get_by_text(FRAME.waiting).wait_for()
    counted(lecturer, 1, 0)
    expect(first.locator(choice(first, 1))).to_be_disabled()

    again = second.context.new_page()
    again.goto(second.url)
    at_step(again, 0)
    again.locator(choice(again, 0)).wait_for()
    answer(second, 1)
    again.locator(choice(again, 0)).evaluate("button => button.click()")  # may still look open
    again.get_by_text(FRAME.waiting).wait_for()
    counted(lecturer, 1, 1)
    again.close()


def each_goes_on_alone(lecturer: Page, first: Page, second: Page) -> None:
    """From the step of the class, and back to it."""
    press(lecturer, "Let each go on alone")
    lecturer.get_by_role("button", name="Bring all here").wait_for()
    first.locator(choice(first, 0)).click()
    first.get_by_text(FRAME.task).wait_for()
    first.get_by_role("slider").press("End")
    first.get_by_text(FRAME.done).wait_for()
    press(first, FRAME.next)
    at_step(first, 2)
    first.reload()
    at_step(first, 2)
    at_step(second, 1)
    press(lecturer, "Bring all here")
    at_step(first, 1)
    first.get_by_text(FRAME.waiting).wait_for()


def time_runs_out(lecturer: Page, quick: Page, slow: Page) -> None:
    """A countdown closes the answers to who has given none."""
    press(lecturer, "Countdown")
    press(lecturer, "10 s")
    lecturer.keyboard.press("Escape")
    slow.get_by_text(re.compile("[0-9]+ s left")).wait_for()
    answer(quick, 2)
    lecturer.reload()
    at_step(lecturer, 2)  # and still leads
    counted(lecturer, 0, 0, 1)
    slow.get_by_text(FRAME.late).wait_for(timeout=60_000)
    expect(slow.locator(choice(slow, 0))).to_be_disabled()
    press(lecturer, "Show the answer")
    slow.get_by_text(FRAME.task).wait_for()
    counted(lecturer, 0, 0, 1)
