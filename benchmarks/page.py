"""Cost of using the page: click to idle against an empty rerun, hovers, and bytes to the browser.

    python -m benchmarks.page

In a headless Chromium. "Empty rerun" is a click on a button of a page with the same shell (configuration,
navigation, theme) and nothing else; "no figures" is the explore page itself while there is nothing to draw,
from one empty prompt to another. The edit is one more on the page "Does it matter?". Idle is when the script
has run and the browser's main thread has drawn the result. The candidates take turns; ratios are medians over
the rounds of one run.
"""

import argparse
import itertools
import random
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Locator, Page

from benchmarks.browser import APP, chromium, serving
from benchmarks.measure import median_ratio, print_table, rounds

PLACES = {"Leo": "garden", "Mia": "kitchen", "Ben": "library", "Eva": "tower"}


def text_of_64_tokens(turn: int = 0) -> str:
    """Ten sentences of six tokens and a question of four; another text in each of forty turns."""
    sentences = [f"{name} is in the {place}." for name, place in (*PLACES.items(), *PLACES.items())]
    sentences = [*sentences, "Leo has a red drum.", "Mia has a blue kite."]
    start = turn % len(sentences)
    name = list(PLACES)[turn // len(sentences) % len(PLACES)]
    return " ".join([*sentences[start:], *sentences[:start], f"Where is {name}?"])


def drawn_text(turn: int, sentences: int) -> str:
    """Sentences of six tokens, drawn by the turn: no two turns begin alike for long."""
    drawn = random.Random(turn)
    names, places = list(PLACES), list(PLACES.values())
    return " ".join(f"{drawn.choice(names)} is in the {drawn.choice(places)}." for _ in range(sentences))


def text_of_tokens(tokens: int) -> str:
    """Sentences of six tokens, and the remaining tokens from another."""
    sentences = [f"{name} is in the {place}." for name in PLACES for place in PLACES.values()]
    whole, part = divmod(tokens, 6)
    rest = ["Leo", "is", "in", "the", "garden"][:part]
    return " ".join([*(sentences[k * 7 % len(sentences)] for k in range(whole)), *rest])


SHELL = """
import time

import streamlit as st

st.set_page_config(page_title="Shell", layout="wide")


def page():
    st.button("Again", key="again")
    st.text(time.time())


st.navigation([st.Page(page, title="Explore"), st.Page(lambda: None, title="Other", url_path="other")],
              position="top").run()
"""
# Resolves at the first idle moment after the script has ended, drawing included. The page shows when a script
# runs, unless it ends too soon: then the text of an element that every run changes shows it.
IDLE = """written => new Promise((done, missed) => {
    let acted = 0;
    const app = document.querySelector('[data-test-script-state]');
    const watch = new MutationObserver(() => {
        if (!acted || app.dataset.testScriptState !== 'notRunning') return;
        watch.disconnect();
        requestAnimationFrame(() => requestIdleCallback(() => done(performance.now() - acted)));
    });
    if (written)
        watch.observe(app.querySelector(written), {subtree: true, childList: true, characterData: true});
    watch.observe(app, {attributes: true, attributeFilter: ['data-test-script-state']});
    const press = () => {
        if (acted) return;
        acted = performance.now();
        setTimeout(() => missed('The page did not run.'), 20000);
    };
    for (const kind of ['pointerdown', 'keydown']) addEventListener(kind, press, {once: true, capture: true});
})"""
LONG_TASKS = """() => {
    window.blocked = [];
    new PerformanceObserver(list => {
        for (const task of list.getEntries()) window.blocked.push(task.duration);
    }).observe({type: 'longtask'});
}"""


def until_idle(page: Page, act: Callable[[], object], written: str = "") -> float:
    """Milliseconds from the first press of `act` until the page is idle.

    `written` selects an element whose text every run changes.
    """
    page.evaluate(f"written => {{ window.measured = ({IDLE})(written); }}", written)
    act()
    return float(page.evaluate("() => window.measured"))


def opened(browser: Browser, address: str) -> Page:
    """Open a session, and wait until it is drawn."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(address)
    page.wait_for_selector('[data-test-script-state="notRunning"]', state="attached", timeout=120_000)
    page.wait_for_timeout(1500)
    return page


def head_cells(page: Page) -> list[Locator]:
    """The cells of the head map."""
    chart = page.get_by_test_id("stVegaLiteChart").first
    return chart.locator("g.mark-rect.role-mark").first.locator("path").all()


def type_prompt(page: Page, prompt: str) -> float:
    """Milliseconds from Ctrl + Enter until the page is idle."""
    box = page.get_by_label("Prompt", exact=True)
    box.fill(prompt)
    return until_idle(page, lambda: box.press("Control+Enter"))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        script = Path(folder) / "shell.py"
        script.write_text(SHELL)
        with serving(script) as empty, serving(APP) as address:
            shell, bare, page = opened(browser, empty), opened(browser, address), opened(browser, address)
            long = opened(browser, address)
            effect = opened(browser, f"{address}/effect?{urlencode({'prompt': text_of_64_tokens()})}")
            effect.get_by_role("button", name="Add", exact=True).wait_for()
            type_prompt(bare, "")
            type_prompt(long, text_of_tokens(4096))
            long.get_by_text("Whole text, 4,096 tokens").wait_for()
            type_prompt(page, text_of_64_tokens())
            page.wait_for_timeout(1000)
            turn, prompts, blanks, tokens = (itertools.count(first) for first in (0, 1, 1, 1))
            measured: dict[str, list[float]] = {
                name: [] for name in ("empty", "bare", "head", "prompt", "zoom", "edit")
            }

            def head() -> None:
                cells = head_cells(page)
                cell = cells[next(turn) * 3 % len(cells)]
                measured["head"].append(until_idle(page, cell.click))
                page.wait_for_timeout(300)

            def prompt() -> None:
                measured["prompt"].append(type_prompt(page, text_of_64_tokens(next(prompts))))
                page.wait_for_timeout(300)

            def zoom() -> None:
                """Open the strongest tile; go back in the next round."""
                step = long.locator(".st-key-strongest button, .st-key-back_to_0 button").first
                measured["zoom"].append(until_idle(long, step.click))
                long.wait_for_timeout(300)

            def edit() -> None:
                """Add an edit of another token; take it out again, which does not count."""
                box = effect.get_by_label("Positions", exact=True)
                box.fill(str(next(tokens)))
                box.press("Enter")
                effect.wait_for_timeout(300)  # a run so short that the page does not show it
                add = effect.get_by_role("button", name="Add", exact=True)
                measured["edit"].append(until_idle(effect, add.click))
                undo = effect.get_by_role("button", name="Undo the last")
                undo.click()
                undo.wait_for(state="detached")
                effect.wait_for_timeout(300)

            rounds(
                {
                    "empty": lambda: measured["empty"].append(
                        until_idle(
                            shell, shell.get_by_role("button", name="Again").click, '[data-testid="stText"]'
                        )
                    ),
                    "bare": lambda: measured["bare"].append(type_prompt(bare, " " * next(blanks))),
                    "head": head,
                    "prompt": prompt,
                    "zoom": zoom,
                    "edit": edit,
                },
                repeats,
            )
            sent = bytes_of_head_changes(page)
            type_prompt(page, f"{text_of_64_tokens(1)} {text_of_64_tokens(2)}")
            page.wait_for_timeout(1500)
            hovers = {"128": hover(page), "4,096": hover(long)}
    print_table(
        ["click to idle", "ms, median", "to empty rerun", "to no figures"],
        [
            [
                name,
                f"{statistics.median(measured[key][1:]):.0f}",
                *(f"{median_ratio(measured[key][1:], measured[base][1:]):.2f}" for base in ("empty", "bare")),
            ]
            for name, key in (
                ("empty rerun", "empty"),
                ("no figures", "bare"),
                ("another head, 64 tokens", "head"),
                ("another prompt, 64 tokens", "prompt"),
                ("a zoom step, 4,096 tokens", "zoom"),
                ("an edit, 64 tokens", "edit"),
            )
        ],
    )
    print(f"\nOne head change sends {statistics.median(sent) / 1e3:.0f} KB (at most {max(sent) / 1e3:.0f}).")
    for tokens, (blocked, moves) in hovers.items():
        print(
            f"{moves} hovers at {tokens} tokens: {len(blocked)} blocked the page for 50 ms or more, "
            f"the longest {max(blocked, default=0):.0f} ms."
        )


def bytes_of_head_changes(page: Page, changes: int = 8) -> list[int]:
    """Bytes to the browser for each of some picks. Measured apart from the timing, which it slows down."""
    received: list[int] = []
    session = page.context.new_cdp_session(page)
    session.on("Network.webSocketFrameReceived", lambda event: received.append(_bytes(event["response"])))
    session.send("Network.enable")
    sent = []
    for cell in head_cells(page)[:changes]:
        received.clear()
        until_idle(page, cell.click)
        page.wait_for_timeout(300)
        sent.append(sum(received))
    session.detach()
    return sent


def hover(page: Page, moves: int = 150) -> tuple[list[float], int]:
    """Milliseconds of tasks of 50 ms or more while the pointer moves over the panels; its moves."""
    canvas = page.get_by_test_id("stVegaLiteChart").nth(1).locator("canvas")
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    box = canvas.bounding_box()
    if box is None:
        raise SystemExit("The panels are not drawn.")
    page.evaluate(LONG_TASKS)
    for move in range(moves):
        across, down = 0.02 + 0.25 * (move * 37 % 100) / 100, 0.1 + 0.4 * (move * 61 % 100) / 100
        page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)
        page.wait_for_timeout(30)
    page.wait_for_timeout(300)
    return list(page.evaluate("() => window.blocked")), moves


def _bytes(frame: dict[str, object]) -> int:
    """Binary frames come in base64."""
    payload = str(frame["payloadData"])
    return len(payload) * 3 // 4 if frame["opcode"] == 2 else len(payload)


if __name__ == "__main__":
    main()
