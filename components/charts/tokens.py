"""Tokens as a reader can see them: blanks and control characters made visible, nothing interpreted."""

import unicodedata
from collections.abc import Sequence

_VISIBLE = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍", "\u00a0": "⍽"}


def visible_tokens(tokens: Sequence[str]) -> list[str]:
    """Each token with spaces as "·", newlines as "⏎" and invisible characters by picture or code point.

    Direction marks and other format characters are named rather than obeyed, so that a token cannot
    rearrange the text around it. An empty token reads "∅".
    """
    shown = {token: "".join(map(_visible, token)) or "∅" for token in set(tokens)}
    return [shown[token] for token in tokens]


def _visible(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    category = unicodedata.category(character)
    if category == "Cc" and ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    if category in {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"}:
        return f"‹{ord(character):04X}›"
    return character
