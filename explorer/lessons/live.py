"""Runs of the embedded model for lessons, shared by all readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from components.demo import PRESETS
from components.models import DEMO
from components.ssd import Edit, Head, Place, SSDTerms, hooks_of
from explorer.jobs import no_report
from explorer.lessons.lesson import Control
from explorer.line import line
from explorer.models import bridge, encoded
from explorer.selection import Selection, first_selection
from explorer.subject import BY_KEY, Subject
from explorer.threads import use_threads

if TYPE_CHECKING:
    from components.bridge import ActivationCache

RUNS_HELD = 128
"""About a megabyte each: what the controls of the lessons can set, and texts of "Check yourself"."""

PROMPT = PRESETS[0].prompt
"""The text of most lessons."""

POSITIONS = tuple(range(30))
"""Of its tokens."""

HEIGHT, HALF_HEIGHT = 160, 60
"""Pixels of one chart, and of each of two."""


@st.cache_resource(max_entries=RUNS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def run(subject: Subject) -> ActivationCache:
    """The inputs and outputs of all scans in a run of a short text. Sessions share it: read only."""
    from components.bridge import ssd_inputs

    ids, _ = encoded(subject.model, subject.prompt)
    model = bridge(subject.model)
    with line().admitted(no_report):
        use_threads(model.model.num_parameters() * ids.shape[1])
        _, cache = model.run_with_cache(
            ids, names_filter=ssd_inputs, fwd_hooks=list(hooks_of(subject.edits)), logits_to_keep=1
        )
    return cache


def terms_of(head: Head, prompt: str = PROMPT, edits: tuple[Edit, ...] = ()) -> SSDTerms:
    """The terms of a head's layer in a run of the embedded model."""
    return run(Subject(DEMO, prompt, edits)).ssd_terms(head.place.layer)


def words_of(prompt: str = PROMPT) -> list[str]:
    """The tokens of a text, without the spaces before them."""
    return [text.strip() for text in encoded(DEMO, prompt)[1]]


def place(words: Sequence[str], position: int) -> str:
    """A token with its position, such as "10 kitchen"."""
    return f"{position} {words[position]}"


def selected(
    head: Head, query: int | None = None, prompt: str = PROMPT, edits: tuple[Edit, ...] = ()
) -> Selection:
    """What the page Explore opens with to show a head of the embedded model."""
    shown = first_selection(DEMO).with_prompt(prompt).with_head(head).with_query(query)
    return shown.with_edits(edits)


def token_control(start: int, positions: tuple[int, ...] = POSITIONS) -> Control:
    """A control that sets a position of PROMPT."""
    return Control(positions, start, lambda option: place(words_of(), int(option)))


def head(layer: int, index: int) -> Head:
    """A head of the embedded model."""
    return Head(Place(layer), index)
