"""Activation patching: which activations of one prompt bring back its answer in the run of another.

The clean prompt has an answer that the corrupted prompt, of equal length, lacks. The corrupted prompt runs
with one activation put in from the clean run, and the metric, such as the difference of two logits, moves
from that of the corrupted run towards that of the clean one:

    recovered = (patched − corrupted) / (clean − corrupted)

1 where the patch restores all, 0 where it does nothing (Wang et al., arXiv 2211.00593; Zhang and Nanda,
arXiv 2309.16042). Attribution patching estimates it from gradients: (a_clean − a_corrupted) · ∂metric/∂a in
place of patched − corrupted (Syed et al., arXiv 2310.10348).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise, zip_longest

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from components.bridge.activation_cache import ActivationCache
from components.bridge.hook_point import HookPoint
from components.bridge.model_bridge import ModelBridge
from components.bridge.prompts import Prompt
from components.bridge.rows import (
    RESIDUAL,
    ROWS,
    SCAN,
    Batches,
    Hook,
    Metric,
    Report,
    Row,
    needed_for,
)

ROUNDING = 4
"""Metrics that differ by no more than this, times the precision of the largest logit, count as equal."""

_HOOKS: dict[str, Hook] = {"residual": RESIDUAL, "scan": SCAN}
_COLUMNS: dict[str, int] = {"residual": 1, "scan": 2}
"""The dimension of the tensor at the hook along which it is patched: of positions, or of heads."""


@dataclass(frozen=True, eq=False)
class Patching:
    """What each patch recovers of a metric, by layer and position or by layer and head."""

    layers: tuple[int, ...]
    """The layer of each row: all, or those that hold a mixer."""
    recovered: Float32[Tensor, "layer column"]
    differs: Bool[Tensor, "layer column"]
    """Whether the two runs differ there. Where not, a patch changes nothing, and recovers exactly 0."""
    clean: float
    """The metric of the clean run."""
    corrupted: float

    def correlation(self, other: Patching) -> float:
        """Pearson's correlation of what is recovered where the runs differ; NaN where either is constant."""
        both = torch.stack([each.recovered[self.differs].double() for each in (self, other)])
        if both.shape[1] < 2 or float(both.std(dim=1).min()) == 0:
            return float("nan")
        return float(torch.corrcoef(both)[0, 1])


def patch(
    bridge: ModelBridge,
    clean: Prompt,
    corrupted: Prompt,
    metric: Metric,
    what: str = "residual",
    *,
    rows: int = ROWS,
    report: Report | None = None,
) -> Patching:
    """What each activation of the clean run recovers in the corrupted one; see the module for the formula.

    The prompts are one text each, of as many tokens. `metric` gives one figure for each row of the logits
    after the last position. `what` is patched: "residual", the residual stream before each layer at each
    position, or "scan", what each head's scan returns at all positions (in a mixer without a norm, times
    silu(z)). Each patch is a run of its own, `rows` of them a batch. Memory grows with `rows` and the text.

    Raises ValueError for prompts of unequal length, and where the metric of both runs is the same.
    """
    pair = _Pair.of(bridge, clean, corrupted, metric, what)
    pair.require_difference()
    return pair.recovered(pair.patched(metric, rows, report) - pair.figures[1])


@torch.no_grad()
def patched(
    bridge: ModelBridge,
    source: Prompt,
    into: Prompt,
    metric: Metric,
    what: str = "residual",
    *,
    rows: int = ROWS,
    report: Report | None = None,
) -> Float32[Tensor, "layer column"]:
    """The metric of the run of `into` with each activation of the run of `source` put in, one at a time.

    Arguments as for `patch`. Where both runs have the same activation, it is just the metric of `into`.
    """
    return _Pair.of(bridge, source, into, metric, what).patched(metric, rows, report)


def attribution_patch(
    bridge: ModelBridge,
    clean: Prompt,
    corrupted: Prompt,
    metric: Metric,
    what: str = "residual",
    *,
    points: int = 1,
    report: Report | None = None,
) -> Patching:
    """An estimate of `patch` from gradients: one run forward and back for each point instead of each patch.

    With one point, the gradient is that of the corrupted run. With more, it is the mean over runs whose
    embeddings lie on the line from the corrupted to the clean ones, k / points of the way for k = 0, 1, …, as
    in integrated gradients (Hanna et al., arXiv 2403.17806). Other arguments and errors as for `patch`.
    """
    if points < 1:
        raise ValueError(f"The gradient needs at least one point; {points} were given.")
    pair = _Pair.of(bridge, clean, corrupted, metric, what)
    pair.require_difference()
    return pair.recovered(pair.estimated(metric, points, report))


