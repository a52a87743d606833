"""Captures: one run of a prompt for all sessions, in bounded caches.

A capture is what a run of a model on a prompt kept, reduced to what every picture needs. A cache bounded by
bytes keeps the terms of its layers. A text too long for that cache runs through the model again for the
layer in use.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import Float32

from components.ssd import KINDS, Head, HeadEdit, Place, hooks_of
from explorer.cache_by_bytes import CacheByBytes
from explorer.costs import Cost, Footprint, measured_rate, remember_run
from explorer.jobs import Report, no_report
from explorer.line import line
from explorer.models import bridge, encoded
from explorer.selection import nearest_head
from explorer.settings import settings
from explorer.subject import BY_KEY, Subject
from explorer.threads import SMALL_WORK, use_threads

if TYPE_CHECKING:
    from torch import Tensor

    from components.bridge import ActivationCache
    from components.charts import Spans
    from components.ssd import MixerTerms

CAPTURES_HELD = 40
"""Captures, with what was made of them: a text for each visitor of a full room, and some to go back to."""
HELD_BYTES = round(settings().capture_gigabytes * 1e9)
"""Limit for the cached terms of all texts, and for what one run keeps."""
PIECE_TOKENS = 2048
"""Longer texts go through a model in pieces: the model's own scan takes memory for each token of a piece."""
RATE_TOKENS, MORE_RATE_TOKENS = 256, 2048
"""Tokens of the shortest run that measures speed, and of a second if the first was quick."""
SLOW_SECONDS = 1.0
EDITED_TOKENS = 512
"""Longest text of a run whose edits change whole matrices: 25 MB for each layer with 24 heads."""


@dataclass(frozen=True, eq=False)
class Layer:
    """What pictures of one layer's heads need, for a whole text. Sessions share it: read only.

    A mixer's `terms` lack x, by far their largest part, which no matrix needs. `given`, [1, s, model], is the
    mixer's input, so that it can run again for the rest.
    """

    terms: MixerTerms
    given: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        parts = [each for each in vars(self.terms).values() if hasattr(each, "nbytes")]
        edited = [each for each in vars(self.terms).values() if isinstance(each, tuple)]
        parts += [rows.matrix for rows in chain(*edited)]
        return sum(each.nbytes for each in [*parts, self.given] if each is not None)


@dataclass(frozen=True, eq=False)
class Capture:
    """The results of one run. Sessions share it: read only, but for `faithful`."""

    subject: Subject
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
    """What a reader should know about the computation, in sentences."""
    small: Float32[np.ndarray, "head tile tile"] | None = None
    """Small pictures of the heads, if the run did not keep all terms."""
    faithful: dict[int, tuple[float, float]] = field(default_factory=dict)
    """The faithfulness and the tolerance of the mixers compared so far, by layer. `pictures` adds to it."""

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    @property
    def all_kept(self) -> bool:
        """Whether the run kept the terms of all layers; else a layer in use runs again."""
        return self.small is None

    @cached_property
    def heads(self) -> dict[Place, int]:
        """How many heads each layer has, by kind."""
        return dict(Counter(head.place for head in self.measured))

    @cached_property
    def measured(self) -> dict[Head, dict[Hashable, Any]]:
        """The rows of `measures` by head, as Python's own numbers: a pick reads them many times."""
        rows = self.measures.to_dict("records")
        return {Head(Place(row["layer"], row["kind"]), row["head"]): row for row in rows}


def cost(subject: Subject, _report: Report = no_report) -> Cost:
    """Estimate what running the prompt takes, and the free memory. Errors as for `capture`.

    The seconds come from this model's earlier runs; without any, from a run of this prompt's beginning.
    """
    from components.bridge import matrix_inputs
    from components.charts import measure_table
    from components.models import available_memory

    model = subject.model
    ids, _ = encoded(model, subject.prompt, _report)
    length, every = ids.shape[1], places(model)
    unedited = Subject(model, subject.prompt)  # edits may name positions beyond the beginning
    if length >= RATE_TOKENS and measured_rate(model) is None:
        _report("Measuring how fast this model reads", None)
        for some in (RATE_TOKENS, MORE_RATE_TOKENS):
            beginning = ids[:, :some]
            kept, began = _run(unedited, beginning, every, matrix_inputs, _report)
            measure_table({place: kept.terms(place) for place in every})
            if time.monotonic() - began > SLOW_SECONDS:
                break
        _remember(model, began, beginning.shape[1])  # only the last: a model's first run takes longer
    footprint, rate = _footprint(model), measured_rate(model, length)
    gigabytes = footprint.gigabytes(length, HELD_BYTES)
    seconds = rate and rate * length * footprint.runs(length, HELD_BYTES)
    return Cost(length, seconds, gigabytes, free=available_memory(ids.device) / 1e9)


