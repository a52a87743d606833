"""What is expensive, once for all sessions: models, captures, the terms of their layers; all bounded.

A capture is what one model made of one prompt, reduced to what every picture needs. The terms of its layers
are held as long as there is room; a text so long that there never is goes through the model again for the
layer in use. Nothing here draws.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import Float32

from components.ssd import KINDS, Place
from explorer.cache_by_bytes import CacheByBytes
from explorer.costs import Cost, Footprint, measured_rate, remember_run
from explorer.jobs import Report
from explorer.settings import settings

if TYPE_CHECKING:
    from torch import Tensor

    from components.bridge import ActivationCache, ModelBridge
    from components.charts import HeadCells, Spans, SpanSums, Window
    from components.ssd import MixerTerms, SSDTerms, Statistic

MODELS_HELD = 2
"""A model can take gigabytes; two allow going back and forth between a pair."""

CAPTURES_HELD = 16
FIGURES_HELD = 1024
HELD_BYTES = 2 * 10**9
"""Of the terms of layers, of all texts together; and of what one run keeps."""
PIECE_TOKENS = 2048
"""Longer texts go through a model in pieces: the model's own scan takes memory for each token of a piece."""
SMALL_WORK = 2e8
"""Parameters times tokens. Below, one thread is as fast as several, and faster on a busy machine."""
LOCKED_TOKENS = 2048
"""Longest text whose colours are locked across layers: all heads of all layers have to be looked at."""
OVERVIEW_TILES = 64
RATE_TOKENS, MORE_RATE_TOKENS = 256, 2048
"""Tokens from which on a run tells how fast a model reads; and how well, unless it is slow."""
SLOW_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class Layer:
    """What pictures of one layer's heads need, of a whole text. Shared between sessions: read only.

    Those of a mixer have `terms` without x, which no matrix needs and which is by far their largest part, and
    `given`, [1, s, model], what the mixer was given, so that it can run again for the rest.
    """

    terms: MixerTerms
    given: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        tensors = [each for each in vars(self.terms).values() if hasattr(each, "nbytes")]
        return sum(each.nbytes for each in [*tensors, self.given] if each is not None)


@dataclass(frozen=True, eq=False)
class Capture:
    """One prompt through one model. Shared between sessions: read only."""

    model: str
    prompt: str
    tokens: list[str]
    """Text of each position, ready for display."""
    spans: Spans
    """How long the text's words, sentences and paragraphs are."""
    places: tuple[Place, ...]
    """The layers that hold heads, by kind."""
    measures: pd.DataFrame
    kernel: int
    """Positions that a mixer's convolution mixes before its scan: each one and those just before it."""
    notes: tuple[str, ...] = ()
    """What a reader should know of what the model computed, in sentences."""
    small: Float32[np.ndarray, "head tile tile"] | None = None
    """The `pictures`, if they had to be made while the terms were there."""

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    @cached_property
    def heads(self) -> dict[Place, int]:
        """How many heads each layer has, by kind."""
        return {place: len(rows) for place, rows in self._by_place.items()}

    def measures_of(self, place: Place, head: int) -> pd.Series[Any]:
        """The row of `measures` that is of this head."""
        return self._by_place[place].iloc[head]

    @cached_property
    def _by_place(self) -> dict[Place, pd.DataFrame]:
        of = self.measures.groupby(["layer", "kind"])
        return {place: of.get_group((place.layer, place.kind)) for place in self.places}

    def terms(self, place: Place) -> MixerTerms:
        """The terms of one layer, without x. If they are not held any more the prompt runs once more."""
        return layer_of(self.model, self.prompt, place).terms

    def ssd_terms(self, layer: int) -> SSDTerms:
        """Those of a layer's mixer."""
        from components.ssd import SSDTerms

        terms = self.terms(Place(layer))
        if not isinstance(terms, SSDTerms):
            raise TypeError(f"Layer {layer} has other terms than those of a mixer.")
        return terms

    def holds(self, place: Place) -> bool:
        """Whether the terms of a layer are at hand."""
        return _held().get((self.model, self.prompt, place)) is not None

    @property
    def has_pictures(self) -> bool:
        """Whether the `pictures` are at hand."""
        return self.small is not None or "pictures" in vars(self)

    @cached_property
    def pictures(self) -> Float32[np.ndarray, "head tile tile"]:
        """Each head as a small picture, the RMS of M over tiles, in the order of `measures`."""
        from components.charts import gallery_tiles

        if self.small is not None:
            return self.small
        tiles = gallery_tiles(len(self.measures))
        return np.concatenate([_small_pictures(self.terms(place), tiles) for place in self.places])


