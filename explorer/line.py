"""The line of runs: they wait for each other, so that many visitors take no more than the machine has.

A run takes a place of computing for as long as it computes, and memory for as long as it holds it. A text
that is being generated holds its memory from the first token to the last, and takes a place for each token,
so that others have theirs between.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import inf
from statistics import median

from explorer.jobs import Report
from explorer.settings import LimitError, settings

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_LOOK = 0.1
"""Seconds between two looks of a waiting run at who still waits for it."""
_REMEMBERED = 9
"""Runs whose time is remembered."""


@dataclass(eq=False)
class _Ticket:
    """One who waits or runs."""

    gigabytes: float
    places: int
    began: float = 0.0


class Line:
    """Admits runs in the order in which they came, while places and memory last.

    `at_once` places of computing; `gigabytes` of memory for all; at most `waiting` wait. One who needs more
    memory than is left lets those pass who need none: they hold theirs already, and give it back when done.
    """

    def __init__(self, at_once: int, gigabytes: float, waiting: int) -> None:
        self.at_once, self.gigabytes, self.most_waiting = at_once, gigabytes, waiting
        self._changed = threading.Condition()
        self._waiting: list[_Ticket] = []
        self._running: list[_Ticket] = []
        self._took: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def counts(self) -> tuple[int, int]:
        """How many wait, and how many run or hold memory."""
        with self._changed:
            return len(self._waiting), len(self._running)

    @contextmanager
    def admitted(self, report: Report, *, gigabytes: float = 0.0, places: int = 1) -> Iterator[Report]:
        """Wait for a turn, and hold it. `report` gets the place in the line, and may raise to leave it.

        Gives the report that the run makes: it stops a run that takes longer than this copy allows. Raises
        LimitError if too many wait already.
        """
        ticket = _Ticket(min(gigabytes, self.gigabytes), places)
        with self._changed:
            if len(self._waiting) >= self.most_waiting:
                raise LimitError(
                    f"{len(self._waiting):,} runs wait already, the most that this copy lets wait. Try again "
                    "in a minute."
                )
            self._waiting.append(ticket)
            self._admit()
        try:
            while not self._is_in(ticket):
                report(self._words(ticket), None)
                with self._changed:
                    self._changed.wait_for(lambda: ticket in self._running, timeout=_LOOK)
            began = time.monotonic()

            def watched(text: str, part: float | None) -> None:
                settings().check_seconds(time.monotonic() - began)
                report(text, part)

            yield watched
        finally:
            self._leave(ticket)

    def _is_in(self, ticket: _Ticket) -> bool:
        with self._changed:
            return ticket in self._running

    def _leave(self, ticket: _Ticket) -> None:
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            else:
                self._running.remove(ticket)
                if ticket.places and ticket.gigabytes:  # a step of a text says nothing about other runs
                    self._took.append(time.monotonic() - ticket.began)
            self._admit()

    def _admit(self) -> None:
        """Let in all who fit. Called with the lock held."""
        places = self.at_once - sum(each.places for each in self._running)
        memory = self.gigabytes - sum(each.gigabytes for each in self._running)
        for ticket in list(self._waiting):
            if ticket.gigabytes > memory:
                memory = 0.0  # nobody who needs some passes this one
                continue
            memory -= ticket.gigabytes
            if ticket.places > places:
                places = 0
                continue
            places -= ticket.places
            ticket.began = time.monotonic()
            self._waiting.remove(ticket)
            self._running.append(ticket)
        self._changed.notify_all()

    def _words(self, ticket: _Ticket) -> str:
        """The place in the line, such as "Waiting for other runs: third in line, about 8 s"."""
        with self._changed:
            ahead = self._waiting.index(ticket) if ticket in self._waiting else 0
            usual = median(self._took) if self._took else None
            now = time.monotonic()
            left = [max((usual or 0) - (now - each.began), 0) for each in self._running if each.places]
        place = f"{_ORDINALS[ahead]} in line" if ahead < len(_ORDINALS) else f"number {ahead + 1} in line"
        words = f"Waiting for other runs: {place}"
        if usual is not None:
            seconds = (sum(left) + usual * ahead) / self.at_once
            words += f", about {max(seconds, 1):,.0f} s"
        return words


@cache
def line() -> Line:
    """The line of this process."""
    import torch

    limits = settings()
    devices = max(torch.accelerator.device_count(), 1)
    return Line(limits.runs_at_once or devices, limits.most_gigabytes or inf, limits.waiting_places)
