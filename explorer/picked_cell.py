"""The picked cell in every head: its share of its row, and what cutting it does to an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import Float32

from components.ssd import CELL_EFFECT, CELL_SHARE, MEASURES, OF_CELL, Quantity, row_share
from explorer import effects
from explorer.captures import HELD_BYTES, Capture, layer_of, places
from explorer.effects import MAX_TOKENS, SMALL
from explorer.jobs import Report, Work, no_report
from explorer.question import name_of
from explorer.selection import View
from explorer.subject import BY_KEY, Subject
from explorer.threads import use_threads
from explorer.viewer import Viewer
from explorer.waiting import wait_for

CELLS_HELD = 1024
NO_CELL = "No cell is picked. Press one in the panels, or pick a query and a key from the lists."

Cell = tuple[int, int]
"""Query position i and key position j."""


@dataclass(frozen=True, eq=False)
class Heads:
    """All heads as the maps show them."""

    table: pd.DataFrame
    """A `measure_table`, with columns for the quantities of the picked cell that are shown."""
    words: str = ""
    """What they are, or why they are missing."""

    def quantity(self, name: str) -> Quantity | None:
        """The quantity with this name, if the table has it."""
        return {**MEASURES, **OF_CELL}.get(name) if name in self.table else None


def all_heads(viewer: Viewer, capture: Capture) -> Heads:
    """All heads with what the view shows of them. Waits for the quantities of the picked cell."""
    shown = viewer.shown
    wanted = [name for name in _COLUMNS if name in shown.view.of_cell]
    if not wanted:
        return Heads(capture.measures)
    if shown.cell is None:
        return Heads(capture.measures, NO_CELL)
    (query, key), tokens = shown.cell, capture.tokens
    columns = {}
    sentences = [f"Cell: query {query:,} '{tokens[query]}' reads key {key:,} '{tokens[key]}'."]
    for name in wanted:
        try:
            columns[name], words = _COLUMNS[name](viewer, capture, shown.cell)
        except ValueError as refused:
            words = str(refused)
        sentences.append(words)
    return Heads(capture.measures.assign(**columns), " ".join(sentences))


@st.cache_data(max_entries=CELLS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def shares(
    subject: Subject, query: int, key: int, _report: Report = no_report
) -> Float32[np.ndarray, " head"]:
    """`row_share` of every head, in the order of a capture's measures."""
    use_threads(0)  # one row of each head
    rows = [
        row_share(layer_of(subject, place, _report).terms, query, key)[0] for place in places(subject.model)
    ]
    return np.concatenate([row.cpu().numpy() for row in rows])


def _share(viewer: Viewer, capture: Capture, cell: Cell) -> tuple[Float32[np.ndarray, " head"], str]:
    if not capture.all_kept:
        raise ValueError(
            f"The share cannot be read in every head at once: all layers of {capture.length:,} tokens take "
            f"more than the {HELD_BYTES / 1e9:g} GB that are kept. Shorten the text."
        )
    asked = (capture.subject, *cell)
    _wait(viewer, CELL_SHARE, asked, partial(shares, *asked), "Reading the picked cell in every head")
    return shares(*asked), f"{CELL_SHARE.label}: {CELL_SHARE.meaning}"


def _effect(viewer: Viewer, capture: Capture, cell: Cell) -> tuple[Float32[np.ndarray, " head"], str]:
    subject = capture.subject
    if subject.edits:
        raise ValueError("Cells are cut only in runs without edits; this one is edited. Remove the edits.")
    if capture.length > MAX_TOKENS:
        raise ValueError(
            f"Cutting a cell runs the model once for each head. It takes texts of at most {MAX_TOKENS} "
            f"tokens; this one has {capture.length:,}. Shorten the prompt."
        )
    last = capture.length - 1
    predicting = partial(effects.prediction, subject)
    _wait(viewer, CELL_EFFECT, (subject,), predicting, "Running the prompt")
    target, foil = effects.prediction(subject).answer(last, viewer.shown.target, viewer.shown.foil)
    asked = (subject, last, target, foil, *cell)
    cutting = partial(effects.edge_effects, *asked)
    _wait(viewer, CELL_EFFECT, asked, cutting, "Cutting the picked cell in each head")
    drops = effects.edge_effects(*asked).difference
    named = [f"'{name_of(subject.model, token)}'" for token in (target, foil)]
    words = (
        f"{CELL_EFFECT.label}: how far the logit of {named[0]} less that of {named[1]}, after the last "
        "token, falls when the cell is cut in one head alone."
    )
    if np.abs(drops).max() < SMALL:
        words += f" No head changes it by {SMALL:.5f} or more."
    return np.where(np.abs(drops) < SMALL, np.float32(0), drops), words


_COLUMNS: dict[str, Callable[[Viewer, Capture, Cell], tuple[Float32[np.ndarray, " head"], str]]] = {
    CELL_SHARE.name: _share,
    CELL_EFFECT.name: _effect,
}
"""A number of every head, and a sentence about it. ValueError with a sentence if there is none."""


def _wait(viewer: Viewer, quantity: Quantity, asked: tuple[object, ...], work: Work, words: str) -> None:
    key = (quantity.name, *asked)
    wait_for(key, work, words, partial(_do_without, viewer, quantity), viewer.key(f"stop_{quantity.name}"))


def _do_without(viewer: Viewer, quantity: Quantity) -> None:
    """Colour and sort the heads by something else."""
    view, usual = viewer.shown.view, View()
    names = [name for name in ("measure", "sort") if getattr(view, name) == quantity.name]
    viewer.on_pick(viewer.shown.with_view(**{name: getattr(usual, name) for name in names}))
