"""What the sections of the page "Does it matter?" let choose, and how they write an effect."""

from __future__ import annotations

from typing import Any

import streamlit as st

from explorer.effects import SMALL, CutIn, Figure, Muting
from explorer.widgets import put_first

MUTING: dict[Muting, str] = {
    "attention": "Attention alone",
    "all": "With the skip D·x",
    "mean": "To its mean over the text",
}
FIGURES: dict[Figure, str] = {
    "log_p": "Log probability of the answer",
    "difference": "Logit difference",
}
DROPS: dict[Figure, str] = {"log_p": "drop of log p", "difference": "drop of the logit difference"}
LOSSES: dict[Figure, str] = {"log_p": "of log p", "difference": "of its logit difference"}
"""What the answer loses so much of."""
CUTS: dict[CutIn, str] = {
    "model": "In all Mamba-2 layers",
    "layer": "In the picked layer",
    "head": "In the picked head",
}


def in_figures(effect: float) -> str:
    """An effect; one that may be rounding alone is called small."""
    return f"{effect:.3g}" if abs(effect) >= SMALL else f"less than {SMALL:.5f}"


def loss(effect: float, figure: Figure) -> str:
    """How much the answer loses, and of what."""
    return f"{in_figures(effect)} {LOSSES[figure]}"


def choice(label: str, key: str, options: dict[Any, str]) -> Any:
    """The chosen one of some options; the first, before anything is chosen."""
    first = next(iter(options))
    put_first(key, first)
    given = st.segmented_control(
        label, list(options), key=key, format_func=options.__getitem__, required=True, wrap=True
    )
    return first if given is None else given
