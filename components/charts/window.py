"""A window onto the matrix of a text: which queries and which keys a picture shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypedDict

from components.ssd import tile_edges

MAX_TILES = 128
"""Most rows and columns of a picture: a browser draws as many without a pause."""

TILE_LABEL_STEP = 8
"""Rows or columns of tiles per label: positions are evenly spread, so a few labels suffice."""


class Slices(TypedDict):
    """Positions as the functions of `components.ssd` take them."""

    queries: slice
    keys: slice


@dataclass(frozen=True)
class Window:
    """Ranges of query and key positions, without a step. Pictures cut a range over MAX_TILES into tiles."""

    queries: range
    keys: range

    @staticmethod
    def whole(length: int) -> Window:
        """The whole text."""
        return Window(range(length), range(length))

    @property
    def pooled(self) -> bool:
        """Whether some tile is larger than a token."""
        return max(len(self.queries), len(self.keys)) > MAX_TILES

    @property
    def slices(self) -> Slices:
        """Its positions as the functions of `components.ssd` take them."""
        return {
            "queries": slice(self.queries.start, self.queries.stop),
            "keys": slice(self.keys.start, self.keys.stop),
        }

    @property
    def tiles(self) -> int | None:
        """The most tiles for its queries and its keys; None if each is one token."""
        return MAX_TILES if self.pooled else None

    @property
    def on_diagonal(self) -> bool:
        """Whether queries and keys are the same: a triangle."""
        return self.queries == self.keys

    def within(self, length: int) -> Window | None:
        """The part of it that a text of `length` tokens fills: queries that read a key, keys that are read.

        None if nothing of it is on or below the diagonal.
        """
        queries = range(max(self.queries.start, self.keys.start, 0), min(self.queries.stop, length))
        keys = range(max(self.keys.start, 0), min(self.keys.stop, queries.stop))
        return Window(queries, keys) if len(queries) and len(keys) else None

    def around(self, least: int, length: int) -> Window:
        """The window, grown on all sides until it holds `least` queries and keys of the text."""
        grown = Window(_grown(self.queries, least, length), _grown(self.keys, least, length))
        return grown.within(length) or self


@lru_cache(maxsize=64)
def tiles_of(positions: range) -> tuple[range, ...]:
    """The rows or columns of a picture: at most MAX_TILES, cut as `pooled_attention` cuts them."""
    edges = (positions.start + tile_edges(len(positions), MAX_TILES)).tolist()
    return tuple(range(*ends) for ends in pairwise(edges))


def in_figures(positions: range) -> str:
    """The first and the last position, such as "1,024–1,055"; or a single one."""
    first, last = positions[0], positions[-1]
    return f"{first:,}" if first == last else f"{first:,}–{last:,}"


def _grown(positions: range, least: int, length: int) -> range:
    missing = max(least - len(positions), 0)
    start = max(min(positions.start - missing // 2, length - least), 0)
    return range(min(start, positions.start), min(max(start + least, positions.stop), length))
