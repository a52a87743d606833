"""Questions to the demo model about combinations that it was never trained on, with their answers."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from components.demo import corpus

LIST_LENGTH = 12
FIRST_COPIED_WORD = 5
SENTENCES_BETWEEN = 3


@dataclass(frozen=True)
class Question:
    """A text that ends with the expected answer, word by word; each word is one token."""

    words: tuple[str, ...]
    answer_tokens: int
    """How many of the last words are the answer."""

    @property
    def text(self) -> str:
        """The text, answer included."""
        return "".join(self.words)

    @property
    def query(self) -> int:
        """The position that predicts the first word of the answer."""
        return len(self.words) - self.answer_tokens - 1

    @property
    def fact(self) -> int:
        """The position where the text states the first word of the answer, before the question."""
        answer = self.words[self.query + 1].strip()
        return max(i for i in range(self.query) if self.words[i].strip() == answer)


@dataclass(frozen=True)
class Task:
    """One row of the table: how to pose a question, and the share of answers that must be right."""

    name: str
    pose: Callable[[random.Random], Question]
    at_least: float
    word: str
    """Its name in one word."""


def _where(rng: random.Random) -> Question:
    return _first_question(
        _written(lambda: corpus.whereabouts(rng, corpus.Cast(rng), rng.randint(3, 8), held_out=True))
    )


def _pair(rng: random.Random) -> Question:
    return _first_question(
        _written(lambda: corpus.pairs(rng, corpus.Cast(rng), rng.randint(3, 8), held_out=True))
    )


def copied(rng: random.Random, length: int) -> Question:
    """One word of the copy of a list, from the fifth on, with the words before it already copied."""
    words = corpus.parse(corpus.copied_list(rng, length))
    end = len(words) - 1 - rng.randint(0, length - FIRST_COPIED_WORD)  # the last word is the full stop
    return Question(tuple(word.text for word in words[:end]), answer_tokens=1)


def _copy(rng: random.Random) -> Question:
    return copied(rng, LIST_LENGTH)


def _story(rng: random.Random) -> Question:
    """The first question of a story whose answer lies at least three other sentences back."""
    while True:
        question = _first_question(
            _written(
                lambda: corpus.story(
                    rng, corpus.Cast(rng), rng.randint(2, 3), rng.randint(3, 7), held_out=True
                )
            )
        )
        # The full stops between fact and question: one ends the fact, each further one another sentence.
        if question.words[question.fact : question.query].count(".") > SENTENCES_BETWEEN:
            return question


def _written(write: Callable[[], str]) -> str:
    """The first episode that can be written: a few names have too few held-out partners."""
    while True:
        try:
            return write()
        except corpus.CannotWriteError:
            continue


def _first_question(episode: str) -> Question:
    """The episode up to and including its first answer."""
    words = corpus.parse(episode)
    start = next(i for i, word in enumerate(words) if word.mark == "^")
    answer = 2 if words[start + 1].mark == "^" else 1
    return Question(tuple(word.text for word in words[: start + answer]), answer)


WHERE = Task('"X is in the P." … "Where is X? In the" P', _where, 0.95, "where")
PAIRS = Task('"X: V." … "X:" V', _pair, 0.95, "pairs")
COPY = Task("copying 12 words, from the 5th on", _copy, 0.95, "copy")
STORY = Task("story: colour and thing, asked later", _story, 0.90, "story")
TASKS = (WHERE, PAIRS, COPY, STORY)


def questions(task: Task, count: int) -> list[Question]:
    """The first `count` evaluation questions of a task, always the same ones.

    Training draws its texts from seeds that begin with "training", so a copied list is a new one here.
    """
    rng = random.Random(f"evaluation-{task.name}")
    return [task.pose(rng) for _ in range(count)]
