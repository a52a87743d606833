"""In a notebook, one call shows what the page shows: it returns a chart, which the notebook draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from components.charts import Figure, HeadCells, Window, head_cells, panels_chart, visible_tokens
from components.ssd import MatrixTerms, MixerTerms, Place, Statistic

if TYPE_CHECKING:
    import numpy as np

    from components.bridge import ActivationCache


def show_head(
    cache: ActivationCache,
    layer: int,
    head: int,
    *,
    kind: str | None = None,
    query: int | None = None,
    window: Window | None = None,
    statistic: Statistic = "mean",
    reading: str = "",
    terms: MixerTerms | None = None,
    logarithmic: bool = False,
) -> Figure:
    """The panels of one head, the text, and what a query reads: `show_head(cache, layer=2, head=2)`.

    `cache` comes from a run of one text that kept the terms of the layer, as `run_with_cache` does. `kind` is
    the head's in `components.ssd.KINDS`; by default the first that the layer holds. `query` is the position
    of the marked row, by default the last. `window` shows a part of the text. Beyond 128 tokens a cell shows
    the mean of a tile, or with `statistic="rms"` the root mean square. `reading="attention_dt"` shows M·dt;
    `"contribution"` and `"toward"` need `terms=contribution_terms(bridge, cache, layer, target, foil)`.
    `logarithmic` colours show weak values too.

    Raises IndexError for a layer, head or query that does not exist, ValueError for several texts
    and for terms that the reading cannot be computed from, RuntimeError naming what the cache lacks.
    """
    tokens = cache.str_tokens
    place = Place(layer, kind) if kind else cache.places_of(layer)[0]
    terms = terms or cache.terms(place)
    if not -terms.heads <= head < terms.heads:
        raise IndexError(f"There is no head {head}: {place} has {terms.heads}, 0 to {terms.heads - 1}.")
    cells = head_cells(
        terms, head % terms.heads, visible_tokens(tokens), window, statistic=statistic, reading=reading
    )
    return _panels(cells, query, logarithmic=logarithmic)


def show_matrix(
    tokens: Sequence[str],
    matrix: Float[Tensor, "query key"] | Float[np.ndarray, "query key"],
    *,
    query: int | None = None,
    logarithmic: bool = False,
) -> Figure:
    """Any matrix over the tokens of a text, [query, key], as the page shows attention.

    Entries may have either sign. Beyond 128 tokens a cell is the mean of a tile. Raises ValueError
    for a matrix that does not fit the tokens, or has entries above the diagonal, NaN or infinity.
    """
    given = torch.as_tensor(matrix)
    if given.shape != (len(tokens), len(tokens)):
        raise ValueError(
            f"The matrix is {' × '.join(map(str, given.shape))}, and there are {len(tokens)} tokens. It "
            "needs a row and a column for each."
        )
    cells = head_cells(MatrixTerms.from_matrix(given), 0, visible_tokens(tokens))
    return _panels(cells, query, logarithmic=logarithmic)


def _panels(cells: HeadCells, query: int | None, *, logarithmic: bool = False) -> Figure:
    """The chart, which marks a query's row and its most-read key."""
    shown = cells.window.queries
    query = shown[-1] if query is None else query
    if query not in shown:
        raise IndexError(f"There is no query {query} here: the window has {shown[0]} to {shown[-1]}.")
    return panels_chart(
        cells,
        pointed=(query, cells.most_read(query)),
        with_bars=True,
        logarithmic=logarithmic,
    )