def part_at(one: Tensor, other: Tensor) -> int | None:
    """The first position at which the ids [1, s] of two texts differ, or one has ended; None if none."""
    pairs = zip_longest(one[0].tolist(), other[0].tolist())
    return next((position for position, (mine, yours) in enumerate(pairs) if mine != yours), None)


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two unedited runs: the one that activations are taken from, and the one that they are put into."""

    bridge: ModelBridge
    ids: tuple[Tensor, Tensor]
    what: str
    layers: tuple[int, ...]
    caches: tuple[ActivationCache, ActivationCache]
    figures: tuple[float, float]
    rounding: float
    """A difference of the figures that is no more than rounding."""

    @staticmethod
    def of(bridge: ModelBridge, source: Prompt, into: Prompt, metric: Metric, what: str) -> _Pair:
        if what not in _HOOKS:
            raise ValueError(f"{what!r} cannot be patched; {' and '.join(map(repr, _HOOKS))} can.")
        ids = bridge.to_tokens(source), bridge.to_tokens(into)
        for each in ids:
            if len(each) != 1:
                raise ValueError(f"These are {len(each)} texts; patch one pair at a time.")
        if ids[0].shape != ids[1].shape:
            raise ValueError(
                f"The prompts have {ids[0].shape[1]} and {ids[1].shape[1]} tokens, and part at position "
                f"{part_at(*ids)}. Patching puts a token's activations in the place of another's, so it "
                "needs as many in both."
            )
        layers = range(len(bridge.blocks)) if what == "residual" else bridge.ssm_layers()
        names = {f"blocks.{layer}.{_HOOKS[what]}" for layer in layers}
        runs = [
            bridge.run_with_cache(each, names_filter=sorted(names | more), logits_to_keep=1)
            for each, more in zip(ids, (set(), needed_for(bridge, _HOOKS[what], layers)), strict=True)
        ]
        logits = torch.cat([logits[:, 0] for logits, _ in runs])
        figures = metric(logits.float())
        if figures.shape != (2,):
            raise ValueError(
                f"Of two rows the metric returned a tensor of shape {tuple(figures.shape)}. It should return "
                "one figure for each row."
            )
        one, other = figures.tolist()
        rounding = ROUNDING * torch.finfo(logits.dtype).eps * float(logits.abs().max())
        return _Pair(bridge, ids, what, tuple(layers), (runs[0][1], runs[1][1]), (one, other), rounding)

    def require_difference(self) -> None:
        clean, corrupted = self.figures
        if abs(clean - corrupted) <= self.rounding:
            raise ValueError(
                f"The metric is the same for both prompts, {clean:.4g} and {corrupted:.4g}, so no part of a "
                "difference can be recovered. Take a prompt with another answer, or another metric."
            )

    @property
    def names(self) -> list[str]:
        """The hook of each layer."""
        return [f"blocks.{layer}.{_HOOKS[self.what]}" for layer in self.layers]

    @cached_property
    def differs(self) -> Bool[Tensor, "layer column"]:
        """Where the two runs have different activations."""
        source, into = self.caches
        apart = [self.by_column(source[name] != into[name]) for name in self.names]
        return torch.stack([each.any(dim=1).cpu() for each in apart])

    def by_column(self, tensor: Tensor) -> Tensor:
        """The tensor of a hook as [column, all else]."""
        return tensor.movedim(_COLUMNS[self.what], 0).flatten(1)

    @torch.no_grad()
    def patched(self, metric: Metric, rows: int, report: Report | None) -> Float32[Tensor, "layer column"]:
        """The metric of the second run with each activation of the first."""
        found = torch.full(self.differs.shape, self.figures[1])
        places: list[list[int]] = self.differs.nonzero().tolist()
        batches = Batches(self.bridge, self.ids[1])
        for start, stop in pairwise([*range(0, len(places), rows), len(places)]):
            at = places[start:stop]
            made = [self.row(self.layers[place], column) for place, column in at]
            logits = batches.logits(self.caches[1], made)
            found[tuple(torch.tensor(at).T)] = metric(logits.float()).float().cpu()
            if report is not None:
                report(stop, len(places))
        return found

    def row(self, layer: int, column: int) -> Row:
        """The second run with one activation of the first."""
        source, into = self.caches
        name, along = f"blocks.{layer}.{_HOOKS[self.what]}", _COLUMNS[self.what]
        tensor = into[name].clone()
        tensor.select(along, column).copy_(source[name].select(along, column))
        return Row(layer, _HOOKS[self.what], tensor, start=column if along == 1 else 0)

    def estimated(
        self, metric: Metric, points: int, report: Report | None
    ) -> Float32[Tensor, "layer column"]:
        """The change of the metric by each patch, to first order."""
        source, into = self.caches
        embed = "embed.hook_out"
        _, clean = self.bridge.run_with_cache(self.ids[0], names_filter=embed, logits_to_keep=1)
        found = torch.zeros(self.differs.shape)
        for point in range(points):
            logits, graph = self.bridge.run_with_cache(
                self.ids[1],
                names_filter=self.names,
                fwd_hooks=[(embed, partial(_moved, point / points, clean[embed]))],
                logits_to_keep=1,
                grad=True,
            )
            with torch.enable_grad():
                slopes = graph.gradients(metric(logits[:, 0].float()).sum(), self.names)
            for place, (name, slope) in enumerate(slopes.items()):
                change = self.by_column((source[name] - into[name]).float() * slope.float())
                found[place] += change.sum(dim=1).cpu() / points
            if report is not None:
                report(point + 1, points)
        return found

    def recovered(self, change: Float[Tensor, "layer column"]) -> Patching:
        """What of the difference between the two runs each change is."""
        clean, corrupted = self.figures
        part = change / (clean - corrupted)
        return Patching(self.layers, part, self.differs, clean, corrupted)


def _moved(part: float, towards: Tensor, tensor: Tensor, hook: HookPoint) -> Tensor:
    """A part of the way from a tensor to another."""
    return tensor + part * (towards - tensor)
