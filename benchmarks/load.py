"""A room full of people on one server: what a pick and a new prompt take, and what the server's memory does.

    python -m benchmarks.load                       30 sessions for 10 minutes, then 30 that arrive within 5 s
    python -m benchmarks.load --soak                500 prompts and 2,000 picks in one session

Each session gives a new prompt every minute and picks a head every 5 seconds, over Streamlit's own websocket
messages. One real browser among them watches for errors and for tasks that block its page. Server, sessions
and browser share the machine. Hosted mode, the embedded model.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from playwright.sync_api import Error, Page

from benchmarks.browser import APP, chromium, serving
from benchmarks.measure import print_table
from benchmarks.page import LONG_TASKS, head_cells
from benchmarks.visitor import Answer, Visitor, visiting
from explorer.jobs import UNWATCHED_SECONDS

COUNTED = Path(__file__).with_name("counted_app.py")

PICK_SECONDS, PROMPT_SECONDS = 5.0, 60.0
ARRIVE_SECONDS = 5.0
WARM_SECONDS = 120.0
"""From here on, memory should stay as it is."""
PICKS_EACH = 4
"""Of the soak, for each prompt."""
LAYERS, HEADS = 4, 8
"""Of the embedded model."""

NAMES = ("Leo", "Mia", "Ben", "Eva")
PLACES = ("garden", "kitchen", "library", "tower")


@dataclass
class Seen:
    """What all sessions saw."""

    firsts: list[float] = field(default_factory=list)
    picks: list[float] = field(default_factory=list)
    prompts: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    lost: int = 0

    def take(self, seconds: list[float], answer: Answer) -> None:
        """Note an answer."""
        seconds.append(answer.last_delta)
        self.errors += answer.exceptions


class Memory(threading.Thread):
    """Reads the server's memory, once a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.megabytes: list[float] = []
        self._ended = threading.Event()

    def run(self) -> None:
        """Read until it is told to stop."""
        while not self._ended.wait(1):
            self.megabytes.append(self.process.memory_info().rss / 1e6)

    def stop(self) -> None:
        """Read no more."""
        self._ended.set()
        self.join()

    def growth(self) -> float:
        """The last half minute over the half minute after WARM_SECONDS, less one."""
        warm = self.megabytes[round(WARM_SECONDS) :]
        return statistics.median(warm[-30:]) / statistics.median(warm[:30]) - 1 if warm else float("nan")


def new_prompt(draw: random.Random) -> str:
    """About 64 tokens that nobody has given before."""
    facts = [f"{draw.choice(NAMES)} is in the {draw.choice(PLACES)}." for _ in range(10)]
    return f"{' '.join(facts)} Where is {draw.choice(NAMES)}?"


async def attend(address: str, number: int, seconds: float, arrive: float, seen: Seen) -> None:
    """One session, from its arrival to the end."""
    draw = random.Random(number)
    await asyncio.sleep(arrive * draw.random())
    end = time.monotonic() + seconds
    try:
        async with visiting(address) as visitor:
            seen.take(seen.firsts, await visitor.open())
            await _use(visitor, draw, end, seen)
    except Exception as error:  # a benchmark counts what it sees
        seen.lost += 1
        seen.errors.append(repr(error))


async def _use(visitor: Visitor, draw: random.Random, end: float, seen: Seen) -> None:
    """Pick heads and give prompts, each session at moments of its own."""
    next_prompt = time.monotonic() + PROMPT_SECONDS * draw.random()
    next_pick = time.monotonic() + PICK_SECONDS * draw.random()
    while (now := min(next_prompt, next_pick)) < end:
        await asyncio.sleep(max(now - time.monotonic(), 0))
        if next_prompt <= next_pick:
            next_prompt += PROMPT_SECONDS
            seen.take(seen.prompts, await visitor.type_prompt(new_prompt(draw)))
        else:
            next_pick += PICK_SECONDS
            picked = await visitor.pick_head(draw.randrange(LAYERS), draw.randrange(HEADS))
            seen.take(seen.picks, picked)


def room(address: str, people: int, seconds: float, arrive: float) -> Seen:
    """Let people use the server."""
    seen = Seen()

    async def all_of_them() -> None:
        await asyncio.gather(*(attend(address, n, seconds, arrive, seen) for n in range(people)))

    asyncio.run(all_of_them())
    return seen


def witness(page: Page, others: Future[Seen]) -> list[str]:
    """Use the page in a browser until the others leave; returns what went wrong there."""
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    draw = random.Random(-1)
    while not others.done():
        page.wait_for_timeout(PICK_SECONDS * 1000)
        try:
            draw.choice(head_cells(page)).click()
            if draw.random() < PICK_SECONDS / PROMPT_SECONDS:
                page.get_by_label("Prompt", exact=True).fill(new_prompt(draw))
                page.get_by_label("Prompt", exact=True).press("Control+Enter")
        except Error as error:
            wrong.append(str(error))
        if page.get_by_test_id("stException").count():
            wrong.append(page.get_by_test_id("stException").first.inner_text())
    return wrong


