"""What edits do to a prediction: runs with and without them, and sweeps. Cached for all sessions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import streamlit as st
import torch
from jaxtyping import Float32

from components.ssd import CutSource, Head, HeadEdit, KeepLast, Mute, Place, Sizes, SoftmaxTerms
from explorer.cache_by_bytes import CacheByBytes
from explorer.captures import PIECE_TOKENS, check_edits, places
from explorer.jobs import Report, no_report
from explorer.line import line
from explorer.models import bridge, encoded
from explorer.subject import BY_KEY, Subject
from explorer.threads import use_threads

if TYPE_CHECKING:
    from torch import Tensor

MAX_TOKENS = 512
"""Longest text of this page: it compares whole matrices, and runs the model once for each head."""
LIKELY = 10
"""Tokens that a list of the most probable holds."""
PREDICTIONS_BYTES = 3 * 10**8
EFFECTS_HELD = 128
CONTROL_SEED = 0

Figure = Literal["log_p", "difference"]
Muting = Literal["attention", "all", "mean"]


@dataclass(frozen=True)
class Question:
    """Which prediction is asked about: the answer, and what it is compared with, after a position."""

    subject: Subject
    """Without edits."""
    position: int
    target: int
    """The answer's token id."""
    foil: int


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model predicts after each position of a text. Sessions share it: read only."""

    log_p: Float32[np.ndarray, "seq vocab"]
    """Natural logarithms of probabilities."""
    sizes: tuple[float, ...] = ()
    """How much each edit changed the tensors at its hooks, as a part of them."""

    def likely(self, position: int) -> list[int]:
        """The most probable tokens after a position, most probable first."""
        return [int(each) for each in np.argsort(-self.log_p[position], kind="stable")[:LIKELY]]

    def rank(self, position: int, token: int) -> int:
        """1 for the most probable."""
        row = self.log_p[position]
        return int((row > row[token]).sum()) + 1

    def divergence(self, other: Prediction) -> Float32[np.ndarray, " seq"]:
        """KL(this ‖ other) after each position, in nats. Rounding below zero is zero."""
        mine, others = self.log_p.astype(np.float64), other.log_p.astype(np.float64)
        found = (np.exp(mine) * (mine - others)).sum(axis=1)
        nats: Float32[np.ndarray, " seq"] = found.clip(min=0).astype(np.float32)
        return nats


@st.cache_resource(show_spinner=False)
def _predictions() -> CacheByBytes[Prediction]:
    """By the key of a Subject."""
    return CacheByBytes(PREDICTIONS_BYTES)


def prediction(subject: Subject, report: Report = no_report) -> Prediction:
    """What the model predicts along the prompt, under the subject's edits.

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
        sizes = Sizes(subject.edits)
        gigabytes = len(texts) * model.model.config.vocab_size * 12 / 1e9
        with line().admitted(report, gigabytes=gigabytes):
            use_threads(model.model.num_parameters() * len(texts))
            logits, _ = model.run_with_cache(
                ids, names_filter=[], fwd_hooks=sizes.hooks, piece_tokens=PIECE_TOKENS
            )
        log_p = logits[0].float().log_softmax(dim=-1).cpu().numpy()
        found = Prediction(log_p, tuple(sizes.relative))
        _predictions().put(subject.key, found, log_p.nbytes)
    return found


@dataclass(frozen=True, eq=False)
class Effects:
    """What each of several edits takes from a prediction: positive if the prediction needs it.

    `log_p`: how far the log probability of the answer falls. `difference`: how far its logit falls, less the
    foil's. Each has the same for a random change of the same size; NaN where there is none.
    """

    log_p: Float32[np.ndarray, " edit"]
    difference: Float32[np.ndarray, " edit"]
    control_log_p: Float32[np.ndarray, " edit"]
    control_difference: Float32[np.ndarray, " edit"]

    def of(self, figure: Figure) -> tuple[Float32[np.ndarray, " edit"], Float32[np.ndarray, " edit"]]:
        """One of the figures, and its control."""
        if figure == "log_p":
            return self.log_p, self.control_log_p
        return self.difference, self.control_difference


def muted(model: str, muting: Muting) -> list[HeadEdit | None]:
    """An edit for each head of a model, down the layers; None where the head has no such edit."""
    found: list[HeadEdit | None] = []
    for place, heads in bridge(model).heads.items():
        for head in range(heads):
            possible = muting == "attention" or place.kind != SoftmaxTerms.kind
            at = range(place.layer, place.layer + 1), range(head, head + 1)
            found.append(Mute(*at, kind=place.kind, what=muting) if possible else None)
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
    """What muting each head alone takes from the prediction, as in `muted`; of `only` some heads."""
    edits = [
        edit if only is None or at in only else None for at, edit in enumerate(muted(subject.model, muting))
    ]
    return _effects(Question(subject, position, target, foil), edits, "heads", _report)


