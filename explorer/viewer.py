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

    A page can have two, each with a name of its own. Fragments rerun by themselves, so `read` gets the
    selection whenever it is needed: one passed as an argument would be out of date by then.
    """

    read: Callable[[], Selection]
    """Returns the selection."""
    on_pick: Callable[[Selection], None]
    """Takes what the reader picks."""
    heads: Mapping[Place, int]
    """How many heads each layer of the model has, by kind."""
    length: int | None = None
    """Of the text, in tokens; None while it grows."""
    name: str = ""
    """In the keys of its widgets and charts; lower-case letters and digits."""
    limits: Mapping[str, float] | None = None
    """The largest content and attention on the colour scale, where views share one."""
    alone: bool = False
    """Whether the panels stand alone, as in a frame of an article: without menus, captions and links."""
    on_drawn: Callable[[], None] = _nothing
    """Called after it is drawn, wholly or in part."""

    @property
    def shown(self) -> Selection:
        """What is shown: the picked head, row and windows, or the nearest that exist."""
        return fitted(self.read(), self.heads, self.length)[0]

    def key(self, widget: str) -> str:
        """The key of one of its widgets or charts."""
        return f"{self.name}:{widget}" if self.name else widget
