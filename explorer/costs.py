"""What running a prompt takes, before it is run, and whether it is run.

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
"""Runs that tell a model's rate."""

ASK_SECONDS = 20.0
"""A run that takes longer is not begun unasked."""

_MARGIN = 1.2
"""What comes on top of the arrays counted here; measured with `benchmarks.long_text`."""


@dataclass(frozen=True)
class Cost:
    """What running a prompt will take."""

    tokens: int
    seconds: float | None
    """None where nothing has been measured, as for short prompts."""
    gigabytes: float
    free: float = inf
    """GB of memory that are free for it."""

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
    """Whether to run a prompt of this cost; None stands for one so short that its cost is not estimated.

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


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1g} h"


@dataclass(frozen=True)
class Footprint:
    """Bytes per token and layer of what is kept of a run.

    A layer counts once for each kind of heads that it holds; the bytes are those of a mean one.
    """

    layers: int
    projected: int
    """What a run keeps, in the model's dtype."""
    given: int
    """What a layer was given, in the model's dtype."""
    terms: int
    """The terms that follow."""
    scratch: int
    """What reading a layer takes for the moment, the most of any."""

    @staticmethod
    def of(bridge: ModelBridge) -> Footprint:
        """That of a loaded model."""
        item = bridge.model.dtype.itemsize
        layers = [bridge.at(place).bytes_per_token(item) for place in bridge.heads]
        return Footprint(
            layers=len(layers),
            projected=ceil(mean(each.projected for each in layers)),
            given=ceil(mean(each.given for each in layers)),
            terms=ceil(mean(each.terms for each in layers)),
            scratch=max(each.scratch for each in layers),  # one can take many times what the mean one does
        )

    def layers_at_once(self, tokens: int, most: int) -> int:
        """Layers that one run keeps within `most` bytes: all with what they were given, or fewer without."""
        if tokens * self.layers * (self.terms + self.given) <= most:
            return self.layers
        return min(max(int(most // (tokens * self.projected)), 1), self.layers - 1 or 1)

    def runs(self, tokens: int, most: int) -> int:
        """How often the text goes through the model: once, or for some layers at a time and one in use."""
        at_once = self.layers_at_once(tokens, most)
        return 1 if at_once == self.layers else ceil(self.layers / at_once) + 1

    def gigabytes(self, tokens: int, most: int) -> float:
        """Most memory that is taken at a time."""
        at_once = self.layers_at_once(tokens, most)
        whole = at_once == self.layers
        kept = at_once * (self.projected + (self.given + self.terms if whole else 0))
        return _MARGIN * tokens * (kept + (0 if whole else self.terms) + self.scratch) / 1e9


_lock = threading.Lock()
_runs: dict[str, deque[tuple[float, int]]] = defaultdict(lambda: deque(maxlen=RUNS_REMEMBERED))


def remember_run(model: str, seconds: float, tokens: int) -> None:
    """Take note of how long a model took for how many tokens."""
    with _lock:
        _runs[model].append((seconds, tokens))


def measured_rate(model: str, tokens: int = 0) -> float | None:
    """Least seconds per token that one of a model's last runs took; None before the first.

    A run that shared the machine took longer than it needs, and none took less. What a token costs can grow
    with the text, as in softmax attention, so runs of less than a quarter of `tokens` do not count, or of the
    longest, if that is shorter.
    """
    with _lock:
        runs = list(_runs[model])
    least = min(tokens, max((read for _, read in runs), default=0)) / 4
    return min((seconds / read for seconds, read in runs if read >= least), default=None)
