"""Everything picked, in one small record that travels in the URL. Equal records give equal pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from components.charts import Window
from components.demo import PRESETS, Preset
from components.models import DEMO
from components.ssd import FORMER_NAMES, KINDS, MEASURES, Head, Place, edit_of
from explorer.subject import Subject

LONGEST_LINK = 2_000
"""Characters; longer links are cut by some mail programs and servers."""

OF_A_TEXT = ("edits", "layer", "kind", "head", "query", "window", "span")
"""Parameters that make sense only for one text."""


_MOST = Place(0)
"""Links leave out its kind."""


@dataclass(frozen=True)
class View:
    """How the picked head is shown.

    `measure`: name of the measure that colours the head map; `sort`: of the one that sorts the gallery, ""
    for layers and heads in their order. `dt`: attention times dt, the reconstruction form. `rms`: root mean
    square of the tiles of a long text, instead of their mean. `locked`: one colour scale for all heads.
    `symlog`: colours by the logarithm of attention, of either sign. `read_by`: what reads the span, instead
    of what it reads.
    `table`: what the row reads as a table. `log`: survival on a logarithmic scale; `log_time`: its time.
    `gallery`: small pictures of all heads.
    `large`: larger type, for a projector.
    """

    measure: str = next(iter(MEASURES))
    sort: str = ""
    dt: bool = False
    rms: bool = False
    locked: bool = False
    symlog: bool = False
    read_by: bool = False
    table: bool = False
    log: bool = False
    log_time: bool = False
    gallery: bool = False
    large: bool = False


SWITCHES = tuple(field.name for field in fields(View) if field.type == "bool")


@dataclass(frozen=True)
class Selection:
    """What was run, the head, the query position whose row is shown (None: the last), the view.

    `windows` are opened one within the other; the page shows the last, or the whole text if there is none.
    `span` are positions read as one row.
    """

    subject: Subject
    head: Head
    query: int | None = None
    view: View = View()
    windows: tuple[Window, ...] = ()
    span: range | None = None

    @property
    def preset(self) -> Preset | None:
        """The preset whose prompt this is."""
        return next((preset for preset in PRESETS if preset.prompt == self.subject.prompt), None)

    @property
    def look_for(self) -> str:
        """What the preset says of M in the head it names, checked in the embedded model; else ""."""
        preset = self.preset
        if preset is None or self.subject != Subject(DEMO, preset.prompt) or self.view.dt:
            return ""
        return preset.look_for if self.head == _head_of(preset) else ""

    def with_subject(self, subject: Subject) -> Selection:
        """The same head, row and windows in another run of the same text."""
        return replace(self, subject=subject)

    def with_model(self, model: str) -> Selection:
        """The same prompt and head in another model."""
        return self.with_subject(self.subject.with_model(model))

    def with_preset(self, preset: Preset) -> Selection:
        """The preset's prompt, with the same model; in the embedded one, also where to look in it."""
        start = self.with_prompt(preset.prompt)
        if self.subject.model != DEMO:
            return start
        return replace(start.with_head(_head_of(preset)), query=preset.query)

    def with_prompt(self, prompt: str) -> Selection:
        """Another prompt, seen through the same head; query, span and windows belong to the old text."""
        subject = self.subject.with_prompt(prompt)
        return replace(self, subject=subject, query=None, span=None, windows=())

    def with_head(self, head: Head) -> Selection:
        """Another head on the same text."""
        return replace(self, head=head)

    def with_query(self, query: int | None) -> Selection:
        """Another row of the same picture; None for the last."""
        return replace(self, query=query, span=None)

    def with_span(self, span: range) -> Selection:
        """Several positions, read as one row."""
        return replace(self, span=span)

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
        found = replace(
            found,
            query=None if query is None else min(query, length - 1),
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
        "window": selection.windows,
        "span": selection.span,
    }


def first_selection(model: str) -> Selection:
    """What the page opens with: the first preset."""
    return Selection(Subject(model, ""), Head(Place(0), 0)).with_preset(PRESETS[0])


def query_of(selection: Selection) -> dict[str, str]:
    """The URL's parameters for a selection. A preset goes by its name."""
    preset = selection.preset
    place, index = selection.head.place, selection.head.index
    switched_on = [name for name in SWITCHES if getattr(selection.view, name)]
    parameters = {
        "model": selection.subject.model,
        **({"preset": _slug(preset)} if preset else {"prompt": selection.subject.prompt}),
        "edits": ",".join(edit.words for edit in selection.subject.edits),
        "layer": str(place.layer),
        "kind": "" if place.kind == _MOST.kind else place.kind,
        "head": str(index),
        "query": "" if selection.query is None else str(selection.query),
        "window": "_".join(map(_window_words, selection.windows)),
        "span": "" if selection.span is None else f"{selection.span[0]}-{selection.span[-1]}",
        "measure": "" if selection.view.measure == View.measure else selection.view.measure,
        "sort": selection.view.sort,
        "view": ",".join(switched_on),
    }
    # An empty prompt is a pick too; every other empty value means the default.
    return {name: value for name, value in parameters.items() if value or name == "prompt"}


