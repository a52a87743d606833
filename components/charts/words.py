"""A head in words, for readers who cannot see it: its half-life, its signs, what one query reads most."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from components.charts.cells import HeadCells
from components.charts.sums import SpanSums
from components.charts.window import in_figures
from components.ssd import Factor, Head


def head_in_words(cells: HeadCells, head: Head, half_life: float, query: int) -> str:
    """One plain sentence, such as "Layer 2, head 5 halves every 6.1 tokens; 31 % of its weight is negative;
    'have' reads 'map' most (+0.42)."

    `half_life` is in tokens, of a Mamba-2 head. With M for what is shown: where it has a sign, the negative
    part is Σ|M < 0| / Σ|M| over all cells, and `query` reads most where |M| is largest. For a pooled window
    it names positions and the statistic, and leaves out the signs, since a mean hides them.
    """
    return rows_in_words(cells, head, half_life, [query])[0]


def rows_in_words(cells: HeadCells, head: Head, half_life: float, queries: Iterable[int]) -> list[str]:
    """The sentence of `head_in_words` for each of some queries."""
    values = cells.values
    weight = np.abs(values, dtype=np.float64)
    total = float(weight.sum())
    short = cells.kind.short
    parts = [] if short else [f"Layer {head.place.layer}, head {head.index} {_half_life(half_life)}"]
    if total == 0:
        parts.append("it has no weight here")
    elif not cells.pooled and cells.shown.signed:
        negative = float(weight[values < 0].sum())
        parts.append(f"{_percent(negative / total)} of its weight is negative")
    beginning = f"In layer {head.place.layer}, {short} head {head.index}, " if short else ""
    sentences = []
    for query in queries:
        its_cells = cells.cells_of_row(at := cells.row_of(query))
        cell = its_cells.start + int(weight[its_cells].argmax())
        if figure := float(values[cell]):
            of_row = [f"{_reader(cells, at)} {_read(cells, cell)} most ({_figure_of(cells, figure)})"]
        else:
            of_row = [f"{_reader(cells, at)} nothing"] if total > 0 else []
        if "skip" in cells.queries:
            of_row.append(f"beside that, its skip D·x ({_skip(cells, at)})")
        sentences.append(f"{beginning}{'; '.join([*parts, *of_row])}.")
    return sentences


def how_to_read(cells: HeadCells, kernel: int) -> str:
    """What a row, a column and a cell are; a mixer's convolution mixes `kernel` positions."""
    content, *between, _ = cells.kind.factors
    if not cells.pooled:
        return (
            "Each row is a query position i, each column a key position j that it reads. Zero has the colour "
            f"of the page. {column_in_words(kernel if cells.kind.mixes_before else 1)}{_about(cells)}"
        )
    shown = cells.shown.label or ("M" if between else "attention")
    what = f"{'root mean square' if cells.statistic == 'rms' else 'mean'} of {shown}"
    beside = " and ".join(factor.plural or factor.name for factor in (content, *between))
    return (
        f"Each cell is a tile of queries and keys: the exact {what} over it, beside the mean of {beside}. "
        "Each box below the panels is a tile of the text, shaded by what the marked queries read in it."
        f"{_about(cells)}"
    )


def _about(cells: HeadCells) -> str:
    return f" {cells.shown.about}" if cells.shown.about else ""


def column_in_words(kernel: int) -> str:
    """What a column is, where `kernel` positions are mixed before it is read."""
    if kernel == 1:
        return (
            "Column j is the output of the layers before at token j, which depends on all the text up to it."
        )
    mixed = "j−1 and j" if kernel == 2 else f"j−{kernel - 1} … j"
    return f"Column j is not token j alone: a short convolution before the scan mixes positions {mixed}."


def span_in_words(span: SpanSums, cells: HeadCells) -> str:
    """What a span of the text reads most in a window, or what reads it most, such as "Together they read
    'map' most (+0.42)."
    """
    figure = float(span.sums[span.strongest])
    if not figure:
        return "Nothing here reads them." if span.read_by else "They read nothing here."
    tile = (cells.queries if span.read_by else cells.keys).iloc[span.strongest]
    if cells.pooled:
        who = _positions("query" if span.read_by else "key", tile)
    else:
        who = f"'{tile['text']}' at {tile['start']:,}"
    shown = _signed(figure)
    if not cells.shown.signed:
        shown = shown.lstrip("+")
    return (
        f"They are read most by {who} ({shown})."
        if span.read_by
        else f"Together they read {who} most ({shown})."
    )


