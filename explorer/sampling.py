"""How to continue a text: settings of the page Generate and its URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_NEW_TOKENS = 512

GREEDY, SAMPLED = "Greedy", "Sampled"
PACES = {"2": 2.0, "6": 6.0, "20": 20.0, "no limit": None}

Value = str | int | float


@dataclass(frozen=True)
class SamplingOptions:
    """How to continue a text. A `temperature` of 0 is greedy; `pace` is the most tokens per second."""

    new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    pace: float | None = None


@dataclass(frozen=True)
class Choice:
    """One of a few words, in the URL in lower case and without spaces."""

    default: str
    options: tuple[str, ...]

    def read(self, words: str) -> Value | None:
        """The option that the words name; None if they name none."""
        return next((option for option in self.options if self.write(option) == words), None)

    def nearest(self, value: object) -> Value:
        """The value if it is an option, else the default."""
        return value if isinstance(value, str) and value in self.options else self.default

    def write(self, value: Value) -> str:
        """The words for an option."""
        return str(value).lower().replace(" ", "-")


@dataclass(frozen=True)
class Number:
    """A number from `least` to `most`, with `digits` decimals, in steps of `step` units of the last one."""

    default: int | float
    least: int | float
    most: int | float
    digits: int = 0
    step: int = 1

    def read(self, words: str) -> Value | None:
        """The number in the words; None if they are none."""
        found = re.fullmatch(r"\d{1,12}(\.\d{1,6})?", words, re.ASCII)
        return float(words) if found and (self.digits or not found[1]) else None

    def nearest(self, value: object) -> Value:
        """The closest number that the page accepts; the default if the value is no number."""
        if not isinstance(value, int | float):
            return self.nearest(self.default)
        unit = self.step / 10**self.digits
        inside = min(max(float(value), self.least), self.most)
        return round(round(inside / unit) * unit, self.digits) if self.digits else int(inside)

    def write(self, value: Value) -> str:
        """The words for a number."""
        return f"{value:.{self.digits}f}"


SETTINGS: dict[str, Choice | Number] = {
    "draws": Choice(GREEDY, (GREEDY, SAMPLED)),
    "new_tokens": Number(64, 1, MAX_NEW_TOKENS),
    "pace": Choice("6", tuple(PACES)),
    "temperature": Number(1.0, 0.1, 3.0, digits=1),
    "top_p": Number(1.0, 0.05, 1.0, digits=2, step=5),
    "seed": Number(0, 0, 2**31 - 1),
}
"""The settings, by the keys of their widgets, which are their names in the URL too."""


def default_settings() -> dict[str, Value]:
    """The defaults of all settings."""
    return {name: each.nearest(each.default) for name, each in SETTINGS.items()}


def settings_of(parameters: Mapping[str, str]) -> tuple[dict[str, Value], list[str], list[str]]:
    """The settings that a URL's parameters describe, the names of those that can't be read, which take the
    default, and of those out of range, which take the nearest value.
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
    """The URL's parameters for settings. Defaults are left out."""
    return {
        name: each.write(values[name])
        for name, each in SETTINGS.items()
        if values[name] != each.nearest(each.default)
    }


def sampling_options(values: Mapping[str, Value]) -> SamplingOptions:
    """The options for these settings."""
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
