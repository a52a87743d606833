"""The lessons: what they ask, show and compute. `docs/lessons.md` says how to add one."""

from explorer.lessons import course, steps
from explorer.lessons.ahead import compute_ahead
from explorer.lessons.course import LESSONS
from explorer.lessons.languages import (
    ENGLISH,
    Frame,
    Language,
    TranslationError,
    as_toml,
    english,
    languages,
)
from explorer.lessons.lesson import DONE, Control, Lesson, Option, Progress, Scene, Situation, Words

__all__ = [
    "DONE",
    "ENGLISH",
    "LESSONS",
    "Control",
    "Frame",
    "Language",
    "Lesson",
    "Option",
    "Progress",
    "Scene",
    "Situation",
    "TranslationError",
    "Words",
    "as_toml",
    "compute_ahead",
    "course",
    "english",
    "languages",
    "steps",
]
