"""Tables that the charts draw: one row per mark, numbers straight from `components.ssd`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from components.ssd import SSDTerms, content, decay, effective_attention, half_life, mean_distance


def cell_table(terms: SSDTerms, head: int, tokens: Sequence[str], first: int = 0) -> pd.DataFrame:
    """One row per cell on or below the diagonal of one head, for the positions in `terms` (one text).

    Columns: query position `i` and key position `j` (counted from `first`, the position in the whole text of
    the first one given), their tokens `query` and `key`, `content` C·B, `decay` L, `attention` M = L·C·B,
    `attention_dt` M·dt and `dt` of the key. `tokens` are the texts of the positions, ready for display.
    """
    rows, columns = np.tril_indices(terms.length)
    names = np.asarray(tokens, dtype=object)
    matrices = {
        "content": content(terms, heads=[head]),
        "decay": decay(terms, heads=[head]),
        "attention": effective_attention(terms, heads=[head]),
        "attention_dt": effective_attention(terms, heads=[head], include_dt_scaling=True),
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


def row_table(cells: pd.DataFrame, query: int) -> pd.DataFrame:
    """What the query position `query` reads, one row per key position in their order, with readable names.

    `cells` is a `cell_table`. Columns: key position, key token, content, decay, dt, attention, attention·dt.
    Empty if the query is not among the cells.
    """
    names = {"j": "key position", "key": "key token", "attention_dt": "attention·dt"}
    columns = ["j", "key", "content", "decay", "dt", "attention", "attention_dt"]
    row = cells.loc[cells["i"] == query, columns].sort_values("j")
    return row.rename(columns=names).reset_index(drop=True)


def locked_limits(layers: Mapping[int, SSDTerms], with_dt: bool = False) -> dict[str, float]:
    """Largest |content| and |attention| (|M·dt| if `with_dt`) over all heads of all given layers.

    `layers` maps a layer's index to its terms (one text). One such pair of limits makes the colours of
    different heads comparable.
    """
    limits = {"content": 0.0, "attention": 0.0}
    for terms in layers.values():
        matrices = {
            "content": content(terms),
            "attention": effective_attention(terms, include_dt_scaling=with_dt),
        }
        limits = {name: max(limits[name], float(matrix.abs().max())) for name, matrix in matrices.items()}
    return limits


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
    """One row per head and lag: `survival` L of what the first position wrote, `lag` tokens later.

    `half_life` repeats the head's, in tokens.
    """
    survival = decay(terms, keys=slice(0, 1))[0, :, :, 0].cpu().numpy()
    heads, length = survival.shape
    return pd.DataFrame(
        {
            "head": np.repeat(np.arange(heads, dtype=np.int16), length),
            "lag": np.tile(np.arange(length, dtype=np.int32), heads),
            "survival": survival.ravel(),
            "half_life": np.repeat(half_life(terms)[0].cpu().numpy(), length),
        }
    )
