"""A page that needs no server: every head of one prompt, to pick, to point at and to read.

The page has the app's specifications, one for each kind of heads, and its tables. A table is a list of
columns, and heads share most of their columns, so each stands once: `shared` holds those of the first head
shown, and a layer those that it adds. All are compressed, and the browser unpacks a layer when it is picked.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from components.charts import (
    LONG_TIME,
    Figure,
    Table,
    Window,
    decay_curves_chart,
    head_cells,
    head_map_chart,
    how_to_read,
    panels_chart,
    rows_in_words,
    survival_table,
)
from components.ssd import KINDS, MEASURES, Head, MixerTerms, Place, Statistic
from explorer.exports.offline import FONT, HEAD, INKS, LOOK, PAPER, vega
from explorer.exports.program import snippet
from explorer.exports.provenance import Provenance, provenance_of
from explorer.selection import Selection, View, fitted

if TYPE_CHECKING:
    from components.bridge import ModelBridge
    from explorer.captures import Capture

MOST_MEGABYTES = 20.0
"""Of a page, unless the caller says otherwise: room for a layer of 128 heads, whatever the text."""

TITLE_LETTERS = 300
"""Most letters of a prompt that the page shows as its title."""


@dataclass(frozen=True)
class Snapshot:
    """A page, and which layers it lacks, and why, in sentences; none if it has all."""

    page: bytes
    left_out: str


def take_snapshot(
    bridge: ModelBridge,
    capture: Capture,
    selection: Selection,
    terms_of: Callable[[Place], MixerTerms],
    *,
    layers: Collection[int] | None = None,
    most_megabytes: float = MOST_MEGABYTES,
) -> Snapshot:
    """The page of a captured prompt. It opens with the head, the row and the view of `selection`.

    `terms_of` returns a layer's terms of the whole text. The page shows the whole text: beyond 128 tokens,
    tiles of it; and attention in the place of contributions. It holds the picked layer, then the others in
    their order until it is full; with `layers`, only these. A megabyte is 10⁶ bytes.

    Raises ValueError, with a sentence, for layers that do not exist or a page too small for one layer.
    """
    every = sorted({place.layer for place in capture.places})
    wanted = every if layers is None else sorted(set(layers) & set(every))
    if unknown := sorted(set(layers or ()) - set(every)):
        raise ValueError(
            f"This model has no heads in {_named(unknown, every)}. It has them in {_named(every, every)}."
        )
    heads = {place: count for place, count in capture.heads.items() if place.layer in wanted}
    start, _ = fitted(replace(selection, windows=(), span=None), heads, capture.length)
    view = _View(bridge, capture, start, terms_of)
    kept = {start.head.place.layer: view.piece_of(start.head.place.layer)}
    page = view.page(kept, _why_left_out(every, wanted, kept, most_megabytes))
    most = int(most_megabytes * 10**6)
    if len(page) > most:
        raise ValueError(
            f"With one layer alone the page has {len(page) / 1e6:.1f} MB, more than {most_megabytes:g} MB. "
            "Allow more, or shorten the text."
        )
    size = len(page)
    for layer in wanted:
        if layer not in kept and size <= most:
            kept[layer] = view.piece_of(layer)
            size += len(kept[layer])
    while len(page := view.page(kept, _why_left_out(every, wanted, kept, most_megabytes))) > most:
        kept.popitem()
    return Snapshot(page, _why_left_out(every, wanted, kept, most_megabytes))


def _why_left_out(
    every: Sequence[int], wanted: Sequence[int], kept: Collection[int], most_megabytes: float
) -> str:
    """Which of all layers are not kept, and why."""
    told = []
    if unwanted := [layer for layer in every if layer not in wanted]:
        told.append(f"{_named(unwanted, every).capitalize()} {_are(unwanted)} left out, as asked.")
    if beyond := [layer for layer in wanted if layer not in kept]:
        told.append(
            f"{_named(beyond, every).capitalize()} {_are(beyond)} left out to keep the page below "
            f"{most_megabytes:g} MB."
        )
    return " ".join(told)


def _named(layers: Sequence[int], every: Sequence[int]) -> str:
    """As "layers 0–3 and 7"; layers that follow each other in `every` are a span."""
    order = {layer: at for at, layer in enumerate(every)}
    spans = []
    for _, span in groupby(enumerate(layers), lambda each: order.get(each[1], -1) - each[0]):
        first, *_, last = [layer for _, layer in span] * 2
        spans.append(str(first) if first == last else f"{first}–{last}")
    words = " and ".join(filter(None, [", ".join(spans[:-1]), spans[-1]]))
    return f"layer{'' if len(layers) == 1 else 's'} {words}"


def _are(layers: Sequence[int]) -> str:
    return "is" if len(layers) == 1 else "are"


class _View:
    """What the page shows, as pieces of it."""

    def __init__(
        self,
        bridge: ModelBridge,
        capture: Capture,
        start: Selection,
        terms_of: Callable[[Place], MixerTerms],
    ) -> None:
        self._bridge, self._capture, self._start, self._terms_of = bridge, capture, start, terms_of
        self._kinds: dict[str, dict[str, Any]] = {}
        self._decay: dict[str, Any] | None = None
        self._shared = _Columns()
        place = start.head.place
        self._head(start.head, terms_of(place), self._survival(place), self._shared)

    def page(self, kept: Mapping[int, str], left_out: str) -> bytes:
        """The page with these layers; `left_out` says which it lacks."""
        capture, start = self._capture, self._start
        # The file picks no cells, so it has no quantity of one.
        measure = MEASURES.get(start.view.measure, MEASURES[View.measure])
        columns = _Columns()
        missing = {place for place in capture.places if place.layer not in kept}
        heads = head_map_chart(
            capture.measures, measure, start.head, larger=start.view.large, left_out=missing
        )
        place, query = start.head.place, start.query
        facts = {
            "start": {"layer": place.layer, "kind": place.kind, "head": start.head.index, "query": query},
            "usual": Place(0).kind,
            "map": _spec(heads),
            "mapTables": columns.numbers_of(heads.data),
            "mapWords": f"Head map: {measure.label.lower()} of every head.",
            "kinds": self._kinds,
            "decay": self._decay,
            "leftOut": left_out,
        }
        pieces = [
            _vega(),
            _piece("shared", f'{{"columns":{self._shared.json()}}}'),
            _piece("page", f'{{"columns":{columns.json()},{json.dumps(facts)[1:]}'),
            *kept.values(),
        ]
        prompt = " ".join(capture.subject.prompt.split())
        title = prompt if len(prompt) <= TITLE_LETTERS else f"{prompt[:TITLE_LETTERS]}…"
        page = _PAGE.format(
            head=HEAD,
            title=html.escape(title),
            style=_colours() + _read("snapshot.css"),
            left_out=html.escape(left_out),
            about=html.escape(_about(self._provenance, capture.length)),
            notes="".join(f"<p>{html.escape(note)}</p>\n" for note in capture.notes),
            pieces="\n".join(pieces),
            script=_read("snapshot.js"),
        )
        return page.encode(errors="replace")

    def piece_of(self, layer: int) -> str:
        """The heads of a layer."""
        columns, heads = _Columns(self._shared), {}
        for place, count in self._capture.heads.items():
            if place.layer == layer:
                terms, survival = self._terms_of(place), self._survival(place)
                heads[place.kind] = [
                    self._head(Head(place, index), terms, survival, columns) for index in range(count)
                ]
        return _piece(f"layer-{layer}", f'{{"columns":{columns.json()},"heads":{json.dumps(heads)}}}')

    def _survival(self, place: Place) -> pd.DataFrame | None:
        return survival_table(self._terms_of(place)) if KINDS[place.kind].decay else None

    def _head(
        self, head: Head, terms: MixerTerms, survival: pd.DataFrame | None, columns: _Columns
    ) -> dict[str, Any]:
        """One head: its tables, its sentence for every row, and the lines of its program."""
        capture, view, kind = self._capture, self._start.view, KINDS[head.place.kind]
        statistic: Statistic = "rms" if view.rms else "mean"
        window = Window.whole(capture.length)
        cells = head_cells(
            terms,
            head.index,
            capture.tokens,
            window,
            statistic=statistic,
            reading=kind.from_terms(view.reading),
        )
        half_life = capture.measured[head]["half_life"]
        last = window.queries[-1]
        panels = panels_chart(
            cells,
            pointed=(last, cells.most_read(last)),
            with_bars=True,
            logarithmic=view.symlog,
            larger=view.large,
            with_brushes=False,
        )
        provenance = provenance_of(self._bridge, capture.subject, head, cells, notes=capture.notes)
        program = snippet(provenance).splitlines()
        if kind.name not in self._kinds:
            self._kinds[kind.name] = {
                "panels": _spec(panels),
                "program": program,
                "howToRead": how_to_read(cells, capture.kernel),
            }
            self._provenance = provenance
        told = {
            "name": str(head),
            "lookFor": self._start.with_head(head).look_for,
            "words": columns.number_of(
                rows_in_words(cells, head, half_life, cells.queries["start"].tolist())
            ),
            "panels": columns.numbers_of(panels.data),
            "program": {
                number: line
                for number, (line, usual) in enumerate(
                    zip(program, self._kinds[kind.name]["program"], strict=True)
                )
                if line != usual
            },
        }
        if survival is None:
            return told
        decay = decay_curves_chart(
            survival,
            head.index,
            half_life,
            log=view.log,
            log_time=view.log_time or capture.length > LONG_TIME,
            larger=view.large,
        )
        self._decay = self._decay or _spec(decay)
        return told | {"decay": columns.numbers_of(decay.data)}


class _Columns:
    """Columns of tables, each once. They go by their number, which goes on after those `before`."""

    def __init__(self, before: _Columns | None = None) -> None:
        self._numbers: dict[str, int] = dict(before._numbers) if before else {}
        self._first = len(self._numbers)

    def number_of(self, column: Sequence[Any] | np.ndarray) -> int:
        """The number of a column."""
        return self._numbers.setdefault(_column_json(column), len(self._numbers))

    def numbers_of(self, tables: Mapping[str, Table]) -> dict[str, dict[str, int]]:
        """Tables, with the numbers of their columns."""
        return {
            name: {
                str(column): self.number_of(values.to_numpy() if isinstance(values, pd.Series) else values)
                for column, values in table.items()
            }
            for name, table in tables.items()
        }

    def json(self) -> str:
        """The columns that are not among those before, as a list."""
        return f"[{','.join(list(self._numbers)[self._first :])}]"


def _column_json(column: Sequence[Any] | np.ndarray) -> str:
    """A column as JSON: a list, or for floating-point numbers their bytes, so that they stay exact."""
    if not isinstance(column, np.ndarray):
        column = [each.item() if isinstance(each, np.generic) else each for each in column]
        if not any(isinstance(each, float) for each in column):
            return json.dumps(column, separators=(",", ":"))
        column = np.array(column, dtype=np.float64)
    if column.dtype.kind != "f":
        return json.dumps(column.tolist(), separators=(",", ":"))
    of_bytes = base64.b64encode(column.astype(column.dtype.newbyteorder("<")).tobytes()).decode()
    return json.dumps({column.dtype.name: of_bytes})


def _spec(figure: Figure) -> dict[str, Any]:
    """A specification without its tables and its background, in the look of the page."""
    return {**figure.chart, "width": "container", "config": LOOK}


def _piece(name: str, text: str) -> str:
    """A compressed text, as an element of the page with this id."""
    packed = base64.b64encode(gzip.compress(text.encode(errors="surrogatepass"), mtime=0)).decode()
    return f'<script type="text/plain" id="{name}">{packed}</script>'


@cache
def _vega() -> str:
    return _piece("vega", vega())


def _about(provenance: Provenance, tokens: int) -> str:
    """The model and the versions, in a sentence each."""
    revision = f", revision {provenance.revision}" if provenance.revision else ""
    versions = ", ".join(f"{package} {number}" for package, number in provenance.versions.items())
    return (
        f"Model: {provenance.subject.model}{revision}, weights in {provenance.dtype}. "
        f"The prompt has {tokens:,} token{'' if tokens == 1 else 's'}. Made by {versions}."
    )


def _colours() -> str:
    """The colours of the page, as variables for its style."""

    def of(dark: bool) -> str:
        return f":root {{ --paper: {PAPER[dark]}; --ink: {INKS[dark]}; --font: {FONT}; }}"

    return f"{of(False)}\n@media (prefers-color-scheme: dark) {{ {of(True)} }}\n"


@cache
def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


_PAGE = """<!doctype html>
<html lang="en">
<head>
{head}
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="quiet">Mamba-2 Explorer</p>
<h1 dir="auto">{title}</h1>
</header>
<p id="told" role="status"><noscript>This page draws its charts with JavaScript, which is off.</noscript></p>
<main hidden>
<section class="beside">
<div>
<div id="map" class="keys" tabindex="0"></div>
<p class="quiet">Click a cell to see its head, or use the arrow keys. {left_out}</p>
</div>
<div>
<h2 id="name"></h2>
<p id="look-for"></p>
<p aria-live="polite"><b id="row"></b> <span id="words"></span></p>
<p class="quiet">Point at a cell to see it everywhere. Press it to keep its row, press it again to go back \
to the last one. By keys: up and down go from row to row.</p>
</div>
</section>
<section>
<div id="panels" class="keys" tabindex="0"></div>
<p id="how-to-read" class="quiet"></p>
</section>
<section id="memory">
<h2>Decay curves of layer <span id="layer"></span></h2>
<div id="decay"></div>
<p class="quiet">What is left, 1, 2, 3 … tokens later, of what the first token wrote. The picked head is in \
front, the layer's other heads are grey.</p>
</section>
</main>
<footer>
<details>
<summary>Python that makes the matrix of this head</summary>
<pre id="program" tabindex="0"></pre>
</details>
<p class="quiet">{about}</p>
{notes}</footer>
{pieces}
<script type="module">
{script}</script>
</body>
</html>
"""
