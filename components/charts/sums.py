"""A span of the text as one row of a head: what its positions read together, or what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from components.charts.cells import tile_text
from components.charts.window import MAX_TILES, Window, in_figures, tiles_of
from components.ssd import MixerTerms, kind_of


@dataclass(frozen=True, eq=False)
class SpanSums:
    """A span of the text as one row: what its `positions` read together or, if `read_by`, what reads them.

    `sums` has an entry for each tile of a window's keys, Σᵢ M[i, j] over the span's queries i; or, if
    `read_by`, for each tile of its queries, Σⱼ M[i, j] over the span's keys j. For a larger tile it is the
    mean over its positions. `text` is how the span begins.
    """

    positions: range
    read_by: bool
    sums: Float32[np.ndarray, " tile"]
    text: str

    @property
    def title(self) -> str:
        """The title of the sums."""
        figures = in_figures(self.positions)
        several = len(self.positions) > 1
        if self.read_by:
            return f"What reads {figures}  {self.text}{': the sum of these columns' if several else ''}"
        return f"What {figures}  {self.text} read{': the sum of these rows' if several else 's'}"

    @property
    def strongest(self) -> int:
        """The tile with the largest sum, of either sign."""
        return int(np.abs(self.sums).argmax())


def span_sums(
    terms: MixerTerms,
    head: int,
    tokens: Sequence[str],
    positions: range,
    window: Window,
    *,
    read_by: bool = False,
    reading: str = "",
) -> SpanSums:
    """The sums of attention, or of one of the kind's readings, over a span of positions, for the tiles of a
    window. See `SpanSums`.

    Raises ValueError if `positions` is empty or not within the text.
    """
    if not len(positions) or positions.start < 0 or positions.stop > terms.length:
        raise ValueError(f"{positions} is not a span of a text of {terms.length} tokens.")
    queries, keys = (window.queries, positions) if read_by else (positions, window.keys)
    shown, at = kind_of(terms).reading(reading), Window(queries, keys).slices
    means = shown.of(terms, tiles=MAX_TILES, heads=[head], **at)[0, 0].cpu().numpy()
    sizes = np.array([len(tile) for tile in tiles_of(positions)], dtype=np.float64)
    summed = means @ sizes if read_by else sizes @ means
    return SpanSums(positions, read_by, summed.astype(np.float32), tile_text(tokens, positions))
