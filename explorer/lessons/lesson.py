"""What a lesson is: words, one control, and scenes computed from a running model.

A lesson asks first. It shows a scene, asks a question about it, then tells the right answer, which it
computes, and gives the reader a control and a task. `docs/lessons.md` says how to add one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from components.charts import Figure
from explorer.selection import Selection

Option = int | float | str
"""A value of a control."""

DONE = "done"
"""The goal of a task with one goal."""


@dataclass(frozen=True)
class Words:
    """The texts of a lesson in one language. Braces name values of its scenes, as in `str.format`.

    Each screen has at most 90 words. `text`, `question` and `choices` come first; after the answer `live`
    tells the values, `meaning` says in one sentence what they mean, and `task` what to do with the control.
    By names of the lesson's own, `labels` name what the charts show, and `alts` say for ears what each shows
    now.

    `check`, `check_choices` and, after the answer, `check_why` are those of a `Situation`.
    """

    title: str
    text: str
    question: str
    choices: tuple[str, ...]
    live: str
    meaning: str
    task: str
    control: str
    labels: Mapping[str, str]
    alts: Mapping[str, str]
    check: str
    check_choices: tuple[str, ...]
    check_why: str


@dataclass(frozen=True)
class Control:
    """What the reader may change: one of `options`, from the least to the most.

    `names` are numbers or tokens: what the options are called. A name that is a word of a language is a label
    of `Words`, by the option.
    """

    options: tuple[Option, ...]
    start: Option
    names: Callable[[Option], str] = str


@dataclass(frozen=True)
class Scene:
    """What a lesson shows for one value of its control."""

    selection: Selection
    """What the page Explore opens with, to show the same."""
    figures: Mapping[str, Figure]
    """By the name of its words in `Words.alts`, from above."""
    values: Mapping[str, Option]
    """What its words name. All were computed from the model for this scene."""
    reached: frozenset[str] = frozenset()
    """Goals of the task that it reaches."""

    def number(self, name: str) -> float:
        """One of its values."""
        return float(self.values[name])


@dataclass(frozen=True)
class Situation:
    """A new case of what a lesson taught, to check oneself with."""

    selection: Selection
    """What the page Explore opens with, to show it."""
    values: Mapping[str, Option]
    """What the words of the check name. All were computed from the model for this case."""
    right: int
    """The index of the right choice, computed from the model."""
    text: str = ""
    """The text that it is about; empty for none."""


@dataclass(frozen=True)
class Lesson:
    """One step of the course."""

    name: str
    """Names it in links, in answers that a class keeps, and in translations."""
    number: int
    """Its place in the order of the course, from 1."""
    words: Words
    """In English."""
    control: Control
    asked: Option
    """The value of the control that the question is about: what the reader sees after the answer."""
    scene: Callable[[Option, bool, Mapping[str, str]], Scene]
    """The scene for a value of the control, with the labels of a language. Before the answer (False) it must
    not give it away.
    """
    right: Callable[[], int]
    """The index of the right choice, computed from the model."""
    situation: Callable[[random.Random], Situation | None]
    """Draws a case that the lesson does not show; None where its answer would not be clear."""
    goals: frozenset[str] = frozenset({DONE})
    """The task is done when scenes of the reader have reached all of these."""


@dataclass
class Progress:
    """How far a reader is in a lesson."""

    choice: int | None = None
    """The index of the answer given."""
    option: Option | None = None
    """The value of the control; None for where it starts."""
    reached: frozenset[str] = frozenset()
    """Goals of the task."""
