"""A number of tokens in the text's own words: "about two sentences" says more than 13.4 tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components.charts.tokens import joined

# No pattern looks beyond the run of like characters that it begins in, so matching is linear in any text.
_WORD_END = re.compile(r"\s+")
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_LINE_END = re.compile(r"\n")
_SENTENCE_END = re.compile(rf"""[.!?…](?=["'”’»)\]*]*(?:\s|\Z))|[。！？]|{_PARAGRAPH_END.pattern}""")
_LETTER_OR_NUMBER = re.compile(r"[^\W_]")

_NUMBERS = [
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
]  # fmt: skip
_LONGEST_WORD = 12
"""Tokens. Words that are longer on average are no words: the script puts no blanks between them."""


@dataclass(frozen=True)
class Spans:
    """How long a text is and what it is made of, in tokens. A mean is inf where the text has no such part."""

    length: int
    word: float
    sentence: float
    paragraph: float


def spans_of(tokens: Sequence[str]) -> Spans:
    """Measure a text by its tokens' raw texts, which together are the text. Takes time linear in it.

    A part holds a letter or a number. Words end at blanks, sentences at . ! ? … (before a blank, so not
    within 3.14), at 。！？ and at blank lines; paragraphs at blank lines, or, where there are none, at line
    ends. An unfinished last part counts as a whole one.
    """
    text = joined(tokens)
    paragraph_end = _PARAGRAPH_END if _PARAGRAPH_END.search(text.strip()) else _LINE_END

    def mean(end: re.Pattern[str]) -> float:
        parts = sum(1 for part in end.split(text) if _LETTER_OR_NUMBER.search(part))
        return len(tokens) / parts if parts else math.inf

    return Spans(len(tokens), mean(_WORD_END), mean(_SENTENCE_END), mean(paragraph_end))


def in_words(tokens: float, spans: Spans) -> str:
    """A span of `tokens` as a reader would say it, such as "about half a sentence"; "" for NaN.

    It uses the largest unit that fits twice in the text and, rounded, once in the span; for nearly the whole
    text or more, it compares with the text. "for ever" for inf.
    """
    if math.isnan(tokens):
        return ""
    if math.isinf(tokens):
        return "for ever"
    if tokens >= 0.9 * spans.length:
        return _by_whole_text(tokens, spans.length)
    units = list(_units(spans))
    for unit, size, least in units:
        if tokens >= least * size:
            many = round(tokens / size) >= len(_NUMBERS)
            half = 0.4 <= tokens / spans.length < 0.6
            return "about half of the text" if many and half else f"about {_amount(tokens / size, unit)}"
    if units:
        unit, _, least = units[-1]
        return f"less than {_amount(least, unit)}"
    return _by_half_text(tokens / spans.length)


def _units(spans: Spans) -> Iterator[tuple[str, float, float]]:
    """The units for a span, largest first: name, tokens, and the least part of a unit that a span must reach.

    Skips a unit hardly longer than the next one: the lines of a list are its sentences. Allows half a
    sentence only if a sentence has six words or more.
    """
    twice = spans.length / 2
    word = spans.word if spans.word <= min(twice, _LONGEST_WORD) else 0.0
    if twice >= spans.paragraph > 1.5 * spans.sentence:
        yield "paragraph", spans.paragraph, 0.75
    if twice >= spans.sentence > 1.5 * word:
        yield "sentence", spans.sentence, 0.4 if spans.sentence >= 6 * word else 0.75
    if word:
        yield "word", word, 0.75


def _amount(count: float, unit: str) -> str:
    """Halves up to two, except of words; then whole numbers, rounded to two digits from thirteen on."""
    if count < 1.75 and unit != "word":
        halves = round(2 * count)
        return {1: f"half a {unit}", 2: f"a {unit}", 3: f"one and a half {unit}s"}[halves]
    whole = round(count)
    if whole <= 1:
        return f"a {unit}"
    number = _NUMBERS[whole] if whole < len(_NUMBERS) else f"{float(f'{whole:.2g}'):,.0f}"
    return f"{number} {unit}s"


def _by_whole_text(tokens: float, length: int) -> str:
    if tokens > 3 * length:
        return "far longer than the text"
    return "longer than the text" if tokens > 1.25 * length else "about as long as the text"


def _by_half_text(part: float) -> str:
    if 0.4 <= part < 0.6:
        return "about half of the text"
    return f"{'less' if part < 0.5 else 'more'} than half of the text"