_LITTLE = 1e-3
"""Part of the largest up to which `what_is_left` says "next to nothing"."""
_NOTHING = 1e-7
"""About the relative precision of float32, seven digits."""


def what_is_left(cells: HeadCells, survival: float, largest: float) -> str:
    """A sentence for a window in which a head reads next to nothing; "" for any other.

    `survival` is the largest decay in the window, and `largest` the head's largest attention in the whole
    text. Where rows sum to one, as in softmax attention, it is about their shares.
    """
    most = float(np.abs(cells.columns["attention"]).max())
    if most > _LITTLE * largest:
        return ""
    if cells.kind.rows_sum_to_one:
        what = {"rms": "root mean square of a tile", "mean": "mean of a tile"}[cells.statistic]
        return (
            "These queries read next to nothing here: the largest "
            f"{what if cells.pooled else 'cell'} is {power_of_ten(most)}, and each row of the text sums to 1."
        )
    if survival > _LITTLE:
        return ""
    amount = "Nothing" if survival <= _NOTHING else "Next to nothing"
    if survival == 0:
        return f"{amount} is left here: of what these keys wrote, these queries find nothing."
    return (
        f"{amount} is left here: of what these keys wrote, at most {power_of_ten(survival)} remains at these "
        "queries."
    )


def exactness(error: float, tolerance: float) -> str:
    """A verdict on a relative error, such as "exact to 6 digits"; "not exact" above the tolerance."""
    if not error <= tolerance:
        return "not exact"
    digits = math.floor(-math.log10(error)) if error > 0 else math.inf
    if math.isinf(digits):
        return "exact to the last digit"
    return f"exact to {digits} digit{'' if digits == 1 else 's'}"


def power_of_ten(value: float) -> str:
    """3.1e-07 as 3.1·10⁻⁷."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}·10{str(int(exponent)).translate(_RAISED)}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _figure_of(cells: HeadCells, value: float) -> str:
    """A cell's value, with its statistic if it is a tile's."""
    figure = _signed(value)
    if cells.unsigned:
        figure = figure.lstrip("+")
    figure = f"{'RMS' if cells.statistic == 'rms' else 'mean'} {figure}" if cells.pooled else figure
    return figure if cells.shown is cells.kind.attention else f"{_named(cells.shown)} {figure}"


def _skip(cells: HeadCells, row: int) -> str:
    """The skip of a row, in the unit of what is shown."""
    figure = _signed(float(cells.queries["skip"].iloc[row]))
    if not cells.shown.signed:
        figure = figure.lstrip("+")
    return f"{_named(cells.shown)} {'mean ' if cells.pooled else ''}{figure}"


def _named(factor: Factor) -> str:
    return factor.label or factor.name


def _reader(cells: HeadCells, row: int) -> str:
    tile = cells.queries.iloc[row]
    if not cells.pooled:
        return f"'{tile['text']}' reads"
    return _positions("query", tile) + (" reads" if tile["stop"] - tile["start"] == 1 else " read")


def _read(cells: HeadCells, cell: int) -> str:
    i, j, key, column = (cells.columns[name][cell] for name in ("i", "j", "key", "column"))
    if not cells.pooled:
        return "itself" if i == j else f"'{key}'"
    return _positions("key", cells.keys.iloc[column])


def _positions(what: str, tile: pd.Series[Any]) -> str:
    """As "queries 1,024–1,055", or "query 7"."""
    several = {"query": "queries", "key": "keys"}[what]
    positions = range(tile["start"], tile["stop"])
    return f"{what if len(positions) == 1 else several} {in_figures(positions)}"


def _half_life(tokens: float) -> str:
    if math.isnan(tokens):
        return "has no half-life"
    if math.isinf(tokens):
        return "never decays"
    return f"halves every {_figure(tokens)} tokens"


def _figure(tokens: float) -> str:
    """Two digits below ten, whole tokens above, thousands separated."""
    return f"{tokens:,.0f}" if tokens >= 10 else f"{tokens:.2g}"


def _percent(part: float) -> str:
    if 0 < part < 0.005:
        return "less than 1 %"
    if 0.995 <= part < 1:
        return "more than 99 %"
    return f"{part:.0%}".replace("%", " %")


def _signed(value: float) -> str:
    return f"{value:+.2g}".replace("-", "−")
