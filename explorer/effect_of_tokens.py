"""Which tokens carry an answer, and whether what a head reads tells it.

Each view returns what its chart shows in words, for `live_alt`, which the page calls once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import streamlit as st

from components.charts import (
    scatter_chart,
    token_bars_chart,
)
from components.ssd import SoftmaxTerms
from explorer import effects
from explorer.costs import is_large
from explorer.drawing import draw, plain
from explorer.effect_choices import CUTS, DROPS, choice, loss
from explorer.effects import SMALL, CutIn, Figure, Question
from explorer.models import bridge
from explorer.on_demand import worked
from explorer.viewer import Viewer

REACH = 3
"""Tokens before it that the usual convolution of four mixes into one."""

BARS = "What the answer loses when each token is cut alone."
SCATTER = "How the picked head reads each token, against what the answer loses when it is cut there."
"""The initial `alt` of each chart; `live_alt` replaces it."""


def effects_of_tokens(
    viewer: Viewer, question: Question, tokens: Sequence[str], figure: Figure
) -> dict[str, str]:
    """Draw what cutting each token takes from the answer."""
    st.subheader("Which tokens carry it?", anchor=False)
    cut_in: CutIn = choice("Cut each token alone", "cut_in", CUTS)
    head = viewer.shown.head
    asked = (*question.parts, *effects.cut_place(cut_in, head))
    work = partial(effects.source_effects, *asked)
    if not worked(("cut", *asked), work, "Cutting each token", at_once=not _is_large(question)):
        return {}
    effect, control = effects.source_effects(*asked).of(figure)
    draw(
        token_bars_chart(
            tokens[: question.position + 1],
            effect,
            DROPS[figure],
            control=control if np.isfinite(control).any() else None,
            larger=viewer.shown.view.large,
        ),
        key="token_effects",
        alt=BARS,
    )
    most = int(np.argmax(effect))
    words = [
        f"The answer loses most without '{tokens[most]}' at {most}: {loss(float(effect[most]), figure)}.",
        "Lines mark a random change of the same size." if np.isfinite(control).any() else "",
        "Cut means: no query reads what this token wrote.",
        "Its own skip D·x, the convolution and the decay stay.",
        "The convolution mixes neighbours, so a fact may stand some tokens later.",
        "Softmax layers still read it."
        if cut_in == "model" and bridge(question.subject.model).attention_layers()
        else "",
    ]
    st.caption(plain(" ".join(filter(None, words))))
    return {"token_effects": f"{BARS} {words[0]}"}


def attention_and_effect(
    viewer: Viewer, question: Question, tokens: Sequence[str], figure: Figure
) -> dict[str, str]:
    """Draw how the picked head reads each token against what cutting it in that head does."""
    head = viewer.shown.head
    st.subheader("Is what it reads what matters?", anchor=False)
    if head.place.kind == SoftmaxTerms.kind:
        st.caption("This comparison is of Mamba-2 heads. Pick one in the map above.")
        return {}
    asked = (question.subject, question.position, question.target, question.foil)
    work = partial(effects.readings, *asked, head)
    if not worked(("readings", *asked, head), work, "Reading what the head adds"):
        return {}
    cut = (*asked, head.place, head.index)
    cutting = partial(effects.source_effects, *cut)
    at_once = not _is_large(question)
    if not worked(("cut", *cut), cutting, "Cutting each token", at_once=at_once, button="cut_in_head"):
        return {}
    readings, (effect, _) = effects.readings(*asked, head), effects.source_effects(*cut).of(figure)
    name = choice("Measured by", "measured_by", {each: each for each in readings})
    found = effects.correlations(readings, effect)
    draw(
        scatter_chart(
            tokens[: question.position + 1],
            readings[name],
            effect,
            (name, DROPS[figure]),
            larger=viewer.shown.view.large,
        ),
        key="scatter",
        alt=SCATTER,
    )
    if np.abs(effect).max() < SMALL:
        st.caption(f"No cut in {head} changes this answer by {SMALL:.5f} or more, whatever the head reads.")
        return {}
    most = int(np.argmax(effect))
    right = [each for each, values in readings.items() if abs(int(np.argmax(np.abs(values))) - most) <= REACH]
    listed = ", ".join(f"{each} {value:.2f}" for each, value in found.items() if np.isfinite(value))
    told = (
        f"Largest within {REACH} tokens of the one whose cut costs most: {', '.join(right)}."
        if right
        else f"No measure is largest within {REACH} tokens of the one whose cut costs most."
    )
    st.caption(
        plain(
            f"Rank correlation of sizes with the effect, here: {listed}. {told} The measures are of what the "
            f"query at {question.position} reads; the gradient is of every query."
        )
    )
    return {"scatter": f"{SCATTER} {told}"}


def _is_large(question: Question) -> bool:
    """Whether cutting each token takes so long that the reader is asked first."""
    model, tokens = bridge(question.subject.model).model, question.position + 1
    return is_large(model.num_parameters(), tokens, 2 * tokens)  # and a random change of the same size