def _forget(gone: Capture) -> None:
    """Drop the layers of a capture that leaves the cache."""
    _held().forget(gone.subject)


@st.cache_resource(max_entries=CAPTURES_HELD, show_spinner=False, hash_funcs=BY_KEY, on_release=_forget)
def capture(subject: Subject, _report: Report = no_report, _head: Head | None = None) -> Capture:
    """Run the prompt through the model, or share another session's capture.

    With the head that a page shows first, the run of a text of one piece also tells the faithfulness of its
    layer, and in a small model that of all layers.

    Raises ModelLoadError when there is no such model, and ValueError with a sentence for a prompt
    without tokens, or with more than the settings allow.
    """
    from components.charts import measure_table, spans_of, visible_tokens

    model = subject.model
    ids, texts = encoded(model, subject.prompt, _report)
    check_edits(subject, len(texts))
    every = places(model)
    at_once = _footprint(model).layers_at_once(len(texts), HELD_BYTES)
    pictures, faithful = None, {}
    if at_once == len(every):
        layers = compared(model, len(texts), _head)
        held, kept, began = _hold(subject, every, _report, layers)
        notes = kept.notes
        faithful = {layer: (kept.faithfulness(layer), kept.tolerance(layer)) for layer in layers}
        measures = measure_table({place: held[place].terms for place in every})
        _remember(model, began, len(texts))
    else:  # read and drop each layer; those in use run again one by one
        summaries, notes = [], []
        for start in range(0, len(every), at_once):
            found, kept, began = _summaries(subject, ids, every[start : start + at_once], _report)
            summaries += found
            notes += kept.notes
            _remember(model, began, len(texts))
        measures = pd.concat([measured for measured, _ in summaries], ignore_index=True)
        pictures = np.concatenate([small for _, small in summaries])
    return Capture(
        subject=subject,
        tokens=visible_tokens(texts),
        spans=spans_of(texts),
        places=every,
        measures=measures,
        kernel=bridge(model).blocks[bridge(model).ssm_layers()[0]].mixer.kernel,
        notes=tuple(notes),
        small=pictures,
        faithful=faithful,
    )


def check_edits(subject: Subject, tokens: int) -> None:
    """Raise ValueError if a text is too long for its edits."""
    whole = [edit for edit in subject.edits if isinstance(edit, HeadEdit) and edit.whole_matrix]
    if whole and tokens > EDITED_TOKENS:
        raise ValueError(
            f'"{whole[0].sentence}" changes whole matrices, which takes memory for each pair of tokens. It '
            f"can be applied to at most {EDITED_TOKENS} tokens; this text has {tokens:,}. Shorten the text, "
            "or remove the edit."
        )


def places(model: str) -> tuple[Place, ...]:
    """The layers of a model that hold heads, by kind."""
    return tuple(bridge(model).heads)


def terms_of(capture: Capture, place: Place) -> MixerTerms:
    """The terms of one layer, without x. If the cache has dropped them, the prompt runs again."""
    return layer_of(capture.subject, place).terms


def holds(capture: Capture, place: Place) -> bool:
    """Whether the terms of a layer are cached."""
    return _held().get((capture.subject, place)) is not None


def layer_of(subject: Subject, place: Place, _report: Report = no_report) -> Layer:
    """One layer of a captured prompt; if it is not cached, the prompt runs again for it."""
    found = _held().get((subject, place))
    if found is None:
        with _running:  # sessions that want the same layer wait for it
            found = _held().get((subject, place))
            if found is None:
                every, (ids, _) = places(subject.model), encoded(subject.model, subject.prompt)
                all_fit = _footprint(subject.model).layers_at_once(ids.shape[1], HELD_BYTES) == len(every)
                found = _hold(subject, every if all_fit else [place], _report)[0][place]
    return found


@st.cache_resource(show_spinner=False)
def _held() -> CacheByBytes[Layer]:
    """Layers by Subject and Place."""
    return CacheByBytes(HELD_BYTES)


_running = threading.Lock()


def _footprint(model: str) -> Footprint:
    return Footprint.of(bridge(model))


