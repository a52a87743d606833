"""New texts to ask about, in the words that the embedded model knows; no lesson shows them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from components.demo import LIST_WORDS, PAIRS, STORY, WHERE
from explorer.lessons.live import PROMPT

Drawn = TypeVar("Drawn")

TRIES = 300
MOST_WORDS = 22
"""Without marks, so that a text stands on one screen with a question."""


@dataclass(frozen=True)
class Text:
    """A text that ends where the model must answer."""

    words: tuple[str, ...]
    """Its tokens, without the spaces before them."""
    fact: int
    """The position that states the answer."""

    @property
    def prompt(self) -> str:
        """The text as the model reads it."""
        return text_of(self.words)

    @property
    def nouns(self) -> list[int]:
        """Positions of the words that stand for facts, and stand once."""
        once = [word for word in LIST_WORDS if self.words.count(word) == 1]
        return [at for at, word in enumerate(self.words) if word in once]


def new_text(rng: random.Random) -> Text:
    """A short text with several facts and a question about one."""
    return first(lambda: _short(rng))


def text_of(words: Sequence[str]) -> str:
    """Tokens as a text: a space before each word, none before a mark."""
    return "".join(f" {word}" if word[0].isalpha() else word for word in words).strip()


def first(draw: Callable[[], Drawn | None]) -> Drawn:
    """The first draw that is not None. RuntimeError where none of TRIES is."""
    for _ in range(TRIES):
        if (drawn := draw()) is not None:
            return drawn
    raise RuntimeError(f"{TRIES} draws in a row were not clear. Is this another model than the embedded one?")


def _short(rng: random.Random) -> Text | None:
    question = rng.choice((WHERE, STORY, PAIRS)).pose(rng)
    text = Text(tuple(word.strip() for word in question.words[: question.query + 1]), question.fact)
    one_line = "" not in text.words  # a line end is a token, and nothing without its blanks
    fits = one_line and sum(map(str.isalpha, text.words)) <= MOST_WORDS and text.prompt != PROMPT
    return text if fits and len(text.nouns) > 2 else None