def no_report(text: str, part: float | None) -> None:
    """The report of work that nobody watches."""


@cache
def _cores() -> int:
    """As many threads as PyTorch takes of itself."""
    import torch

    return torch.get_num_threads()


def use_threads(work: int | float) -> None:
    """Let what this thread computes take all cores, or one if it is little.

    `work` is parameters times tokens. Every run of a page is a thread of its own, and PyTorch would give
    each a team to share out products of small matrices; on a busy machine, waiting for that team takes twenty
    times as long as the product.
    """
    import torch

    cores = _cores()  # before anything is set
    torch.set_num_threads(cores if work > SMALL_WORK else 1)


@st.cache_resource(max_entries=MODELS_HELD, show_spinner=False)
def bridge(model: str, _report: Report = no_report) -> ModelBridge:
    """The model, loaded once per process. Raises ModelLoadError, also for one that the settings exclude."""
    from components.models import ModelLoadError, load_bridge

    if not settings().allows(model):
        raise ModelLoadError(settings().refusal(model))
    use_threads(inf)
    return load_bridge(model, progress=_report)


@st.cache_resource(max_entries=CAPTURES_HELD, show_spinner=False)
def encoded(model: str, prompt: str, _report: Report = no_report) -> tuple[Tensor, list[str]]:
    """Ids [1, s] of a prompt and the text of each token. Errors as for `capture`."""
    settings().check_prompt(prompt)
    _report("Counting the tokens", None)
    ids = bridge(model, _report).to_tokens(prompt)
    settings().check_tokens(ids.shape[1])
    return ids, bridge(model).to_str_tokens(ids[0])


def cost(model: str, prompt: str, _report: Report = no_report) -> Cost:
    """What running the prompt will take. Errors as for `capture`, and ValueError for more than is free.

    The seconds are those of this model's earlier runs; if there was none, of the beginning of this prompt.
    """
    from components.bridge import matrix_inputs
    from components.charts import measure_table
    from components.models.memory import available_memory

    ids, _ = encoded(model, prompt, _report)
    length, every = ids.shape[1], places(model)
    if length >= RATE_TOKENS and measured_rate(model) is None:
        _report("Measuring how fast this model reads", None)
        for some in (RATE_TOKENS, MORE_RATE_TOKENS):
            began, beginning = time.monotonic(), ids[:, :some]
            kept = _run(model, beginning, every, matrix_inputs, no_report)
            measure_table({place: kept.terms(place) for place in every})
            if time.monotonic() - began > SLOW_SECONDS:
                break
        _remember(model, began, beginning.shape[1])  # the last one: the first run of all takes longer
    footprint, rate = _footprint(model), measured_rate(model, length)
    gigabytes = footprint.gigabytes(length, HELD_BYTES)
    settings().check_cost(gigabytes, available_memory(ids.device) / 1e9)
    return Cost(length, rate and rate * length * footprint.runs(length, HELD_BYTES), gigabytes)


@st.cache_resource(max_entries=CAPTURES_HELD, show_spinner=False)
def capture(model: str, prompt: str, _report: Report = no_report) -> Capture:
    """Run the prompt through the model, or share what another session has run.

    Raises ModelLoadError when there is no such model, and ValueError with a sentence for a prompt
    without tokens, or with more than the settings allow.
    """
    from components.charts import measure_table, spans_of, visible_tokens

    ids, texts = encoded(model, prompt, _report)
    every = places(model)
    at_once = _footprint(model).layers_at_once(len(texts), HELD_BYTES)
    pictures = None
    if at_once == len(every):
        began = time.monotonic()
        held, kept = _hold(model, prompt, every, _report)
        notes = kept.notes
        measures = measure_table({place: each.terms for place, each in held.items()})
        _remember(model, began, len(texts))
    else:  # each layer is looked at and let go; those in use come back one by one
        summaries, notes = [], []
        for start in range(0, len(every), at_once):
            began = time.monotonic()
            found, kept = _summaries(model, ids, every[start : start + at_once], _report)
            summaries += found
            notes += kept.notes
            _remember(model, began, len(texts))
        measures = pd.concat([measured for measured, _ in summaries], ignore_index=True)
        pictures = np.concatenate([small for _, small in summaries])
    return Capture(
        model=model,
        prompt=prompt,
        tokens=visible_tokens(texts),
        spans=spans_of(texts),
        places=every,
        measures=measures,
        kernel=bridge(model).blocks[bridge(model).ssm_layers()[0]].mixer.kernel,
        notes=tuple(notes),
        small=pictures,
    )


