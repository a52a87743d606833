"""What was run: a model, a prompt, and the edits of what the model computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from components.ssd import Edit


@dataclass(frozen=True)
class Subject:
    """What was run. It identifies the run in caches, links and exports."""

    model: str
    """As given to `load_bridge`."""
    prompt: str
    edits: tuple[Edit, ...] = ()
    """Edits of what the model computes, in the order in which they apply."""

    def with_model(self, model: str) -> Subject:
        """The same prompt in another model. Edits name layers and heads of one model, so they are dropped."""
        return self if model == self.model else Subject(model, self.prompt)

    def with_prompt(self, prompt: str) -> Subject:
        """Another prompt. Edits name positions of one text, so they are dropped."""
        return self if prompt == self.prompt else replace(self, prompt=prompt, edits=())

    @property
    def key(self) -> tuple[str, ...]:
        """Its key in caches. Streamlit would give two edits with equal fields the same hash."""
        return self.model, self.prompt, *(edit.words for edit in self.edits)


BY_KEY: dict[str | type[Any], Callable[[Any], Any]] = {Subject: lambda subject: subject.key}
"""`hash_funcs` of Streamlit's caches."""
