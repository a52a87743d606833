"""What this copy of the explorer allows, read once from the environment: see the table in README.

By default, only the size of an upload is limited, and a run by the free memory: the explorer runs on the
computer of the person who uses it. `EXPLORER_HOSTED=1` opens a copy to strangers.
"""

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from components.models import CATALOGUE, DEMO

CHARACTERS_PER_TOKEN = 16
"""More than texts have per token, so that only texts far too long are refused by their characters."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def _as(read: Callable[[str, str], Any]) -> BeforeValidator:
    """Reads the text of a variable; `read` takes its name too, and raises ValueError with a sentence."""

    def validated(value: object, info: ValidationInfo) -> Any:
        return read(VARIABLES[info.field_name or ""], value.strip()) if isinstance(value, str) else value

    return BeforeValidator(validated)


def _switch(name: str, value: str) -> bool:
    if value not in {"", "0", "1"}:
        raise ValueError(f'{name} is "{value}". Set it to 1 (on) or 0 (off, the default).')
    return value == "1"


def _models(name: str, value: str) -> tuple[str, ...] | None:
    """The listed models, each once. A folder cannot be listed: its path would appear on the page."""
    models = tuple(dict.fromkeys(model.strip() for model in value.split(","))) if value else ()
    for model in models:
        if model != DEMO and not _HUB_ID.fullmatch(model):
            raise ValueError(
                f'{name} lists "{model}". It can list "{DEMO}" and hub ids such as "{CATALOGUE[1].name}", '
                "with commas between them."
            )
    return models or None


def _count(name: str, value: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]{0,8}", value, re.ASCII):
        raise ValueError(f'{name} is "{value}". Set it to a whole number from 1 on, such as 2048.')
    return int(value)


def _amount(name: str, value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value, re.ASCII) or not float(value):
        raise ValueError(f'{name} is "{value}". Set it to a number above 0, such as 6 or 0.5.')
    return float(value)


Count = Annotated[int, _as(_count)]
Amount = Annotated[float, _as(_amount)]


def _of(variable: str, default: Any, *, hosted: Any = None) -> Any:
    """A field that a variable sets; its default where that is not set, and where the copy is hosted."""

    def usual(others: dict[str, Any]) -> Any:
        return hosted if hosted is not None and others.get("hosted") else default

    return Field(validation_alias=variable, default_factory=usual)


class LimitError(ValueError):
    """A limit of this copy forbids a run. Its text is a sentence for the visitor."""


class Settings(BaseSettings):
    """The limits of this copy. None: no limit. A GB is 10⁹ bytes, a KB 1,024."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, env_ignore_empty=True)

    hosted: Annotated[bool, _as(_switch)] = _of("EXPLORER_HOSTED", False)
    models: Annotated[tuple[str, ...] | None, NoDecode, _as(_models)] = _of(
        "EXPLORER_MODELS", None, hosted=(DEMO,)
    )
    most_tokens: Count | None = _of("EXPLORER_MAX_TOKENS", None, hosted=2048)
    most_gigabytes: Amount | None = _of("EXPLORER_MAX_GIGABYTES", None, hosted=2.0)
    """Of all runs together, so also of one."""
    runs_at_once: Count | None = _of("EXPLORER_RUNS_AT_ONCE", None)
    """None: one for each device."""
    waiting_places: Count = _of("EXPLORER_WAITING_PLACES", 100)
    run_seconds: Amount | None = _of("EXPLORER_RUN_SECONDS", None, hosted=60.0)
    models_held: Count = _of("EXPLORER_MODELS_HELD", 2)
    """A model can take gigabytes; two allow going back and forth between a pair."""
    capture_gigabytes: Amount = _of("EXPLORER_CAPTURE_GIGABYTES", 2.0)
    """Of the cached terms of all texts, and of what one run keeps."""
    most_upload_kilobytes: Count = _of("EXPLORER_MAX_UPLOAD_KB", 1024)
    database_url: SecretStr | None = _of("EXPLORER_DATABASE_URL", None)
    """Of the classes. None: a file of this computer. Its password is never shown."""
    classes_at_once: Count = _of("EXPLORER_CLASSES", 20)
    most_students: Count = _of("EXPLORER_MAX_STUDENTS", 100)
    """In one class."""
    answers_per_second: Amount = _of("EXPLORER_ANSWERS_PER_SECOND", 1.0)
    """Of one student: a whole class may answer at once, and a script takes nobody's turn."""
    wrong_codes_per_minute: Count = _of("EXPLORER_WRONG_CODES", 600)
    """Of everybody: see `explorer.classes.codes`."""

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the variables. Raises ValueError, with a sentence, for an invalid value."""
        try:
            return cls()
        except ValidationError as error:
            # Beside the wrong values, it lists defaults that depend on them.
            wrong = [each for each in error.errors() if each["type"] == "value_error"]
            raise ValueError(" ".join(str(each["ctx"]["error"]) for each in wrong)) from None

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
        """To call before tokenizing. Raises LimitError if it is far too long."""
        if self.most_characters is not None and len(prompt) > self.most_characters:
            raise LimitError(
                f"This prompt has {len(prompt):,} characters. {self._copy} takes at most "
                f"{self.most_characters:,}. Shorten it."
            )

    def check_tokens(self, count: int) -> None:
        """To call before a run. Raises LimitError if the prompt has too many tokens."""
        if self.most_tokens is not None and count > self.most_tokens:
            raise LimitError(
                f"This prompt has {count:,} tokens. {self._copy} takes at most "
                f"{self.most_tokens:,}. Shorten it."
            )

    def check_cost(self, gigabytes: float, free: float) -> None:
        """To call before a run. Raises LimitError if the estimated `gigabytes` exceed the
        limit or the `free` GB of memory.
        """
        # Rounded away from each other, so that the sentence never says that 2.0 GB are above 2 GB.
        run = f"This run would take about {math.ceil(round(gigabytes * 10, 6)) / 10:,.1f} GB of memory"
        if self.most_gigabytes is not None and gigabytes > self.most_gigabytes:
            raise LimitError(
                f"{run}. {self._copy} allows {self.most_gigabytes:,g} GB for one run. Shorten the text."
            )
        if gigabytes > free and self.hosted:  # a server does not reveal its free memory
            raise LimitError(
                f"{run}, and the server has less than that free. Shorten the text, or try again later."
            )
        if gigabytes > free:
            raise LimitError(
                f"{run}, and this computer has {math.floor(round(free * 10, 6)) / 10:,.1f} GB free. "
                "Shorten the text, or close other programs."
            )

    def check_seconds(self, seconds: float) -> None:
        """To call during a run. Raises LimitError if it has taken too long."""
        if self.run_seconds is not None and seconds > self.run_seconds:
            raise LimitError(
                f"This run was stopped after {self.run_seconds:,g} s, the most that "
                f"{self._copy.lower()} allows. Shorten the text."
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
        if self.run_seconds is not None:
            limits.append(
                f"A run is stopped after {self.run_seconds:,g} s, so that the others have their turn."
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


VARIABLES = {name: str(field.validation_alias) for name, field in Settings.model_fields.items()}
"""The environment variable of each field."""


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings.from_environment()
