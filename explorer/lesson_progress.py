"""How far a reader is in the lessons. The browser keeps it, so that who comes back goes on."""

from __future__ import annotations

import json

from explorer.browser_store import in_browser, put_in_browser
from explorer.lessons import LESSONS, Lesson, Progress
from explorer.session import session

_NAME = "lessons"


def progress_in(lesson: Lesson) -> Progress:
    """How far the reader is in one lesson."""
    found = session().lessons.setdefault(lesson.name, Progress())
    if found.choice is None:
        choice, reached = _kept().get(lesson.name, (None, frozenset()))
        if choice is not None and 0 <= choice < len(lesson.words.choices):
            found.choice, found.reached = choice, reached & lesson.goals
    return found


def is_done(lesson: Lesson) -> bool:
    """Whether the reader has answered and done the task."""
    progress = progress_in(lesson)
    return progress.choice is not None and progress.reached >= lesson.goals


def keep_progress() -> None:
    """Let the browser keep it."""
    if session().in_browser is None:
        return  # what it keeps is not known yet
    every = {lesson.name: progress_in(lesson) for lesson in LESSONS}
    kept = {
        name: [each.choice, *sorted(each.reached)] for name, each in every.items() if each.choice is not None
    }
    put_in_browser(_NAME, json.dumps(kept))


def _kept() -> dict[str, tuple[int | None, frozenset[str]]]:
    """What the browser has told, which can be anything."""
    try:
        told = json.loads(in_browser(_NAME) or "{}")
    except (ValueError, RecursionError):
        return {}
    found: dict[str, tuple[int | None, frozenset[str]]] = {}
    for name, values in told.items() if isinstance(told, dict) else ():
        if isinstance(values, list) and values and type(values[0]) is int:
            found[name] = values[0], frozenset(each for each in values[1:] if isinstance(each, str))
    return found
