"""One time of a growing text, and the window that shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from components.charts import MAX_TILES, HeadCells, Window, head_cells
from components.ssd import Head, MixerTerms
from explorer.generating import Continuation


@dataclass(frozen=True)
class Moment:
    """The picked head of a continuation at one time, the query position `time`."""

    continuation: Continuation
    head: Head
    time: int
    length: int

    @property
    def tokens(self) -> list[str]:
        """The text so far, ready for display."""
        return self.continuation.tokens()[: self.length]

    @property
    def terms(self) -> MixerTerms:
        """The layer's terms over the text so far; with x, which takes longer, only once it has stopped."""
        return self.continuation.terms(self.head.place, with_x=not self.continuation.running)

    def cells(self, reading: str) -> HeadCells:
        """The text so far as cells, in a frame of the final size."""
        total = max(self.continuation.total, self.length)
        prompt = self.continuation.generation.prompt_length
        window = frame(total, prompt, self.time)
        return self.continuation.made(
            "cells",
            (self.length, total, self.head, window, reading),
            lambda: head_cells(
                self.terms.lengthened(total),
                self.head.index,
                [*self.tokens, *[" "] * (total - self.length)],
                window,
                reading=reading,
            ),
        )


def frame(total: int, prompt: int, time: int) -> Window:
    """The window for a growing text that will have `total` tokens: all of it, if that fits.

    Of a longer one, all keys, as tiles, and as many queries as fit. These start where the prompt ends, moved
    by half windows until they include `time`: nobody could read a frame that moved with each token.
    """
    most, last = MAX_TILES, max(total - MAX_TILES, 0)
    start = min(prompt - 1, last)
    beyond, before = max(time + 1 - (start + most), 0), max(start - time, 0)
    start += (math.ceil(beyond / (most // 2)) - math.ceil(before / (most // 2))) * (most // 2)
    start = min(max(start, 0), last)
    return Window(range(start, min(start + most, total)), range(total))


def rows_until(cells: HeadCells, time: int) -> HeadCells:
    """The cells with rows after a time set to zero, which has the colour of the page."""
    past = cells.columns["i"] <= time
    values = {
        name: np.where(past, cells.columns[name], np.float32(0))
        for name in (factor.name for factor in (*cells.kind.factors, *cells.kind.readings))
        if name in cells.columns
    }
    return replace(cells, columns={**cells.columns, **values})
