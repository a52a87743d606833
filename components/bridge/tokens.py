"""Text to token ids and back, without changing the tokenizer, which several threads share."""

from __future__ import annotations

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
    """The text of each token alone, with its spaces.

    A token that holds only a part of a character's UTF-8 bytes is written as these bytes: <0xF0 0x9F>.
    """
    return [_token_text(tokenizer, int(i)) for i in ids]


def _token_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    # Some decoders drop the space before a text's first token, so decode it behind another one.
    anchor = str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False))
    pair = str(tokenizer.decode([token_id, token_id], clean_up_tokenization_spaces=False))
    text = pair[len(anchor) :] if pair.startswith(anchor) else anchor
    if "\ufffd" not in text:
        return text
    token = tokenizer.convert_ids_to_tokens(token_id)
    table = _bytes_by_character()
    if isinstance(token, str) and all(character in table for character in token):
        return "<" + " ".join(f"0x{table[character]:02X}" for character in token) + ">"
    return text


@cache
def _bytes_by_character() -> dict[str, int]:
    """Which byte each character of a byte-level vocabulary stands for (GPT-2's table).

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for U+0100 and up.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    characters = {chr(byte): byte for byte in printable}
    return characters | {chr(0x100 + place): byte for place, byte in enumerate(rest)}