def places(model: str) -> tuple[Place, ...]:
    """The layers of a model that hold heads, by kind."""
    return tuple(bridge(model).heads)


def layer_of(model: str, prompt: str, place: Place, _report: Report = no_report) -> Layer:
    """One layer of a prompt that has been captured; if it is not held, the prompt runs once more for it."""
    found = _held().get((model, prompt, place))
    if found is None:
        with _running:  # sessions that want the same layer wait for it
            found = _held().get((model, prompt, place))
            if found is None:
                every, (ids, _) = places(model), encoded(model, prompt)
                all_fit = _footprint(model).layers_at_once(ids.shape[1], HELD_BYTES) == len(every)
                found = _hold(model, prompt, every if all_fit else [place], _report)[0][place]
    return found


@st.cache_data(max_entries=FIGURES_HELD, show_spinner=False)
def faithfulness(model: str, prompt: str, layer: int) -> tuple[float, float]:
    """Faithfulness of one mixer over the whole prompt, and its tolerance.

    The mixer runs once more, on what it was given.
    """
    from components.bridge import ssd_inputs

    given = layer_of(model, prompt, Place(layer)).given
    if given is None:
        raise TypeError(f"Layer {layer} was kept without what its mixer was given.")
    use_threads(bridge(model).model.num_parameters() / len(bridge(model).blocks) * given.shape[1])
    _, alone = bridge(model).run_mixer(layer, given, names_filter=ssd_inputs, piece_tokens=PIECE_TOKENS)
    return alone.faithfulness(layer), alone.tolerance(layer)


def cells_of(capture: Capture, place: Place, head: int, window: Window, statistic: Statistic) -> HeadCells:
    """What a window shows of one head, as `head_cells`."""
    from components.charts import head_cells

    if not KINDS[place.kind].separates:
        return _kept_cells(capture.model, capture.prompt, place, head, window, statistic, capture.tokens)
    return head_cells(capture.terms(place), head, capture.tokens, window, statistic=statistic)


@st.cache_resource(max_entries=CAPTURES_HELD, show_spinner="Comparing every query with every key before it")
def _kept_cells(
    model: str,
    prompt: str,
    place: Place,
    head: int,
    window: Window,
    statistic: Statistic,
    _tokens: Sequence[str],
) -> HeadCells:
    """Where attention does not separate, a picture of a long text takes work for every pair of its tokens."""
    from components.charts import head_cells

    terms = layer_of(model, prompt, place).terms
    return head_cells(terms, head, _tokens, window, statistic=statistic)


@st.cache_resource(max_entries=FIGURES_HELD, show_spinner=False)
def sums_of(
    model: str,
    prompt: str,
    place: Place,
    head: int,
    span: range,
    window: Window,
    read_by: bool,
    with_dt: bool,
    _tokens: Sequence[str],
) -> SpanSums:
    """A span of the text as one row of a head, as `span_sums`."""
    from components.charts import span_sums

    terms = layer_of(model, prompt, place).terms
    return span_sums(terms, head, _tokens, span, window, read_by=read_by, with_dt=with_dt)


def limits_of(capture: Capture, place: Place, window: Window, with_dt: bool, rms: bool) -> dict[str, float]:
    """Largest content and attention in a window, of all heads of this kind; of a long text, of this layer."""
    alike = tuple(each for each in capture.places if each.kind == place.kind)
    alike = alike if capture.length <= LOCKED_TOKENS else (place,)
    return _limits(capture.model, capture.prompt, alike, window, with_dt, "rms" if rms else "mean")


