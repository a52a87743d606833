"""Which heads carry an answer: what it loses without each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import Bool, Float32

from components.charts import (
    PICK,
    effect_map_chart,
)
from components.ssd import Head, Mute, SoftmaxTerms
from explorer import effects
from explorer.costs import is_large
from explorer.drawing import draw, plain
from explorer.effect_choices import DROPS, FIGURES, MUTING, choice, in_figures, loss
from explorer.effects import SMALL, Figure, Muting, Question
from explorer.frame import pick
from explorer.maps import head_lists
from explorer.models import bridge
from explorer.on_demand import want, worked
from explorer.picks import head_of
from explorer.session import session
from explorer.subject import Subject
from explorer.viewer import Viewer
from explorer.widgets import pressed

EXACT_OF = 16
"""Heads that are computed exactly where the others are estimated: one batch."""
CLEARLY_MORE = 1.5
"""Times as much: then heads are said to stand in for each other."""

MAP = "What the answer loses when each head is muted alone."
"""The chart's initial `alt`; `live_alt` replaces it."""


def effects_of_heads(viewer: Viewer, question: Question) -> tuple[Figure, dict[str, str]]:
    """Draw what muting each head takes from the answer. Returns also the figure that is chosen.

    On a large model estimates come first, then the exact values of the heads that they put first.
    """
    st.subheader("Which heads carry this answer?", anchor=False)
    with st.container(horizontal=True):
        muting = choice("Mute each head alone", "muting", MUTING)
        figure: Figure = choice("What the answer loses", "figure", FIGURES)
    asked = (question.subject, question.position, question.target, question.foil, muting)
    heads = effects.heads_of(question.subject.model)
    large = _is_large(question, len(heads))
    every = ("muted", *asked)
    exact_only = not large or session().wanted.get(every, False)
    guess: Float32[np.ndarray, " head"] | None = None
    if not exact_only:
        work = partial(effects.head_estimates, *asked)
        try:
            if not worked(("estimated", *asked), work, "Estimating from the gradient"):
                return figure, _without_a_map(viewer, muting)
            guess = effects.head_estimates(*asked).of(figure)[0]
        except ValueError as error:
            st.text(str(error))
    if guess is None:
        work = partial(effects.head_effects, *asked, None)
        if not worked(every, work, "Muting each head", at_once=not large):
            return figure, _without_a_map(viewer, muting)
        effect, control = effects.head_effects(*asked, None).of(figure)
    else:
        likely = np.argsort(np.nan_to_num(-guess, nan=np.inf), kind="stable")[:EXACT_OF]
        some = (*asked, tuple(sorted(map(int, likely))))
        effect = control = np.full(len(heads), np.nan, np.float32)
        if some in session().known:
            if not worked(("top", *some), partial(effects.head_effects, *some), "Muting the first heads"):
                return figure, _without_a_map(viewer, muting)
            effect, control = effects.head_effects(*some).of(figure)
    exact = np.isfinite(effect)
    both = effect if guess is None else np.where(exact, effect, guess)
    known = np.where(exact, both, np.float32(np.nan)) if exact.any() else both
    strongest = [heads[at] for at in effects.strongest(known)]
    effect = both
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
                _mute_or_read(viewer, muting)
                return figure, {}
            session().known = {some}
            st.rerun()
        _tell_heads(
            question, dict(zip(heads, effect.tolist(), strict=True)), control, strongest, muting, figure
        )
        picked = heads.index(session().selection.head)
        if guess is not None and not exact[picked] and np.isfinite(guess[picked]):
            st.caption("The effect of the picked head is an estimate.")
        _tell_cautions(question, heads, muting, strongest[0], figure)
        _mute_or_read(viewer, muting)
    most = float(effect[heads.index(strongest[0])])
    words = f"{MAP} Most without {strongest[0]}: {in_figures(most)}. Picked: {shown.head}."
    return figure, {"effect_map": words}


