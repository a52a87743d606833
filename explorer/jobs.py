"""Long work that shows progress and can be stopped, run once for all sessions that wait for it.

A job runs on a thread of its own, and every session that waits for the same job sees the same progress. It
ends when nobody waits for it any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

Report = Callable[[str, float | None], None]
"""Takes a progress text and the fraction that is done (None if unknown)."""


def no_report(text: str, part: float | None) -> None:
    """The report of work that nobody watches."""


Work = Callable[[Report], Any]
Callback = Callable[[], None]

_SOON = 0.2
"""Seconds before a wait shows progress."""

UNWATCHED_SECONDS = 2.0
"""Seconds that a job goes on with nobody waiting: a session that runs again soon waits for it again."""


class StoppedError(Exception):
    """Somebody who waited for this job stopped it, or nobody waits for it any more."""


class Job:
    """One piece of work under way."""

    def __init__(self, work: Work, first_words: str) -> None:
        self.phase: tuple[str, float | None] = (first_words, None)
        self.done: Future[None] = Future()
        self.watchers = 0
        self.left = time.monotonic()
        """When the last watcher left."""
        self.stopped = threading.Event()
        self._work = work

    def report(self, text: str, part: float | None) -> None:
        """Record the work's progress; raises StoppedError once the job is stopped or left alone."""
        with _lock:
            if self.watchers == 0 and time.monotonic() - self.left > UNWATCHED_SECONDS:
                self.stopped.set()
        if self.stopped.is_set():
            raise StoppedError
        self.phase = (text, part)

    def run(self) -> None:
        """Do the work. A cache keeps its result, not the job."""
        try:
            self._work(self.report)
        except BaseException as error:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


_lock = threading.Lock()
_jobs: dict[object, Job] = {}


def watch(key: object, work: Work, show: Report, first_words: str) -> None:
    """Wait for the job named `key`, starting it if nobody has; `show` its progress meanwhile.

    Calls `show` on this thread, from 0.2 s on. Raises what the work raises, or StoppedError.
    """
    with _lock:
        job = _jobs.get(key)
        if job is None or job.stopped.is_set():
            job = _jobs[key] = Job(work, first_words)
            threading.Thread(target=_run, args=(key, job), daemon=True).start()
        job.watchers += 1
    try:
        while True:
            try:
                return job.done.result(timeout=_SOON)
            except NotYet:
                show(*job.phase)
    finally:
        with _lock:
            job.watchers -= 1
            job.left = time.monotonic()


def stop(key: object) -> None:
    """Stop a job unless a session still waits for it. The caller has stopped waiting already.

    It ends at its next report.
    """
    with _lock:
        job = _jobs.get(key)
        if job is not None and job.watchers == 0:
            job.stopped.set()


def _run(key: object, job: Job) -> None:
    try:
        job.run()
    finally:
        with _lock:
            if _jobs.get(key) is job:
                del _jobs[key]
