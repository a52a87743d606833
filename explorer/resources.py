"""What is expensive, once for all sessions: models and captures, both bounded.

A capture is what one model made of one prompt, reduced to what the page draws. Nothing here draws.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

if TYPE_CHECKING:
    from components.bridge import ActivationCache, ModelBridge
    from components.ssd import SSDTerms

MODELS_HELD = 2
"""A model can take gigabytes; two allow going back and forth between a pair."""

CAPTURES_HELD = 16
RUNS_HELD = 2
"""Runs hold whole texts, captures the shown positions."""
FIGURES_HELD = 1024
SHOWN_TOKENS = 128
"""As many positions as a panel draws; of a longer text, the last."""


@dataclass(frozen=True)
class Capture:
    """One prompt through one model, over the shown positions. Shared between sessions: read only.

    `terms` hold no x, which no matrix needs and which is by far their largest part.
    """

    length: int
    """Number of tokens of the whole prompt."""
    tokens: list[str]
    """Texts of the shown positions, ready for display."""
    terms: Mapping[int, SSDTerms]
    measures: pd.DataFrame

    @property
    def first(self) -> int:
        """Position of the first shown token."""
        return self.length - len(self.tokens)


@st.cache_resource(max_entries=MODELS_HELD, show_spinner=False)
def _bridge(model: str) -> ModelBridge:
    from components.models import load_bridge

    try:
        return load_bridge(model, progress=lambda text, part: _phases.update({model: (text, part)}))
    finally:
        _phases.pop(model, None)


@st.cache_resource(max_entries=CAPTURES_HELD, show_spinner=False)
def capture(model: str, prompt: str) -> Capture:
    """Run the prompt through the model, or share what another session has run.

    Raises ModelLoadError when there is no such model, and ValueError with a sentence for a prompt
    without tokens.
    """
    from components.charts import measure_table, visible_tokens

    bridge = _bridge(model)
    tokens = bridge.to_str_tokens(prompt)
    cache = _run(model, prompt)
    terms = {layer: _shown(cache.ssd_terms(layer, with_x=False)) for layer in bridge.ssm_layers()}
    return Capture(
        length=len(tokens),
        tokens=visible_tokens(tokens[-SHOWN_TOKENS:]),
        terms=terms,
        measures=measure_table(terms),
    )


@st.cache_data(max_entries=FIGURES_HELD, show_spinner=False)
def faithfulness(model: str, prompt: str, layer: int) -> float:
    """Faithfulness of one layer over the whole prompt: its mixer runs once more, on what it was given."""
    given = _run(model, prompt)[f"blocks.{layer}.mixer.hook_in"]
    _, alone = _bridge(model).run_mixer(layer, given)
    return alone.faithfulness(layer)


@st.cache_resource(max_entries=RUNS_HELD, show_spinner=False)
def _run(model: str, prompt: str) -> ActivationCache:
    from components.bridge import matrix_inputs

    return _bridge(model).run_with_cache(prompt, names_filter=matrix_inputs)[1]


def _shown(terms: SSDTerms) -> SSDTerms:
    """The last positions only. Decay is a difference of cumulative sums, so a window of them is exact."""
    last = slice(-SHOWN_TOKENS, None)
    return replace(
        terms,
        x=terms.x[:, last].clone(),
        B=terms.B[:, last].clone(),
        C=terms.C[:, last].clone(),
        dt=terms.dt[:, last].clone(),
        cum_log_decay=terms.cum_log_decay[..., last].clone(),
    )


def load(model: str, report: Callable[[str, float | None], None]) -> None:
    """Have the model in memory, once per process; `report` is called, on this thread, while that takes time.

    The loading runs on a thread of its own: it goes on when this session turns to something else, and
    every session that waits for the same model sees the same progress. Raises ModelLoadError.
    """
    with _lock:
        loading = _loading.get(model)
        if loading is None:
            loading = _loading[model] = Future()
            threading.Thread(target=_load, args=(model, loading), daemon=True).start()
    while True:
        try:
            return loading.result(timeout=0.2)
        except NotYet:
            report(*_phases.get(model, ("Loading the model", None)))


def _load(model: str, loading: Future[None]) -> None:
    try:
        _bridge(model)
    except BaseException as error:
        loading.set_exception(error)
    else:
        loading.set_result(None)
    finally:
        with _lock:
            del _loading[model]


_lock = threading.Lock()
_loading: dict[str, Future[None]] = {}
_phases: dict[str, tuple[str, float | None]] = {}
