"""Estimates what running a prompt takes, and decides whether to run it.

Memory follows from the model's shape, time from earlier runs.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from math import ceil, inf
from statistics import mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.bridge import ModelBridge
    from explorer.settings import Settings

RUNS_REMEMBERED = 5
"""Runs kept for a model's rate."""

ASK_SECONDS = 20.0
"""The page asks before it starts a longer run."""

AT_ONCE = 2e12
"""Multiplications of weights that a sweep may take before the page asks: half a minute or so on two cores."""

_MARGIN = 1.2
"""Factor over the arrays counted here; measured with `benchmarks.long_text`."""


@dataclass(frozen=True)
class Cost:
    """What running a prompt will take."""

    tokens: int
    seconds: float | None
    """None where nothing has been measured, as for short prompts."""
    gigabytes: float
    free: float = inf
    """GB of free memory."""

    def in_words(self) -> str:
        """As "12,000 tokens, about 3 s and 0.4 GB of memory"."""
        time, memory = _time(self.seconds or 0.0), f"{self.gigabytes:.2g} GB of memory"
        return f"{self.tokens:,} tokens, about {time} and {memory}"


@dataclass(frozen=True)
class Go:
    """Run it. `words`, if there are any, say what it takes."""

    words: str = ""


@dataclass(frozen=True)
class Ask:
    """Say what it takes, and run it only if the reader agrees."""

    words: str


@dataclass(frozen=True)
class Refuse:
    """Do not run it. `words` say why, and what to do."""

    words: str


def decide(cost: Cost | None, limits: Settings, *, shown: bool, agreed: bool) -> Go | Ask | Refuse:
    """Decide whether to run a prompt of this cost; None for one too short to need an estimate.

    `shown`: whether it is on the page already. `agreed`: whether the reader has agreed to what it takes.
    """
    if cost is None:
        return Go()
    try:
        limits.check_cost(cost.gigabytes, cost.free)
    except ValueError as error:
        return Refuse(str(error))
    if (cost.seconds or 0) > ASK_SECONDS and not (shown or agreed):
        return Ask(f"{cost.in_words()}.")
    return Go(cost.in_words())


def is_large(parameters: int, tokens: int, runs: int) -> bool:
    """Whether so many runs of a text are more than a page starts unasked: one takes each weight per token."""
    return parameters * tokens * runs > AT_ONCE


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1g} h"


@dataclass(frozen=True)
class Footprint:
    """Bytes per token and layer that a run takes.

    A layer counts once for each kind of heads that it holds; the bytes are means over these.
    """

    layers: int
    projected: int
    """What a run keeps, in the model's dtype."""
    given: int
    """A layer's input, in the model's dtype."""
    terms: int
    """A layer's terms."""
    scratch: int
    """Temporary memory to read a layer; not a mean but the maximum."""

    @staticmethod
    def of(bridge: ModelBridge) -> Footprint:
        """The footprint of a model."""
        item = bridge.model.dtype.itemsize
        layers = [bridge.at(place).bytes_per_token(item) for place in bridge.heads]
        return Footprint(
            layers=len(layers),
            projected=ceil(mean(each.projected for each in layers)),
            given=ceil(mean(each.given for each in layers)),
            terms=ceil(mean(each.terms for each in layers)),
            scratch=max(each.scratch for each in layers),  # one can take many times the mean
        )

    def layers_at_once(self, tokens: int, most: int) -> int:
        """Layers that one run keeps within `most` bytes: all with their inputs, or fewer without."""
        if tokens * self.layers * (self.terms + self.given) <= most:
            return self.layers
        return min(max(int(most // (tokens * self.projected)), 1), self.layers - 1 or 1)

    def runs(self, tokens: int, most: int) -> int:
        """Runs of the text: one, or one for each group of layers and one for the layer in use."""
        at_once = self.layers_at_once(tokens, most)
        return 1 if at_once == self.layers else ceil(self.layers / at_once) + 1

    def gigabytes(self, tokens: int, most: int) -> float:
        """Peak memory in GB."""
        at_once = self.layers_at_once(tokens, most)
        whole = at_once == self.layers
        kept = at_once * (self.projected + (self.given + self.terms if whole else 0))
        return _MARGIN * tokens * (kept + (0 if whole else self.terms) + self.scratch) / 1e9


_lock = threading.Lock()
_runs: dict[str, deque[tuple[float, int]]] = defaultdict(lambda: deque(maxlen=RUNS_REMEMBERED))


def remember_run(model: str, seconds: float, tokens: int) -> None:
    """Record how long a model took for so many tokens."""
    with _lock:
        _runs[model].append((seconds, tokens))


def measured_rate(model: str, tokens: int = 0) -> float | None:
    """Fewest seconds per token in a model's last runs; None before the first.

    A run that shared the machine took longer than needed; none took less. The cost of a token can grow with
    the text, as in softmax attention, so runs shorter than a quarter of `tokens` do not count, or than a
    quarter of the longest run, if that is shorter.
    """
    with _lock:
        runs = list(_runs[model])
    least = min(tokens, max((read for _, read in runs), default=0)) / 4
    return min((seconds / read for seconds, read in runs if read >= least), default=None)
