"""What is expensive, once for all sessions: models and captures, both bounded.

A capture is what one model made of one prompt, reduced to what the page draws. Nothing here draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import inf
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from explorer.jobs import Report
from explorer.settings import settings

if TYPE_CHECKING:
    from torch import Tensor

    from components.bridge import ActivationCache, ModelBridge
    from components.ssd import SSDTerms

MODELS_HELD = 2
"""A model can take gigabytes; two allow going back and forth between a pair."""

CAPTURES_HELD = 16
RUNS_HELD = 2
"""Runs hold whole texts, captures the shown positions."""
FIGURES_HELD = 1024
PIECE_TOKENS = 2048
"""Longer texts go through a model in pieces: the model's own scan takes memory for each token of a piece."""
SMALL_WORK = 2e8
"""Parameters times tokens. Below, one thread is as fast as several, and faster on a busy machine."""
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


def untold(text: str, part: float | None) -> None:
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
def bridge(model: str, _report: Report = untold) -> ModelBridge:
    """The model, loaded once per process. Raises ModelLoadError, also for one that the settings exclude."""
    from components.models import ModelLoadError, load_bridge

    if not settings().allows(model):
        raise ModelLoadError(settings().refusal(model))
    use_threads(inf)
    return load_bridge(model, progress=_report)


@st.cache_resource(max_entries=CAPTURES_HELD, show_spinner=False)
def capture(model: str, prompt: str, _report: Report = untold) -> Capture:
    """Run the prompt through the model, or share what another session has run.

    Raises ModelLoadError when there is no such model, and ValueError with a sentence for a prompt
    without tokens, or with more than the settings allow.
    """
    from components.charts import measure_table, visible_tokens

    settings().check_prompt(prompt)
    tokens = bridge(model, _report).to_str_tokens(prompt)
    settings().check_tokens(len(tokens))
    use_threads(bridge(model).model.num_parameters() * len(tokens))
    cache = _run(model, prompt, _report)
    layers = bridge(model).ssm_layers()
    terms = {layer: _shown(cache.ssd_terms(layer, with_x=False)) for layer in layers}
    return Capture(
        length=len(tokens),
        tokens=visible_tokens(tokens[-SHOWN_TOKENS:]),
        terms=terms,
        measures=measure_table(terms),
    )


@st.cache_data(max_entries=FIGURES_HELD, show_spinner=False)
def faithfulness(model: str, prompt: str, layer: int) -> float:
    """Faithfulness of one layer over the whole prompt: its mixer runs once more, on what it was given."""
    from components.bridge import ssd_inputs

    given = _run(model, prompt)[f"blocks.{layer}.mixer.hook_in"]
    use_threads(bridge(model).model.num_parameters() / len(bridge(model).blocks) * given.shape[1])
    _, alone = bridge(model).run_mixer(layer, given, names_filter=ssd_inputs, piece_tokens=PIECE_TOKENS)
    return alone.faithfulness(layer)


@st.cache_resource(max_entries=RUNS_HELD, show_spinner=False)
def _run(model: str, prompt: str, _report: Report = untold) -> ActivationCache:
    from components.bridge import HookPoint, matrix_inputs

    model_bridge = bridge(model)
    ids = model_bridge.to_tokens(prompt)
    layers = len(model_bridge.blocks)
    read = 0

    def tell(tensor: Tensor, hook: HookPoint) -> None:
        nonlocal read
        layer = int(hook.name.split(".")[1])
        before, read = read, read + tensor.shape[1] * (layer == layers - 1)
        text = f"Running the prompt through layer {layer} of {layers}"
        if ids.shape[1] > tensor.shape[1]:
            text += f", {before:,} of {ids.shape[1]:,} tokens read"
        _report(text, (before + tensor.shape[1] * layer / layers) / ids.shape[1])

    _, cache = model_bridge.run_with_cache(
        ids,
        names_filter=matrix_inputs,
        fwd_hooks=[(lambda name: name.startswith("blocks.") and name.endswith(".mixer.hook_in"), tell)],
        piece_tokens=PIECE_TOKENS,
        logits_to_keep=1,
    )
    return cache


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
