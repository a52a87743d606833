"""A selection as the parameters of a URL, and back."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from components.charts import Window
from components.demo import PRESETS, Preset
from components.ssd import FORMER_NAMES, FORMER_READINGS, KINDS, MEASURES, OF_CELL, Head, Place, edit_of
from explorer.selection import SWITCHES, Selection, View, first_selection

LONGEST_LINK = 2_000
"""Characters; longer links are cut by some mail programs and servers."""

FRAME_HEIGHT = 900
"""Pixels: room for the panels of an article 1,200 wide; in a narrower frame they scroll."""

OF_A_TEXT = ("edits", "layer", "kind", "head", "query", "key", "window", "span", "target", "foil", "other")
"""Parameters that make sense only for one text."""


_DEFAULT_KIND = Place(0).kind
"""Links leave it out."""

_READINGS = {reading.name for kind in KINDS.values() for reading in kind.readings}


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
        "kind": "" if place.kind == _DEFAULT_KIND else place.kind,
        "head": str(index),
        "query": "" if selection.query is None else str(selection.query),
        "key": "" if selection.key is None else str(selection.key),
        "window": "_".join(map(_window_words, selection.windows)),
        "span": "" if selection.span is None else f"{selection.span[0]}-{selection.span[-1]}",
        "target": "" if selection.target is None else str(selection.target),
        "foil": "" if selection.foil is None else str(selection.foil),
        "other": selection.other,
        "measure": "" if selection.view.measure == View.measure else selection.view.measure,
        "sort": selection.view.sort,
        "reading": selection.view.reading,
        "view": ",".join(switched_on),
    }
    # An empty prompt is a pick too; every other empty value means the default.
    return {
        name: value
        for name, value in parameters.items()
        if value or (name in ("prompt", "other") and value is not None)
    }


def link(address: str, selection: Selection) -> tuple[str, bool]:
    """The whole URL, and whether the prompt had to be left out of it (see LONGEST_LINK).

    The URL then has the prompt's key, under which the browser's tab keeps it.
    """
    parameters, cut = short_query_of(address, selection)
    return f"{address}?{urlencode(parameters)}", cut


def frame_code(address: str, selection: Selection) -> str:
    """The HTML of a frame that shows the panels of a selection whose link is not cut."""
    whole = f"{address}?{urlencode({'embed': 'true', **query_of(selection)})}"
    title = f"{str(selection.head).capitalize()} of {selection.subject.model}"
    return (
        f'<iframe src="{html.escape(whole)}" width="100%" height="{FRAME_HEIGHT}" '
        f'title="{html.escape(title)}" loading="lazy"></iframe>'
    )


def short_query_of(address: str, selection: Selection) -> tuple[dict[str, str], bool]:
    """The URL's parameters for a selection, with the key of a prompt that would make the link too long.

    Another prompt to compare with is left out of a link that it would make too long.
    """
    parameters = query_of(selection)
    prompt = parameters.get("prompt", "")

    def fits() -> bool:
        # The first test avoids encoding a whole book.
        texts = len(prompt) + len(parameters.get("other", ""))
        return texts <= LONGEST_LINK and len(f"{address}?{urlencode(parameters)}") <= LONGEST_LINK

    if not fits():
        parameters.pop("other", None)
    if fits() or not prompt:
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
    for name in ("layer", "head", "query", "key", "target", "foil"):
        given = parameters.get(name)
        if given is None:
            continue
        if given.isascii() and given.isdigit() and len(given) < 10:
            positions[name] = int(given)
        else:
            unread.append(name)
    kind = parameters.get("kind", _DEFAULT_KIND)
    kind = FORMER_NAMES.get(kind, kind)
    if kind not in KINDS:
        unread.append("kind")
        kind = _DEFAULT_KIND
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
    switches = [name for name in parameters.get("view", "").split(",") if name]
    former = [FORMER_READINGS[name] for name in switches if name in FORMER_READINGS]
    for name, default, known in (
        ("measure", View.measure, {*MEASURES, *OF_CELL}),
        ("sort", View.sort, {*MEASURES, *OF_CELL}),
        ("reading", next(iter(former), View.reading), _READINGS),
    ):
        columns[name] = parameters.get(name, default)
        if columns[name] not in {default, *known}:
            unread.append(name)
            columns[name] = default
    if not set(switches) <= {*SWITCHES, *FORMER_READINGS}:
        unread.append("view")
    view: dict[str, Any] = columns | {name: name in switches for name in SWITCHES}
    picked = {name: positions.get(name) for name in ("target", "foil", "key")}
    other = parameters.get("other")
    return Selection(subject, head, query, View(**view), windows, span, **picked, other=other), unread


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