def at(percentile: int, seconds: Sequence[float]) -> str:
    """A percentile, in seconds."""
    return f"{statistics.quantiles(seconds, n=100)[percentile - 1]:.2f}" if len(seconds) > 1 else "–"


def load(people: int, seconds: float) -> None:
    """Print the table of a room that arrives, and of one that works."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serving(APP, log, EXPLORER_HOSTED="1") as address:
            room(address, 1, 0, 0)  # the model is loaded
            arriving = room(address, people, 0, ARRIVE_SECONDS)
            memory = Memory(server_at(address))
            with chromium() as browser, ThreadPoolExecutor(1) as pool:
                page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
                page.goto(address)
                page.wait_for_selector('[data-test-script-state="notRunning"]', state="attached")
                page.wait_for_timeout(1500)
                page.evaluate(LONG_TASKS)
                memory.start()
                working = pool.submit(room, address, people, seconds, ARRIVE_SECONDS)
                wrong = witness(page, working)
                memory.stop()
                blocked = list(page.evaluate("() => window.blocked"))
        tracebacks = log.read_text().count("Traceback")
    seen = working.result()
    errors = [*arriving.errors, *seen.errors, *wrong]
    minutes = f"{people} sessions, {seconds / 60:g} minutes"
    print(f"{minutes}, {len(seen.picks):,} picks, {len(seen.prompts):,} prompts\n")
    print_table(
        ["what", "found", "at most"],
        [
            ["errors, in the browser too", len(errors), "0"],
            ["lost sessions", seen.lost + arriving.lost, "0"],
            ["tracebacks in the log", tracebacks, "0"],
            ["pick p50 / p95, s", f"{at(50, seen.picks)} / {at(95, seen.picks)}", "0.15 / 0.5"],
            ["new prompt p50 / p95, s", f"{at(50, seen.prompts)} / {at(95, seen.prompts)}", "– / 1"],
            ["arrivals p50 / p95, s", f"{at(50, arriving.firsts)} / {at(95, arriving.firsts)}", "– / 4"],
            ["memory after minute 2", f"{memory.growth():+.1%} of {memory.megabytes[-1]:,.0f} MB", "+5 %"],
            ["longest task in the browser, ms", f"{max(blocked, default=0):.0f}", "200"],
        ],
    )
    for each in errors[:10]:
        print(each)


def soak(prompts: int) -> None:
    """Print the server's memory, and its model's hooks and its threads, over many prompts and picks."""
    rows: list[list[object]] = []
    with serving(COUNTED, EXPLORER_HOSTED="1") as address:
        process = psutil.Process(server_at(address))

        def note(number: int) -> None:
            with urllib.request.urlopen(f"{address}/counts") as answer:
                counts = json.load(answer)
            memory = f"{process.memory_info().rss / 1e6:,.0f}"
            rows.append([number, number * PICKS_EACH, memory, counts["hooks"], counts["threads"]])

        async def use() -> None:
            draw = random.Random(0)
            async with visiting(address) as visitor:
                await visitor.open()
                for number in range(prompts):
                    if number % max(prompts // 10, 1) == 0:
                        await asyncio.to_thread(note, number)
                    answers = [await visitor.type_prompt(new_prompt(draw))]
                    for _ in range(PICKS_EACH):
                        picked = await visitor.pick_head(draw.randrange(LAYERS), draw.randrange(HEADS))
                        answers.append(picked)
                    if wrong := [each for answer in answers for each in answer.exceptions]:
                        raise SystemExit(f"After {number} prompts: {wrong[0]}")
            await asyncio.sleep(2 * UNWATCHED_SECONDS)
            await asyncio.to_thread(note, prompts)

        asyncio.run(use())
    print_table(["prompts", "picks", "memory, MB", "hooks", "threads"], rows)


def server_at(address: str) -> int:
    """The process that listens on the port of an address."""
    port = int(address.rpartition(":")[2])
    children = psutil.Process().children(recursive=True)
    return next(
        child.pid
        for child in children
        if any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in child.net_connections())
    )


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--soak", action="store_true", help="many prompts and picks in one session")
    parser.add_argument("--prompts", type=int, default=500, help="of the soak, with four picks each")
    options = parser.parse_args()
    if options.soak:
        soak(options.prompts)
    else:
        load(options.people, 60 * options.minutes)


if __name__ == "__main__":
    main()
