"""What a model carries after the beginning of a text, for runs that differ only from there on.

No token changes what the model computes at earlier positions. So of runs that are edited from a position on,
the part before it is that of the unedited run: its state is computed once, and every run starts from it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedConfig


class PrefixState:
    """The state of one text of `length` tokens, further and further on. Memory: two states.

    `read(positions, state)` runs these next positions of the unedited text on the state.
    """

    def __init__(
        self, length: int, config: PreTrainedConfig, read: Callable[[slice, DynamicCache], object]
    ) -> None:
        self._length, self._config, self._read = length, config, read
        self._start, self._state = 0, DynamicCache(config=config)

    def before(self, position: int) -> tuple[int, DynamicCache]:
        """The last start at or before a position from which the rest can run, and a copy of the state there.

        Both the part read and the rest have two tokens or more: the model takes one token as a decode step,
        which computes differently (no clamp of dt).
        """
        position = min(position, self._length - 2)
        if position < self._start:
            self._start, self._state = 0, DynamicCache(config=self._config)
        if position >= self._start + 2:
            self._read(slice(self._start, position), self._state)
            self._start = position
        return self._start, deepcopy(self._state)


def repeat_state(state: DynamicCache, rows: int, layer: int | None = None) -> DynamicCache:
    """Give a state of one text to `rows` of a batch, in place: in one layer, or in all."""
    first: Any = torch.zeros(rows, dtype=torch.long)
    for each in state.layers if layer is None else [state.layers[layer]]:
        each.reorder_cache(first)
    return state
