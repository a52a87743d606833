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
    estimated_effects_of,
    mute_each,
    norm_divisors,
    predict,
    rank_correlation,
    sweep,
)
from components.ssd import KINDS, CutEdge, Head, HeadEdit, KeepLast, Mute, Place
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
STRONGEST = 3
"""Heads that are muted together."""

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
    subject: Subject,
    position: int,
    target: int,
    foil: int,
    muting: Muting,
    only: tuple[int, ...] | None = None,
    _report: Report = no_report,
) -> Effects:
    """What muting each head alone takes from the prediction, in the order of `heads_of`; of `only` some."""
    every = mute_each(bridge(subject.model), muting).values()
    edits = [edit if only is None or at in only else None for at, edit in enumerate(every)]
    return _effects(Question(subject, position, target, foil), edits, _report)


@st.cache_resource(max_entries=EFFECTS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def head_estimates(
    subject: Subject, position: int, target: int, foil: int, muting: Muting, _report: Report = no_report
) -> Effects:
    """As `head_effects`, estimated from a gradient in which the norms are frozen. Without controls.

    ValueError for a model whose norms cannot be frozen.
    """
    model, (ids, _) = bridge(subject.model), encoded(subject.model, subject.prompt, _report)
    beginning = ids[:, : position + 1]
    edits = list(mute_each(model, muting).values())
    with line().admitted(_report, gigabytes=0.5):
        use_threads(model.model.num_parameters() * beginning.shape[1] * 4)
        return estimated_effects_of(model, beginning, edits, target, foil)


@st.cache_resource(max_entries=EFFECTS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def divided_by(
    subject: Subject, position: int, head: Head, edit: HeadEdit, _report: Report = no_report
) -> float | None:
    """By what part of before the norm behind a head's scan divides its channels, once an edit is made.

    None where there is no such norm, or where it divides by nothing.
    """
    model, (ids, _) = bridge(subject.model), encoded(subject.model, subject.prompt, _report)
    name = f"blocks.{head.place.layer}.mixer.inner_norm"
    if f"{name}.hook_in" not in model.hook_points:
        return None
    names = [f"{name}.{each}" for each in ("hook_in", "hook_gate", "hook_out")]
    found = []
    with line().admitted(_report):
        use_threads(model.model.num_parameters() * (position + 1))
        for hooks in ((), edit.hooks()):
            _, cache = model.run_with_cache(
                ids[:, : position + 1], names_filter=names, fwd_hooks=hooks, logits_to_keep=1
            )
            divisors = norm_divisors(model, cache, head.place.layer)[0, -1]
            found.append(float(divisors[head.index * len(divisors) // model.heads[head.place]]))
    part = found[1] / found[0]
    return part if np.isfinite(part) else None


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


@st.cache_resource(max_entries=EFFECTS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def answer_by_memory(
    subject: Subject, position: int, target: int, _report: Report = no_report
) -> Float32[np.ndarray, " width"]:
    """Log probability of the answer when all heads of mixers read the last 0, 1, … tokens; the last: all."""
    model, (ids, _) = bridge(subject.model), encoded(subject.model, subject.prompt, _report)
    beginning = ids[:, : position + 1]
    windows = [KeepLast(width=width) for width in range(position + 2)]
    with line().admitted(_report, gigabytes=0.5) as watched:
        use_threads(model.model.num_parameters() * beginning.shape[1] * len(windows))
        found = sweep(
            model,
            beginning,
            windows,
            lambda logits: logits.log_softmax(dim=-1)[:, target],
            report=lambda done, of: watched(f"{done:,} of {of:,} windows done", done / of),
        )
    answers: Float32[np.ndarray, " width"] = found.cpu().numpy()
    return answers


def _effects(
    question: Question, edits: Sequence[HeadEdit | None], report: Report, *, with_control: bool = True
) -> Effects:
    subject = question.subject
    model, (ids, _) = bridge(subject.model), encoded(subject.model, subject.prompt, report)
    beginning = ids[:, : question.position + 1]

    gigabytes = beginning.shape[1] * len(edits) * model.model.config.vocab_size * 4 / 1e9
    controls = ", and random changes of the same size" if with_control else ""
    with line().admitted(report, gigabytes=min(gigabytes, 0.5)) as watched:
        use_threads(model.model.num_parameters() * beginning.shape[1] * len(edits))
        return effects_of(
            model,
            beginning,
            edits,
            question.target,
            question.foil,
            seed=CONTROL_SEED if with_control else None,
            report=lambda done, of: watched(
                f"Making each edit{controls}: {done:,} of {of:,} done", done / of
            ),
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


def strongest(effect: Float32[np.ndarray, " head"]) -> list[int]:
    """Where the largest effects are, at most STRONGEST, the largest first; NaN is none."""
    order = np.argsort(-effect, kind="stable")[:STRONGEST]
    return [int(at) for at in order if np.isfinite(effect[at])]


def mute_edit(head: Head, muting: Muting) -> Mute:
    """The edit that mutes one head. Softmax heads have the one way only."""
    way = muting if KINDS[head.place.kind].has_state else "attention"
    layers = range(head.place.layer, head.place.layer + 1)
    return Mute(layers, range(head.index, head.index + 1), kind=head.place.kind, what=way)


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
