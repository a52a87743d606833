"""The words of lessons in other languages: a TOML file for each, beside this one in `translations`.

    python -m explorer.lessons.languages > explorer/lessons/translations/de.toml

writes the English words in the form of such a file. Translate what stands behind the equals signs, keep the
names in braces, and set `language` to the language's own name. What a file leaves out stays English.
"""

from __future__ import annotations

import json
import string
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from explorer.lessons.course import LESSONS
from explorer.lessons.lesson import Words

FOLDER = Path(__file__).with_name("translations")
ENGLISH = "en"


class TranslationError(ValueError):
    """A file of words that cannot be used; its sentence says why."""


@dataclass(frozen=True)
class Frame:
    """The words around the lessons. Braces name what the pages fill in."""

    step: str = "Step {number} of {count}"
    right: str = "**Right.** {choice}."
    wrong: str = "**Not quite.** {choice}."
    answer: str = "**The answer.** {choice}."
    waiting: str = "Your answer is in. Wait for the lecturer to show what is right."
    late: str = "Time is up. Wait for the lecturer to show what is right."
    seconds: str = "{seconds} s left"
    task: str = "Your turn:"
    done: str = "Done:"
    back: str = "Back"
    next: str = "Next"
    check: str = "Check yourself"
    question: str = "Question {number} of {count}"
    score: str = "{right} of {count}"
    best: str = "Your best so far: {right} of {count}."
    others: str = "Try others"
    no_questions: str = "No questions have this number. Here are others."
    lessons: str = "Back to the lessons"
    explore: str = "Open in Explore"
    classroom: str = "Teach or join a class"
    language: str = "Language"


@dataclass(frozen=True)
class Language:
    """All words of one language."""

    code: str
    name: str
    frame: Frame
    words: Mapping[str, Words]
    """By the lesson's name."""


def english() -> Language:
    """The words in the lessons themselves."""
    return Language(ENGLISH, "English", Frame(), {lesson.name: lesson.words for lesson in LESSONS})


def languages(folder: Path = FOLDER) -> dict[str, Language]:
    """All languages by their codes, English first. Raises TranslationError for a file that cannot be used."""
    files = sorted(folder.glob("*.toml"))
    return {ENGLISH: english(), **{file.stem: _read(file) for file in files}}


def _read(file: Path) -> Language:
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TranslationError(f"{file.name} is not a TOML file in UTF-8: {error}.") from error
    name, start = found.pop("language", None), english()
    if not isinstance(name, str):
        raise TranslationError(f'{file.name} does not say its `language`, such as language = "Deutsch".')
    if unknown := set(found) - {"frame", *start.words}:
        raise TranslationError(f"{file.name} names {_listed(unknown)}, which are no lessons.")
    return Language(
        file.stem,
        name,
        _translated(start.frame, found.get("frame", {}), f"{file.name}, frame"),
        {
            lesson: _translated(words, found.get(lesson, {}), f"{file.name}, {lesson}")
            for lesson, words in start.words.items()
        },
    )


def _translated(words: Any, given: Mapping[str, Any], where: str) -> Any:
    """The words with those given in their place."""
    if unknown := set(given) - {field.name for field in fields(words)}:
        raise TranslationError(f"{where}: there is no {_listed(unknown)}.")
    changed = {}
    for name, value in given.items():
        before = getattr(words, name)
        after = tuple(value) if isinstance(value, list) else value
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            after = {**before, **after}
        if _shape(after) != _shape(before):
            raise TranslationError(
                f"{where}: {name} must have the form of the English one, with texts in the same number and "
                f"the same names in braces: {_shape(before)}, not {_shape(after)}."
            )
        changed[name] = after
    return replace(words, **changed)


def _shape(value: object) -> Any:
    """What a translation keeps: how many texts there are, their names, and the names in their braces."""
    match value:
        case str():
            return sorted(_names_in(value))
        case tuple():
            return [_shape(each) for each in value]
        case Mapping():
            return {name: _shape(value[name]) for name in sorted(value)}
    return type(value).__name__


def _names_in(text: str) -> Iterator[str]:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TranslationError(f'"{text}" cannot be filled in: {error}.') from error
    return iter({name for _, name, _, _ in parts if name is not None})


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


def as_toml(language: Language) -> str:
    """The words in the form of a file of them."""
    lines = [f"language = {_quoted(language.name)}"]
    sections: dict[str, Frame | Words] = {"frame": language.frame, **language.words}
    for section, words in sections.items():
        inner: list[str] = []
        lines += ["", f"[{section}]"]
        for field in fields(words):
            value = getattr(words, field.name)
            if isinstance(value, Mapping):
                inner += [f"{field.name}.{_quoted(name)} = {_quoted(text)}" for name, text in value.items()]
            elif isinstance(value, tuple):
                lines += [f"{field.name} = [", *(f"  {_quoted(text)}," for text in value), "]"]
            else:
                lines.append(f"{field.name} = {_quoted(value)}")
        lines += inner
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a string of JSON is one of TOML


if __name__ == "__main__":
    print(as_toml(english()), end="")
