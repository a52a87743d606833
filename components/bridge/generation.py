"""Generates a continuation token by token: the caller can look at every step, and stop.

The model reads every token before it is returned, so the capture covers every id.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from transformers import DynamicCache, TemperatureLogitsWarper, TopPLogitsWarper

from components.bridge.activation_cache import ActivationCache
from components.bridge.mixer_record import MixerStep
from components.bridge.passes import ForwardHooks, NamesFilter, Passes
from components.bridge.prompts import Prompt

MOST_LIKELY = 10
"""Tokens whose probabilities a step lists."""

PIECE_TOKENS = 256
"""Tokens of the prompt fed at a time: the logits of all of them are in memory at once."""


@dataclass(frozen=True)
class Step:
    """The model's prediction after one position, and the token that followed.

    `position`: query position i, whose row was read to predict the token at i + 1. `likely`: the MOST_LIKELY
    tokens as (id, probability), most probable first, in the model's own distribution, before temperature and
    top-p. `id`: the token at i + 1, from the prompt or chosen, and `probability`, the model's for it; both
    None after the last position.
    """

    position: int
    likely: tuple[tuple[int, float], ...]
    id: int | None = None
    probability: float | None = None


@dataclass(frozen=True)
class _Fed:
    """One feed: for each position up to `stop` its likely next tokens, and its own token's probability."""

    stop: int
    ids: Int64[Tensor, "new most"]
    probabilities: Float32[Tensor, "new most"]
    came: Float32[Tensor, " new"]


