"""Two prompts, token by token: where they part, and what of one brings back its answer in the other.

Each view returns what its charts show in words, for `live_alt`, which a page calls once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from components.bridge import Prediction
from components.charts import PICK, effect_map_chart, largest_effect, patch_map_chart
from components.ssd import Place
from explorer import patches
from explorer.drawing import draw, plain
from explorer.effects import Question
from explorer.jobs import Callback
from explorer.maps import head_lists
from explorer.models import bridge
from explorer.patches import POINTS, Patches
from explorer.picks import head_of
from explorer.question import name_of
from explorer.subject import Subject
from explorer.viewer import Viewer
from explorer.waiting import wait_for
from explorer.widgets import pressed

RECOVERED = "recovered logit difference"
ESTIMATED = "recovered logit difference, estimate"
NAMED = 12
"""Most positions at which the prompts differ that are named."""
STREAM = "What the residual stream before each layer recovers, at each position."
HEADS = "What the output of each head's scan recovers, at all positions."
"""The initial `alt` of each chart; `live_alt` replaces it."""


def parting(one: Sequence[str], other: Sequence[str], at: int) -> str:
    """A sentence about two texts of unequal length that part at a position."""
    here, there = (f"'{texts[at]}'" if at < len(texts) else "its end" for texts in (one, other))
    return (
        f"The first prompt has {len(one):,} tokens and the other {len(other):,}. They part at position {at}: "
        f"{here} in the first, {there} in the other. Prompts are compared token by token, so both need as "
        "many tokens. Change one of them."
    )


def side_by_side(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """Show two texts of equal length below each other; returns labels of their positions in common."""
    apart = [mine != yours for mine, yours in zip(one, other, strict=True)]
    st.dataframe(
        pd.DataFrame(
            [one, other, ["≠" if each else "" for each in apart]],
            index=["first prompt", "other prompt", "differs"],
            columns=[str(position) for position in range(len(one))],
        ),
        alt="Both prompts, token by token, with a mark where they differ.",
    )
    places = [str(position) for position, each in enumerate(apart) if each]
    end = ", …" if len(places) > NAMED else "."
    st.caption(
        f"Tokens that differ: {len(places):,} of {len(one):,}. Positions: {', '.join(places[:NAMED])}{end}"
    )
    return [
        f"{mine}/{yours}" if differs else mine for mine, yours, differs in zip(one, other, apart, strict=True)
    ]


def predictions(question: Question, first: Prediction, other: Prediction) -> None:
    """Show how probable the answer and what it is compared with are after each prompt."""
    position, model = question.position, question.subject.model
    rows = [(name, run.log_p[position]) for name, run in (("first prompt", first), ("other prompt", other))]
    answer, foil = (name_of(model, token) for token in (question.target, question.foil))
    st.dataframe(
        pd.DataFrame(
            {
                "run": [name for name, _ in rows],
                f"answer {answer}": [f"{np.exp(row[question.target]):.2%}" for _, row in rows],
                f"compared with {foil}": [f"{np.exp(row[question.foil]):.2%}" for _, row in rows],
                "logit difference": [f"{row[question.target] - row[question.foil]:+.3g}" for _, row in rows],
                "most probable": [name_of(model, run.likely(position)[0]) for run in (first, other)],
            }
        ),
        hide_index=True,
        alt="What each prompt predicts: the answer, what it is compared with, and the most probable token.",
    )
    if other.likely(position)[0] == question.target:
        st.caption(
            "The other prompt predicts the same answer. To see what brings an answer back, compare with a "
            "prompt that has another."
        )


def recovered(
    viewer: Viewer, question: Question, other: Subject, tokens: Sequence[str], stop: Callback
) -> dict[str, str]:
    """Draw what residual stream and heads of the first run recover in the other, beside estimates."""
    st.subheader("What brings the answer back?", anchor=False)
    asked = (question.subject, other, question.position, question.target, question.foil)
    try:
        for what in ("residual", "scan"):
            work = partial(patches.patches, *asked, what)
            wait_for(("patched", *asked, what), work, "Patching", stop, button=f"stop_patching_{what}")
        stream, heads = (patches.patches(*asked, what) for what in ("residual", "scan"))
    except ValueError as error:
        st.text(str(error))
        return {}
    st.caption(
        "For each cell in which the two runs differ, we run the other prompt again with that activation of "
        "the first put in. The map shows how far this moves the logit difference towards that of the first: "
        f"1 is all the way, 0 is not at all. It is {stream.clean:+.3g} after the first prompt and "
        f"{stream.corrupted:+.3g} after the other."
    )
    st.caption(
        "Of each pair of maps, the first is exact. The second is an estimate without these runs: how much "
        "the activation differs, times the gradient of the logit difference. That gradient is the mean over "
        f"{POINTS} points on the way from the embeddings of the other prompt to those of the first."
    )
    return _stream(viewer, stream, tokens[: question.position + 1]) | _heads(
        viewer, heads, question.subject.model
    )


def _stream(viewer: Viewer, found: Patches, tokens: Sequence[str]) -> dict[str, str]:
    """The residual stream before each layer, at each position."""
    st.markdown("**Residual stream before each layer, at each position**")
    limit, large = largest_effect(found.exact, found.estimate), viewer.shown.view.large
    for column, key, values, label in _both(found, "stream"):
        with column:
            draw(patch_map_chart(tokens, values, label, limit, larger=large), key=key, alt=STREAM)
    _tell_correlation(found)
    layer, position = divmod(int(np.argmax(found.exact)), found.exact.shape[1])
    most = float(found.exact[layer, position])
    words = f"{STREAM} Most at layer {layer}, position {position}, '{tokens[position]}': {most:.3g}."
    return {"patched_stream": words, "estimated_stream": f"{STREAM} An estimate."}


def _heads(viewer: Viewer, found: Patches, model: str) -> dict[str, str]:
    """What each head's scan returns, at all positions."""
    st.markdown("**Output of each head's scan, at all positions**")
    limit, shown = largest_effect(found.exact, found.estimate), viewer.shown
    row, head = (each.ravel() for each in np.indices(found.exact.shape))
    table = pd.DataFrame({"layer": np.array(found.layers)[row], "kind": Place(0).kind, "head": head})
    for column, key, values, label in _both(found, "heads"):
        figure = effect_map_chart(
            table, values.ravel(), None, shown.head, label, limit=limit, larger=shown.view.large
        )
        with column:
            draw(figure, key=key, on_select=partial(_pick, viewer, key), selection_mode=PICK, alt=HEADS)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        head_lists(viewer, widths=(140, 110))
    _tell_correlation(found)
    layer, index = divmod(int(np.argmax(found.exact)), found.exact.shape[1])
    most = f"layer {found.layers[layer]}, head {index}: {float(found.exact[layer, index]):.3g}"
    words = f"Most from {most}. Click a cell to see its head above."
    if bridge(model).attention_layers():
        words += " Softmax heads have no scan, so they are not in this map."
    st.caption(plain(words))
    return {"patched_heads": f"{HEADS} Most: {most}.", "estimated_heads": f"{HEADS} An estimate."}


def _both(found: Patches, name: str) -> list[tuple[st.delta_generator.DeltaGenerator, str, np.ndarray, str]]:
    """The exact map and its estimate, side by side: column, key, figures and label of each."""
    exact, estimate = st.columns(2, gap="large")
    return [
        (exact, f"patched_{name}", found.exact, RECOVERED),
        (estimate, f"estimated_{name}", found.estimate, ESTIMATED),
    ]


def _tell_correlation(found: Patches) -> None:
    """Say how the estimates correlate with the exact figures."""
    if np.isfinite(found.correlation):
        st.caption(f"Pearson's correlation of both, where the runs differ, is {found.correlation:.2f}.")


def _pick(viewer: Viewer, chart: str) -> None:
    """Pick the head that was clicked."""
    if head := head_of(pressed(chart, PICK)):
        viewer.on_pick(viewer.shown.with_head(head))
