"""Tokens as a reader can see them: blanks and control characters made visible, nothing interpreted.

Texts of tokens contain bytes where a character is cut: one of three tokens as "<0xE4>", "<0xB8>", "中".
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

_VISIBLE = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍", "\u00a0": "⍽"}

_LAST_BYTES = re.compile(r"<(0x[0-9A-F]{2}(?: 0x[0-9A-F]{2})*)>\Z")
"""Bytes that end a token and complete no character in it."""

_PART = re.compile(r"(‹[0-9A-F]+›|◌?.) ([1-4])/([2-4])( |\Z)", re.DOTALL)
"""A cut character in a label. Labels show blanks of the text as "·", so no text matches."""

_SELECTOR = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Invisible characters that select how the one before looks."""


class _Cut(NamedTuple):
    """A character whose bytes are several tokens."""

    character: str
    first: int
    """The token that begins it."""
    last: int
    """The token that completes it."""
    bytes_of_first: int
    """Bytes of it that end the first token."""

    def part(self, token: int) -> str:
        """The label of a token's part of it, such as "中 1/3"."""
        shown = _visible(self.character)
        if unicodedata.category(self.character).startswith("M"):  # it cannot stand alone
            shown = _named(self.character) if _SELECTOR.match(self.character) else f"◌{shown}"
        return f"{shown} {token - self.first + 1}/{self.last - self.first + 1}"


def visible_tokens(tokens: Sequence[str]) -> list[str]:
    """Each token with spaces as "·", newlines as "⏎" and invisible characters by picture or code point.

    A character of several tokens appears in each of them, as "中 1/3" and "中 2/3", apart from the rest of
    the token; bytes that complete no character stay bytes. Direction marks and other format characters become
    code points, so that a token cannot rearrange the text around it. An empty token reads "∅".
    """
    cuts = _cut_characters(tokens)
    texts = _uncut(tokens, cuts)
    shown = {text: "".join(map(_visible, text)) for text in set(texts)}
    labels = [[shown[text]] for text in texts]
    for cut in cuts:
        for index in range(cut.first, cut.last):
            labels[index].append(cut.part(index))
        labels[cut.last].insert(0, cut.part(cut.last))
    return [" ".join(filter(None, parts)) or "∅" for parts in labels]


def joined(tokens: Sequence[str]) -> str:
    """The texts of tokens joined; a character of several tokens appears once, without its bytes."""
    cuts = _cut_characters(tokens)
    texts = _uncut(tokens, cuts)
    for cut in cuts:
        texts[cut.last] = cut.character + texts[cut.last]
    return "".join(texts)


def joined_labels(labels: Sequence[str]) -> str:
    """The labels of `visible_tokens` joined; a character of several tokens appears once."""

    def whole(found: re.Match[str]) -> str:
        return (found[1].removeprefix("◌") or "◌") if found[2] == found[3] else ""

    texts = [_PART.sub(whole, label) for label in labels[:-1]]
    # If the labels end within a character, it appears at its last part.
    texts += [_PART.sub(lambda found: found[1].removeprefix("◌") or "◌", label) for label in labels[-1:]]
    return "".join(texts).replace(" ", "")


def _cut_characters(tokens: Sequence[str]) -> list[_Cut]:
    """The characters of several tokens, in the order of the text."""
    cuts = []
    for last, token in enumerate(tokens):
        if not token or token[0].isascii():
            continue
        data = token[0].encode(errors="replace")
        before = _bytes_before(tokens, last)
        for size in range(1, len(data)):
            if bytes(byte for _, byte in before[-size:]) == data[:size]:
                first = before[-size][0]
                cuts.append(_Cut(token[0], first, last, sum(index == first for index, _ in before[-size:])))
    return cuts


def _bytes_before(tokens: Sequence[str], index: int) -> list[tuple[int, int]]:
    """Bytes just before a token that complete no character, each with its token's index; stops at three."""
    found: list[tuple[int, int]] = []
    while index and len(found) < 3:
        index -= 1
        last = _LAST_BYTES.search(tokens[index])
        if last is None:
            break
        found = [(index, byte) for byte in bytes.fromhex(last[1].replace("0x", ""))] + found
        if last.start():  # other text stands before them
            break
    return found


def _uncut(tokens: Sequence[str], cuts: Sequence[_Cut]) -> list[str]:
    """The texts of tokens without the characters of several tokens and their bytes."""
    texts = list(tokens)
    for cut in cuts:
        begun = _LAST_BYTES.search(texts[cut.first])
        assert begun is not None  # it begins there
        left = begun[1].split()[: -cut.bytes_of_first]
        texts[cut.first] = texts[cut.first][: begun.start()] + (f"<{' '.join(left)}>" if left else "")
        texts[cut.first + 1 : cut.last] = [""] * (cut.last - cut.first - 1)
        texts[cut.last] = texts[cut.last][1:]
    return texts


def _visible(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    category = unicodedata.category(character)
    if category == "Cc" and ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    if category in {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"}:
        return _named(character)
    return character


def _named(character: str) -> str:
    return f"‹{ord(character):04X}›"
