"""What one run recorded of one softmax attention layer: the queries and keys that it compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from components.ssd import EditedRows, SoftmaxTerms, softmax_attention

PATTERN = "hook_pattern"


@dataclass
class AttentionStep:
    """One call of the layer: queries [b, s, h, d] and the keys [b, s, g, d] that it added.

    `pattern`: its rows, if hooks edited them.
    """

    q: Float[Tensor, "batch seq head dim"]
    k: Float[Tensor, "batch seq group dim"]
    pattern: Float[Tensor, "batch head seq key"] | None = None


@dataclass
class AttentionRecord:
    """The steps of one layer in one run, which together give the terms of one pass over the whole text."""

    scale: float = 1.0
    mask: Int[Tensor, "batch prompt"] | None = None
    steps: list[AttentionStep] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Positions so far."""
        return sum(step.q.shape[1] for step in self.steps)

    def begin_step(
        self,
        q: Float[Tensor, "batch head seq dim"],
        k: Float[Tensor, "batch group key dim"],
        scale: float,
        mask: Tensor | None,
    ) -> AttentionStep:
        """Record one call: its queries, and the new ones of all keys so far."""
        self.scale, self.mask = scale, mask
        new = k[:, :, -q.shape[2] :]
        # A KV cache returns views of all keys; a copy of the new ones lets it free them as it grows.
        new = new if new.shape == k.shape else new.clone()
        step = AttentionStep(q.transpose(1, 2), new.transpose(1, 2))
        self.steps.append(step)
        return step

    @property
    def edited(self) -> bool:
        """Whether a hook edited the pattern."""
        return any(step.pattern is not None for step in self.steps)

    def terms(self) -> SoftmaxTerms:
        """The terms over all steps."""
        if not self.steps:
            raise RuntimeError("This attention layer has not run; there is nothing to derive.")
        starts = accumulate((step.q.shape[1] for step in self.steps), initial=0)
        return SoftmaxTerms(
            q=torch.cat([step.q for step in self.steps], dim=1),
            k=torch.cat([step.k for step in self.steps], dim=1),
            scale=self.scale,
            valid=_valid(self.mask, self.length),
            edited=tuple(
                EditedRows(start, step.pattern)
                for start, step in zip(starts, self.steps, strict=False)
                if step.pattern is not None
            ),
        )

    def pattern(self) -> Float[Tensor, "batch head seq key"]:
        """The attention pattern over all steps, with the edits of hooks."""
        terms = self.terms()
        # The edited tensor itself, for autograd.
        return terms.edited[0].matrix if self.edited and len(self.steps) == 1 else softmax_attention(terms)


def attention_records_for(names: Iterable[str]) -> dict[str, AttentionRecord]:
    """An empty record for every softmax attention layer whose pattern is wanted, by layer name."""
    ending = f".attn.{PATTERN}"
    return {name.removesuffix(f".{PATTERN}"): AttentionRecord() for name in names if name.endswith(ending)}


def _valid(mask: Tensor | None, length: int) -> Bool[Tensor, "batch seq"] | None:
    """True at real positions, as after the prompt; None if all are."""
    if mask is None or bool(mask.all()):
        return None
    return F.pad(mask, (0, length - mask.shape[1]), value=1).bool()
