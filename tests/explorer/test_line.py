"""Runs wait for each other: places, memory, order, and leaving."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import inf

import pytest

from explorer.jobs import no_report
from explorer.line import Line
from explorer.settings import LimitError

WAIT = 30


class LeftError(Exception):
    """A visitor has closed the page."""


class Busy:
    """Holds turns until it is told to give them back."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.order: list[str] = []
        self.words: dict[str, list[str]] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._done: dict[str, threading.Event] = {}

    def come(self, name: str, gigabytes: float = 0.0, places: int = 1) -> None:
        """Come into the line, and wait until the line has noticed."""
        before = sum(self.line.counts)
        self._done[name], self.words[name] = threading.Event(), []

        def run() -> None:
            def told(words: str, _: float | None) -> None:
                self.words[name].append(words)

            with self.line.admitted(told, gigabytes=gigabytes, places=places):
                self.order.append(name)
                assert self._done[name].wait(WAIT)

        self._threads[name] = threading.Thread(target=run, daemon=True)
        self._threads[name].start()
        until(lambda: sum(self.line.counts) == before + 1)

    def go(self, name: str) -> None:
        """Give the turn back."""
        self._done[name].set()
        self._threads[name].join(WAIT)
        assert not self._threads[name].is_alive()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_one_at_a_time_in_the_order_of_coming() -> None:
    busy = Busy(Line(1, inf, 10))
    for name in "abc":
        busy.come(name)
    for seen, name in enumerate("abc", 1):
        until(lambda seen=seen: len(busy.order) == seen)  # type: ignore[misc]
        assert busy.line.counts == (3 - seen, 1)
        busy.go(name)
    assert busy.order == ["a", "b", "c"]
    assert busy.line.counts == (0, 0)


def test_a_visitor_sees_the_place_and_the_time() -> None:
    busy = Busy(Line(1, inf, 20))
    busy.come("short", gigabytes=0.1)
    time.sleep(0.2)
    busy.go("short")
    for number in range(13):
        busy.come(str(number), gigabytes=0.1)
    until(lambda: all(busy.words[str(number)] for number in range(1, 13)))
    assert busy.words["1"][0] == "Waiting for other runs: first in line, about 1 s"
    assert busy.words["3"][0] == "Waiting for other runs: third in line, about 1 s"
    assert busy.words["12"][0].startswith("Waiting for other runs: number 12 in line, about ")
    for number in range(13):
        busy.go(str(number))


def test_before_the_first_run_has_ended_no_time_is_told() -> None:
    busy = Busy(Line(1, inf, 20))
    busy.come("a")
    busy.come("b")
    until(lambda: bool(busy.words["b"]))
    assert busy.words["b"][0] == "Waiting for other runs: first in line"
    busy.go("a")
    busy.go("b")


def test_memory_is_that_of_all_together() -> None:
    busy = Busy(Line(9, 2.0, 10))
    busy.come("a", 1.5)
    busy.come("large", 1.0)
    busy.come("small", 0.25)  # it would fit, but then a large one might wait for ever
    assert busy.order == ["a"]
    busy.go("a")
    until(lambda: len(busy.order) == 3)
    busy.go("large")
    busy.go("small")


def test_more_than_there_is_runs_alone() -> None:
    """What exceeds the limit was refused before; an estimate of all of it must not wait for ever."""
    busy = Busy(Line(2, 2.0, 10))
    busy.come("all", 2.5)
    until(lambda: busy.order == ["all"])
    busy.come("other", 0.1)
    assert busy.line.counts == (1, 1)
    busy.go("all")
    busy.go("other")


def test_the_steps_of_a_text_pass_those_who_wait_for_its_memory() -> None:
    busy = Busy(Line(1, 2.0, 10))
    busy.come("text", 1.5, places=0)
    busy.come("run", 1.0)
    busy.come("step")
    until(lambda: busy.order == ["text", "step"])
    busy.go("step")
    busy.go("text")
    until(lambda: busy.order == ["text", "step", "run"])
    busy.go("run")


def test_a_text_and_others_take_turns() -> None:
    line, taken = Line(1, inf, 10), []
    start = threading.Barrier(3)

    def steps(name: str) -> None:
        start.wait()
        for _ in range(20):
            with line.admitted(no_report):
                taken.append(name)
                time.sleep(0.002)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(steps, "abc"))
    for name in "abc":
        turns = [at for at, who in enumerate(taken[:45]) if who == name]
        assert max(b - a for a, b in pairwise(turns)) <= 6


def test_leaving_frees_the_place() -> None:
    busy = Busy(Line(1, inf, 10))
    busy.come("a")

    def leave(words: str, part: float | None) -> None:
        raise LeftError

    with pytest.raises(LeftError), busy.line.admitted(leave):
        pass
    assert busy.line.counts == (0, 1)
    busy.go("a")
    with busy.line.admitted(no_report):  # and so does an error within
        assert busy.line.counts == (0, 1)
    with pytest.raises(LeftError), busy.line.admitted(no_report):
        raise LeftError
    assert busy.line.counts == (0, 0)


def test_those_for_whom_there_is_no_place_are_told() -> None:
    busy = Busy(Line(1, inf, 2))
    for name in "abc":
        busy.come(name)
    with (
        pytest.raises(LimitError, match=r"^2 runs wait already, .* Try again in a minute\."),
        busy.line.admitted(no_report),
    ):
        pass
    for name in "abc":
        busy.go(name)


def test_never_more_than_there_is() -> None:
    line = Line(2, 1.0, 100)
    lock, now, most = threading.Lock(), [0, 0.0], [0, 0.0]

    def run(number: int) -> None:
        gigabytes = (number % 7) / 8
        with line.admitted(no_report, gigabytes=gigabytes):
            with lock:
                now[0], now[1] = now[0] + 1, now[1] + gigabytes
                most[0], most[1] = max(most[0], now[0]), max(most[1], now[1])
            time.sleep(0.001)
            with lock:
                now[0], now[1] = now[0] - 1, now[1] - gigabytes

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(run, range(200)))
    assert most[0] == 2
    assert most[1] <= 1.0
    assert line.counts == (0, 0)
