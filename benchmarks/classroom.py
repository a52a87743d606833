"""A class of sixty and a lecturer on one server: what passes from a student's click to the lecturer's screen.

    python -m benchmarks.classroom                  60 students, all steps
    python -m benchmarks.classroom --people 20

Every student answers each step at a moment of their own, and moves its control once the answer is shown. All
pages ask the server by themselves, as often as in a browser. An answer is on the lecturer's screen when the
tally that counts it has come; what a browser takes to draw it is not in. Server and pages share the machine.
Hosted mode, the embedded model.
"""

import argparse
import asyncio
import random
import re
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil

from benchmarks.browser import APP, serving
from benchmarks.live_page import LivePage, living
from benchmarks.load import Memory, at, server_at
from benchmarks.measure import print_table
from benchmarks.visitor import Answer
from explorer.classes import PAGE
from explorer.lessons import LESSONS, english

ARRIVE_SECONDS = 5.0
ANSWER_SECONDS = 5.0
"""After a step has come, all answer within these, each at a moment of their own."""
MOVE_SECONDS = 3.0
"""After its answer has come, all move its control within these."""
AT_MOST = 2.0
"""Seconds from a click to the lecturer's screen, of 95 in 100 answers."""
PATIENCE = 15.0
"""Seconds after which a student whose page has not followed runs it again."""
LANGUAGE = english()


class Lecturer(LivePage):
    """Who leads the class."""

    joined = 0
    _counted: int | None = None
    """What the words above a chart say that is still to come."""

    def __init__(self, socket: Any, kept: Any = None) -> None:
        super().__init__(socket, kept)
        self.tallies: list[tuple[float, int]] = []
        """When a tally has come, and how many answers it counts."""

    def read(self, delta: Any, answer: Answer) -> None:
        """Note how many have joined and answered."""
        super().read(delta, answer)
        element = delta.new_element
        if found := re.fullmatch("# ([0-9]+)", element.markdown.body):
            self.joined = int(found[1])
        if found := re.match(r"\*\*([0-9]+) of [0-9]+\*\* have answered", element.markdown.body):
            self._counted = int(found[1])
        if self._counted is not None and element.WhichOneof("type") == "vega_lite_chart":
            self.tallies.append((time.monotonic(), self._counted))
            self._counted = None

    async def start(self) -> str:
        """Start a class. Returns its code."""
        await self.go_to(PAGE)
        await self.until(lambda: "class_start" in self.widgets)
        await self.press("class_start")
        await self.until(lambda: "class_begin" in self.widgets and bool(self.kept))
        (code,) = (name.removeprefix("lead-") for name in self.kept)
        return code

    def has_counted(self, answers: int, moment: float) -> bool:
        """Whether a later tally counts so many."""
        return any(count == answers for _, count in self.counts_from(moment))

    def counts_from(self, moment: float) -> Sequence[tuple[float, int]]:
        """The tallies that came later."""
        return [each for each in self.tallies if each[0] > moment]


class Student(LivePage):
    """Who predicts."""

    shown: tuple[str, bool] = "", False
    """The title of the step on the page, and whether its answer is told."""
    stuck = 0
    """How often it has not followed, and the page had to be run again by hand."""
    confirmed = 0.0
    """When the page has last said that the answer is in."""

    def read(self, delta: Any, answer: Answer) -> None:
        """Note what the page shows."""
        super().read(delta, answer)
        element = delta.new_element
        match element.WhichOneof("type"):
            case "heading":
                self.shown = element.heading.body, self.shown[1]
            case "slider":
                self.shown = self.shown[0], True
            case "button" if element.button.id.endswith("-choice_0"):
                self.shown = self.shown[0], False
            case "alert" if element.alert.body == LANGUAGE.frame.waiting:
                self.confirmed = time.monotonic()

    async def sees(self, title: str, told: bool) -> float:
        """Wait until the page shows this. Returns when."""
        while True:
            try:
                await self.until(lambda: self.shown == (title, told), PATIENCE)
            except TimeoutError:
                self.stuck += 1
                await self.run_again()
            else:
                return time.monotonic()

    async def answer(self, choice: int, wait: float) -> tuple[float, float]:
        """Answer after so many seconds. Returns when, and when the page said that it is in."""
        await asyncio.sleep(wait)
        clicked = await self.press(f"choice_{choice}")
        await self.until(lambda: self.confirmed > clicked)
        return clicked, self.confirmed

    async def move(self, draw: random.Random, wait: float) -> None:
        """Move the control of a step somewhere."""
        await asyncio.sleep(wait)
        await self.slide("lesson_control", draw.choice(self.slider))


@dataclass
class Step:
    """Seconds that were measured in one step."""

    title: str
    came: list[float] = field(default_factory=list)
    """From the lecturer's click until it is on a student's page."""
    confirmed: list[float] = field(default_factory=list)
    """From a student's click until their page says that the answer is in."""
    counted: list[float] = field(default_factory=list)
    """From a student's click until the lecturer's page counts the answer."""
    told: list[float] = field(default_factory=list)
    """From the lecturer's click until the truth is on a student's page."""
    work: float = 0.0
    """Seconds of CPU that the server took, of one second of the clock."""


