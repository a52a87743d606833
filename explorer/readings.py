"""What the last panel shows instead of attention, and the terms that it needs.

Contributions need more than a capture keeps: the mixer runs again on its input, and for an answer's direction
the prompt runs once more. Both are cached for all sessions.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import streamlit as st

from components.ssd import KINDS, Contributions, ContributionTerms, Factor, MixerTerms, Place, hooks_of
from explorer import effects
from explorer.cache_by_bytes import CacheByBytes
from explorer.captures import PIECE_TOKENS, Capture, layer_of
from explorer.jobs import Report, no_report
from explorer.line import line
from explorer.models import bridge
from explorer.selection import Selection
from explorer.subject import Subject
from explorer.threads import use_threads
from explorer.viewer import Viewer
from explorer.waiting import wait_for

if TYPE_CHECKING:
    from torch import Tensor

    from components.bridge import Prediction

CONTRIBUTION_TOKENS = 2048
"""Longest text with contributions: their tiles take work for each pair of tokens."""
CONTRIBUTIONS_BYTES = 3 * 10**8
"""Limit for the cached contributions of all texts."""


@dataclass(frozen=True)
class Reading:
    """The name of what is shown, "" for attention; for a direction, the ids of the answer and of its foil."""

    name: str = ""
    target: int | None = None
    foil: int | None = None

    def of(self, place: Place) -> Factor:
        """What is shown of the heads of a place."""
        return KINDS[place.kind].reading(self.name)


def picked_reading(viewer: Viewer, capture: Capture) -> tuple[Reading, str]:
    """What is to be shown, and a sentence if it is not what was picked, which cannot be.

    May wait for a run of the prompt, whose prediction has the most probable answer.
    """
    selection = viewer.shown
    name = selection.view.reading
    factors = chain.from_iterable(KINDS[place.kind].readings for place in capture.places)
    factor = next((each for each in factors if each.name == name), None)
    if factor is None or factor.needs == "terms":
        return Reading(name), ""
    try:
        _check_length(factor, capture.length)
        if factor.needs == "contributions":
            return Reading(name), ""
        clean = Subject(capture.subject.model, capture.subject.prompt)
        work = partial(effects.prediction, clean)
        wait_for(
            ("predicted", clean),
            work,
            "Running the prompt once more, for its answer",
            partial(show_attention, viewer),
            button=viewer.key("stop_predicting"),
        )
        return Reading(name, *_tokens(selection, effects.prediction(clean), capture.length)), ""
    except ValueError as error:
        return Reading(), str(error)


def wait_for_reading(viewer: Viewer, capture: Capture, reading: Reading) -> tuple[Reading, str]:
    """The reading, once the terms that it needs of the picked head are at hand; attention, and a sentence
    that says why, if they cannot be.
    """
    place = viewer.shown.head.place
    shown = reading.of(place)
    if shown.needs == "terms":
        return reading if shown.name == reading.name else Reading(), ""
    try:
        wait_for(
            ("contributions", capture.subject, place, reading),
            partial(terms_of_reading, capture.subject, place, reading),
            f"Running the mixer of {place} once more, for its contributions",
            partial(show_attention, viewer),
            button=viewer.key("stop_contributions"),
        )
    except ValueError as error:
        return Reading(), str(error)
    return reading, ""


def terms_of_reading(
    subject: Subject, place: Place, reading: Reading, report: Report = no_report
) -> MixerTerms:
    """The terms of a layer that a reading needs. Raises ValueError where contributions are none, as
    `components.bridge.contributions_of`.
    """
    from components.bridge import logit_direction

    needs = reading.of(place).needs
    if needs == "terms":
        return layer_of(subject, place).terms
    parts, direction = _parts_of(subject, place, report), None
    if needs == "direction" and reading.target is not None and reading.foil is not None:
        final = effects.prediction(subject, report).final
        direction = logit_direction(bridge(subject.model), final, reading.target, reading.foil)
    return ContributionTerms.of(parts, direction)


def show_attention(viewer: Viewer) -> None:
    """Go back to attention."""
    viewer.on_pick(viewer.shown.with_view(reading=""))


def _check_length(factor: Factor, length: int) -> None:
    most = effects.MAX_TOKENS if factor.needs == "direction" else CONTRIBUTION_TOKENS
    if length > most:
        raise ValueError(
            f"{factor.label.capitalize()}: shown of texts of at most {most:,} tokens, and this one has "
            f"{length:,}. Shorten the text."
        )


def _tokens(selection: Selection, before: Prediction, length: int) -> tuple[int, int]:
    position = length - 1 if selection.query is None else selection.query
    return before.answer(position, selection.target, selection.foil)


@st.cache_resource(show_spinner=False)
def _held() -> CacheByBytes[Contributions]:
    """By Subject and Place."""
    return CacheByBytes(CONTRIBUTIONS_BYTES)


_running = threading.Lock()


def _parts_of(subject: Subject, place: Place, report: Report) -> Contributions:
    """The contributions of a layer. Its mixer runs again on its input, once for all sessions."""
    from components.bridge import contribution_inputs, contributions_of

    with _running:
        found = _held().get((subject, place))
        if found is None:
            model, given = bridge(subject.model), layer_of(subject, place, report).given
            if given is None:
                raise TypeError(f"The run did not keep the input of {place}.")
            per_token = model.at(place).bytes_per_token(model.model.dtype.itemsize)
            gigabytes = given.shape[1] * (per_token.continued + per_token.all_terms) / 1e9
            with line().admitted(report, gigabytes=gigabytes):
                use_threads(model.model.num_parameters() / len(model.blocks) * given.shape[1])
                _, alone = model.run_mixer(
                    place.layer,
                    given,
                    names_filter=contribution_inputs,
                    fwd_hooks=hooks_of(subject.edits),
                    piece_tokens=PIECE_TOKENS,
                )
                found = contributions_of(model, alone, place.layer)
            _held().put((subject, place), found, _nbytes(found))
    return found


def _nbytes(parts: Contributions) -> int:
    tensors: list[Tensor] = [parts.passed, parts.projection, parts.terms.x, parts.terms.B, parts.terms.C]
    return sum(each.nbytes for each in tensors)
