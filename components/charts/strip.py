"""The token strip: the text in lines of equally wide letters, laid out so that no token is cut in two."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

COLUMNS = 104
"""Letters of a line. The font follows the width between its limits, and the line with it."""


def token_places(tokens: Sequence[str], first: int) -> list[dict[str, Any]]:
    """Where each token stands: position `i`, `text`, and its `line`, `column` and `columns` in letters.

    A token that is longer than a line has one of its own, for its drawing to shorten.
    """
    places: list[dict[str, Any]] = []
    line = column = 0
    for i, token in enumerate(tokens, first):
        columns = min(text_columns(token), COLUMNS)
        if column + columns > COLUMNS:
            line, column = line + 1, 0
        places.append({"i": i, "text": token, "line": line, "column": column, "columns": columns})
        column += columns
    return places


def text_columns(text: str) -> int:
    """Letters that a text takes in a monospace font: two for wide characters, none for combining ones."""
    return max(sum(_columns(character) for character in text), 1)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
