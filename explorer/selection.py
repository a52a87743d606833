"""Everything picked, in one small record. Equal records give equal pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from components.charts import Window
from components.demo import PRESETS, Preset
from components.models import DEMO
from components.ssd import MEASURES, OF_CELL, Edit, Head, Place
from explorer.subject import Subject


@dataclass(frozen=True)
class View:
    """How the picked head is shown.

    `measure`: name of the quantity that colours the head map; `sort`: of the one that sorts the gallery, ""
    for layers and heads in their order. Both are of `MEASURES` or, where a cell is picked, of `OF_CELL`.
    `reading`: name of what is shown instead of attention, such as attention times dt, the reconstruction
    form; "" for attention. `rms`: root mean square of the tiles of a long text, instead of their mean.
    `locked`: one colour scale for all heads. `symlog`: colours by the logarithm of what is shown, of either
    sign. `read_by`: what reads the span, instead of what it reads.
    `table`: what the row reads as a table. `log`: survival on a logarithmic scale; `log_time`: its time.
    `gallery`: small pictures of all heads. `large`: larger type, for a projector.
    """

    measure: str = next(iter(MEASURES))
    sort: str = ""
    reading: str = ""
    rms: bool = False
    locked: bool = False
    symlog: bool = False
    read_by: bool = False
    table: bool = False
    log: bool = False
    log_time: bool = False
    gallery: bool = False
    large: bool = False

    @property
    def of_cell(self) -> frozenset[str]:
        """Names of the quantities of a picked cell that the head map and the gallery show."""
        return frozenset({self.measure, *([self.sort] if self.gallery else [])} & set(OF_CELL))


SWITCHES = tuple(field.name for field in fields(View) if field.type == "bool")


@dataclass(frozen=True)
class Selection:
    """What was run, the head, the query position whose row is shown (None: the last), the view.

    `key` is the key position of the picked cell, in that row; None if only a row is picked.
    `windows` are opened one within the other; the page shows the last, or the whole text if there is none.
    `span` are positions read as one row. `target` and `foil` are the ids of the token whose prediction is
    looked at and of the one that it is compared with (None: the most probable). `other` is a prompt to
    compare with (None: the preset's).
    """

    subject: Subject
    head: Head
    query: int | None = None
    view: View = View()
    windows: tuple[Window, ...] = ()
    span: range | None = None
    target: int | None = None
    foil: int | None = None
    key: int | None = None
    other: str | None = None

    @property
    def other_prompt(self) -> str:
        """The prompt to compare with; "" if there is none."""
        if self.other is not None:
            return self.other
        return self.preset.other if self.preset else ""

    @property
    def cell(self) -> tuple[int, int] | None:
        """The picked cell: query position i and key position j."""
        if self.query is None or self.key is None or self.span is not None:
            return None
        return self.query, self.key

    @property
    def preset(self) -> Preset | None:
        """The preset whose prompt this is."""
        return next((preset for preset in PRESETS if preset.prompt == self.subject.prompt), None)

    @property
    def look_for(self) -> str:
        """What the preset says of M in the head it names, checked in the embedded model; else ""."""
        preset = self.preset
        if preset is None or self.subject != Subject(DEMO, preset.prompt) or self.view.reading:
            return ""
        return preset.look_for if self.head == _head_of(preset) else ""

    def with_subject(self, subject: Subject) -> Selection:
        """The same head, row and windows in another run of the same text."""
        return replace(self, subject=subject)

    def with_model(self, model: str) -> Selection:
        """The same prompt and head in another model; its tokens have other ids."""
        if model == self.subject.model:
            return self
        return replace(self, subject=self.subject.with_model(model), target=None, foil=None)

    def with_preset(self, preset: Preset) -> Selection:
        """The preset's prompt, with the same model; in the embedded one, also where to look in it."""
        start = self.with_prompt(preset.prompt).with_other(None)
        if self.subject.model != DEMO:
            return start
        return replace(start.with_head(_head_of(preset)), query=preset.query)

    def with_prompt(self, prompt: str) -> Selection:
        """Another prompt, seen through the same head; all other picks belong to the old text."""
        of_text: dict[str, Any] = dict.fromkeys(("query", "key", "span", "target", "foil"))
        return replace(self, subject=self.subject.with_prompt(prompt), windows=(), **of_text)

    def with_head(self, head: Head) -> Selection:
        """Another head on the same text."""
        return replace(self, head=head)

    def with_query(self, query: int | None) -> Selection:
        """Another row of the same picture; None for the last. A picked key that it reads stays picked."""
        is_read = query is not None and self.key is not None and self.key <= query
        return replace(self, query=query, key=self.key if is_read else None, span=None)

    def with_cell(self, query: int | None, key: int | None) -> Selection:
        """Another cell of the same picture; without a key, a row."""
        return replace(self, query=query, key=key, span=None)

    def with_edits(self, edits: tuple[Edit, ...]) -> Selection:
        """The same picture in a run with these edits."""
        return self.with_subject(replace(self.subject, edits=edits))

    def with_tokens(self, target: int | None, foil: int | None) -> Selection:
        """The same picture, with another answer or another token to compare it with."""
        return replace(self, target=target, foil=foil)

    def with_other(self, other: str | None) -> Selection:
        """The same picture, and another prompt to compare it with; None for the preset's."""
        return replace(self, other=other)

    def with_span(self, span: range) -> Selection:
        """Several positions, read as one row."""
        return replace(self, span=span, key=None)

    def with_window(self, window: Window) -> Selection:
        """A window opened within the one that is shown."""
        return replace(self, windows=(*self.windows, window))

    def back_to(self, depth: int) -> Selection:
        """Only the first `depth` windows: 0 for the whole text."""
        return replace(self, windows=self.windows[:depth])

    def with_view(self, **changes: Any) -> Selection:
        """The same head, shown in another way: `changes` are fields of `View`."""
        return replace(self, view=replace(self.view, **changes))


def _head_of(preset: Preset) -> Head:
    return Head(Place(preset.layer), preset.head)


def nearest_head(head: Head, heads: Mapping[Place, int]) -> Head:
    """The head, or the nearest in a model with these `heads`: of the same kind, if there is one."""

    def distance(place: Place) -> tuple[bool, int]:
        return place.kind != head.place.kind, abs(place.layer - head.place.layer)

    place = head.place if head.place in heads else min(heads, key=distance)
    return Head(place, min(head.index, heads[place] - 1))


def fitted(
    selection: Selection, heads: Mapping[Place, int], length: int | None = None
) -> tuple[Selection, list[str]]:
    """The nearest selection in a model with these `heads` and a text of this length, and the names of what
    was out of range. Without a length, positions stay as they are.
    """
    found = selection.with_head(nearest_head(selection.head, heads))
    if length is not None:
        query, span = found.query, found.span
        if query is not None:
            query = min(query, length - 1)
        found = replace(
            found,
            query=query,
            key=None if query is None or found.key is None else min(found.key, query),
            windows=tuple(part for window in found.windows if (part := window.within(length))),
            span=None if span is None else range(span.start, min(span.stop, length)) or None,
        )
    return found, [name for name, value in _named(found).items() if value != _named(selection)[name]]


def _named(selection: Selection) -> dict[str, object]:
    """What may be out of range in another model or text, by its name in the URL."""
    place, index = selection.head.place, selection.head.index
    return {
        "layer": place.layer,
        "kind": place.kind,
        "head": index,
        "query": selection.query,
        "key": selection.key,
        "window": selection.windows,
        "span": selection.span,
    }


def first_selection(model: str) -> Selection:
    """What the page opens with: the first preset."""
    return Selection(Subject(model, ""), Head(Place(0), 0)).with_preset(PRESETS[0])