def link(address: str, selection: Selection) -> tuple[str, bool]:
    """The whole URL, and whether the prompt had to be left out of it (see LONGEST_LINK).

    The URL then has the prompt's key, under which the browser's tab keeps it.
    """
    parameters, cut = short_query_of(address, selection)
    return f"{address}?{urlencode(parameters)}", cut


def short_query_of(address: str, selection: Selection) -> tuple[dict[str, str], bool]:
    """The URL's parameters for a selection, with the key of a prompt that would make the link too long."""
    parameters = query_of(selection)
    prompt = parameters.get("prompt", "")
    # The first test avoids encoding a whole book.
    fits = len(prompt) <= LONGEST_LINK and len(f"{address}?{urlencode(parameters)}") <= LONGEST_LINK
    if fits or not prompt:
        return parameters, False
    named = {"text" if name == "prompt" else name: value for name, value in parameters.items()}
    return named | {"text": text_key(prompt)}, True


@lru_cache(maxsize=8)
def text_key(text: str) -> str:
    """A short name for a text, from its SHA-256."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def without_text(parameters: Mapping[str, str]) -> dict[str, str]:
    """The URL's parameters that still apply when the text they name is missing."""
    return {name: value for name, value in parameters.items() if name not in ("text", *OF_A_TEXT)}


def selection_of(parameters: Mapping[str, str], model: str) -> tuple[Selection, list[str]]:
    """The selection that a URL's parameters describe, and the names of those that could not be read.

    Missing and unreadable parameters take their defaults; `model` is the default model.
    """
    unread: list[str] = []
    start = first_selection(parameters.get("model") or model)
    if "preset" in parameters:
        preset = next((preset for preset in PRESETS if _slug(preset) == parameters["preset"]), None)
        if preset is None:
            unread.append("preset")
        else:
            start = start.with_preset(preset)
    elif "prompt" in parameters:
        start = start.with_prompt(parameters["prompt"])
    edits = [edit_of(words) for words in parameters.get("edits", "").split(",") if words]
    subject = replace(start.subject, edits=tuple(edit for edit in edits if edit is not None))
    if len(subject.edits) < len(edits):
        unread.append("edits")
        subject = start.subject
    positions: dict[str, int] = {}
    for name in ("layer", "head", "query"):
        given = parameters.get(name)
        if given is None:
            continue
        if given.isascii() and given.isdigit() and len(given) < 10:
            positions[name] = int(given)
        else:
            unread.append(name)
    kind = parameters.get("kind", _MOST.kind)
    kind = FORMER_NAMES.get(kind, kind)
    if kind not in KINDS:
        unread.append("kind")
        kind = _MOST.kind
    place = Place(positions.get("layer", start.head.place.layer), kind)
    head = Head(place, positions.get("head", start.head.index))
    query = positions.get("query", start.query)
    found = [_window(words) for words in parameters.get("window", "").split("_") if words]
    windows = tuple(window for window in found if window is not None)
    if len(windows) < len(found):
        unread.append("window")
        windows = ()
    span = _positions(parameters.get("span", ""))
    if parameters.get("span") and span is None:
        unread.append("span")
    columns: dict[str, Any] = {}
    for name, default in (("measure", View.measure), ("sort", View.sort)):
        columns[name] = parameters.get(name, default)
        if columns[name] not in {default, *MEASURES}:
            unread.append(name)
            columns[name] = default
    switches = [name for name in parameters.get("view", "").split(",") if name]
    if not set(switches) <= set(SWITCHES):
        unread.append("view")
    view: dict[str, Any] = columns | {name: name in switches for name in SWITCHES}
    return Selection(subject, head, query, View(**view), windows, span), unread


def _window_words(window: Window) -> str:
    """First and last query, first and last key, such as `512-639x0-127`."""
    (i, j) = (f"{positions[0]}-{positions[-1]}" for positions in (window.queries, window.keys))
    return f"{i}x{j}"


def _window(words: str) -> Window | None:
    """The window that the words name; None for words that name none."""
    queries, separator, keys = words.partition("x")
    i, j = _positions(queries), _positions(keys)
    return Window(i, j) if separator and i is not None and j is not None else None


def _positions(words: str) -> range | None:
    """The positions that words such as `512-639` name; None for words that name none."""
    if not re.fullmatch(r"\d{1,9}-\d{1,9}", words, re.ASCII):
        return None
    first, last = map(int, words.split("-"))
    return range(first, last + 1) if first <= last else None


def _slug(preset: Preset) -> str:
    """`Where is Mia?` as `where-is-mia`."""
    words = "".join(letter if letter.isalnum() else " " for letter in preset.name.lower()).split()
    return "-".join(words)
