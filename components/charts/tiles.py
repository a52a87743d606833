"""Attention over tiles of a text: small pictures of it all, its strongest tile, and colour limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from components.charts.window import MAX_TILES, Window, tiles_of
from components.ssd import MixerTerms, Place, Statistic, kind_of


def attention_tiles(
    terms: MixerTerms, tiles: int, *, heads: Sequence[int] | None = None, reading: str = ""
) -> Float32[np.ndarray, "head tile tile"]:
    """Small pictures of the whole text: the root mean square of attention over tiles, head by head, text by
    text; or of one of the kind's readings.
    """
    shown = kind_of(terms).reading(reading)
    return shown.of(terms, heads=heads, tiles=tiles, statistic="rms").flatten(0, 1).cpu().numpy()


def strongest_tile(terms: MixerTerms, head: int, window: Window, *, reading: str = "") -> Window:
    """The tile of a window with the largest root mean square of attention, or of one of the kind's readings.

    Tile maxima require building M; the RMS does not, so it defines "strongest".
    """
    shown = kind_of(terms).reading(reading)
    strength = shown.of(terms, tiles=MAX_TILES, statistic="rms", heads=[head], **window.slices)[0, 0]
    row, column = divmod(int(strength.argmax()), strength.shape[1])
    return Window(tiles_of(window.queries)[row], tiles_of(window.keys)[column])


def locked_limits(
    layers: Mapping[Place, MixerTerms],
    window: Window | None = None,
    *,
    reading: str = "",
    statistic: Statistic = "mean",
) -> dict[str, float]:
    """Largest |value| of each factor over all heads of all given layers; of the `reading` for attention.

    `layers` maps places of one kind to their terms (of one text); `window` defaults to the whole text. Such
    limits make the colours of different heads comparable. In a pooled window they are the largest of the
    tiles. Leaves out factors with a limit of their own.
    """
    limits: dict[str, float] = {}
    for terms in layers.values():
        seen = (window or Window.whole(terms.length)).within(terms.length)
        kind = kind_of(terms)
        for factor in kind.factors:
            if factor.limit is not None:
                continue
            limits.setdefault(factor.name, 0.0)
            if seen is None:
                continue
            shown = kind.reading(reading) if factor is kind.attention else factor
            heads = range(0, terms.heads, terms.heads_per_group) if factor.per_group else None
            matrix = shown.of(terms, tiles=seen.tiles, statistic=statistic, heads=heads, **seen.slices)
            limits[factor.name] = max(limits[factor.name], float(matrix.abs().max()))
    return limits
