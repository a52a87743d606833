"""What carries an answer: the effects of heads and of tokens, and a run before and after its edits.

Each view returns what its charts show in words, for `live_alt`, which a page calls once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import Bool, Float32

from components.bridge import Prediction
from components.charts import (
    PICK,
    effect_map_chart,
    head_cells,
    panels_chart,
    scatter_chart,
    token_bars_chart,
)
from components.ssd import ComparedTerms, Head, Mute, SoftmaxTerms
from explorer import captures, effects
from explorer.costs import is_large
from explorer.drawing import draw, plain
from explorer.effects import SMALL, CutIn, Figure, Muting, Question
from explorer.frame import pick
from explorer.jobs import Callback
from explorer.maps import head_lists
from explorer.models import bridge
from explorer.on_demand import want, worked
from explorer.picks import head_of
from explorer.question import name_of
from explorer.session import session
from explorer.subject import Subject
from explorer.viewer import Viewer
from explorer.waiting import wait_for
from explorer.widgets import pressed, put_first

EXACT_OF = 16
"""Heads that are computed exactly where the others are estimated: one batch."""
STRONGEST = 3
"""Heads that are muted together."""
REACH = 3
"""Tokens before it that the usual convolution of four mixes into one."""
CLEARLY_MORE = 1.5
"""Times as much: then heads are said to stand in for each other."""

MUTING: dict[Muting, str] = {
    "attention": "Attention alone",
    "all": "With the skip D·x",
    "mean": "To its mean over the text",
}
FIGURES: dict[Figure, str] = {
    "log_p": "Log probability of the answer",
    "difference": "Logit difference",
}
DROPS: dict[Figure, str] = {"log_p": "drop of log p", "difference": "drop of the logit difference"}
CUTS: dict[CutIn, str] = {
    "model": "In all Mamba-2 layers",
    "layer": "In the picked layer",
    "head": "In the picked head",
}

MAP = "What the answer loses when each head is muted alone."
BARS = "What the answer loses when each token is cut alone."
SCATTER = "How the picked head reads each token, against what the answer loses when it is cut there."
DIVERGENCE = "How far the edited predictions are from the unedited ones, after each token."
COMPARED = "Attention of the picked head in two runs, and the difference."
"""The initial `alt` of each chart; `live_alt` replaces it."""


def in_figures(effect: float) -> str:
    """An effect; one that may be rounding alone is called small."""
    return f"{effect:.3g}" if abs(effect) >= SMALL else f"less than {SMALL:.5f}"


def effects_of_heads(viewer: Viewer, question: Question) -> tuple[Figure, dict[str, str]]:
    """Draw what muting each head takes from the answer. Returns also the figure that is chosen.

    On a large model estimates come first, then the exact values of the heads that they put first.
    """
    st.subheader("Which heads carry this answer?", anchor=False)
    with st.container(horizontal=True):
        muting = _choice("Mute each head alone", "muting", MUTING)
        figure: Figure = _choice("What the answer loses", "figure", FIGURES)
    asked = (question.subject, question.position, question.target, question.foil, muting)
    heads = effects.heads_of(question.subject.model)
    runs = 2 * len(heads)  # each head, and a random change of the same size
    large = is_large(bridge(question.subject.model).model.num_parameters(), question.position + 1, runs)
    every = ("muted", *asked)
    exact_only = not large or session().wanted.get(every, False)
    guess: Float32[np.ndarray, " head"] | None = None
    if not exact_only:
        work = partial(effects.head_estimates, *asked)
        try:
            if not worked(("estimated", *asked), work, "Estimating from the gradient"):
                return figure, {}
            guess = effects.head_estimates(*asked).of(figure)[0]
        except ValueError as error:
            st.text(str(error))
    if guess is None:
        work = partial(effects.head_effects, *asked, None)
        if not worked(every, work, "Muting each head", at_once=not large):
            return figure, {}
        effect, control = effects.head_effects(*asked, None).of(figure)
    else:
        likely = np.argsort(np.nan_to_num(-guess, nan=np.inf), kind="stable")[:EXACT_OF]
        some = (*asked, tuple(sorted(map(int, likely))))
        effect = control = np.full(len(heads), np.nan, np.float32)
        if some in session().known:
            if not worked(("top", *some), partial(effects.head_effects, *some), "Muting the first heads"):
                return figure, {}
            effect, control = effects.head_effects(*some).of(figure)
    exact = np.isfinite(effect)
    both = effect if guess is None else np.where(exact, effect, guess)
    known = np.flatnonzero(exact if exact.any() else np.isfinite(both))
    effect = both
    strongest = [heads[at] for at in known[np.argsort(-effect[known], kind="stable")][:STRONGEST]]
    shown = viewer.shown
    map_column, words_column = st.columns([3, 2], gap="large")
    with map_column:
        table = pd.DataFrame(
            {
                "layer": [each.place.layer for each in heads],
                "kind": [each.place.kind for each in heads],
                "head": [each.index for each in heads],
            }
        )
        draw(
            effect_map_chart(
                table,
                effect,
                control,
                shown.head,
                DROPS[figure],
                estimated=None if guess is None else ~exact,
                larger=shown.view.large,
            ),
            key="effect_map",
            on_select=partial(_pick_head, viewer),
            selection_mode=PICK,
            alt=MAP,
        )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            head_lists(viewer, widths=(140, 110))
        if guess is not None:
            _tell_estimates(guess, effect, exact, every)
    with words_column:
        if not exact.any():
            if not worked(("top", *some), partial(effects.head_effects, *some), "Muting the first heads"):
                return figure, {}
            session().known = {some}
            st.rerun()
        _tell_heads(
            question, dict(zip(heads, effect.tolist(), strict=True)), control, strongest, muting, figure
        )
        picked = heads.index(session().selection.head)
        if guess is not None and not exact[picked] and np.isfinite(guess[picked]):
            st.caption("The effect of the picked head is an estimate.")
        _tell_cautions(question, heads, muting, strongest[0])
        st.button(
            "Mute the picked head in the run",
            key="mute_picked",
            icon=":material/volume_off:",
            on_click=_mute,
            args=(shown.head, muting),
        )
        st.page_link("app_pages/explore.py", label="See what it reads, in Explore", icon=":material/grid_on:")
    most = float(effect[heads.index(strongest[0])])
    words = f"{MAP} Most without {strongest[0]}: {in_figures(most)}. Picked: {shown.head}."
    return figure, {"effect_map": words}


def _tell_estimates(
    guess: Float32[np.ndarray, " head"],
    effect: Float32[np.ndarray, " head"],
    exact: Bool[np.ndarray, " head"],
    every: tuple[object, ...],
) -> None:
    """Say which effects are estimates, and how well these did where both are known."""
    words = (
        "Small squares are estimates, from the gradient with the norms frozen; full cells are exact. "
        f"{int(exact.sum())} of {len(exact)} heads are exact, those with the largest estimates."
    )
    if exact.any():
        found = effects.correlations({"estimate": guess[exact]}, effect[exact])["estimate"]
        if np.isfinite(found):
            words += f" Over these, the rank correlation of estimated and exact sizes is {found:.2f}."
    st.caption(words)
    st.button(
        "Compute all exactly",
        key="start_muted",
        icon=":material/play_arrow:",
        on_click=want,
        args=(every, True),
    )


def _choice(label: str, key: str, options: dict[Any, str]) -> Any:
    """The chosen one of some options; the first, before anything is chosen."""
    first = next(iter(options))
    put_first(key, first)
    given = st.segmented_control(
        label, list(options), key=key, format_func=options.__getitem__, required=True
    )
    return first if given is None else given


def _is_large(question: Question) -> bool:
    """Whether cutting each token takes so long that the reader is asked first."""
    model, tokens = bridge(question.subject.model).model, question.position + 1
    return is_large(model.num_parameters(), tokens, 2 * tokens)  # and a random change of the same size


def _pick_head(viewer: Viewer) -> None:
    """Pick the head that was clicked in the map."""
    if head := head_of(pressed("effect_map", PICK)):
        viewer.on_pick(viewer.shown.with_head(head))


def _mute_edit(head: Head, muting: Muting) -> Mute:
    way = "attention" if head.place.kind == SoftmaxTerms.kind else muting
    layers = range(head.place.layer, head.place.layer + 1)
    return Mute(layers, range(head.index, head.index + 1), None, head.place.kind, way)


def _mute(head: Head, muting: Muting) -> None:
    """Add the edit that mutes a head, unless it is there."""
    selection, edit = session().selection, _mute_edit(head, muting)
    if edit not in selection.subject.edits:
        pick(selection.with_edits((*selection.subject.edits, edit)))


def _tell_heads(
    question: Question,
    effect: dict[Head, float],
    control: Float32[np.ndarray, " head"],
    strongest: Sequence[Head],
    muting: Muting,
    figure: Figure,
) -> None:
    """Say what the picked head, the strongest one and several together take from the answer."""
    picked = session().selection.head
    named, mine = plain(str(picked).capitalize()), effect[picked]
    if np.isfinite(mine):
        st.markdown(f"**{named}:** without it the answer loses {in_figures(mine)}.")
    else:
        st.markdown(f"**{named}** has no such edit.")
    words = f"The answer loses most without **{strongest[0]}**: {in_figures(effect[strongest[0]])}."
    if max(map(abs, filter(np.isfinite, effect.values()))) < SMALL:
        st.markdown(f"No head alone changes this answer by {SMALL:.5f} or more.")
        return
    if np.isfinite(control).any():
        largest = in_figures(float(np.nanmax(np.abs(control))))
        words += f" Random changes of the same size, one for each head, move it by at most {largest}."
    st.markdown(words)
    edits = tuple(_mute_edit(each, muting) for each in strongest)
    joint = float(effects.together(question, edits)[0 if figure == "log_p" else 1])
    singly = float(sum(effect[each] for each in strongest))
    words = (
        f"The {len(strongest)} strongest heads take {in_figures(singly)} if their effects are added, and "
        f"{in_figures(joint)} when they are muted together."
    )
    if joint > CLEARLY_MORE * max(singly, SMALL):
        words += " So they stand in for each other: one alone seems to matter less than it does."
    st.markdown(words)


def _tell_cautions(question: Question, heads: Sequence[Head], muting: Muting, strongest: Head) -> None:
    """Say what can mislead here, and how the norm answers to muting the strongest head."""
    cautions = ["This holds for this text and this answer."]
    if session().selection.subject.edits:
        cautions.append("Heads and tokens are tried in the run without your edits.")
    edit = _mute_edit(strongest, muting)
    part = effects.divided_by(question.subject, question.position, strongest, edit)
    if part is not None:
        cautions.append(
            f"The norm after the scan rescales: without {strongest} it divides the channels of its group by "
            f"{part:.2f} of what it did, which changes what the other heads pass on."
        )
    if muting != "mean":
        cautions.append("Zero is not neutral: the layers above expect the head's mean. Compare both.")
    if muting != "attention" and any(each.place.kind == SoftmaxTerms.kind for each in heads):
        cautions.append("Softmax heads have no skip, so only their attention can be muted.")
    st.caption(" ".join(cautions))


def effects_of_tokens(
    viewer: Viewer, question: Question, tokens: Sequence[str], figure: Figure
) -> dict[str, str]:
    """Draw what cutting each token takes from the answer."""
    st.subheader("Which tokens carry it?", anchor=False)
    cut_in: CutIn = _choice("Cut each token alone", "cut_in", CUTS)
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
        f"The answer loses most without '{tokens[most]}' at {most}: {in_figures(float(effect[most]))}.",
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
    name = _choice("Measured by", "measured_by", {each: each for each in readings})
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


def before_and_after(
    viewer: Viewer,
    question: Question,
    edited: Subject,
    tokens: Sequence[str],
    before: Prediction,
    after: Prediction,
    stop: Callback,
) -> dict[str, str]:
    """Draw the most probable tokens, the divergence along the text, and the picked head, in both runs."""
    st.subheader("Before and after", anchor=False)
    position, large = question.position, viewer.shown.view.large
    list_column, text_column = st.columns(2, gap="large")
    with list_column:
        both = list(dict.fromkeys([*before.likely(position), *after.likely(position)]))
        st.dataframe(
            pd.DataFrame(
                {
                    "token": [name_of(edited.model, token) for token in both],
                    "id": both,
                    "before": [f"{np.exp(before.log_p[position, token]):.3%}" for token in both],
                    "after": [f"{np.exp(after.log_p[position, token]):.3%}" for token in both],
                    "rank before": [before.rank(position, token) for token in both],
                    "rank after": [after.rank(position, token) for token in both],
                }
            ),
            hide_index=True,
            alt="The most probable tokens before and after the edits.",
        )
    divergence = before.divergence(after)
    with text_column:
        draw(
            token_bars_chart(tokens, divergence, "KL divergence, nats", marked=position, larger=large),
            key="divergence",
            alt=DIVERGENCE,
        )
        st.caption("KL(before ‖ after) after each token: where in the text the edits change the prediction.")
    words = f"{DIVERGENCE} After {position}, the position asked about: {divergence[position]:.3g} nats."
    runs = question.subject, edited
    title = "attention without the edits, with them, and the difference"
    return {"divergence": words, "two_runs": compared(viewer, runs, position, tokens, title, stop)}


def compared(
    viewer: Viewer,
    runs: tuple[Subject, Subject],
    position: int,
    tokens: Sequence[str],
    title: str,
    stop: Callback,
) -> str:
    """Draw the picked head's attention in two runs, and the difference, on one scale.

    `tokens` label both. Returns what the chart shows in words.
    """
    head, view = viewer.shown.head, viewer.shown.view
    try:
        for number, run in enumerate(runs):
            work = partial(captures.capture, run)
            words = "Running the prompt through the model"
            wait_for(("prompt", run), work, words, stop, button=f"stop_run_{number}")
        terms = ComparedTerms(*(captures.layer_of(run, head.place).terms for run in runs))
    except ValueError as error:
        st.text(str(error))
        return COMPARED
    cells = head_cells(terms, head.index, tokens)
    limit = max(float(cells.cells[name].abs().max()) for name in ("first", "second")) or 1.0
    most = float(cells.cells["attention"].abs().max())
    st.markdown(f"**{str(head).capitalize()}: {title}**, on one scale.")
    query = int(cells.queries["start"].iloc[cells.row_of(position)])
    draw(
        panels_chart(
            cells,
            pointed=(query, cells.most_read(position)),
            limits={"first": limit, "second": limit, "attention": limit},
            logarithmic=view.symlog,
            larger=view.large,
            with_brushes=False,
        ),
        key="two_runs",
        alt=COMPARED,
    )
    return f"{COMPARED} {str(head).capitalize()}: the largest difference is {most:.3g}."
