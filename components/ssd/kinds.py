"""Kinds of heads: the matrices that make up their attention, and the words that pages use for them.

A kind is one entry of `KINDS`. Code that draws or exports heads reads it, and names no kind itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from jaxtyping import Float32
from torch import Tensor

from components.ssd.attention import content, decay, effective_attention
from components.ssd.compared import ComparedTerms
from components.ssd.contributions import (
    ContributionTerms,
    contribution_norms,
    contributions_toward,
    pooled_contribution_norms,
    pooled_contributions_toward,
    skip_norms,
    skips_toward,
)
from components.ssd.matrix import MatrixTerms, matrix_entries, pooled_entries
from components.ssd.mixer_terms import MixerTerms
from components.ssd.pooling import pooled_attention, pooled_content, pooled_decay
from components.ssd.softmax import SoftmaxTerms, pooled_scores, pooled_softmax, scores, softmax_attention
from components.ssd.terms import SSDTerms

Statistic = Literal["mean", "rms"]
Needs = Literal["terms", "contributions", "direction"]
Indices = slice | Sequence[int] | None


@dataclass(frozen=True)
class Factor:
    """One of the matrices of a head, [queries, keys], zero above the diagonal."""

    name: str
    title: str
    """The title above its picture."""
    full: Callable[..., Float32[Tensor, "batch heads queries keys"]]
    """From terms, its entries; `heads`, `queries` and `keys` as for `effective_attention`."""
    pooled: Callable[..., Float32[Tensor, "batch heads query_tiles key_tiles"]]
    """From terms, the exact mean over tiles; arguments as for `pooled_attention`."""
    exact: tuple[Statistic, ...] = ("mean",)
    """Values of `statistic` that `pooled` takes; with "mean" alone it takes none."""
    signed: bool = True
    limit: float | None = None
    """Its largest value; None where it depends on the text."""
    per_group: bool = False
    """Whether heads of one group share it."""
    label: str = ""
    """Its name in tables, if not `name`."""
    plural: str = ""
    """As in "the mean of the scores", if not `name`."""
    about: str = ""
    """What its cells are, in sentences."""
    needs: Needs = "terms"
    """What it is computed from: terms of the kind, `ContributionTerms`, or these with a direction."""
    operator: str = ""
    """The sign before its picture, if not the kind's."""
    skip: Callable[..., Float32[Tensor, "batch heads queries"]] | None = None
    """From terms, heads and queries: the same of the skip, which no cell holds."""
    with_dt: bool = False
    """Whether each column is multiplied by the step size of its key."""

    def of(
        self,
        terms: MixerTerms,
        *,
        tiles: int | None = None,
        statistic: Statistic = "mean",
        heads: Indices = None,
        queries: slice | None = None,
        keys: slice | None = None,
    ) -> Float32[Tensor, "batch heads rows columns"]:
        """The matrix over a window, or over its tiles: the statistic where it is exact, else the mean.

        ValueError for terms that lack what it needs.
        """
        if self.needs != "terms" and not isinstance(terms, ContributionTerms):
            raise ValueError(
                f"These terms have no contributions, which {self.name!r} shows. Give those of "
                "contribution_terms(bridge, cache, layer, target, foil), from components.bridge."
            )
        at: dict[str, Any] = {"heads": heads, "queries": queries, "keys": keys}
        if tiles is None:
            return self.full(terms, **at)
        if len(self.exact) > 1:
            at["statistic"] = statistic
        return self.pooled(terms, tiles=tiles, **at)


