"""Tokens as a reader can see them: blanks and control characters made visible, nothing interpreted."""

import re
import unicodedata
from collections.abc import Sequence

_VISIBLE = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍", "\u00a0": "⍽"}

_CUT = re.compile(r"((?:<0x[0-9A-F]{2}(?: 0x[0-9A-F]{2})*>)+)([^\0-\x7f])")
"""Bytes of tokens that complete no character, and the character after them."""


def visible_tokens(tokens: Sequence[str]) -> list[str]:
    """Each token with spaces as "·", newlines as "⏎" and invisible characters by picture or code point.

    Direction marks and other format characters are named rather than obeyed, so that a token cannot
    rearrange the text around it. An empty token reads "∅".
    """
    shown = {token: "".join(map(_visible, token)) or "∅" for token in set(tokens)}
    return [shown[token] for token in tokens]


def joined(tokens: Sequence[str]) -> str:
    """Tokens as one text, in which a character of several tokens stands without the bytes that began it."""
    return _CUT.sub(_whole, "".join(tokens))


def _whole(found: re.Match[str]) -> str:
    begun = bytes(int(byte, 16) for byte in re.findall("0x(..)", found[1]))
    return found[2] if found[2].encode().startswith(begun) else found[0]


def _visible(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    category = unicodedata.category(character)
    if category == "Cc" and ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    if category in {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"}:
        return f"‹{ord(character):04X}›"
    return character
