"""Turns a prompt in any common form into ids and a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from components.bridge import tokens

Ids = Sequence[Any] | Tensor | np.ndarray
"""Whole numbers, [s] or [b, s]: lists, lists of lists, tensors, NumPy arrays; or a mask of them."""

Prompt = str | Ids | Mapping[str, Any]
"""A text, a list of texts, ids, or what a tokenizer returned."""


def ids_and_mask(
    prompt: Prompt,
    mask: Ids | None,
    tokenizer: PreTrainedTokenizerBase | None,
    vocabulary: int,
    pad_id: int | None,
) -> tuple[Int64[Tensor, "batch seq"], Int64[Tensor, "batch seq"] | None]:
    """Ids of a prompt, and its mask of 1 at real positions; rows of different lengths are padded on the left.

    The caller's `mask` overrides the prompt's own. `pad_id` comes from the model's configuration; if it is no
    token, id 0 pads instead: the model reads nothing that is masked. Raises ValueError for a prompt without
    ids of this vocabulary.
    """
    held: Any = prompt
    if isinstance(held, Mapping):
        if "input_ids" not in held:
            raise ValueError(f"This prompt has no input_ids, but {', '.join(map(str, held))}.")
        mask = held.get("attention_mask") if mask is None else mask
        held = held["input_ids"]
    if isinstance(held, str):
        held = [held]
    if isinstance(held, Sequence) and len(held) and isinstance(held[0], str):
        known = require_tokenizer(tokenizer)
        held = [tokens.encode(known, str(text)) for text in held]
    pad = pad_id if pad_id is not None and 0 <= pad_id < vocabulary else 0
    ids, padding = as_rows(held, pad)
    least, most = (int(bound) for bound in ids.aminmax())
    if least < 0 or most >= vocabulary:
        raise ValueError(f"Token ids must lie between 0 and {vocabulary - 1}, the model's vocabulary.")
    return ids, padding if mask is None else _mask_of(ids, padding, mask)


def _mask_of(
    ids: Int64[Tensor, "batch seq"], padding: Int64[Tensor, "batch seq"] | None, given: Ids
) -> Int64[Tensor, "batch seq"]:
    """The given mask, its rows padded as those of the ids; ValueError if it does not fit them."""
    if isinstance(given, Tensor | np.ndarray):
        numbers = torch.as_tensor(given)
        given = numbers.long() if torch.equal(numbers, numbers.long().to(numbers.dtype)) else numbers
    mask, filled = as_rows(given, 0, "A mask")
    if mask.shape != ids.shape:
        raise ValueError(f"The mask's shape {tuple(mask.shape)} is not that of the ids, {tuple(ids.shape)}.")
    if filled is not None and (padding is None or not torch.equal(filled, padding)):
        raise ValueError("The mask's rows are not as long as those of the ids.")
    if bool(((mask != 0) & (mask != 1)).any()):
        raise ValueError("A mask is 1 where a token is real and 0 where it pads; this one has other numbers.")
    return mask


def as_rows(
    numbers: Ids, filling: int, what: str = "Token ids"
) -> tuple[Int64[Tensor, "batch seq"], Int64[Tensor, "batch seq"] | None]:
    """Whole numbers [s] or [b, s] in any container as a batch; rows of different lengths filled on the left.

    The mask is 0 where it fills, or None. Raises ValueError for no numbers, or not whole ones.
    """
    advice = "Give whole numbers, [s] or [b, s]."
    if not isinstance(numbers, Tensor | np.ndarray):
        try:
            nested = len(numbers) > 0 and np.ndim(numbers[0]) > 0
            rows = [[index(number) for number in row] for row in (numbers if nested else [numbers])]
            if all(rows):
                return tokens.left_padded(rows, filling)
        except (TypeError, ValueError, OverflowError, RuntimeError, KeyError) as error:
            raise ValueError(
                f"{what} in a {type(numbers).__name__} cannot be read ({error}). {advice}"
            ) from None
        raise ValueError(f"{what} without a number hold no text; give at least one id, [s] or [b, s].")
    try:
        found = torch.as_tensor(numbers)
    except TypeError as error:
        raise ValueError(f"{what} in an array cannot be read ({error}). {advice}") from None
    if found.is_floating_point() or found.is_complex() or found.ndim not in (1, 2) or not found.numel():
        raise ValueError(
            f"{what} of shape {tuple(found.shape)} and {found.dtype} hold no text; give at least one id, "
            "a whole number, [s] or [b, s]."
        )
    return (found[None] if found.ndim == 1 else found).long(), None


def one_row(ids: Ids) -> list[int]:
    """The ids of one text, [s] or [1, s]; ValueError for several texts."""
    rows = as_rows(ids, 0)[0]
    if len(rows) > 1:
        raise ValueError(f"These are {len(rows)} texts; give them one by one, such as ids[0].")
    found: list[int] = rows[0].tolist()
    return found


def require_tokenizer(tokenizer: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase:
    """The tokenizer, or ValueError with what to do without one."""
    if tokenizer is None:
        raise ValueError(
            "This bridge has no tokenizer; give token ids, or load the model with its tokenizer."
        )
    return tokenizer
