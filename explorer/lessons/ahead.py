"""Computes ahead what the lessons show first, so that nobody waits for it; and no class, all at once."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import cache

from streamlit import runtime

from explorer.lessons.course import LESSONS


def compute_ahead() -> None:
    """Begin, once for all readers of this server. What fails here, the page tries again and reports."""
    if runtime.exists():
        _begin()


@cache
def _begin() -> None:
    threading.Thread(target=_compute, name="lessons").start()


def _compute() -> None:
    with suppress(Exception):  # a page that needs it computes it again, and reports
        for lesson in LESSONS:
            if not threading.main_thread().is_alive():  # no arithmetic may be under way at the end
                return
            for option, revealed in ((lesson.control.start, False), (lesson.asked, True)):
                lesson.scene(option, revealed, lesson.words.labels)
            lesson.right()
