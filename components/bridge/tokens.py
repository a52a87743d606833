"""Text to token ids and back, without changing the tokenizer, which several threads share."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from functools import cache

import torch
from jaxtyping import Int64
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_FALLBACK = re.compile("<0x([0-9A-F]{2})>")
"""The name of a byte token in a vocabulary with byte fallback, such as Mistral's."""

_NO_CHARACTER = re.compile("[\udc80-\udcff]+")
"""Bytes, as `surrogateescape` puts them into a text."""


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of one prompt; ValueError when there are none."""
    ids: list[int] = tokenizer(prompt)["input_ids"]
    if not ids:
        raise ValueError("The prompt is empty: it has no token to look at. Type at least one word.")
    return ids


def left_padded(
    rows: Sequence[Sequence[int]], pad_id: int
) -> tuple[Int64[Tensor, "batch seq"], Int64[Tensor, "batch seq"] | None]:
    """Rows of ids as one batch, and its mask of 1 at real positions (None where nothing is padded)."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[pad_id] * (longest - len(row)) + list(row) for row in rows])
    if all(len(row) == longest for row in rows):
        return ids, None
    return ids, torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text that each token adds to those before it, with its spaces.

    A character split over several tokens appears at the one that completes it. Bytes that complete none
    appear as bytes: <0xF0 0x9F>.
    """
    pieces = {i: _token_bytes(tokenizer, i) for i in set(map(int, ids))}
    return _texts(pieces[int(i)] for i in ids)


def _texts(pieces: Iterable[bytes]) -> list[str]:
    """The text that each piece of UTF-8 adds to those before it."""
    texts, begun = [], b""
    for piece in pieces:
        data = begun + piece
        text = data.decode(errors="surrogateescape")
        if begun and _NO_CHARACTER.match(text):  # the piece does not complete what the ones before began
            text = text[len(begun) :]
        texts.append(_NO_CHARACTER.sub(lambda found: _in_figures(found[0]), text))
        begun = data[codecs.utf_8_decode(data, "surrogateescape", False)[1] :]
    return texts


def _in_figures(escaped: str) -> str:
    return "<" + " ".join(f"0x{ord(byte) - 0xDC00:02X}" for byte in escaped) + ">"


def _token_bytes(tokenizer: PreTrainedTokenizerBase, token_id: int) -> bytes:
    """The bytes of a token's text or, for a part of a character, those of its name."""
    # Some decoders drop the space before a text's first token, so decode it behind another one.
    anchor = str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False))
    pair = str(tokenizer.decode([token_id, token_id], clean_up_tokenization_spaces=False))
    text = pair[len(anchor) :] if pair.startswith(anchor) else anchor
    name = tokenizer.convert_ids_to_tokens(token_id)
    if "\ufffd" not in text or not isinstance(name, str):
        return text.encode()
    if byte := _FALLBACK.fullmatch(name):
        return bytes.fromhex(byte[1])
    table = _bytes_by_character()
    return bytes(table[each] for each in name) if table.keys() >= set(name) else text.encode()


@cache
def _bytes_by_character() -> dict[str, int]:
    """Which byte each character of a byte-level vocabulary stands for (GPT-2's table).

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for U+0100 and up.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    characters = {chr(byte): byte for byte in printable}
    return characters | {chr(0x100 + index): byte for index, byte in enumerate(rest)}
