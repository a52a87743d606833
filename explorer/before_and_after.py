"""A run before and after its edits, and a head's attention in two runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from components.bridge import Prediction
from components.charts import (
    head_cells,
    panels_chart,
    token_bars_chart,
)
from components.ssd import ComparedTerms
from explorer import captures
from explorer.drawing import draw
from explorer.effects import Question
from explorer.jobs import Callback
from explorer.question import name_of
from explorer.subject import Subject
from explorer.viewer import Viewer
from explorer.waiting import wait_for

DIVERGENCE = "How far the edited predictions are from the unedited ones, after each token."
COMPARED = "Attention of the picked head in two runs, and the difference."
"""The initial `alt` of each chart; `live_alt` replaces it."""


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
    limit = max(float(np.abs(cells.columns[name]).max()) for name in ("first", "second")) or 1.0
    most = float(np.abs(cells.columns["attention"]).max())
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
