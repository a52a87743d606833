"""A head in words: its half-life, its signs and what one query reads most, for those who do not see it."""

from __future__ import annotations

import math

import pandas as pd


def head_in_words(
    cells: pd.DataFrame, layer: int, head: int, half_life: float, query: int, *, with_dt: bool = False
) -> str:
    """One plain sentence, such as "Layer 2, head 5 halves every 6.1 tokens; 31 % of its weight is negative;
    'have' reads 'map' most (+0.42)."

    `cells` is the `cell_table` of the head, `half_life` is in tokens. The negative part is Σ|M < 0| / Σ|M|
    over all cells, and `query` reads most where |M| is largest, or, `with_dt`, where |M·dt| is.
    """
    value = "attention_dt" if with_dt else "attention"
    weight = cells[value].abs().astype("float64")
    total = float(weight.sum())
    parts = [f"Layer {layer}, head {head} {_half_life(half_life)}"]
    if total > 0:
        parts.append(f"{_percent(float(weight[cells[value] < 0].sum()) / total)} of its weight is negative")
    else:
        parts.append("it has no weight here")
    row = cells[cells["i"] == query]
    if len(row):
        cell = row.iloc[int(row[value].abs().to_numpy().argmax())]
        if cell[value]:
            what = "itself" if cell["i"] == cell["j"] else f"'{cell['key']}'"
            parts.append(f"'{cell['query']}' reads {what} most ({_signed(float(cell[value]))})")
        elif total > 0:
            parts.append(f"'{cell['query']}' reads nothing")
    return "; ".join(parts) + "."


def _half_life(tokens: float) -> str:
    if math.isnan(tokens):
        return "has no half-life"
    if math.isinf(tokens):
        return "never decays"
    return f"halves every {_figure(tokens)} tokens"


def _figure(tokens: float) -> str:
    """Two digits below ten, whole tokens above, thousands separated."""
    return f"{tokens:,.0f}" if tokens >= 10 else f"{tokens:.2g}"


def _percent(part: float) -> str:
    if 0 < part < 0.005:
        return "less than 1 %"
    if 0.995 <= part < 1:
        return "more than 99 %"
    return f"{part:.0%}".replace("%", " %")


def _signed(value: float) -> str:
    return f"{value:+.2g}".replace("-", "−", 1) if abs(value) >= 0.01 else f"{value:+.1e}".replace("-", "−")
