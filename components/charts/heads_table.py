"""All heads of a model: a table row of measures for each, and its row in the head map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int64

from components.ssd import KINDS, MEASURES, MixerTerms, Place, stacked


def measure_table(layers: Mapping[Place, MixerTerms]) -> pd.DataFrame:
    """One row per head: `layer`, `kind`, `head`, and each of `MEASURES` by its name, of all text.

    Each has a column for its standard error, such as `mean_distance_error`; zero if it is exact. A head
    without a measure has NaN: softmax attention does not decay, so it has no half-life. `layers` maps places
    to the terms of one text.
    """
    heads = [terms.heads for terms in layers.values()]
    table = pd.DataFrame(
        {
            "layer": np.repeat([place.layer for place in layers], heads),
            "kind": np.repeat(np.array([place.kind for place in layers], dtype=object), heads),
            "head": np.concatenate([np.arange(count) for count in heads]),
        }
    )
    batches = list(stacked(layers.values()))
    for measure in MEASURES.values():
        values, errors = [], []
        for terms in batches:
            found = measure.of(terms)
            none = torch.full((terms.batch, terms.heads), torch.nan, dtype=torch.float32)
            values.append((none if found is None else found.value.cpu()).flatten())
            errors.append((torch.zeros_like(none) if found is None else found.error.cpu()).flatten())
        table[measure.name], table[f"{measure.name}_error"] = (
            torch.cat(values).numpy(),
            torch.cat(errors).numpy(),
        )
    return table


def row_labels(measures: pd.DataFrame) -> tuple[Int64[np.ndarray, " all_heads"], list[str]]:
    """The row of each head, and the names of the rows: a layer's heads of one kind have a row.

    Sorted by layer, then in the order of `KINDS`; names are "7" or "7 softmax".
    """
    pairs = list(zip(measures["layer"].tolist(), measures["kind"].tolist(), strict=True))
    order = {kind: rank for rank, kind in enumerate(KINDS)}
    places = sorted(set(pairs), key=lambda pair: (pair[0], order[pair[1]]))
    row_of = {pair: row for row, pair in enumerate(places)}
    row = np.array([row_of[pair] for pair in pairs], dtype=np.int64)
    return row, [f"{layer} {KINDS[kind].short}".rstrip() for layer, kind in places]
