"""Draws a continuation while it runs and, afterwards, at any time of it."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import streamlit as st

from components.charts import MAX_TILES, PICK_QUERY, head_in_words, panels_chart
from components.ssd import KINDS, MEASURES
from explorer import hand
from explorer.drawing import draw, plain
from explorer.facts import tell_faithfulness, tell_notes
from explorer.generating import Continuation
from explorer.live_alt import live_alt
from explorer.maps import head_lists
from explorer.moment import Moment, rows_until
from explorer.next_token import next_token
from explorer.picks import position_of
from explorer.states import states
from explorer.text_so_far import tell_status, text_html
from explorer.threads import use_threads
from explorer.viewer import Viewer
from explorer.widgets import chosen, forget, pressed, put

EVERY_SECONDS, LONG_EVERY_SECONDS = 0.5, 1.0
"""Seconds between redraws of a running continuation, and of a long one: its panels draw slowly."""

TEXT_HEIGHT = 150


def in_motion(viewer: Viewer, continuation: Continuation) -> None:
    """Draw a continuation: repeatedly while it runs, and then with a slider through time."""
    running = continuation.running
    every = LONG_EVERY_SECONDS if continuation.total > MAX_TILES else EVERY_SECONDS
    moving = st.fragment(_moment, run_every=every if running else None, key="motion")
    moving(viewer, continuation, running)


def _moment(viewer: Viewer, continuation: Continuation, running: bool) -> None:
    use_threads(0)  # matrices of one head
    continuation.look()
    if running and not continuation.running:
        st.rerun()
    length = continuation.generation.length
    if length == 0:
        tell_status(continuation, running, length)
        return
    text, expected = st.columns([3, 2], gap="large")
    with text:
        tell_status(continuation, running, length)
        words = st.container(height=TEXT_HEIGHT, autoscroll=running, key="motion_text")
        time = _time(continuation, running, length)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            head_lists(viewer, (220 if continuation.bridge.attention_layers() else 110, 110))
    head = viewer.shown.head
    moment = Moment(continuation, head, time, length)
    with words:
        st.html(text_html(continuation, time, running))
    with expected:
        expected_in_words = next_token(viewer, moment)
    panels_in_words = _panels(viewer, moment, running)
    kind = KINDS[head.place.kind]
    if not running:
        if kind.has_state:
            states(viewer, moment)
        if not kind.note:
            _faithfulness(moment)
        tell_notes(continuation.made("notes", length, lambda: continuation.cache().notes))
    live_alt(
        viewer,
        {
            "panels": panels_in_words,
            "next_token": expected_in_words,
            "state_norms": f"Norm of the state of every head of {head.place} over the text. "
            f"Head {head.index} in front.",
            "state_shares": f"Each token's share of the state of {head} after position {time}.",
        },
    )
    viewer.on_drawn()


def _time(continuation: Continuation, running: bool, length: int) -> int:
    """The query position that is shown: the last one while it runs, then the slider's."""
    label, last = "Time: the query position that has been read last", length - 1
    if running or last == 0:
        forget("time")
        put("time_so_far", last)
        st.slider(label, 0, max(continuation.total - 1, length), key="time_so_far", disabled=True)
        return last
    time = chosen("time", int)
    if time is None or time > last:  # else keep it: the reader may have moved the slider further
        put("time", last)
    return st.slider(
        label,
        0,
        last,
        key="time",
        help="Everything below is shown as it was after this token. The arrow keys go token by token.",
    )


def _panels(viewer: Viewer, moment: Moment, running: bool) -> str:
    """Draw the panels up to the shown time, its row marked. Returns them in words."""
    view, half_life = viewer.shown.view, MEASURES["half_life"].of(moment.terms)
    whole = moment.cells(KINDS[moment.head.place.kind].from_terms(view.reading))
    # Limits over the text so far, so that cells keep their colours as time moves.
    limits = {
        factor.name: float(
            np.abs(whole.values if factor is whole.kind.attention else whole.columns[factor.name]).max()
        )
        or 1.0
        for factor in whole.kind.factors
        if factor.limit is None
    }
    cells = rows_until(whole, moment.time)
    words = head_in_words(
        cells,
        moment.head,
        float(half_life.value[0, moment.head.index]) if half_life else math.nan,
        moment.time,
    )
    st.markdown(plain(words))
    key = viewer.key("panels")
    if not running:
        hand.listen(key, partial(_move_time, key, moment.time, moment.length - 1))
    draw(
        panels_chart(
            cells,
            pointed=(moment.time, cells.most_read(moment.time)),
            limits=limits,
            logarithmic=view.symlog,
            larger=view.large,
        ),
        key=key,
        on_select=partial(_press, key),
        selection_mode=[PICK_QUERY],
        alt="What makes up the attention of the picked head, row by row as the text comes.",
    )
    st.caption(
        "Each row is a query position i, each column a key position j that it reads. A token adds one row. "
        + ("" if running else "Click a row to go to its time.")
    )
    return words


def _press(panels: str) -> None:
    """Go to the time of the pressed row."""
    time = position_of(pressed(panels, PICK_QUERY), "i")
    if time is not None:
        put("time", time)


def _move_time(panels: str, time: int, last: int) -> None:
    """Go to another time by the arrow keys, or to the last by Escape."""
    moves = hand.moves(panels)
    put("time", last if moves.back else min(max(time + moves.down, 0), last))


def _faithfulness(moment: Moment) -> None:
    """Show how exactly the terms rebuild the model's output."""
    continuation, layer = moment.continuation, moment.head.place.layer
    cache = continuation.cache()
    error = continuation.made("faithfulness", (moment.length, layer), lambda: cache.faithfulness(layer))
    tell_faithfulness(error, cache.tolerance(layer), layer, ", over prompt and continuation")
