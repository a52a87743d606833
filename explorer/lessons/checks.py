"""The questions of "Check yourself": one about each lesson, the same ones for the same seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import streamlit as st

from explorer.lessons.course import LESSONS
from explorer.lessons.lesson import Lesson, Situation, Words
from explorer.lessons.texts import first

SEEDS = range(1, 1_000)
"""Each draws questions of its own."""
HELD = 10 * len(LESSONS)


@dataclass(frozen=True)
class Question:
    """A situation, and the order in which its choices stand."""

    situation: Situation
    order: tuple[int, ...]

    @property
    def right(self) -> int:
        """The place of the right choice."""
        return self.order.index(self.situation.right)

    def says(self, words: str) -> str:
        """Words of its check, filled in."""
        return words.format(**self.situation.values)

    def choices(self, words: Words) -> list[str]:
        """Its choices in their order."""
        return [self.says(words.check_choices[at]) for at in self.order]


def question(lesson: Lesson, seed: int) -> Question:
    """The question about a lesson that a seed draws. Sessions share it: read only."""
    return _question(lesson.name, seed)


@st.cache_resource(max_entries=HELD, show_spinner=False)
def _question(name: str, seed: int) -> Question:
    lesson = next(each for each in LESSONS if each.name == name)
    rng = random.Random(f"{name}-{seed}")

    def draw() -> Question | None:
        situation = lesson.situation(rng)
        count = len(lesson.words.check_choices)
        if situation is None:
            return None
        drawn = Question(situation, tuple(rng.sample(range(count), count)))
        return drawn if len(set(drawn.choices(lesson.words))) == count else None  # else some read the same

    return first(draw)


@dataclass
class Attempt:
    """How far a reader is with the questions of a seed."""

    seed: int
    instead: bool = False
    """Whether an address has named questions that do not exist."""
    chosen: list[int] = field(default_factory=list)
    """The places of the choices clicked, in the order of the lessons."""
    at: int = 0
    """The question shown, from 0; behind the last one, the score."""

    def is_right(self, at: int) -> bool:
        """Whether a question has been answered right."""
        return self.chosen[at] == question(LESSONS[at], self.seed).right

    @property
    def score(self) -> int:
        """How many have been answered right."""
        return sum(map(self.is_right, range(len(self.chosen))))


def seed_of(words: str) -> int | None:
    """The seed that a text names; None if it names none."""
    return next((seed for seed in SEEDS if str(seed) == words), None)


def score_of(words: str) -> int | None:
    """The score that a text names; None if it names none."""
    return next((score for score in range(len(LESSONS) + 1) if str(score) == words), None)
