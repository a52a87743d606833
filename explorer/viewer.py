"""One view of a head on a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from components.ssd import Place
from explorer.selection import Selection, fitted


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Viewer:
    """What one view of a head shows, where its picks go, and its name on the page.

    Two can stand on a page, each with a name of its own. Parts of a page run again by themselves, so what is
    shown is asked for whenever it is needed: a Selection that was handed over would be an old one by then.
    """

    read: Callable[[], Selection]
    """What is picked."""
    on_pick: Callable[[Selection], None]
    """Takes what the reader picks."""
    heads: Mapping[Place, int]
    """How many heads each layer of the model has, by kind."""
    length: int | None = None
    """Of the text, in tokens; None while it grows."""
    name: str = ""
    """In the keys of its widgets and charts; small letters and digits."""
    limits: Mapping[str, float] | None = None
    """The largest content and attention that colours tell apart, where views share a scale."""
    on_drawn: Callable[[], None] = _nothing
    """Called when it has been drawn, wholly or in part."""

    @property
    def shown(self) -> Selection:
        """What is shown: the picked head, row and windows, or the nearest that there are."""
        return fitted(self.read(), self.heads, self.length)[0]

    def key(self, widget: str) -> str:
        """The key of one of its widgets or charts."""
        return f"{self.name}:{widget}" if self.name else widget
