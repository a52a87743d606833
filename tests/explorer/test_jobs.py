import threading
import time

import pytest

from explorer import jobs
from explorer.jobs import Report, StoppedError, stop, watch


def unseen(text: str, part: float | None) -> None:
    """Show nothing."""


def test_sessions_share_a_job_and_its_progress() -> None:
    runs: list[str] = []
    go_on = threading.Event()

    def work(report: Report) -> None:
        runs.append("run")
        report("Half way", 0.5)
        assert go_on.wait(30)

    told: list[tuple[str, float | None]] = []

    def show(text: str, part: float | None) -> None:
        told.append((text, part))
        if len(told) >= 4:
            go_on.set()

    sessions = [threading.Thread(target=watch, args=("shared", work, show, "Starting")) for _ in range(2)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join(timeout=60)
    assert runs == ["run"]
    assert ("Half way", 0.5) in told
    assert not jobs._jobs


def test_what_goes_wrong_is_raised_and_the_next_try_is_new() -> None:
    def work(report: Report) -> None:
        raise ValueError("no such thing")

    for _ in range(2):
        with pytest.raises(ValueError, match="no such thing"):
            watch("wrong", work, unseen, "Starting")


def test_stopping_ends_the_work_at_its_next_report() -> None:
    ended = threading.Event()

    def work(report: Report) -> None:
        try:
            while True:
                report("On and on", None)
                time.sleep(0.01)
        finally:
            ended.set()

    class LeftError(Exception):
        """A session's script is cut off while it waits."""

    def leave(text: str, part: float | None) -> None:
        raise LeftError

    with pytest.raises(LeftError):
        watch("endless", work, leave, "Starting")
    assert not ended.is_set()
    stop("endless")
    assert ended.wait(10)
    watch("endless", lambda report: None, unseen, "Starting")  # a new one, not the stopped


def test_a_job_that_another_session_waits_for_goes_on() -> None:
    go_on, raised = threading.Event(), []

    def work(report: Report) -> None:
        assert go_on.wait(30)
        report("Done", 1.0)

    def other() -> None:
        try:
            watch("wanted", work, unseen, "Starting")
        except StoppedError as error:
            raised.append(error)

    session = threading.Thread(target=other)
    session.start()
    while "wanted" not in jobs._jobs or not jobs._jobs["wanted"].watchers:
        time.sleep(0.01)
    stop("wanted")
    go_on.set()
    session.join(timeout=30)
    assert raised == []


def test_stopping_what_does_not_run_does_nothing() -> None:
    stop("nothing")
