"""The text that a model writes: its progress, and its part up to the shown time."""

from __future__ import annotations

import html
from itertools import pairwise

import streamlit as st

from explorer.generating import Continuation
from explorer.settings import settings

PALE = 0.65
"""Opacity of text after the shown time: the least with a contrast of 4.5 : 1 on a light page."""
LONGEST_PROMPT = 4_000
"""Characters of a prompt that are shown with what follows it."""


def tell_status(continuation: Continuation, running: bool, length: int) -> None:
    """Show the progress, and why it stopped."""
    generation, new_tokens = continuation.generation, continuation.options.new_tokens
    new = max(length - generation.prompt_length, 0)
    if continuation.failure is not None:
        st.error(f"The continuation failed after {new:,} tokens.", icon=":material/error:")
        if settings().shows_details:
            st.text(str(continuation.failure) or type(continuation.failure).__name__)
    elif continuation.refusal:
        st.warning(f"Stopped after {new:,} of {new_tokens:,} new tokens.", icon=":material/timer_off:")
        st.text(continuation.refusal)
    elif running and continuation.waits:
        st.caption(continuation.waits)
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


def text_html(continuation: Continuation, time: int, running: bool) -> str:
    """The text as HTML: the prompt regular, its continuation bold, all after `time` pale."""
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
        # Isolated, so that a bidirectional control character ends with its piece.
        style = f"unicode-bidi:isolate;font-weight:{weight};opacity:{shade if last <= now else PALE}"
        pieces.append(f'<span style="{style}">{html.escape(whole[first:last])}</span>')
    return (
        '<div style="white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.6">'
        f"{'…' if start else ''}{''.join(pieces)}{'▍' if running else ''}</div>"
    )


def _shared(text: str, beginning: str) -> int:
    """Length of the common beginning: some decoders change a token's text once the next has come."""
    pairs = zip(text, beginning, strict=False)
    alike = min(len(text), len(beginning))
    return next((place for place, (one, other) in enumerate(pairs) if one != other), alike)
