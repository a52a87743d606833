"""What edits do to a prediction: a run with and without them, and what each of many takes from an answer.

Results are NumPy arrays in single precision; `print` writes them with the digits that determine them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from components.bridge.activation_cache import ActivationCache
from components.bridge.estimates import estimate
from components.bridge.model_bridge import ModelBridge
from components.bridge.prompts import Ids
from components.bridge.rows import Report
from components.bridge.sweeps import has_control, sweep
from components.ssd import KINDS, CutSource, Edit, Head, HeadEdit, Mute, Place, Sizes

LIKELY = 10
"""Tokens that a list of the most probable holds."""
CONTROL_SEED = 0
FINAL_NORM = ("ln_final.hook_in", "ln_final.hook_out")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model predicts after each position of a text."""

    log_p: Float32[np.ndarray, "seq vocab"]
    """Natural logarithms of probabilities."""
    final: ActivationCache
    """The final norm's input and output."""
    sizes: tuple[float, ...] = ()
    """How much each edit changed the tensors at its hooks, as a part of them."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.log_p.nbytes + sum(self.final[name].nbytes for name in FINAL_NORM)

    def answer(
        self, position: int, target: int | None, foil: int | None, *, rival: int | None = None
    ) -> tuple[int, int]:
        """The answer and the token that it is compared with: those given, if they exist, else the most
        probable; `rival` is compared with before the second of these.
        """
        likely, vocabulary = self.likely(position), self.log_p.shape[1]
        answer = target if target is not None and target < vocabulary else likely[0]
        others = [token for token in (rival, *likely) if token not in (None, answer)]
        return answer, foil if foil is not None and foil < vocabulary else others[0]

    def probability(self, position: int, token: int) -> np.float32:
        """Of a token after a position."""
        found: np.float32 = np.exp(self.log_p[position, token])
        return found

    def difference(self, position: int, target: int, foil: int) -> np.float32:
        """The logit of one token less that of another."""
        found: np.float32 = self.log_p[position, target] - self.log_p[position, foil]
        return found

    def rank(self, position: int, token: int) -> int:
        """1 for the most probable."""
        row = self.log_p[position]
        return int((row > row[token]).sum()) + 1

    def likely(self, position: int) -> list[int]:
        """The most probable tokens after a position, most probable first."""
        return [int(each) for each in np.argsort(-self.log_p[position], kind="stable")[:LIKELY]]

    def divergence(self, other: Prediction) -> Float32[np.ndarray, " seq"]:
        """KL(this ‖ other) after each position, in nats. Rounding below zero is zero."""
        mine, others = self.log_p.astype(np.float64), other.log_p.astype(np.float64)
        found = (np.exp(mine) * (mine - others)).sum(axis=1)
        nats: Float32[np.ndarray, " seq"] = found.clip(min=0).astype(np.float32)
        return nats


def predict(bridge: ModelBridge, ids: Ids, edits: Sequence[Edit] = ()) -> Prediction:
    """What the model predicts along one text, `ids` [s] or [1, s], under a stack of edits.

    Raises ValueError for an edit that this model cannot have, and as `run_with_cache`.
    """
    sizes = Sizes(edits)
    logits, final = bridge.run_with_cache(ids, names_filter=FINAL_NORM, fwd_hooks=sizes.hooks)
    return Prediction(logits[0].float().log_softmax(dim=-1).cpu().numpy(), final, tuple(sizes.relative))


@dataclass(frozen=True, eq=False)
class Effects:
    """What each of several edits takes from a prediction: positive if the prediction needs it.

    `log_p`: how far the log probability of the answer falls. `difference`: how far its logit falls, less the
    foil's. Each has the same for a random change of the same size; NaN where there is none.
    """

    log_p: Float32[np.ndarray, " edit"]
    difference: Float32[np.ndarray, " edit"]
    control_log_p: Float32[np.ndarray, " edit"]
    control_difference: Float32[np.ndarray, " edit"]

    def of(
        self, figure: Literal["log_p", "difference"]
    ) -> tuple[Float32[np.ndarray, " edit"], Float32[np.ndarray, " edit"]]:
        """One of the figures, and its control."""
        if figure == "log_p":
            return self.log_p, self.control_log_p
        return self.difference, self.control_difference

    def rows(self) -> list[tuple[np.float32, ...]]:
        """For each edit its four figures, in the order of the fields."""
        columns = self.log_p, self.difference, self.control_log_p, self.control_difference
        return list(zip(*columns, strict=True))


def effects_of(
    bridge: ModelBridge,
    ids: Ids,
    edits: Sequence[HeadEdit | None],
    target: int,
    foil: int,
    *,
    seed: int | None = CONTROL_SEED,
    report: Report | None = None,
) -> Effects:
    """What each edit alone takes from the prediction after the last position of one text, by a `sweep`.

    `ids` [s] or [1, s]. Figures are NaN where an edit is None. `seed` draws the random changes, for all edits
    that have a control; None for none. `report` counts edits and random changes together. Raises as `sweep`.
    """
    made = [edit for edit in edits if edit is not None]
    with_control = [edit for edit in made if seed is not None and has_control(edit)]
    count = len(made) + len(with_control)

    figures = partial(_figures, target, foil)

    def drops(
        edits: Sequence[HeadEdit], done_before: int, control: torch.Generator | None
    ) -> Float32[np.ndarray, "edit 2"]:
        def tell(done: int, _: int) -> None:
            if report is not None:
                report(done_before + done, count)

        after = sweep(bridge, ids, edits, figures, report=tell, control=control)
        drops: Float32[np.ndarray, "edit 2"] = (clean - after).cpu().numpy()
        return drops

    logits, _ = bridge.run_with_cache(ids, names_filter=[], logits_to_keep=1)
    clean = figures(logits[:, 0].float())
    columns = np.full((4, len(edits)), np.nan, np.float32)
    columns[:2, [edit is not None for edit in edits]] = drops(made, 0, None).T
    if seed is not None:
        random = drops(with_control, len(made), torch.Generator().manual_seed(seed))
        columns[2:, [edit is not None and has_control(edit) for edit in edits]] = random.T
    return Effects(*columns)


def estimated_effects_of(
    bridge: ModelBridge, ids: Ids, edits: Sequence[HeadEdit | None], target: int, foil: int
) -> Effects:
    """`effects_of` to first order, by an `estimate` with the norms frozen; without random changes.

    Raises as `estimate`.
    """
    figures, made = partial(_figures, target, foil), [edit for edit in edits if edit is not None]
    logits, _ = bridge.run_with_cache(ids, names_filter=[], logits_to_keep=1)
    drops = figures(logits[:, 0].float()) - estimate(bridge, ids, made, figures)
    columns = np.full((4, len(edits)), np.nan, np.float32)
    columns[:2, [edit is not None for edit in edits]] = drops.T.cpu().numpy()
    return Effects(*columns)


def _figures(target: int, foil: int, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row 2"]:
    """Of each row, the log probability of the answer, and the logit difference."""
    log_p = logits.log_softmax(dim=-1)[:, target]
    return torch.stack([log_p, logits[:, target] - logits[:, foil]], dim=1)


def mute_each(
    bridge: ModelBridge, what: Literal["attention", "all", "mean"] = "attention"
) -> dict[Head, Mute | None]:
    """The edit that mutes each head of a model, down the layers; None where a head has no such edit.

    `what` as in `Mute`: heads without a skip have the first only.
    """
    found: dict[Head, Mute | None] = {}
    for place, heads in bridge.heads.items():
        possible = what == "attention" or KINDS[place.kind].has_state
        layers = range(place.layer, place.layer + 1)
        for index in range(heads):
            edit = Mute(layers, range(index, index + 1), kind=place.kind, what=what) if possible else None
            found[Head(place, index)] = edit
    return found


def cut_each(length: int, place: Place | None = None, head: int | None = None) -> list[CutSource]:
    """For each of the first `length` positions, the edit that cuts what is read of it.

    In all mixers, or in a place, or in one head of it.
    """
    layers = None if place is None else range(place.layer, place.layer + 1)
    heads = None if head is None else range(head, head + 1)
    kind = (place or Place(0)).kind
    return [CutSource(layers, heads, range(at, at + 1), kind=kind) for at in range(length)]
