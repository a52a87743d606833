"""What running a prompt takes, before it is run: memory from the model's shape, time from earlier runs."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.bridge import ModelBridge

RUNS_REMEMBERED = 5
"""Runs that tell a model's rate."""

_MARGIN = 1.2
"""What comes on top of the arrays counted here; measured with `benchmarks.long_text`."""

_SCRATCH = 8
"""Arrays of the size of B and C, in float32, that reading one layer takes for the moment."""


@dataclass(frozen=True)
class Cost:
    """What running a prompt will take."""

    tokens: int
    seconds: float | None
    """None where nothing has been measured, as for short prompts."""
    gigabytes: float

    def in_words(self) -> str:
        """As "12,000 tokens, about 3 s and 0.4 GB of memory"."""
        time, memory = _time(self.seconds or 0.0), f"{self.gigabytes:.2g} GB of memory"
        return f"{self.tokens:,} tokens, about {time} and {memory}"


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
    """What a mixer projects for B, C and dt, or softmax attention for q and k, in the model's dtype."""
    given: int
    """What a mixer was given, in the model's dtype."""
    terms: int
    """The terms that follow: B, C and dt in float32, the cumulative decay in float64; or q and k again."""
    scratch: int
    """What reading a layer takes for the moment, the most of any."""

    @staticmethod
    def of(bridge: ModelBridge) -> Footprint:
        """That of a loaded model."""
        mixers, attentions = bridge.ssm_layers(), bridge.attention_layers()
        mixer: Any = bridge.blocks[mixers[0]].mixer.original_component
        grouped, heads = 2 * mixer.n_groups * mixer.ssm_state_size, mixer.num_heads
        compared = 0
        if attentions:
            attention: Any = bridge.blocks[attentions[0]].attn.original_component
            compared = attention.q_proj.out_features + attention.k_proj.out_features
        item, layers = bridge.model.dtype.itemsize, len(mixers) + len(attentions)

        def mean(of_mixer: int, of_attention: int) -> int:
            return ceil((of_mixer * len(mixers) + of_attention * len(attentions)) / layers)

        return Footprint(
            layers=layers,
            projected=mean((grouped + heads) * item, compared * item),
            given=mean(bridge.model.config.hidden_size * item, 0),
            terms=mean((grouped + heads) * 4 + heads * 8, compared * item),
            # Of attention, its own q and k: they can be many times those of the mean.
            scratch=max(grouped * 4 * _SCRATCH, 2 * compared * item),
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