@st.cache_resource(max_entries=EFFECTS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def head_estimates(
    subject: Subject, position: int, target: int, foil: int, muting: Muting, _report: Report = no_report
) -> Effects:
    """As `head_effects`, estimated from a gradient in which the norms are frozen. Without controls.

    ValueError for a model whose norms cannot be frozen.
    """
    from components.bridge import estimate

    model, (ids, _) = bridge(subject.model), encoded(subject.model, subject.prompt, _report)
    beginning = ids[:, : position + 1]
    edits = muted(subject.model, muting)
    made = [edit for edit in edits if edit is not None]
    figures = partial(_figures, Question(subject, position, target, foil))
    with line().admitted(_report, gigabytes=0.5):
        use_threads(model.model.num_parameters() * beginning.shape[1] * 4)
        logits, _ = model.run_with_cache(beginning, names_filter=[], logits_to_keep=1)
        found = figures(logits[:, 0].float()) - estimate(model, beginning, made, figures)
    columns = np.full((4, len(edits)), np.nan, np.float32)
    columns[:2, [edit is not None for edit in edits]] = found.T.cpu().numpy()
    return Effects(*columns)


@st.cache_resource(max_entries=EFFECTS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def divided_by(
    subject: Subject, position: int, head: Head, edit: HeadEdit, _report: Report = no_report
) -> float | None:
    """By what part of before the norm behind a head's scan divides its channels, once an edit is made.

    None where there is no such norm, or where it divides by nothing.
    """
    from components.bridge import norm_divisors

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
    where: tuple[range | None, range | None] = (
        None if place is None else range(place.layer, place.layer + 1),
        None if head is None else range(head, head + 1),
    )
    kind = Place(0).kind if place is None else place.kind
    cuts: list[HeadEdit | None] = [
        CutSource(*where, range(at, at + 1), kind=kind) for at in range(position + 1)
    ]
    return _effects(Question(subject, position, target, foil), cuts, "tokens", _report)


@st.cache_resource(max_entries=EFFECTS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def answer_by_memory(
    subject: Subject, position: int, target: int, _report: Report = no_report
) -> Float32[np.ndarray, " width"]:
    """Log probability of the answer when all heads of mixers read the last 0, 1, … tokens; the last: all."""
    from components.bridge import sweep

    model, (ids, _) = bridge(subject.model), encoded(subject.model, subject.prompt, _report)
    beginning = ids[:, : position + 1]
    windows = [KeepLast(width=width) for width in range(position + 2)]
    with line().admitted(_report, gigabytes=0.5):
        use_threads(model.model.num_parameters() * beginning.shape[1] * len(windows))
        found = sweep(
            model,
            beginning,
            windows,
            lambda logits: logits.log_softmax(dim=-1)[:, target],
            report=lambda done, of: _report(f"{done:,} of {of:,} windows done", done / of),
        )
    answers: Float32[np.ndarray, " width"] = found.cpu().numpy()
    return answers


def _figures(question: Question, logits: Tensor) -> Tensor:
    """Of each row of logits, the log probability of the answer, and the logit difference."""
    log_p = logits.log_softmax(dim=-1)[:, question.target]
    return torch.stack([log_p, logits[:, question.target] - logits[:, question.foil]], dim=1)


def _effects(question: Question, edits: list[HeadEdit | None], what: str, report: Report) -> Effects:
    from components.bridge import sweep

    subject = question.subject
    model, (ids, _) = bridge(subject.model), encoded(subject.model, subject.prompt, report)
    beginning = ids[:, : question.position + 1]
    made = [edit for edit in edits if edit is not None]
    with_control = [edit for edit in made if edit.kind != SoftmaxTerms.kind]

    figures = partial(_figures, question)

    def tell(text: str, part: int, of: int) -> None:
        report(f"{text}, {part:,} of {of:,} {what} done", part / of)

    gigabytes = beginning.shape[1] * len(made) * model.model.config.vocab_size * 4 / 1e9
    with line().admitted(report, gigabytes=min(gigabytes, 0.5)):
        use_threads(model.model.num_parameters() * beginning.shape[1] * len(made))
        clean = figures(model.run_with_cache(beginning, names_filter=[], logits_to_keep=1)[0][:, 0].float())
        found = clean - sweep(
            model, beginning, made, figures, report=lambda done, of: tell("Making each edit", done, of)
        )
        control = clean - sweep(
            model,
            beginning,
            with_control,
            figures,
            report=lambda done, of: tell("Making random changes of the same size", done, of),
            control=torch.Generator().manual_seed(CONTROL_SEED),
        )
    columns = np.full((4, len(edits)), np.nan, np.float32)
    columns[:2, [edit is not None for edit in edits]] = found.T.cpu().numpy()
    has_control = [edit is not None and edit.kind != SoftmaxTerms.kind for edit in edits]
    columns[2:, has_control] = control.T.cpu().numpy()
    return Effects(*columns)


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


def together(question: Question, edits: tuple[HeadEdit, ...]) -> Float32[np.ndarray, " figure"]:
    """What several edits at once take from the prediction: of log p, and of the logit difference."""
    clean = prediction(question.subject)
    edited = prediction(Subject(question.subject.model, question.subject.prompt, edits))
    before, after = clean.log_p[question.position], edited.log_p[question.position]
    log_p = before[question.target] - after[question.target]
    return np.array([log_p, log_p - (before[question.foil] - after[question.foil])], np.float32)


def heads_of(model: str) -> list[Head]:
    """All heads, in the order of `muted`."""
    counts = bridge(model).heads
    return [Head(place, index) for place in places(model) for index in range(counts[place])]
