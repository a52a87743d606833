"""Text to token ids and back, without changing the tokenizer, which several threads share."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Int64
from torch import Tensor
from transformers import PreTrainedTokenizerBase


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
    """The text of each token of one text, with its spaces.

    A character whose UTF-8 bytes are several tokens stands at the token that completes it. Bytes that do not
    complete one, or not yet, are written as bytes: <0xF0 0x9F>.
    """
    pieces = {number: _piece(tokenizer, number) for number in set(map(int, ids))}
    waiting = b""  # the first bytes of a character
    texts = []
    for number in map(int, ids):
        piece = pieces[number]
        if isinstance(piece, bytes):
            text, begun = _complete(waiting, piece)
            texts.append(text)
            waiting = begun
        else:
            texts.append(piece)
            waiting = b""
    return texts


def _complete(waiting: bytes, given: bytes) -> tuple[str, bytes]:
    """What `given` bytes say after those that wait for it; and the bytes that then wait for more."""
    decoder = getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(waiting + given)
    except UnicodeDecodeError as error:
        if waiting:  # they have been written as bytes already
            return _complete(b"", given)
        good, bad, rest = given[: error.start], given[error.start : error.end], given[error.end :]
        text, begun = _complete(b"", rest)
        return good.decode() + _bytes_as_text(bad) + text, begun
    begun, _ = decoder.getstate()
    return text + _bytes_as_text(begun[-len(given) :]), begun


def _bytes_as_text(some: bytes) -> str:
    return f"<{' '.join(f'0x{byte:02X}' for byte in some)}>" if some else ""


def _piece(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str | bytes:
    """The text of a token; or its bytes, if they are not the whole of every character they belong to."""
    # Some decoders drop the space before a text's first token, so decode it behind another one.
    anchor = str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False))
    pair = str(tokenizer.decode([token_id, token_id], clean_up_tokenization_spaces=False))
    text = pair[len(anchor) :] if pair.startswith(anchor) else anchor
    if "\ufffd" not in text:
        return text
    token = tokenizer.convert_ids_to_tokens(token_id)
    if not isinstance(token, str):
        return text
    if fallback := re.fullmatch(r"<0x([0-9A-F]{2})>", token):  # as SentencePiece names a byte
        return bytes.fromhex(fallback[1])
    table = _bytes_by_character()
    return bytes(table[character] for character in token) if all(c in table for c in token) else text


@cache
def _bytes_by_character() -> dict[str, int]:
    """Which byte each character of a byte-level vocabulary stands for (GPT-2's table).

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for U+0100 and up.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    characters = {chr(byte): byte for byte in printable}
    return characters | {chr(0x100 + place): byte for place, byte in enumerate(rest)}
