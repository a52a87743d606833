"""Tables that the charts draw: one row per mark, numbers straight from `components.ssd`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from components.ssd import SSDTerms, content, decay, effective_attention, half_life, mean_distance


def cell_table(terms: SSDTerms, head: int, tokens: Sequence[str], first: int = 0) -> pd.DataFrame:
    """One row per cell on or below the diagonal of one head, for the positions in `terms` (one text).

    Columns: query position `i` and key position `j` (counted from `first`, the position in the whole text of
    the first one given), their tokens `query` and `key`, `content` C·B, `decay` L, `attention` M = L·C·B, and
    `dt` of the key. `tokens` are the texts of the positions, ready for display.
    """
    rows, columns = np.tril_indices(terms.length)
    names = np.asarray(tokens, dtype=object)
    matrices = {
        "content": content(terms, heads=[head]),
        "decay": decay(terms, heads=[head]),
        "attention": effective_attention(terms, heads=[head]),
    }
    return pd.DataFrame(
        {
            "i": (rows + first).astype(np.int32),
            "j": (columns + first).astype(np.int32),
            "query": names[rows],
            "key": names[columns],
            **{name: matrix[0, 0].cpu().numpy()[rows, columns] for name, matrix in matrices.items()},
            "dt": terms.dt[0, :, head].cpu().numpy()[columns],
        }
    )


def measure_table(layers: Mapping[int, SSDTerms]) -> pd.DataFrame:
    """One row per layer and head: `half_life` and `mean_distance`, both in tokens, over the given positions.

    `layers` maps a layer's index to its terms (one text).
    """
    parts = [
        pd.DataFrame(
            {
                "layer": layer,
                "head": np.arange(terms.heads),
                "half_life": half_life(terms)[0].cpu().numpy(),
                "mean_distance": mean_distance(effective_attention(terms))[0].cpu().numpy(),
            }
        )
        for layer, terms in layers.items()
    ]
    return pd.concat(parts, ignore_index=True)


def survival_table(terms: SSDTerms) -> pd.DataFrame:
    """One row per head and lag: `survival` L of what the first position wrote, `lag` tokens later."""
    survival = decay(terms, keys=slice(0, 1))[0, :, :, 0].cpu().numpy()
    heads, length = survival.shape
    return pd.DataFrame(
        {
            "head": np.repeat(np.arange(heads), length),
            "lag": np.tile(np.arange(length), heads),
            "survival": survival.ravel(),
        }
    )
