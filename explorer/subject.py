"""What was run: a model, a prompt, and the edits of what the model computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from components.ssd import Edit


@dataclass(frozen=True)
class Subject:
    """What was run. Every cache, link and export of a run is named by it."""

    model: str
    """As given to `load_bridge`."""
    prompt: str
    edits: tuple[Edit, ...] = ()
    """What was changed of what the model computes, in the order in which it acts."""

    def with_model(self, model: str) -> Subject:
        """The same prompt in another model. Edits name layers and heads of one model, so they stay behind."""
        return self if model == self.model else Subject(model, self.prompt)

    def with_prompt(self, prompt: str) -> Subject:
        """Another prompt. Edits name positions of one text, so they stay behind."""
        return self if prompt == self.prompt else replace(self, prompt=prompt, edits=())

    @property
    def key(self) -> tuple[str, ...]:
        """What names it in a cache. Streamlit would take two edits of equal fields for the same."""
        return self.model, self.prompt, *(edit.words for edit in self.edits)


BY_KEY: dict[str | type[Any], Callable[[Any], Any]] = {Subject: lambda subject: subject.key}
"""`hash_funcs` of Streamlit's caches."""
