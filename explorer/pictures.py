"""Numbers for pictures of a capture, cached for all sessions. Nothing here draws."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import Float32

from components.ssd import KINDS, Head, Place, hooks_of, stacked
from explorer import captures
from explorer.cache_by_bytes import CacheByBytes
from explorer.captures import PIECE_TOKENS, Capture, layer_of, terms_of
from explorer.jobs import Report, no_report
from explorer.models import bridge
from explorer.readings import Reading, terms_of_reading
from explorer.settings import settings
from explorer.subject import BY_KEY, Subject
from explorer.threads import FEW_ENTRIES, side_by_side, use_threads

if TYPE_CHECKING:
    from components.charts import HeadCells, SpanSums, Window
    from components.ssd import Statistic

FIGURES_HELD = 1024
CELLS_BYTES = 10**6
"""Limit for the cells of one capture that somebody has looked at: ten pictures of 64 tokens."""
LOCKED_TOKENS = 2048
"""Longest text with one colour scale for all layers, which requires reading all their heads."""
OVERVIEW_TILES = 64
SMALL_PICTURES = 100_000
"""Heads times tokens. Up to here, small pictures are computed without a click."""

_small: WeakKeyDictionary[Capture, Float32[np.ndarray, "head tile tile"]] = WeakKeyDictionary()
_of_readings: WeakKeyDictionary[Capture, dict[Reading, Float32[np.ndarray, "head tile tile"]]] = (
    WeakKeyDictionary()
)
_cells: WeakKeyDictionary[Capture, CacheByBytes[HeadCells]] = WeakKeyDictionary()
_survival: WeakKeyDictionary[Capture, dict[Place, pd.DataFrame]] = WeakKeyDictionary()


def prepare(subject: Subject, head: Head, report: Report = no_report) -> None:
    """Run the prompt, and compute what a page with this head shows at once; errors as for `captures.capture`.

    Here, and not when the page is drawn: a page runs in a new thread, whose first large step takes longer.
    """
    shown = captures.capture(subject, report, head)
    for layer in captures.compared(subject.model, shown.length, head):
        faithfulness(shown, layer)  # if another page, with no head in view, began the run
    if shown.length * len(shown.measures) <= SMALL_PICTURES:
        small_pictures(shown)


def small_pictures(capture: Capture) -> Float32[np.ndarray, "head tile tile"]:
    """Each head as a small picture, the RMS of attention over tiles, in the order of `measures`."""
    from components.charts import attention_tiles, gallery_tiles

    if capture.small is not None:
        return capture.small
    if capture not in _small:
        tiles = gallery_tiles(len(capture.measures))
        layers = [terms_of(capture, place) for place in capture.places]
        if capture.length**2 * len(capture.measures) < FEW_ENTRIES:
            every = [attention_tiles(each, tiles) for each in stacked(layers)]
        else:
            every = side_by_side(lambda each: attention_tiles(each, tiles), layers)
        _small[capture] = np.concatenate(every)
    return _small[capture]


def pictures_of_reading(
    capture: Capture, reading: Reading, report: Report = no_report
) -> Float32[np.ndarray, "head tile tile"]:
    """As `small_pictures`, but of a reading; empty for heads without it. Errors as `terms_of_reading`."""
    from components.charts import attention_tiles, gallery_tiles

    held = _of_readings.setdefault(capture, {})
    if reading not in held:
        began, tiles, found = time.monotonic(), gallery_tiles(len(capture.measures)), []
        for number, (place, heads) in enumerate(capture.heads.items()):
            report(f"Reading {place}", number / len(capture.heads))
            settings().check_seconds(time.monotonic() - began)
            if reading.of(place).name == reading.name:
                terms = terms_of_reading(capture.subject, place, reading, report)
                found.append(attention_tiles(terms, tiles, reading=reading.name))
            else:
                side = min(tiles, capture.length)
                found.append(np.zeros((heads, side, side), np.float32))
        held[reading] = np.concatenate(found)
    return held[reading]


def has_small_pictures(capture: Capture) -> bool:
    """Whether small pictures exist."""
    return capture.small is not None or capture in _small


def faithfulness(capture: Capture, layer: int) -> tuple[float, float]:
    """Faithfulness of one mixer over the whole prompt, and its tolerance.

    If the run of the prompt did not tell, the mixer runs again on its input, once for all sessions.
    """
    from components.bridge import ssd_inputs

    if layer in capture.faithful:
        return capture.faithful[layer]
    subject = capture.subject
    given, model = layer_of(subject, Place(layer)).given, bridge(subject.model)
    if given is None:
        raise TypeError(f"The run did not keep the input of layer {layer}'s mixer.")
    use_threads(model.model.num_parameters() / len(model.blocks) * given.shape[1])
    _, alone = model.run_mixer(
        layer,
        given,
        names_filter=ssd_inputs,
        fwd_hooks=hooks_of(subject.edits),
        piece_tokens=PIECE_TOKENS,
    )
    found = alone.faithfulness(layer), alone.tolerance(layer)
    capture.faithful[layer] = found
    return found


def cells_of(
    capture: Capture, head: Head, window: Window, statistic: Statistic, reading: Reading
) -> HeadCells:
    """The cells of one head in a window, from `head_cells`."""
    from components.charts import head_cells

    held = _cells.setdefault(capture, CacheByBytes(CELLS_BYTES))
    key = head, window, statistic, reading
    found = held.get(key)
    if found is None:
        terms = terms_of_reading(capture.subject, head.place, reading)
        separates = KINDS[head.place.kind].separates and reading.of(head.place).needs == "terms"
        waits = window.pooled and not separates
        with st.spinner("Comparing every query with every key before it") if waits else nullcontext():
            found = head_cells(
                terms, head.index, capture.tokens, window, statistic=statistic, reading=reading.name
            )
        held.put(key, found, found.nbytes)
    return found


def survival_of(capture: Capture, place: Place) -> pd.DataFrame:
    """The decay curves of a layer, from `survival_table`."""
    from components.charts import survival_table

    tables = _survival.setdefault(capture, {})
    if place not in tables:
        tables[place] = survival_table(terms_of(capture, place))
    return tables[place]


@st.cache_resource(max_entries=FIGURES_HELD, show_spinner=False, hash_funcs=BY_KEY)
def sums_of(
    subject: Subject,
    head: Head,
    span: range,
    window: Window,
    read_by: bool,
    reading: Reading,
    _tokens: Sequence[str],
) -> SpanSums:
    """A span of the text as one row of a head, from `span_sums`."""
    from components.charts import span_sums

    terms = terms_of_reading(subject, head.place, reading)
    return span_sums(terms, head.index, _tokens, span, window, read_by=read_by, reading=reading.name)


def limits_of(
    capture: Capture, place: Place, window: Window, reading: Reading, rms: bool
) -> dict[str, float]:
    """Largest content and attention in a window, over all heads of a kind; over this layer alone in long
    texts, and where contributions are shown instead of attention.
    """
    alike = tuple(each for each in capture.places if each.kind == place.kind)
    of_all = capture.length <= LOCKED_TOKENS and reading.of(place).needs == "terms"
    alike = alike if of_all else (place,)
    return _limits(capture.subject, alike, window, reading, "rms" if rms else "mean")


@st.cache_data(max_entries=FIGURES_HELD, show_spinner=False, hash_funcs=BY_KEY)
def overview(subject: Subject, head: Head) -> Float32[np.ndarray, "tile tile"]:
    """The RMS of attention over tiles of the whole text, for one head."""
    from components.charts import attention_tiles

    terms = layer_of(subject, head.place).terms
    picture: Float32[np.ndarray, "tile tile"] = attention_tiles(terms, OVERVIEW_TILES, heads=[head.index])[0]
    return picture


@st.cache_data(max_entries=FIGURES_HELD, show_spinner=False, hash_funcs=BY_KEY)
def _limits(
    subject: Subject, alike: tuple[Place, ...], window: Window, reading: Reading, statistic: Statistic
) -> dict[str, float]:
    from components.charts import locked_limits

    terms = {place: terms_of_reading(subject, place, reading) for place in alike}
    return locked_limits(terms, window, reading=reading.name, statistic=statistic)
