"""Two prompts of equal length: what of one brings back its answer in the run of the other. Cached for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from jaxtyping import Float32

from explorer.jobs import Report, no_report
from explorer.line import line
from explorer.models import bridge, encoded
from explorer.subject import BY_KEY, Subject
from explorer.threads import use_threads

if TYPE_CHECKING:
    from torch import Tensor

PATCHES_HELD = 64
POINTS = 4
"""Gradients that an estimate takes the mean of."""


@dataclass(frozen=True, eq=False)
class Patches:
    """What each patch recovers of the logit difference, exactly and as gradients estimate it.

    Sessions share it: read only.
    """

    layers: tuple[int, ...]
    exact: Float32[np.ndarray, "layer column"]
    estimate: Float32[np.ndarray, "layer column"]
    correlation: float
    """Of both, where the runs differ; NaN where there is none."""
    clean: float
    """The logit difference after the first prompt."""
    corrupted: float
    """And after the other."""


@st.cache_resource(max_entries=PATCHES_HELD, show_spinner=False, hash_funcs=BY_KEY)
def patches(
    clean: Subject,
    corrupted: Subject,
    position: int,
    target: int,
    foil: int,
    what: str,
    _report: Report = no_report,
) -> Patches:
    """Put each activation of the first run into the other: "residual" or "scan", as in `patch`.

    The answer is asked for after a position. Raises ValueError where nothing can be recovered.
    """
    from components.bridge import attribution_patch, patch

    model = bridge(clean.model)
    one, other = (encoded(run.model, run.prompt, _report)[0][:, : position + 1] for run in (clean, corrupted))

    def difference(logits: Tensor) -> Tensor:
        return logits[:, target] - logits[:, foil]

    with line().admitted(_report) as watched:
        use_threads(model.model.num_parameters() * (position + 1))
        exact = patch(
            model,
            one,
            other,
            difference,
            what,
            report=lambda done, of: watched(
                f"Putting in one activation at a time, {done:,} of {of:,} done", done / of
            ),
        )
        estimate = attribution_patch(
            model,
            one,
            other,
            difference,
            what,
            points=POINTS,
            report=lambda done, of: watched(f"Estimating by gradients, {done} of {of} done", done / of),
        )
    return Patches(
        exact.layers,
        exact.recovered.numpy(),
        estimate.recovered.numpy(),
        exact.correlation(estimate),
        exact.clean,
        exact.corrupted,
    )
