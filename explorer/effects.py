"""What edits do to a prediction: runs with and without them, and sweeps. Cached for all sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import streamlit as st
import torch
from jaxtyping import Float32

from components.bridge import (
    CONTROL_SEED,
    Effects,
    Prediction,
    cut_each,
    effects_of,
    mute_each,
    predict,
    rank_correlation,
)
from components.ssd import CutEdge, Head, HeadEdit, Place
from explorer.cache_by_bytes import CacheByBytes
from explorer.captures import check_edits, places
from explorer.jobs import Report, no_report
from explorer.line import line
from explorer.models import bridge, encoded
from explorer.subject import BY_KEY, Subject
from explorer.threads import use_threads

MAX_TOKENS = 512
"""Longest text of this page: it compares whole matrices, and runs the model once for each head."""
PREDICTIONS_BYTES = 3 * 10**8
EFFECTS_HELD = 128
SMALL = 1e-5
"""Sweeps round to about a millionth."""

Figure = Literal["log_p", "difference"]
Muting = Literal["attention", "all", "mean"]
CutIn = Literal["model", "layer", "head"]


@dataclass(frozen=True)
class Question:
    """Which prediction is asked about: the answer, and what it is compared with, after a position."""

    subject: Subject
    """Without edits."""
    position: int
    target: int
    """The answer's token id."""
    foil: int

    @property
    def parts(self) -> tuple[Subject, int, int, int]:
        """As the caches take it."""
        return self.subject, self.position, self.target, self.foil


@st.cache_resource(show_spinner=False)
def _predictions() -> CacheByBytes[Prediction]:
    """By the key of a Subject."""
    return CacheByBytes(PREDICTIONS_BYTES)


def prediction(subject: Subject, report: Report = no_report) -> Prediction:
    """What the model predicts along the prompt, under the subject's edits. Sessions share it: read only.

    Raises ValueError for a text that is too long, and for an edit that cannot be made in this model.
    """
    found = _predictions().get(subject.key)
    if found is None:
        ids, texts = encoded(subject.model, subject.prompt, report)
        if len(texts) > MAX_TOKENS:
            raise ValueError(
                f"This page runs the model once for each head and token. It takes texts of at most "
                f"{MAX_TOKENS} tokens; this one has {len(texts):,}. Shorten the prompt."
            )
        check_edits(subject, len(texts))
        model = bridge(subject.model)
        gigabytes = len(texts) * model.model.config.vocab_size * 12 / 1e9
        with line().admitted(report, gigabytes=gigabytes):
            use_threads(model.model.num_parameters() * len(texts))
            found = predict(model, ids, subject.edits)
        _predictions().put(subject.key, found, found.nbytes)
    return found


@st.cache_resource(max_entries=EFFECTS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def head_effects(
    subject: Subject, position: int, target: int, foil: int, muting: Muting, _report: Report = no_report
) -> Effects:
    """What muting each head alone takes from the prediction, in the order of `heads_of`."""
    edits = list(mute_each(bridge(subject.model), muting).values())
    return _effects(Question(subject, position, target, foil), edits, _report)


@st.cache_resource(max_entries=EFFECTS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def source_effects(
    subject: Subject,
    position: int,
    target: int,
    foil: int,
    place: Place | None,
    head: int | None,
    _report: Report = no_report,
) -> Effects:
    """What cutting each token up to the position takes: in all mixers, in a layer, or in one head."""
    cuts = cut_each(position + 1, place, head)
    return _effects(Question(subject, position, target, foil), cuts, _report)


@st.cache_resource(max_entries=EFFECTS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def edge_effects(
    subject: Subject, position: int, target: int, foil: int, query: int, key: int, _report: Report = no_report
) -> Effects:
    """What cutting one cell in each head alone takes, in the order of `heads_of`; without random changes."""
    cuts = [
        CutEdge(
            range(head.place.layer, head.place.layer + 1),
            range(head.index, head.index + 1),
            range(query, query + 1),
            head.place.kind,
            range(key, key + 1),
        )
        for head in heads_of(subject.model)
    ]
    return _effects(Question(subject, position, target, foil), cuts, _report, with_control=False)


def _effects(
    question: Question, edits: Sequence[HeadEdit | None], report: Report, *, with_control: bool = True
) -> Effects:
    subject = question.subject
    model, (ids, _) = bridge(subject.model), encoded(subject.model, subject.prompt, report)
    beginning = ids[:, : question.position + 1]

    def tell(done: int, of: int) -> None:
        controls = ", and random changes of the same size" if with_control else ""
        report(f"Making each edit{controls}: {done:,} of {of:,} done", done / of)

    gigabytes = beginning.shape[1] * len(edits) * model.model.config.vocab_size * 4 / 1e9
    with line().admitted(report, gigabytes=min(gigabytes, 0.5)):
        use_threads(model.model.num_parameters() * beginning.shape[1] * len(edits))
        return effects_of(
            model,
            beginning,
            edits,
            question.target,
            question.foil,
            seed=CONTROL_SEED if with_control else None,
            report=tell,
        )


def cut_place(where: CutIn, head: Head) -> tuple[Place | None, int | None]:
    """The place and the head in which tokens are cut."""
    places: dict[CutIn, tuple[Place | None, int | None]] = {
        "model": (None, None),
        "layer": (head.place, None),
        "head": (head.place, head.index),
    }
    return places[where]


@st.cache_resource(max_entries=EFFECTS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def readings(
    subject: Subject, position: int, target: int, foil: int, head: Head, _report: Report = no_report
) -> dict[str, Float32[np.ndarray, " token"]]:
    """How a head of a mixer reads each token up to a position, from `components.bridge.readings`."""
    from components import bridge as reading

    model, (ids, _) = bridge(subject.model), encoded(subject.model, subject.prompt, _report)
    with line().admitted(_report):
        use_threads(model.model.num_parameters() * (position + 1))
        found = reading.readings(model, ids[:, : position + 1], head.place.layer, head.index, target, foil)
    return {name: values.cpu().numpy() for name, values in found.items()}


def correlations(
    readings: Mapping[str, Float32[np.ndarray, " token"]], effect: Float32[np.ndarray, " token"]
) -> dict[str, float]:
    """The rank correlation of each of a head's readings with an effect."""
    by_size = torch.from_numpy(effect)
    return {name: rank_correlation(torch.from_numpy(values), by_size) for name, values in readings.items()}


def together(question: Question, edits: tuple[HeadEdit, ...]) -> Float32[np.ndarray, " figure"]:
    """What several edits at once take from the prediction: of log p, and of the logit difference."""
    clean = prediction(question.subject)
    edited = prediction(Subject(question.subject.model, question.subject.prompt, edits))
    before, after = clean.log_p[question.position], edited.log_p[question.position]
    log_p = before[question.target] - after[question.target]
    return np.array([log_p, log_p - (before[question.foil] - after[question.foil])], np.float32)


def heads_of(model: str) -> list[Head]:
    """All heads, down the layers."""
    counts = bridge(model).heads
    return [Head(place, index) for place in places(model) for index in range(counts[place])]