@st.cache_data(max_entries=FIGURES_HELD, show_spinner=False)
def overview(model: str, prompt: str, place: Place, head: int) -> Float32[np.ndarray, "tile tile"]:
    """The RMS of attention over tiles of the whole text, for one head."""
    from components.charts import attention_tiles

    terms = layer_of(model, prompt, place).terms
    picture: Float32[np.ndarray, "tile tile"] = attention_tiles(terms, OVERVIEW_TILES, heads=[head])[0]
    return picture


@st.cache_data(max_entries=FIGURES_HELD, show_spinner=False)
def _limits(
    model: str, prompt: str, alike: tuple[Place, ...], window: Window, with_dt: bool, statistic: Statistic
) -> dict[str, float]:
    from components.charts import locked_limits

    terms = {place: layer_of(model, prompt, place).terms for place in alike}
    return locked_limits(terms, window, with_dt=with_dt, statistic=statistic)


@st.cache_resource(show_spinner=False)
def _held() -> CacheByBytes[Layer]:
    """Layers by model, prompt and place."""
    return CacheByBytes(HELD_BYTES)


_running = threading.Lock()


def _footprint(model: str) -> Footprint:
    return Footprint.of(bridge(model))


def _remember(model: str, began: float, tokens: int) -> None:
    if tokens >= RATE_TOKENS:
        remember_run(model, time.monotonic() - began, tokens)


def _hold(
    model: str, prompt: str, wanted: Sequence[Place], report: Report
) -> tuple[dict[Place, Layer], ActivationCache]:
    """Run the prompt and hold these layers as long as there is room; with them, what was kept of the run."""
    from components.bridge import matrix_inputs

    kept = _run(model, encoded(model, prompt)[0], wanted, matrix_inputs, report)
    held = {}
    for place in wanted:
        report(f"Reading {place}", None)
        given = kept.get(bridge(model).at(place).hook_in.name)
        held[place] = Layer(kept.terms(place), given)
        _held().put((model, prompt, place), held[place], held[place].nbytes)
    return held, kept


def _summaries(
    model: str, ids: Tensor, wanted: Sequence[Place], report: Report
) -> tuple[list[tuple[pd.DataFrame, Float32[np.ndarray, "head tile tile"]]], ActivationCache]:
    """Measures and small pictures of the heads of each of these layers, and what was kept of the run."""
    from components.bridge import matrix_inputs
    from components.charts import gallery_tiles, measure_table

    def needed(name: str) -> bool:
        return matrix_inputs(name) and not name.endswith(".hook_in")

    kept = _run(model, ids, wanted, needed, report)
    found = []
    for place in wanted:
        report(f"Reading {place}", None)
        terms = kept.terms(place)
        tiles = gallery_tiles(terms.heads * len(places(model)))
        found.append((measure_table({place: terms}), _small_pictures(terms, tiles)))
    return found, kept


def _small_pictures(terms: MixerTerms, tiles: int) -> Float32[np.ndarray, "head tile tile"]:
    from components.charts import attention_tiles

    return attention_tiles(terms, tiles)


def _run(
    model: str, ids: Tensor, wanted: Sequence[Place], names: Callable[[str], bool], report: Report
) -> ActivationCache:
    """Run ids [1, s] and keep what `names` lets through of these layers."""
    from components.bridge import HookPoint

    model_bridge = bridge(model)
    use_threads(model_bridge.model.num_parameters() * ids.shape[1])
    depth = len(model_bridge.blocks)
    read = 0
    kept_of = {model_bridge.at(place).hook_in.name.removesuffix(".hook_in") for place in wanted}

    def tell(tensor: Tensor, hook: HookPoint) -> None:
        nonlocal read
        layer = int(hook.name.split(".")[1])
        before, read = read, read + tensor.shape[1] * (layer == depth - 1)
        text = f"Running the prompt through layer {layer} of {depth}"
        if ids.shape[1] > tensor.shape[1]:
            text += f", {before:,} of {ids.shape[1]:,} tokens read"
        report(text, (before + tensor.shape[1] * layer / depth) / ids.shape[1])

    _, kept = model_bridge.run_with_cache(
        ids,
        names_filter=lambda name: names(name) and ".".join(name.split(".")[:3]) in kept_of,
        fwd_hooks=[(f"blocks.{layer}.hook_in", tell) for layer in range(depth)],
        piece_tokens=PIECE_TOKENS,
        logits_to_keep=1,
    )
    return kept
