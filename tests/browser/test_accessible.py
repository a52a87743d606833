"""The pages through axe-core, and by keyboard alone."""

import re
from itertools import product
from urllib.parse import urlencode

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import HELD, Explorer

THEMES = {"dark": (), "light": ("color-contrast",)}
"""The rules by which axe-core looks at a page: all in one theme, and in the other that of colours."""
MENUS = ("Open a text", "Pick from lists", "Copy link", "Export")


def violations(page: Page, *rules: str) -> list[str]:
    """What axe-core finds, by these rules or by all. A page keeps it: it is half a megabyte."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate(
        "rules => axe.run({ resultTypes: ['violations'], ...rules.length && { runOnly: rules } })"
        ".then(({ violations }) => violations)",
        list(rules),
    )
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]


def nothing_fades(page: Page) -> None:
    """Wait until nothing fades or moves: on its way, a colour has less contrast than at its end."""
    page.wait_for_function(
        "document.getAnimations().every(({ playState, effect }) =>"
        " playState !== 'running' || effect.getComputedTiming().iterations === Infinity)"
    )


def menu(page: Page) -> Locator:
    return page.get_by_test_id("stPopoverBody")


def no_theme_has_a_violation(explorer: Explorer) -> None:
    for scheme, rules in THEMES.items():
        explorer.page.emulate_media(color_scheme=scheme)
        explorer.settle()
        nothing_fades(explorer.page)
        assert violations(explorer.page, *rules) == [], scheme


def test_explore_has_no_violation_with_everything_shown(tab: Explorer) -> None:
    query = {"view": "gallery,large,table,symlog,dt", "span": "3-6", "window": "5-25x0-20"}
    tab.page.emulate_media(color_scheme="dark")
    tab.open("?" + urlencode({"model": "demo", "preset": "where-is-mia", **query}))
    tab.page.get_by_test_id("stDataFrame").wait_for()
    assert violations(tab.page) == []
    tab.page.set_viewport_size({"width": 390, "height": 900})
    tab.page.emulate_media(color_scheme="light")
    tab.settle()
    assert violations(tab.page) == []


def test_the_other_pages_have_no_violation(tab: Explorer) -> None:
    page = tab.page
    page.goto(f"{tab.address}/generate?draws=sampled&new_tokens=4")
    button = page.get_by_role("button", name="Generate")
    expect(button).to_be_enabled()
    tab.settle()
    assert violations(page) == []
    button.click()
    time = page.get_by_role("slider", name=re.compile("^Time"))
    expect(time).to_be_enabled()
    no_theme_has_a_violation(tab)
    time.press("Home")
    page.get_by_role("heading", name="Next token after position 0").wait_for()
    tab.settle()
    assert violations(page) == []
    page.get_by_role("link", name="How to read this").click()
    page.get_by_text("After the matrix come a gate").wait_for(timeout=60_000)
    no_theme_has_a_violation(tab)


def test_the_keyboard_goes_into_a_menu_without_a_violation_and_back_to_its_button(sight: Explorer) -> None:
    page = sight.page
    for (scheme, rules), name in product(THEMES.items(), ("", *MENUS)):
        page.emulate_media(color_scheme=scheme)
        sight.settle()
        nothing_fades(page)
        before = page.url
        if name:
            page.get_by_role("button", name=name).press("Enter")
            expect(menu(page).locator(":focus")).to_have_count(1)
            sight.settle()
        assert violations(page, *rules) == [], (scheme, name)
        if name:
            page.keyboard.press("Escape" if scheme == "dark" else "Shift+Tab")
            expect(menu(page)).to_have_count(0)
            expect(page.get_by_role("button", name=name)).to_be_focused()
            sight.settle()
        assert page.url == before, name  # nothing is picked by looking


def test_tab_goes_on_behind_a_menu(sight: Explorer) -> None:
    page = sight.page
    for name in MENUS:
        page.get_by_role("button", name=name).press("Enter")
        expect(menu(page).locator(":focus")).to_have_count(1)
        sight.settle()
        page.keyboard.press("Tab")
        if name == "Copy link":
            expect(menu(page).get_by_role("button", name="Copy to clipboard").first).to_be_focused()
        for _ in range(20):
            if menu(page).count() == 0:
                break
            page.keyboard.press("Tab")
        behind = page.evaluate(
            """name => {
                const kinds = "a[href], button, input, textarea, [tabindex='0']";
                const all = [...document.querySelectorAll(kinds)];
                const own = all.findIndex((each) => each.matches("button") && each.innerText.includes(name));
                return all.indexOf(document.activeElement) - own;
            }""",
            name,
        )
        assert 0 < behind < 4, name
        sight.settle()


def test_a_press_beside_a_menu_closes_it_and_is_heard(explorer: Explorer) -> None:
    page = explorer.page
    for head, name in enumerate(("Open a text", "Export")):
        page.get_by_role("button", name=name).click(delay=HELD)
        menu(page).wait_for()
        explorer.settle()
        explorer.click_head(0, head)
        expect(menu(page)).to_have_count(0)
        page.get_by_role("heading", name=f"Layer 0, head {head}").wait_for()
    page.get_by_role("button", name="Copy link").click(delay=HELD)
    explorer.settle()
    page.get_by_role("button", name="Pick from lists").click(delay=HELD)
    explorer.settle()
    explorer.show("Attention·dt")
    expect(menu(page)).to_have_count(0)
    page.get_by_role("button", name="Open a text").click(delay=HELD)
    menu(page).wait_for()
    page.keyboard.press("Escape")
    expect(menu(page)).to_have_count(0)
    explorer.settle()
    two_presses_that_a_busy_page_hears_at_once_are_told_one_by_one(page)
    explorer.settle()
    picking_in_a_menu_keeps_the_focus_and_the_menu(explorer)


def two_presses_that_a_busy_page_hears_at_once_are_told_one_by_one(page: Page) -> None:
    """A menu that closes is of another fragment than the one that opens, which would be empty."""
    page.get_by_role("button", name="Copy link").click(delay=HELD)
    menu(page).get_by_test_id("stCode").first.wait_for()
    page.get_by_role("button", name="Pick from lists").evaluate(
        """async button => {
            button.dispatchEvent(new PointerEvent("pointerdown", { bubbles: true }));
            await null;  // after which the menu is gone, and no timer has run
            button.click();
        }"""
    )
    expect(menu(page).get_by_role("combobox", name="Layer")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(menu(page)).to_have_count(0)


def picking_in_a_menu_keeps_the_focus_and_the_menu(explorer: Explorer) -> None:
    page = explorer.page
    page.get_by_role("button", name="Pick from lists").press("Enter")
    layer = menu(page).get_by_role("combobox", name="Layer")
    expect(layer).to_be_focused()
    explorer.settle()
    before = explorer.picked()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    explorer.settle()
    assert explorer.picked() != before
    expect(layer).to_be_focused()
    menu(page).wait_for()


def test_what_has_the_focus_shows_it(sight: Explorer) -> None:
    page = sight.page
    shown = (
        (page.get_by_role("link", name="Generate"), "link"),
        (page.get_by_role("button", name="Copy link"), "button"),
        (page.get_by_role("radio", name="Where is Mia?"), "radio"),
        (page.get_by_label(re.compile("^Lock scale")).locator("xpath=ancestor::label"), "toggle"),
    )
    page.keyboard.press("Tab")  # so that the focus is one of the keyboard
    for scheme, (control, kind) in product(THEMES, shown):
        page.emulate_media(color_scheme=scheme)
        inner = control.locator("input")
        (inner if inner.count() else control).focus()
        style, width, colour, text = control.evaluate(
            "e => { const s = getComputedStyle(e);"
            " return [s.outlineStyle, s.outlineWidth, s.outlineColor, s.color]; }"
        )
        assert (style, width) == ("solid", "2px"), kind
        assert colour == text, kind  # of which axe-core knows the contrast