@dataclass(frozen=True)
class Kind:
    """What all heads of a kind share. The last of its `factors` is named "attention"."""

    name: str
    words: str
    """In a sentence, such as "softmax attention"."""
    short: str
    """In a label, such as "softmax"; "" for the default kind."""
    factors: tuple[Factor, ...]
    operators: tuple[str, ...]
    """Signs between the factors' pictures."""
    hooks: tuple[str, ...] = ()
    """The layer's hooks that give its terms."""
    matrix_hook: str = ""
    """The layer's hook at which an edit of attention takes effect."""
    terms: str = ""
    """The call of the `ActivationCache` method that returns the terms."""
    readings: tuple[Factor, ...] = ()
    """What the last picture can show instead of attention, such as attention times dt."""
    step_size: Callable[[Any], Float32[Tensor, "batch seq head"]] | None = None
    """From terms: how strongly each position was written."""
    separates: bool = True
    """Whether pictures of a long text take time in proportion to it, and not to its square."""
    has_state: bool = False
    """Whether a state carries what was written, so that there are norms and shares of it."""
    mixes_before: bool = False
    """Whether a convolution mixes neighbouring positions before they are read."""
    rows_sum_to_one: bool = False
    about: tuple[str, ...] = ()
    """Lines instead of a third picture."""
    note: str = ""
    """The source of the picture, if no output of the layer exists to compare it with."""

    @property
    def attention(self) -> Factor:
        """The last of the factors."""
        return self.factors[-1]

    def reading(self, name: str) -> Factor:
        """The reading of this name; attention, where the kind has none."""
        return next((each for each in self.readings if each.name == name), self.attention)

    def from_terms(self, name: str) -> str:
        """The name of a reading, if that needs the terms alone; else that of attention."""
        found = self.reading(name)
        return found.name if found.needs == "terms" else self.attention.name

    @property
    def decay(self) -> Factor | None:
        """The factor with what is left of what was written; None where nothing decays."""
        return next((factor for factor in self.factors if factor.name == "decay"), None)


_BOTH: tuple[Statistic, ...] = ("mean", "rms")

MAMBA2 = Kind(
    name=SSDTerms.kind,
    words="Mamba-2",
    short="",
    factors=(
        Factor("content", "content  C·Bᵀ", content, pooled_content, per_group=True),
        Factor("decay", "decay  L", decay, pooled_decay, signed=False, limit=1.0),
        Factor("attention", "attention  M", effective_attention, pooled_attention, exact=_BOTH),
    ),
    operators=("∘", "="),
    hooks=("mixer.hook_B", "mixer.hook_C", "mixer.hook_dt"),
    matrix_hook="mixer.hook_attention",
    terms="ssd_terms(layer={layer}, with_x=False)",
    readings=(
        Factor(
            "attention_dt",
            "attention  M·dt",
            partial(effective_attention, include_dt_scaling=True),
            partial(pooled_attention, include_dt_scaling=True),
            exact=_BOTH,
            label="attention·dt",
            about="M·dt is what the scan adds up: a key with a small dt is paler than in M.",
            with_dt=True,
        ),
        Factor(
            "contribution",
            "contribution norm",
            contribution_norms,
            pooled_contribution_norms,
            exact=_BOTH,
            signed=False,
            label="contribution norm",
            about="Contribution norm: the length of what key j adds to the residual stream at query i "
            "through this head. Gate and norm stay as in this run. The skip D·x is in no cell.",
            needs="contributions",
            operator="→",
            skip=skip_norms,
            with_dt=True,
        ),
        Factor(
            "toward",
            "direct effect on the answer",
            contributions_toward,
            pooled_contributions_toward,
            exact=_BOTH,
            label="direct effect",
            about="Direct effect on the answer: what key j adds through this head, at query i, to the logit "
            "of the answer less that of the other token, in the prediction after i. Gate and norms stay as "
            "in this run, and what later layers add is left out. The skip D·x is in no cell.",
            needs="direction",
            operator="→",
            skip=skips_toward,
            with_dt=True,
        ),
    ),
    step_size=lambda terms: terms.dt,
    has_state=True,
    mixes_before=True,
)