class Class:
    """A class that goes on. `folder` is where the server keeps temporary files."""

    def __init__(self, address: str, people: int, folder: Path) -> None:
        self.address, self.people, self.folder = address, people, folder
        self.server = psutil.Process(server_at(address))
        self.students: dict[str, Student] = {}
        """By the random name that their browser gives."""
        self.arrivals: list[float] = []
        self.steps: list[Step] = []
        self.errors: list[str] = []

    async def hold(self) -> None:
        """From the first student to the end."""
        async with AsyncExitStack() as stack:
            lecturer = await stack.enter_async_context(living(self.address, Lecturer))
            code = await lecturer.start()
            await _all(self._arrive(stack, number, code) for number in range(self.people))
            await lecturer.until(lambda: lecturer.joined == self.people)
            await lecturer.press("class_begin")
            for number in range(len(LESSONS)):
                self.steps.append(await self._go_through(number, lecturer))
            await lecturer.press("class_end")
            self.errors = [
                each for page in (lecturer, *self.students.values()) for each in page.seen.exceptions
            ]

    async def _arrive(self, stack: AsyncExitStack, number: int, code: str) -> None:
        await asyncio.sleep(ARRIVE_SECONDS * random.Random(number).random())
        name, began = f"a-student-{number:06d}", time.monotonic()
        student = await stack.enter_async_context(living(self.address, Student, {"student": name}))
        await student.go_to(PAGE, urlencode({"code": code}))
        self.arrivals.append(await student.sees(_title(0), False) - began)
        self.students[name] = student

    async def _go_through(self, number: int, lecturer: Lecturer) -> Step:
        title, choices = _title(number), len(LESSONS[number].words.choices)
        step, draw = Step(title), random.Random(number)
        everybody = self.students.values()
        began, worked = time.monotonic(), self._worked()
        if number:  # all are at the first already
            moved = await lecturer.press("class_next")
            step.came = [seen - moved for seen in await _all(each.sees(title, False) for each in everybody)]
        begun = time.monotonic()
        answered = await _all(
            each.answer(draw.randrange(choices), ANSWER_SECONDS * draw.random()) for each in everybody
        )
        step.confirmed = [confirmed - clicked for clicked, confirmed in answered]
        await lecturer.until(
            lambda: lecturer.counts_from(begun)[-1:] and lecturer.tallies[-1][1] == self.people
        )
        clicked = dict(zip(self.students, (moment for moment, _ in answered), strict=True))
        for place, name in enumerate(self._in_order(number), start=1):
            came = next(moment for moment, count in lecturer.counts_from(begun) if count >= place)
            step.counted.append(came - clicked[name])
        told = await lecturer.press("class_reveal")
        step.told = [seen - told for seen in await _all(each.sees(title, True) for each in everybody)]
        await _all(each.move(draw, MOVE_SECONDS * draw.random()) for each in everybody)
        step.work = (self._worked() - worked) / (time.monotonic() - began)
        return step

    def _in_order(self, question: int) -> list[str]:
        """The names of the students in the order in which the server has counted their answers."""
        (file,) = self.folder.glob("*/classes.sqlite")
        asked = "SELECT student FROM explorer_answers WHERE question = ? ORDER BY rowid"
        with closing(sqlite3.connect(file)) as connection:
            return [name for (name,) in connection.execute(asked, [question])]

    def _worked(self) -> float:
        used = self.server.cpu_times()
        return used.user + used.system


async def _all(many: Any) -> list[Any]:
    return list(await asyncio.gather(*many))


def _title(number: int) -> str:
    return LANGUAGE.words[LESSONS[number].name].title


def both(seconds: Sequence[float]) -> str:
    """The median and the 95th percentile."""
    return f"{at(50, seconds)} / {at(95, seconds)}"


def row(step: Step) -> list[object]:
    """One row of the table."""
    spans = (step.counted, step.confirmed, step.came, step.told)
    return [step.title, *map(both, spans), f"{step.work:.0%}"]


def summed(steps: Sequence[Step]) -> Step:
    """All steps as one."""
    total = Step("all", work=statistics.mean(step.work for step in steps))
    for step in steps:
        total.came += step.came
        total.confirmed += step.confirmed
        total.counted += step.counted
        total.told += step.told
    return total


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=60)
    people = parser.parse_args().people
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(APP, folder / "log", EXPLORER_HOSTED="1", TMPDIR=name) as address:
            held = Class(address, people, folder)
            memory = Memory(held.server.pid)
            memory.start()
            asyncio.run(held.hold())
            memory.stop()
        tracebacks = (folder / "log").read_text().count("Traceback")
    total = summed(held.steps)
    print(f"{people} students and a lecturer; seconds, median / 95th percentile\n")
    print_table(
        [
            "step",
            "click → lecturer's screen",
            "click → confirmed",
            "Next → students",
            "Show → students",
            "CPU of the server",
        ],
        [row(step) for step in (*held.steps, total)],
    )
    print()
    late = sum(seconds > AT_MOST for seconds in total.counted)
    print_table(
        ["what", "found", "at most"],
        [
            ["errors", len(held.errors), "0"],
            ["tracebacks in the log", tracebacks, "0"],
            ["pages that stopped following", sum(each.stuck for each in held.students.values()), "0"],
            [f"answers later than {AT_MOST:g} s", f"{late / len(total.counted):.1%}", "5 %"],
            ["arrivals p50 / p95, s", both(held.arrivals), "–"],
            ["memory, first and most, MB", f"{memory.megabytes[0]:,.0f}, {max(memory.megabytes):,.0f}", "–"],
        ],
    )
    for each in held.errors[:10]:
        print(each)


if __name__ == "__main__":
    main()
