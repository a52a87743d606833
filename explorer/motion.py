"""What a continuation looks like while it comes and, afterwards, at any time of it."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import streamlit as st
from torch.nn import functional as F

from components.charts import (
    PICK_QUERY,
    Figure,
    HeadCells,
    Window,
    head_cells,
    head_in_words,
    panels_chart,
    state_norm_chart,
    state_norm_table,
    state_shares_chart,
    state_shares_table,
)
from components.charts.next_token import next_token_chart, next_token_table
from components.charts.window import MAX_TILES
from components.ssd import (
    KINDS,
    MEASURES,
    MixerTerms,
    Place,
    SSDTerms,
    state_contributions,
    state_norms,
    state_shares,
)
from explorer import hand
from explorer.address import write_address
from explorer.drawing import draw, plain
from explorer.facts import tell_faithfulness, tell_notes
from explorer.generating import Continuation
from explorer.live_alt import live_alt
from explorer.maps import head_lists
from explorer.picks import picked, position_of, pressed
from explorer.selection import nearest_head
from explorer.settings import settings
from explorer.threads import use_threads

EVERY_SECONDS, LONG_EVERY_SECONDS = 0.5, 1.0
"""How often a continuation on its way is drawn, and a long one: a browser takes so long for large panels."""

TEXT_HEIGHT = 150
PALE = 0.65
"""Opacity of text after the shown time: on a light page the least that leaves a contrast of 4.5 : 1."""
LONGEST_PROMPT = 4_000
"""Characters of a prompt that are shown with what follows it."""

PANELS = "What makes up the attention of the picked head, row by row as the text comes."
NEXT_TOKEN = "Probabilities of the next token."
NORMS = "Norm of the state of every head of the picked layer over the text."
SHARES = "What of the state of the picked head each token still holds."


@dataclass(frozen=True)
class Moment:
    """The picked head of a continuation at one time, the query position `time`."""

    continuation: Continuation
    place: Place
    head: int
    time: int
    length: int

    @property
    def tokens(self) -> list[str]:
        """The text so far, ready for display."""
        return self.continuation.tokens()[: self.length]

    @property
    def terms(self) -> MixerTerms:
        """Those of the layer over all that has come; with x once no more comes, since they take longer."""
        return self.continuation.terms(self.place, with_x=not self.continuation.running)

    def cells(self) -> HeadCells:
        """Everything that has come, in a frame of the final size."""
        total = max(self.continuation.total, self.length)
        prompt = self.continuation.generation.prompt_length
        window = frame(total, prompt, self.time)
        return self.continuation.made(
            "cells",
            (self.length, total, self.place, self.head, window),
            lambda: head_cells(
                self.terms.lengthened(total),
                self.head,
                [*self.tokens, *[" "] * (total - self.length)],
                window,
            ),
        )


def frame(total: int, prompt: int, time: int) -> Window:
    """The window in which a text grows that will have `total` tokens: everything, while that fits.

    Of a longer one all keys, as tiles, and as many queries as fit. These begin where the prompt ends, or half
    a window further on or back, as often as it takes to hold `time`: a frame that moved with each token could
    not be read.
    """
    most, last = MAX_TILES, max(total - MAX_TILES, 0)
    start = min(prompt - 1, last)
    beyond, before = max(time + 1 - (start + most), 0), max(start - time, 0)
    start += (math.ceil(beyond / (most // 2)) - math.ceil(before / (most // 2))) * (most // 2)
    start = min(max(start, 0), last)
    return Window(range(start, min(start + most, total)), range(total))


def rows_until(cells: HeadCells, time: int) -> HeadCells:
    """The same frame, rows after a time being zero, which has the colour of the page."""
    past = (cells.cells["i"] <= time).to_numpy()
    values = {
        name: np.where(past, cells.cells[name], np.float32(0))
        for name in (*(factor.name for factor in cells.kind.factors), "attention_dt")
        if name in cells.cells
    }
    return replace(cells, cells=cells.cells.assign(**values))


def in_motion(continuation: Continuation) -> None:
    """Draw a continuation: again and again while it comes, and then with a slider through time."""
    running = continuation.running
    every = LONG_EVERY_SECONDS if continuation.total > MAX_TILES else EVERY_SECONDS
    st.fragment(_moment, run_every=every if running else None, key="motion")(continuation, running)


def _moment(continuation: Continuation, running: bool) -> None:
    use_threads(0)  # matrices of one head
    continuation.look()
    if running and not continuation.running:
        st.rerun()
    length = continuation.generation.length
    if length == 0:
        _status(continuation, running, length)
        return
    place, head = nearest_head(picked(), continuation.heads)
    text, expected = st.columns([3, 2], gap="large")
    with text:
        _status(continuation, running, length)
        words = st.container(height=TEXT_HEIGHT, autoscroll=running, key="motion_text")
        time = _time(continuation, running, length)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _pick_lists(continuation, place, head)
    moment = Moment(continuation, place, head, time, length)
    with words:
        st.html(text_html(continuation, time, running))
    with expected:
        next_token = _next_token(moment)
    described = _panels(moment, running)
    if not running:
        if KINDS[place.kind].has_state:
            _state(moment)
        if not KINDS[place.kind].note:
            _faithfulness(moment)
        tell_notes(continuation.made("notes", length, lambda: continuation.cache().notes))
    live_alt(
        {
            PANELS: described,
            NEXT_TOKEN: next_token,
            NORMS: f"Norm of the state of every head of {place} over the text. Head {head} in front.",
            SHARES: f"What of the state of {place}, head {head} each token still holds "
            f"after position {time}.",
        }
    )
    write_address(picked())


def _status(continuation: Continuation, running: bool, length: int) -> None:
    """How far it is, and why it is no further."""
    generation, new_tokens = continuation.generation, continuation.options.new_tokens
    new = max(length - generation.prompt_length, 0)
    if continuation.failure is not None:
        st.error(f"The continuation failed after {new:,} tokens.", icon=":material/error:")
        if settings().shows_details:
            st.text(str(continuation.failure) or type(continuation.failure).__name__)
    elif running and length < generation.prompt_length:
        st.caption(f"{length:,} of {generation.prompt_length:,} tokens of the prompt read")
    elif running or new == new_tokens:
        st.caption(f"{new:,} of {new_tokens:,} new tokens")
    elif generation.ended_itself:
        st.caption(f"Ended by the model after {new:,} of {new_tokens:,} new tokens")
    elif continuation.unwatched:
        st.caption(f"Stopped after {new:,} of {new_tokens:,} new tokens, because no page was open")
    else:
        st.caption(f"Stopped after {new:,} of {new_tokens:,} new tokens")


def _time(continuation: Continuation, running: bool, length: int) -> int:
    """The query position that is shown: the last one while more come, then where the slider is."""
    label, last, state = "Time: the query position that has been read last", length - 1, st.session_state
    if running or last == 0:
        state.pop("time", None)
        state.time_so_far = last
        st.slider(label, 0, max(continuation.total - 1, length), key="time_so_far", disabled=True)
        return last
    if state.get("time", length) > last:  # else leave it alone: a browser that is told may be further already
        state.time = last
    return st.slider(
        label,
        0,
        last,
        key="time",
        help="Everything below is shown as it was after this token. The arrow keys go token by token.",
    )


def text_html(continuation: Continuation, time: int, running: bool) -> str:
    """The text as HTML: the prompt quiet, what came after it strong, what comes after `time` pale."""
    whole = continuation.text(continuation.generation.length)
    prompt, now = (
        _shared(whole, continuation.text(positions))
        for positions in (continuation.generation.prompt_length, time + 1)
    )
    start = max(prompt - LONGEST_PROMPT, 0)
    cuts = sorted({start, prompt, max(now, start), len(whole)})
    pieces = []
    for first, last in pairwise(cuts):
        weight, shade = (400, 0.85) if last <= prompt else (600, 1.0)
        # Isolated, so that a mark that turns the direction of writing ends with its piece.
        style = f"unicode-bidi:isolate;font-weight:{weight};opacity:{shade if last <= now else PALE}"
        pieces.append(f'<span style="{style}">{html.escape(whole[first:last])}</span>')
    return (
        '<div style="white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.6">'
        f"{'…' if start else ''}{''.join(pieces)}{'▍' if running else ''}</div>"
    )


def _shared(text: str, beginning: str) -> int:
    """How many characters both begin with: some decoders write a token otherwise before the next has come."""
    pairs = zip(text, beginning, strict=False)
    alike = min(len(text), len(beginning))
    return next((place for place, (one, other) in enumerate(pairs) if one != other), alike)


def _next_token(moment: Moment) -> str:
    """The ten most probable tokens after the shown time, and the one that came; the same in words."""
    continuation = moment.continuation
    step = continuation.generation.step(moment.time)
    ids, probabilities = map(list, zip(*step.likely, strict=True))
    if moment.time + 1 >= moment.length:
        came = None
    elif step.id in ids:
        came = ids.index(step.id)
    else:
        came = len(ids)
        ids, probabilities = [*ids, step.id], [*probabilities, step.probability]
    names = continuation.tokens_after(moment.time, ids)
    if came is not None:  # by now it may be known of which character it is a part
        names[came] = moment.tokens[moment.time + 1]
    st.subheader(f"Next token after position {moment.time}", anchor=False)
    draw(
        next_token_chart(next_token_table(names, probabilities, came), larger=picked().view.large),
        key="next_token",
        alt=NEXT_TOKEN,
    )
    words = f"After position {moment.time} the model expects '{names[0]}' ({probabilities[0]:.0%})"
    return f"{words}; '{names[came]}' came ({probabilities[came]:.0%})." if came is not None else f"{words}."


def _pick_lists(continuation: Continuation, place: Place, head: int) -> None:
    """The layer and the head, which are those of all pages."""
    width = 220 if continuation.bridge.attention_layers() else 110
    head_lists(continuation.heads, place, head, ("motion_layer", "motion_head"), (width, 110))


def _panels(moment: Moment, running: bool) -> str:
    """The panels up to the shown time, whose row is marked; the same in words."""
    view, half_life = picked().view, MEASURES["half_life"].of(moment.terms)
    kind = KINDS[moment.place.kind]
    value = kind.attention_with(dt=view.dt).name
    with_dt = view.dt and kind.times_dt is not None
    whole = moment.cells()
    # Those of all that has come: what is drawn keeps its colour while time goes on.
    limits = {
        factor.name: float(whole.cells[value if factor is kind.attention else factor.name].abs().max()) or 1.0
        for factor in kind.factors
        if factor.limit is None
    }
    cells = rows_until(whole, moment.time)
    row = cells.row(moment.time)
    key = int(row["j"].iloc[int(row[value].abs().to_numpy().argmax())])
    words = head_in_words(
        cells,
        moment.place.layer,
        moment.head,
        float(half_life.value[0, moment.head]) if half_life else math.nan,
        moment.time,
        with_dt=with_dt,
    )
    st.markdown(plain(words))
    if not running:
        hand.listen("motion_panels", partial(_move_time, moment.time, moment.length - 1))
    draw(
        panels_chart(
            cells,
            pointed=(moment.time, key),
            limits=limits,
            with_dt=with_dt,
            logarithmic=view.symlog,
            larger=view.large,
        ),
        key="motion_panels",
        on_select=_press,
        selection_mode=[PICK_QUERY],
        alt=PANELS,
    )
    st.caption(
        "Each row is a query position i, each column a key position j that it reads. A token adds one row. "
        + ("" if running else "Click a row to go to its time.")
    )
    return words


def _press() -> None:
    """Go to the time of the pressed row."""
    time = position_of(pressed("motion_panels", PICK_QUERY), "i")
    if time is not None:
        st.session_state.time = time


def _move_time(time: int, last: int) -> None:
    """Go to another time by the arrow keys, or to the last by Escape."""
    moves = hand.moves("motion_panels")
    st.session_state.time = last if moves.back else min(max(time + moves.down, 0), last)


def _state(moment: Moment) -> None:
    """How large the state was at all times, and what of it each token holds at the shown one."""
    larger = picked().view.large
    layer, head, time, terms = moment.place.layer, moment.head, moment.time, moment.terms
    if not isinstance(terms, SSDTerms):
        raise TypeError(f"{moment.place} has no state.")
    norms = moment.continuation.made(
        "norms", (moment.length, layer), lambda: state_norm_table(state_norms(terms), moment.tokens)
    )
    prompt = moment.continuation.generation.prompt_length
    shares, left = (
        F.pad(of(terms, time, heads=[head]), (0, moment.length - time - 1))  # under the norms, token by token
        for of in (state_shares, state_contributions)
    )
    over_time: Figure = state_norm_chart(norms, head, time, prompt_length=prompt, larger=larger)
    st.subheader(f"State of layer {layer}, head {head}", anchor=False)
    draw(over_time, key="state_norms", alt=NORMS)
    table = state_shares_table(shares, left, moment.tokens)
    draw(state_shares_chart(table, larger=larger), key="state_shares", alt=SHARES)
    held = (
        "Shares sum to one. A negative share is of a token that wrote against the state."
        if shares.any()
        else "That state is zero: no token holds any of it."
    )
    st.caption(
        "Above: how large the state is after each token; the layer's other heads are grey. Below: what of "
        f"the state after position {time} each token still holds. {held}"
    )


def _faithfulness(moment: Moment) -> None:
    """How exactly the terms rebuild what the model computed."""
    continuation, layer = moment.continuation, moment.place.layer
    cache = continuation.cache()
    error = continuation.made("faithfulness", (moment.length, layer), lambda: cache.faithfulness(layer))
    tell_faithfulness(error, cache.tolerance(layer), layer, ", over prompt and continuation")