class Generation(Iterator[Step]):
    """One prompt and its continuation so far. `ModelBridge.stream` creates it.

    Each `next()` chooses a token, feeds it to the model and returns the step that led to it. It ends after
    `max_new_tokens`, or after one of the model's end tokens. A `temperature` of 0 takes the most probable
    token; above 0, a generator with this `seed` draws one from the softmax of the logits divided by it, among
    the most probable tokens that together reach `top_p`. The model's other generation settings (penalties
    and the like) are ignored.

    Functions at `fwd_hooks` fire for each piece of the prompt and for each token, with its positions.

    One thread calls `next()`. Others may read `ids`, `step` and `cache` meanwhile: they cover what the whole
    model has read. They stay after an error or an interruption within the model, but `next()` then raises
    RuntimeError. Raises ValueError for a value out of range, an empty text, or several.
    """

    def __init__(
        self,
        bridge: Passes,
        prompt_or_ids: Prompt,
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        names_filter: NamesFilter = None,
        fwd_hooks: ForwardHooks = (),
    ) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; generate at least 1.")
        if not 0 <= temperature < float("inf"):
            raise ValueError(
                f"The temperature is {temperature}; give 0 for the most probable token, or more to draw one."
            )
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p is {top_p}; give a number above 0 and up to 1; 1 keeps every token.")
        self._all_ids, _ = bridge._inputs(prompt_or_ids, None)
        if len(self._all_ids) > 1:
            raise ValueError(f"These are {len(self._all_ids)} texts; stream them one by one.")
        self.prompt_length = self._all_ids.shape[1]
        self.max_new_tokens = max_new_tokens
        self._temperature, self._top_p = temperature, top_p
        self._generator = torch.Generator().manual_seed(seed)
        self._bridge = bridge
        ends = bridge.model.generation_config.eos_token_id
        self._ends = {ends} if isinstance(ends, int) else set(ends or ())
        self._state = DynamicCache(config=bridge.model.config)
        self._run = bridge._run(fwd_hooks, bridge._names(names_filter))
        self._run.prompt = range(self.prompt_length)
        self._broken = ""
        self._fed: list[_Fed] = []
        self._last_logits = torch.empty(1, 0)

    @property
    def length(self) -> int:
        """Positions that have been fed."""
        return self._fed[-1].stop if self._fed else 0

    @property
    def ids(self) -> list[int]:
        """Prompt and continuation, as far as they have been fed."""
        ids: list[int] = self._all_ids[0, : self.length].tolist()
        return ids

    @property
    def ended(self) -> bool:
        """Whether it is complete: `max_new_tokens`, or an end token."""
        new = self.length - self.prompt_length
        return new >= self.max_new_tokens or self.ended_itself

    @property
    def ended_itself(self) -> bool:
        """Whether it ended with an end token."""
        return self.length > self.prompt_length and int(self._all_ids[0, -1]) in self._ends

    @property
    def cache(self) -> ActivationCache:
        """The capture so far, over prompt and continuation; later tokens do not change it."""
        run, feeds = self._run, len(self._fed)
        seen = replace(
            run,
            ids=self._all_ids[:, : self._fed[feeds - 1].stop] if feeds else None,
            mixers={
                name: replace(record, steps=_together(record.steps[:feeds]))
                for name, record in run.mixers.items()
            },
            attentions={
                name: replace(record, steps=record.steps[:feeds]) for name, record in run.attentions.items()
            },
            captured={name: tensors[:feeds] for name, tensors in run.captured.items()},
        )
        return self._bridge._cache(seen)

    def step(self, position: int) -> Step:
        """The step of a position that has been fed; IndexError for any other."""
        ids, fed = self.ids, self._fed[:]
        if not 0 <= position < len(ids):
            raise IndexError(f"There is no position {position}; {len(ids)} have been fed, from 0 on.")

        def of(position: int) -> tuple[_Fed, int]:
            feed = fed[bisect([each.stop for each in fed], position)]
            return feed, position - feed.stop  # from the end

        feed, row = of(position)
        likely = zip(feed.ids[row].tolist(), feed.probabilities[row].tolist(), strict=True)
        if position + 1 == len(ids):
            return Step(position, tuple(likely))
        after, next_row = of(position + 1)
        return Step(position, tuple(likely), ids[position + 1], float(after.came[next_row]))

    def read_prompt(self) -> Iterator[int]:
        """Feed the prompt piece by piece, yielding how many positions are read; `next()` feeds the rest.

        So a caller can show progress, and stop. A piece has at least two tokens: the model takes a single one
        as a decode step, which computes differently (no clamp of dt).
        """
        length = self.prompt_length
        for start, stop in pairwise([*range(0, max(length - 1, 1), PIECE_TOKENS), length]):
            if start == self.length:
                self._feed(self._all_ids[:, :stop], stop - start)
                yield stop

    def __next__(self) -> Step:
        for _ in self.read_prompt():
            pass
        if self.ended:
            raise StopIteration
        self._feed(torch.cat([self._all_ids, self._chosen()], dim=1), 1)
        return self.step(self.length - 2)

    def _chosen(self) -> Int64[Tensor, "1 1"]:
        """The next token: the most probable one, or one drawn on the CPU, so the same on every device."""
        logits = self._last_logits
        if self._temperature == 0:
            return logits.argmax(dim=-1, keepdim=True)
        logits = TemperatureLogitsWarper(self._temperature)(self._all_ids, logits.cpu())
        logits = TopPLogitsWarper(self._top_p)(self._all_ids, logits)
        drawn = torch.multinomial(logits.softmax(dim=-1), 1, generator=self._generator)
        return drawn.to(self._all_ids.device)

    @torch.no_grad()
    def _feed(self, ids: Int64[Tensor, "1 seq"], new: int) -> None:
        """Feed the last `new` of these ids; the state has those before."""
        if self._broken:
            raise RuntimeError(self._broken)
        bridge, start = self._bridge, ids.shape[1] - new
        with bridge._running(self._run):
            # Until this feed is recorded, an error leaves the state between two positions.
            self._broken = (
                f"This continuation was interrupted within the model, after {self.length} positions: some "
                "layers have read more and some have not. What was seen until then is still there; to go on, "
                "stream again from generation.ids, or from the prompt if nothing had been read."
            )
            logits = bridge.step(ids, start, self._state, None, new)[0].float()
        if bool(logits[-1].isnan().any()):
            self._broken = (
                f"After position {ids.shape[1] - 1} the model's logits are not numbers (NaN). "
                "In half precision that can be an overflow; load the model in float32."
            )
            raise RuntimeError(self._broken)
        probabilities = logits.softmax(dim=-1)
        expected = probabilities[:-1].gather(1, ids[0, start + 1 :, None].to(logits.device))[:, 0]
        likely = probabilities.topk(min(MOST_LIKELY, logits.shape[1]))
        came = torch.cat([self._expected(int(ids[0, start])), expected.cpu()])
        if ids.shape[1] > self._all_ids.shape[1]:
            self._all_ids = ids
        self._last_logits = logits[-1:]
        # Last: other threads then see only what every layer has read.
        self._fed.append(_Fed(ids.shape[1], likely.indices.cpu(), likely.values.cpu(), came))
        self._broken = ""

    def _expected(self, token: int) -> Float32[Tensor, " one"]:
        """The probability of the next token; NaN for the first, which no position predicts."""
        if not self._fed:
            return torch.full((1,), torch.nan)
        return self._last_logits.softmax(dim=-1)[:, token].cpu()


def _together(steps: list[MixerStep]) -> list[MixerStep]:
    """Decode steps as one, unclamped like each of them: deriving each on its own would take far longer.

    Steps that hooks ran on are derived already, and stay as the hooks left them.
    """
    first = next((row for row, step in enumerate(steps) if step.recurrent), len(steps))
    decoded = steps[first:]
    if not decoded or decoded[0].interior is not None:
        return steps
    gates = [step.gate for step in decoded if step.gate is not None]
    outputs = [step.y for step in decoded if step.y is not None]
    return [
        *steps[:first],
        MixerStep(
            torch.cat([step.projected for step in decoded], dim=1),
            mask=None,
            recurrent=True,
            gate=torch.cat(gates, dim=1) if gates else None,
            y=torch.cat(outputs, dim=1) if outputs else None,
        ),
    ]