def _without_a_map(viewer: Viewer, muting: Muting) -> dict[str, str]:
    """Pick a head and mute it, while its effect is not computed. Returns the words of no chart."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        head_lists(viewer, widths=(140, 110))
    _mute_or_read(viewer, muting)
    return {}


def _mute_or_read(viewer: Viewer, muting: Muting) -> None:
    """What to do with the picked head."""
    st.button(
        "Mute the picked head in the run",
        key="mute_picked",
        icon=":material/volume_off:",
        on_click=_mute,
        args=(viewer.shown.head, muting),
    )
    st.page_link("app_pages/explore.py", label="See what it reads, in Explore", icon=":material/grid_on:")


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


def _pick_head(viewer: Viewer) -> None:
    """Pick the head that was clicked in the map."""
    if head := head_of(pressed("effect_map", PICK)):
        viewer.on_pick(viewer.shown.with_head(head))


def _mute(head: Head, muting: Muting) -> None:
    """Add the edit that mutes a head, unless it is there."""
    selection, edit = session().selection, effects.mute_edit(head, muting)
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
        st.markdown(f"**{named}:** without it the answer loses {loss(mine, figure)}.")
    else:
        st.markdown(f"**{named}** has no such edit.")
    words = f"The answer loses most without **{strongest[0]}**: {loss(effect[strongest[0]], figure)}."
    if max(map(abs, filter(np.isfinite, effect.values()))) < SMALL:
        st.markdown(f"No head alone changes this answer by {SMALL:.5f} or more.")
        return
    if np.isfinite(control).any():
        largest = in_figures(float(np.nanmax(np.abs(control))))
        words += f" Random changes of the same size, one for each head, move it by at most {largest}."
    st.markdown(words)
    joint = _together(question, [effects.mute_edit(each, muting) for each in strongest], figure)
    if joint is None:
        return
    singly = float(sum(effect[each] for each in strongest))
    words = (
        f"The {len(strongest)} strongest heads take {in_figures(singly)} if their effects are added, and "
        f"{in_figures(joint)} when they are muted together."
    )
    if joint > CLEARLY_MORE * max(singly, SMALL):
        words += " So they stand in for each other: one alone seems to matter less than it does."
    st.markdown(words)


def _together(question: Question, edits: Sequence[Mute], figure: Figure) -> float | None:
    """What the answer loses by several edits at once; None while the reader has stopped that run."""
    stack = tuple(edits)
    run = Subject(question.subject.model, question.subject.prompt, stack)
    work, button = partial(effects.prediction, run), f"together_{len(edits)}_{edits[0].what}"
    if not worked(("predicted", run), work, "Running the prompt with these heads muted", button=button):
        return None
    return float(effects.together(question, stack)[0 if figure == "log_p" else 1])


def _tell_norm(question: Question, strongest: Head, muting: Muting) -> str:
    """How the norm after the scan answers to muting a head; "" where there is none."""
    asked = (question.subject, question.position, strongest, effects.mute_edit(strongest, muting))
    if not worked(("norm", *asked), partial(effects.divided_by, *asked), "Reading the norm after the scan"):
        return ""
    part = effects.divided_by(*asked)
    if part is None:
        return ""
    return (
        f"The norm after the scan rescales: without {strongest}, its divisor is {part:.2f} times what it "
        "was, which changes what the other heads of the group pass on."
    )


def _tell_zero(question: Question, strongest: Head, muting: Muting, figure: Figure) -> str:
    """What the head takes when it is set to zero, and to its mean, which the layers above are used to."""
    if strongest.place.kind == SoftmaxTerms.kind:
        return ""
    ways: tuple[Muting, Muting] = ("all" if muting == "mean" else muting, "mean")
    zero, mean = (_together(question, [effects.mute_edit(strongest, way)], figure) for way in ways)
    if zero is None or mean is None:
        return ""
    what = "its attention" if ways[0] == "attention" else "its output"
    return (
        f"Zero is not neutral: with {what} at zero in {strongest}, the answer loses {loss(zero, figure)}; "
        f"with its output at its mean over the text, {in_figures(mean)}."
    )


def _tell_other_way(
    question: Question, heads: Sequence[Head], strongest: Head, muting: Muting, figure: Figure
) -> str:
    """Which head muting with the skip, or without it, puts first, if another; "" in a large model."""
    if muting == "mean" or _is_large(question, len(heads)):
        return ""
    other: Muting = "all" if muting == "attention" else "attention"
    asked = (*question.parts, other, None)
    work = partial(effects.head_effects, *asked)
    if not worked(("muted", *asked[:-1]), work, "Muting each head", button="muted_otherwise"):
        return ""
    effect, _ = effects.head_effects(*asked).of(figure)
    first = heads[int(np.nanargmax(effect))]
    if first == strongest:
        return ""
    way = "with the skip D·x" if other == "all" else "by its attention alone"
    return f"Muted {way}, another head matters most: {first}."


def _is_large(question: Question, heads: int) -> bool:
    """Whether muting each head exactly takes so long that estimates come first."""
    model = bridge(question.subject.model).model
    return is_large(model.num_parameters(), question.position + 1, 2 * heads)  # and random changes


def _tell_cautions(
    question: Question, heads: Sequence[Head], muting: Muting, strongest: Head, figure: Figure
) -> None:
    """Say what can mislead here, with the figures of the strongest head."""
    cautions = [
        "This holds for this text and this answer. Heads and tokens are tried in the run without edits."
    ]
    cautions += [_tell_norm(question, strongest, muting), _tell_zero(question, strongest, muting, figure)]
    cautions.append(_tell_other_way(question, heads, strongest, muting, figure))
    if muting != "attention" and any(each.place.kind == SoftmaxTerms.kind for each in heads):
        cautions.append("Softmax heads have no skip, so only their attention can be muted.")
    st.caption(" ".join(filter(None, cautions)))
