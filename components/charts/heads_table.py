"""All heads of a model: a table row of measures for each, and its row in the head map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64

from components.ssd import KINDS, MEASURES, MixerTerms, Place


def measure_table(layers: Mapping[Place, MixerTerms]) -> pd.DataFrame:
    """One row per head: `layer`, `kind`, `head`, and each of `MEASURES` by its name, of all text.

    Each has a column for its standard error, such as `mean_distance_error`; zero if it is exact. A head
    without a measure has NaN: softmax attention does not decay, so it has no half-life. `layers` maps places
    to the terms of one text.
    """
    parts: defaultdict[str, list[np.ndarray[Any, Any]]] = defaultdict(list)
    for place, terms in layers.items():
        parts["layer"].append(np.full(terms.heads, place.layer))
        parts["kind"].append(np.full(terms.heads, place.kind, dtype=object))
        parts["head"].append(np.arange(terms.heads))
        without, exact = (np.full(terms.heads, value, dtype=np.float32) for value in (np.nan, 0))
        for measure in MEASURES.values():
            found = measure.of(terms)
            parts[measure.name].append(without if found is None else found.value[0].cpu().numpy())
            parts[f"{measure.name}_error"].append(exact if found is None else found.error[0].cpu().numpy())
    return pd.DataFrame({name: np.concatenate(arrays) for name, arrays in parts.items()})


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
