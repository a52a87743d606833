"""Selections, written shortly."""

from typing import Any

from components.ssd import Head, Place
from explorer.selection import Selection
from explorer.subject import Subject


def selected(
    model: str, prompt: str, layer: int, head: int, *rest: Any, kind: str = "mamba2", **more: Any
) -> Selection:
    """A head of a run without edits."""
    return Selection(Subject(model, prompt), Head(Place(layer, kind), head), *rest, **more)