SOFTMAX = Kind(
    name=SoftmaxTerms.kind,
    words="softmax attention",
    short="softmax",
    factors=(
        Factor("content", "scores  q·k", scores, pooled_scores, label="score", plural="the scores"),
        Factor(
            "attention", "attention  softmax", softmax_attention, pooled_softmax, exact=_BOTH, signed=False
        ),
    ),
    operators=("→",),
    hooks=("attn.hook_pattern",),
    matrix_hook="attn.hook_pattern",
    terms="softmax_terms(layer={layer})",
    separates=False,
    rows_sum_to_one=True,
    about=(
        "Each row of scores, scaled q·k,",
        "becomes a distribution over its",
        "keys: no sign, and a sum of one.",
        "",
        "Nothing decays: all keys are kept,",
        "and one far away can weigh as much",
        "as the one before.",
    ),
    note="Softmax attention: every row is a distribution over the tokens up to it, and nothing decays. "
    "It is computed from the queries and keys that the layer itself compared.",
)

MATRIX = Kind(
    name=MatrixTerms.kind,
    words="a given matrix",
    short="matrix",
    factors=(Factor("attention", "", matrix_entries, pooled_entries, exact=_BOTH, label="value"),),
    operators=(),
)


def _first(terms: ComparedTerms, **at: Any) -> Float32[Tensor, "batch heads queries keys"]:
    """The attention of the first run over a window, or over its tiles."""
    return kind_of(terms.first).attention.of(terms.first, **at)


def _second(terms: ComparedTerms, **at: Any) -> Float32[Tensor, "batch heads queries keys"]:
    """The attention of the second."""
    return kind_of(terms.second).attention.of(terms.second, **at)


def _difference(terms: ComparedTerms, **at: Any) -> Float32[Tensor, "batch heads queries keys"]:
    """The second less the first; the mean over a tile is the difference of the means."""
    return _second(terms, **at) - _first(terms, **at)


COMPARED = Kind(
    name=ComparedTerms.kind,
    words="two runs compared",
    short="compared",
    factors=(
        Factor("first", "first run", _first, _first),
        Factor("second", "second run", _second, _second),
        Factor("attention", "second − first", _difference, _difference, label="difference"),
    ),
    operators=("→", "⇒"),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in (MAMBA2, SOFTMAX, MATRIX, COMPARED)}
"""By name, in the order within a layer that holds several."""


FORMER_NAMES = {"ssm": MAMBA2.name, "attention": SOFTMAX.name}
"""Their names in links of earlier versions."""

FORMER_READINGS = {"dt": "attention_dt"}
"""Names of readings in links of earlier versions, where they were switches."""


def kind_of(terms: MixerTerms) -> Kind:
    """The kind whose terms these are."""
    return KINDS[terms.kind]


def attention_of(
    terms: MixerTerms,
    *,
    heads: Indices = None,
    queries: Indices = None,
    keys: Indices = None,
) -> Float32[Tensor, "batch heads queries keys"]:
    """The attention: M of a Mamba-2 layer, P of softmax attention. Arguments as for either."""
    return kind_of(terms).attention.full(terms, heads=heads, queries=queries, keys=keys)


class Place(NamedTuple):
    """A layer's heads of one kind."""

    layer: int
    kind: str = MAMBA2.name

    def __str__(self) -> str:
        """As "layer 9" or "layer 9, softmax attention"."""
        kind = KINDS[self.kind]
        return f"layer {self.layer}{f', {kind.words}' if kind.short else ''}"

    @property
    def order(self) -> tuple[int, int]:
        """Sort key: by layer, then by kind as in `KINDS`."""
        return self.layer, list(KINDS).index(self.kind)


@dataclass(frozen=True)
class Head:
    """One head: its layer and kind, and its number among the layer's heads of that kind."""

    place: Place
    index: int

    def __str__(self) -> str:
        """As "layer 9, head 2" or "layer 9, softmax attention, head 2"."""
        return f"{self.place}, head {self.index}"
