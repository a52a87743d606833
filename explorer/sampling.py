"""How a text is continued, as the page Generate has it and as its URL says it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from explorer.generating import MAX_NEW_TOKENS, SamplingOptions

GREEDY, SAMPLED = "Greedy", "Sampled"
PACES = {"2": 2.0, "6": 6.0, "20": 20.0, "no limit": None}

Value = str | int | float


@dataclass(frozen=True)
class Choice:
    """One of a few words. In the URL it is small and without spaces."""

    default: str
    options: tuple[str, ...]

    def read(self, words: str) -> Value | None:
        """The option that the words name; None if they name none."""
        return next((option for option in self.options if self.write(option) == words), None)

    def nearest(self, value: object) -> Value:
        """The option itself, or the default for what is none."""
        return value if isinstance(value, str) and value in self.options else self.default

    def write(self, value: Value) -> str:
        """The words for an option."""
        return str(value).lower().replace(" ", "-")


@dataclass(frozen=True)
class Number:
    """A number between two others; `digits` after the point, in steps of `step` units of the last one."""

    default: int | float
    least: int | float
    most: int | float
    digits: int = 0
    step: int = 1

    def read(self, words: str) -> Value | None:
        """The number that the words say; None if they say none."""
        found = re.fullmatch(r"\d{1,12}(\.\d{1,6})?", words, re.ASCII)
        return float(words) if found and (self.digits or not found[1]) else None

    def nearest(self, value: object) -> Value:
        """The number that the page can take and that is closest; the default for what is none."""
        if not isinstance(value, int | float):
            return self.nearest(self.default)
        unit = self.step / 10**self.digits
        inside = min(max(float(value), self.least), self.most)
        return round(round(inside / unit) * unit, self.digits) if self.digits else int(inside)

    def write(self, value: Value) -> str:
        """As in the URL."""
        return f"{value:.{self.digits}f}"


SETTINGS: dict[str, Choice | Number] = {
    "draws": Choice(GREEDY, (GREEDY, SAMPLED)),
    "new_tokens": Number(64, 1, MAX_NEW_TOKENS),
    "pace": Choice("6", tuple(PACES)),
    "temperature": Number(1.0, 0.1, 3.0, digits=1),
    "top_p": Number(1.0, 0.05, 1.0, digits=2, step=5),
    "seed": Number(0, 0, 2**31 - 1),
}
"""What can be set, by the key of its widget, which is its name in the URL too."""


def default_settings() -> dict[str, Value]:
    """What the page opens with."""
    return {name: each.nearest(each.default) for name, each in SETTINGS.items()}


def settings_of(parameters: Mapping[str, str]) -> tuple[dict[str, Value], list[str], list[str]]:
    """The settings that a URL's parameters describe; the names of those that can't be read, for which the
    defaults stand, and of those out of range, for which the nearest stand.
    """
    values, unread, beyond = default_settings(), [], []
    for name, each in SETTINGS.items():
        if name not in parameters:
            continue
        value = each.read(parameters[name])
        if value is None:
            unread.append(name)
            continue
        values[name] = each.nearest(value)
        if values[name] != value:
            beyond.append(name)
    return values, unread, beyond


def query_of_settings(values: Mapping[str, Value]) -> dict[str, str]:
    """The URL's parameters for settings. What is as the page opens with is left out."""
    return {
        name: each.write(values[name])
        for name, each in SETTINGS.items()
        if values[name] != each.nearest(each.default)
    }


def sampling_options(values: Mapping[str, Value]) -> SamplingOptions:
    """What to do by these settings."""
    options = SamplingOptions(int(values["new_tokens"]), pace=PACES[str(values["pace"])])
    if values["draws"] == GREEDY:
        return options
    return SamplingOptions(
        options.new_tokens,
        temperature=float(values["temperature"]),
        top_p=float(values["top_p"]),
        seed=int(values["seed"]),
        pace=options.pace,
    )
