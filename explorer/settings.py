"""What this copy of the explorer allows, read once from the environment.

    EXPLORER_HOSTED=1                               open to strangers: the limits below take their defaults
    EXPLORER_MODELS="demo,AntonV/mamba2-130m-hf"    only these models; hosted: the embedded one
    EXPLORER_MAX_TOKENS=2048                        tokens of a prompt; hosted: 2,048
    EXPLORER_MAX_GIGABYTES=6                        memory of one run, in GB of 10⁹ bytes; hosted: 2
    EXPLORER_MAX_UPLOAD_KB=512                      size of an uploaded file, in KB of 1,024 bytes; else 1,024

By default, only the size of an upload is limited, and a run by the free memory: the explorer runs on the
computer of the person who uses it.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from components.models import CATALOGUE, DEMO

HOSTED_MOST_TOKENS = 2048
HOSTED_MOST_GIGABYTES = 2.0
MAX_UPLOAD_KILOBYTES = 1024

CHARACTERS_PER_TOKEN = 16
"""More than texts have per token, so that only texts far too long are refused by their characters."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Settings:
    """The limits of this copy. None: no limit. A GB is 10⁹ bytes, a KB 1,024."""

    hosted: bool = False
    models: tuple[str, ...] | None = None
    most_tokens: int | None = None
    most_gigabytes: float | None = None
    most_upload_kilobytes: int = MAX_UPLOAD_KILOBYTES

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> "Settings":
        """Read the variables. Raises ValueError, with a sentence, for an invalid value."""
        hosted = _switch(environment, "EXPLORER_HOSTED")
        return Settings(
            hosted=hosted,
            models=_models(environment, "EXPLORER_MODELS") or ((DEMO,) if hosted else None),
            most_tokens=_count(environment, "EXPLORER_MAX_TOKENS")
            or (HOSTED_MOST_TOKENS if hosted else None),
            most_gigabytes=_amount(environment, "EXPLORER_MAX_GIGABYTES")
            or (HOSTED_MOST_GIGABYTES if hosted else None),
            most_upload_kilobytes=_count(environment, "EXPLORER_MAX_UPLOAD_KB") or MAX_UPLOAD_KILOBYTES,
        )

    @property
    def shows_details(self) -> bool:
        """Whether the page names the kind of an unexpected error. The traceback is in the log either way."""
        return not self.hosted

    @property
    def offered(self) -> tuple[str, ...]:
        """The models to choose from; any other may be typed in only where `models` is None."""
        return self.models or tuple(entry.name for entry in CATALOGUE)

    @property
    def most_characters(self) -> int | None:
        """Most characters of a prompt: counting tokens is expensive, counting characters is not."""
        return self.most_tokens and self.most_tokens * CHARACTERS_PER_TOKEN

    def allows(self, model: str) -> bool:
        """Whether the model may be opened. Names are compared as written, before anything is looked up."""
        return self.models is None or model in self.models

    def refusal(self, model: str) -> str:
        """Say that the model may not be opened, and which may."""
        name = model if len(model) <= 80 else f"{model[:80]}…"
        return f'{self._copy} does not open "{name}". It opens only: {", ".join(self.offered)}.'

    def check_prompt(self, prompt: str) -> None:
        """To call before tokenizing. Raises ValueError, with a sentence, if it is far too long."""
        if self.most_characters is not None and len(prompt) > self.most_characters:
            raise ValueError(
                f"This prompt has {len(prompt):,} characters. {self._copy} takes at most "
                f"{self.most_characters:,}. Shorten it."
            )

    def check_tokens(self, count: int) -> None:
        """To call before a run. Raises ValueError, with a sentence, if the prompt has too many tokens."""
        if self.most_tokens is not None and count > self.most_tokens:
            raise ValueError(
                f"This prompt has {count:,} tokens. {self._copy} takes at most "
                f"{self.most_tokens:,}. Shorten it."
            )

    def check_cost(self, gigabytes: float, free: float) -> None:
        """To call before a run. Raises ValueError, with a sentence, if the estimated `gigabytes` exceed the
        limit or the `free` GB of memory.
        """
        # Rounded away from each other, so that the sentence never says that 2.0 GB are above 2 GB.
        run = f"This run would take about {math.ceil(round(gigabytes * 10, 6)) / 10:,.1f} GB of memory"
        if self.most_gigabytes is not None and gigabytes > self.most_gigabytes:
            raise ValueError(
                f"{run}. {self._copy} allows {self.most_gigabytes:,g} GB for one run. Shorten the text."
            )
        if gigabytes > free and self.hosted:  # a server does not reveal its free memory
            raise ValueError(
                f"{run}, and the server has less than that free. Shorten the text, or try again later."
            )
        if gigabytes > free:
            raise ValueError(
                f"{run}, and this computer has {math.floor(round(free * 10, 6)) / 10:,.1f} GB free. "
                "Shorten the text, or close other programs."
            )

    def limits_in_words(self) -> list[str]:
        """One sentence for each limit: what is limited and why. Empty without limits."""
        limits = []
        if self.models is not None:
            limits.append(
                f"{self._copy} opens only these models: {', '.join(self.models)}, "
                "so that nobody can make the server download or read files."
            )
        if self.most_tokens is not None:
            limits.append(
                f"A prompt has at most {self.most_tokens:,} tokens, "
                "so that one long text does not keep everyone else waiting."
            )
        if self.most_gigabytes is not None:
            limits.append(
                f"A run takes at most {self.most_gigabytes:,g} GB of memory, "
                "so that one long text does not leave too little for everyone else."
            )
        if not self.shows_details:
            limits.append(
                "Unexpected errors are shown without details, so that they reveal nothing about the server."
            )
        return limits

    @property
    def _copy(self) -> str:
        return "This hosted copy" if self.hosted else "This copy"


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings.from_environment(os.environ)


def _switch(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "").strip()
    if value not in {"", "0", "1"}:
        raise ValueError(f'{name} is "{value}". Set it to 1 (on) or 0 (off, the default).')
    return value == "1"


def _models(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The listed models, each once. A folder cannot be listed: its path would appear on the page."""
    listed = environment.get(name, "").strip()
    models = tuple(dict.fromkeys(model.strip() for model in listed.split(","))) if listed else ()
    for model in models:
        if model != DEMO and not _HUB_ID.fullmatch(model):
            raise ValueError(
                f'{name} lists "{model}". It can list "{DEMO}" and hub ids such as "{CATALOGUE[1].name}", '
                "with commas between them."
            )
    return models


def _count(environment: Mapping[str, str], name: str) -> int | None:
    value = environment.get(name, "").strip()
    if not value:
        return None
    if not re.fullmatch("0*[1-9][0-9]{0,8}", value, re.ASCII):
        raise ValueError(f'{name} is "{value}". Set it to a whole number from 1 on, such as 2048.')
    return int(value)


def _amount(environment: Mapping[str, str], name: str) -> float | None:
    value = environment.get(name, "").strip()
    if not value:
        return None
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value, re.ASCII) or not float(value):
        raise ValueError(f'{name} is "{value}". Set it to a number above 0, such as 6 or 0.5.')
    return float(value)