def _remember(model: str, began: float, tokens: int) -> None:
    if tokens >= RATE_TOKENS:
        remember_run(model, time.monotonic() - began, tokens)


def compared(model: str, length: int, head: Head | None) -> list[int]:
    """The layers whose pictures a run compares with the scan's output, which it has to keep with x."""
    heads = bridge(model).heads
    if head is None or length > PIECE_TOKENS:
        return []
    small = bridge(model).model.num_parameters() * length <= SMALL_WORK
    shown = heads if small else [nearest_head(head, heads).place]  # a pick then runs no mixer
    return [place.layer for place in shown if not KINDS[place.kind].note]


def _hold(
    subject: Subject, wanted: Sequence[Place], report: Report, with_scan: Sequence[int] = ()
) -> tuple[dict[Place, Layer], ActivationCache, float]:
    """Run the prompt and cache these layers. Returns them, the run's activations, and when it began.

    The run also keeps what the faithfulness of the layers `with_scan` needs.
    """
    from components.bridge import matrix_inputs, ssd_inputs

    of_mixers = tuple(f"blocks.{layer}." for layer in with_scan)

    def needed(name: str) -> bool:
        return matrix_inputs(name) or (name.startswith(of_mixers) and ssd_inputs(name))

    kept, began = _run(subject, encoded(subject.model, subject.prompt)[0], wanted, needed, report)
    held = {}
    for place in wanted:
        report(f"Reading {place}", None)
        given = kept.get(bridge(subject.model).at(place).hook_in.name)
        held[place] = Layer(kept.terms(place), given)
        _held().put((subject, place), held[place], held[place].nbytes)
    return held, kept, began


def _summaries(
    subject: Subject, ids: Tensor, wanted: Sequence[Place], report: Report
) -> tuple[list[tuple[pd.DataFrame, Float32[np.ndarray, "head tile tile"]]], ActivationCache, float]:
    """Run the prompt. Returns these layers' measures and small pictures, the run's activations, and when it
    began.
    """
    from components.bridge import matrix_inputs
    from components.charts import attention_tiles, gallery_tiles, measure_table

    def needed(name: str) -> bool:
        return matrix_inputs(name) and not name.endswith(".hook_in")

    kept, began = _run(subject, ids, wanted, needed, report)
    found = []
    for place in wanted:
        report(f"Reading {place}", None)
        terms = kept.terms(place)
        tiles = gallery_tiles(terms.heads * len(places(subject.model)))
        found.append((measure_table({place: terms}), attention_tiles(terms, tiles)))
    return found, kept, began


def _run(
    subject: Subject, ids: Tensor, wanted: Sequence[Place], names: Callable[[str], bool], report: Report
) -> tuple[ActivationCache, float]:
    """Run ids [1, s] with edits. Returns the activations of these layers that `names` accepts, and when it
    began.

    Waits for its turn first. Raises LimitError if too many wait, or if it takes longer than is allowed.
    """
    from components.bridge import HookPoint

    model_bridge = bridge(subject.model)
    depth = len(model_bridge.blocks)
    read, began = 0, 0.0
    kept_of = {model_bridge.at(place).hook_in.name.removesuffix(".hook_in") for place in wanted}

    def tell(tensor: Tensor, hook: HookPoint) -> None:
        nonlocal read
        layer = int(hook.name.split(".")[1])
        before, read = read, read + tensor.shape[1] * (layer == depth - 1)
        text = f"Running the prompt through layer {layer} of {depth}"
        if ids.shape[1] > tensor.shape[1]:
            text += f", {before:,} of {ids.shape[1]:,} tokens read"
        report(text, (before + tensor.shape[1] * layer / depth) / ids.shape[1])
        settings().check_seconds(time.monotonic() - began)

    with line().admitted(report, gigabytes=_footprint(subject.model).gigabytes(ids.shape[1], HELD_BYTES)):
        began = time.monotonic()
        use_threads(model_bridge.model.num_parameters() * ids.shape[1])
        _, kept = model_bridge.run_with_cache(
            ids,
            names_filter=lambda name: names(name) and ".".join(name.split(".")[:3]) in kept_of,
            fwd_hooks=[
                *((f"blocks.{layer}.hook_in", tell) for layer in range(depth)),
                *hooks_of(subject.edits),
            ],
            piece_tokens=PIECE_TOKENS,
            logits_to_keep=1,
        )
    return kept, began
