"""Sweeps: what each of many edits does to a prediction, exactly, for less than as many runs.

The input of an edited layer is that of the unedited run. So what its scan returns under the edit follows from
one capture, in closed form, and only the rest of the model has to run: many edits as the rows of one batch.
An edit of several layers needs a run of the whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from components.bridge.activation_cache import ActivationCache
from components.bridge.hook_point import HookPoint
from components.bridge.mixer_record import gated
from components.bridge.model_bridge import ModelBridge
from components.bridge.prompts import Ids
from components.bridge.rows import ROWS, SCAN, Batches, Metric, Report, Row, needed_for
from components.ssd import (
    CutEdge,
    CutSource,
    Edit,
    HeadEdit,
    KeepLast,
    Mute,
    SSDTerms,
    effective_attention,
    slice_of,
)

WHOLE_TOKENS = 512
"""Longest text of which a sweep holds the matrices of a layer: 25 MB with 24 heads."""


MATRIX_BYTES = 2**27
"""Of the matrices of a layer in all rows of a batch."""


@torch.no_grad()
def sweep(
    bridge: ModelBridge,
    ids: Ids,
    edits: Sequence[Edit],
    metric: Metric,
    *,
    rows: int = ROWS,
    report: Report | None = None,
    control: torch.Generator | None = None,
) -> Float32[Tensor, "edit ..."]:
    """The metric of the logits after the last position of one text, under each edit alone.

    `ids` [s] or [1, s]. To look at an earlier position, give the text up to it: no later token changes it.
    Memory grows with `rows` and the text.

    With `control`, none of the edits is made: what it would take from each head at each position is replaced
    by a random direction of the same size, drawn by this generator. An edit says something of what it takes
    only where it does more than that. Edits of one mixer, or of one token in all mixers, have such a control.

    Raises ValueError for several texts, and what a run with one of the
    edits raises.
    """
    text = bridge.to_tokens(ids)
    if len(text) != 1:
        raise ValueError(f"These are {len(text)} texts; sweep them one by one.")
    alone = [number for number, edit in enumerate(edits) if layer_of(edit) is not None]
    order = sorted(
        alone,
        key=lambda number: (layer_of(edits[number]), _start(edits[number]), _alike(edits[number]), number),
    )
    batches = Batches(bridge, text)
    clean = CleanRun.of(bridge, text, {layer_of(edits[number]) for number in order}) if order else None
    found: dict[int, Tensor] = {}

    def done(numbers: Iterable[int], logits: Float[Tensor, "row vocab"]) -> None:
        found.update(zip(numbers, metric(logits.float()), strict=True))
        if report is not None:
            report(len(found), len(edits))

    for start, stop in pairwise([*range(0, len(order), rows), len(order)]):
        numbers = order[start:stop]
        assert clean is not None
        made = clean.rows([edits[number] for number in numbers], control)
        done(numbers, batches.logits(clean.cache, made))
    whole = [number for number in range(len(edits)) if number not in found]
    for belongs, taken, most in (
        (_is_cut_everywhere, _of_sources, rows),
        (_is_window_everywhere, _beyond_windows, _rows_of_matrices(bridge, text.shape[1], rows)),
    ):
        alike = [number for number in whole if belongs(edits[number])]
        alike.sort(key=lambda number: _start(edits[number]))
        for start, stop in pairwise([*range(0, len(alike), most), len(alike)]):
            numbers = alike[start:stop]
            alike_made = [edits[number] for number in numbers]
            done(numbers, _everywhere(batches, alike_made, partial(taken, alike_made), control))
    for number in whole:
        if number not in found:
            if control is not None:
                raise ValueError(f"There is no random control of the size of {edits[number].words!r}.")
            done([number], batches.logits_with(edits[number].hooks()))
    if not found:
        return metric(torch.zeros(0, bridge.model.config.vocab_size))
    return torch.stack([found[number] for number in range(len(edits))])


def has_control(edit: Edit) -> bool:
    """Whether a sweep can put a random change of the same size in the place of an edit."""
    return layer_of(edit) is not None or _is_cut_everywhere(edit)


def layer_of(edit: Edit) -> int | None:
    """The only layer that an edit changes, if it is a mixer and the scan's output shows it all."""
    if not isinstance(edit, HeadEdit) or edit.layers is None or len(edit.layers) != 1:
        return None
    return edit.layers[0] if edit.kind == SSDTerms.kind else None


def _start(edit: Edit) -> int:
    """The first position whose numbers an edit can change."""
    positions = edit.positions if isinstance(edit, HeadEdit) else None
    return 0 if positions is None else positions.start


def _alike(edit: Edit) -> tuple[str, str]:
    """Edits that are computed together stand together."""
    assert isinstance(edit, HeadEdit)
    return type(edit).__name__, repr(edit.heads)


@dataclass
class CleanRun:
    """One unedited run: what the scans of some layers were given and returned."""

    bridge: ModelBridge
    ids: Tensor
    cache: ActivationCache
    terms: dict[int, SSDTerms]
    _matrix: tuple[int, Tensor] | None = None

    @staticmethod
    def of(bridge: ModelBridge, ids: Tensor, layers: Iterable[int | None]) -> CleanRun:
        """The run of one text that keeps what edits of these layers need."""
        wanted = {layer for layer in layers if layer is not None}
        inside = ("hook_x", "hook_B", "hook_C", "hook_dt", "hook_in", "hook_scan")
        names = {f"blocks.{layer}.mixer.{name}" for layer in wanted for name in inside}
        names |= needed_for(bridge, SCAN, wanted)
        known = names & set(bridge.hook_points)
        for layer in wanted - set(bridge.ssm_layers()):
            bridge._hook_name(f"blocks.{layer}.mixer.hook_scan")  # says that there is none
        _, cache = bridge.run_with_cache(ids, names_filter=sorted(known), logits_to_keep=1)
        return CleanRun(bridge, ids, cache, {layer: cache.ssd_terms(layer) for layer in wanted})

    def rows(self, edits: Sequence[Edit], control: torch.Generator | None) -> list[Row]:
        """A run under each of these edits, which stand in order of layers."""
        scans = [(_only_layer(edit), self.scan(edit)) for edit in edits]
        if control is not None:
            clean = [self.cache[f"blocks.{layer}.mixer.hook_scan"] for layer, _ in scans]
            scans = [
                (layer, before - _random_like(before - after, control))
                for (layer, after), before in zip(scans, clean, strict=True)
            ]
        starts = map(_start, edits)
        return [Row(layer, SCAN, y, start) for (layer, y), start in zip(scans, starts, strict=True)]

    def scan(self, edit: Edit) -> Float[Tensor, "1 seq head dim"]:
        """What hook_scan sees under an edit of one layer."""
        assert isinstance(edit, HeadEdit)
        layer = _only_layer(edit)
        terms, y = self.terms[layer], self.cache[f"blocks.{layer}.mixer.hook_scan"]
        if edit.heads is not None and edit.heads.stop > terms.heads:
            raise ValueError(f"Layer {layer} has {terms.heads} heads; the edit names {edit.heads}.")
        heads = range(terms.heads)[slice_of(edit.heads)]
        at = slice(heads.start, heads.stop)
        match edit:
            case Mute(what="all" | "mean"):
                y, rows = y.clone(), slice_of(edit.positions)
                y[:, rows, at] = y[:, :, at].mean(dim=1, keepdim=True) if edit.what == "mean" else 0
                return y
            case Mute(what="attention"):
                y, rows = y.clone(), slice_of(edit.positions)
                skip = self._gated(layer, terms.D[:, None] * terms.x).to(y.dtype)
                y[:, rows, at] = skip[:, rows, at]
                return y
            case CutSource(what="reading"):
                rows, keys = slice(None), slice_of(edit.positions)
            case CutEdge():
                rows, keys = slice_of(edit.positions), slice_of(edit.keys)
            case _:  # the mixer itself, with the edit's hooks
                _, alone = self.bridge.run_mixer(
                    layer,
                    self.cache[f"blocks.{layer}.mixer.hook_in"],
                    names_filter=f"blocks.{layer}.mixer.hook_scan",
                    fwd_hooks=edit.hooks(),
                )
                return alone[f"blocks.{layer}.mixer.hook_scan"]
        if terms.length <= WHOLE_TOKENS:
            W = self._whole_matrix(layer)[:, at, rows, keys]
        else:
            W = effective_attention(terms, heads=at, queries=rows, keys=keys, include_dt_scaling=True)
        removed = torch.zeros_like(terms.x)
        removed[:, rows, at] = torch.einsum("bhij,bjhp->bihp", W, terms.x[:, keys, at])
        return y - self._gated(layer, removed).to(y.dtype)

    def _whole_matrix(self, layer: int) -> Float32[Tensor, "1 head query key"]:
        """M·dt of a layer, of which many edits take a part each."""
        if self._matrix is None or self._matrix[0] != layer:
            self._matrix = layer, effective_attention(self.terms[layer], include_dt_scaling=True)
        return self._matrix[1]

    def _gated(self, layer: int, y: Float32[Tensor, "1 seq head dim"]) -> Float32[Tensor, "1 seq head dim"]:
        """As hook_scan sees it: times silu(z) in a mixer without a norm."""
        return gated(y.flatten(2), self.cache._record(layer).gate()).view_as(y)


def _only_layer(edit: Edit) -> int:
    layer = layer_of(edit)
    assert layer is not None
    return layer


def _is_cut_everywhere(edit: Edit) -> bool:
    """Whether an edit cuts one token in every layer and head of mixers."""
    return (
        isinstance(edit, CutSource)
        and edit.what == "reading"
        and (edit.layers, edit.heads, edit.kind) == (None, None, SSDTerms.kind)
        and edit.positions is not None
        and len(edit.positions) == 1
    )


def _is_window_everywhere(edit: Edit) -> bool:
    """Whether an edit gives every head of all mixers the same window at every query."""
    return isinstance(edit, KeepLast) and edit == KeepLast(width=edit.width)


def _rows_of_matrices(bridge: ModelBridge, tokens: int, rows: int) -> int:
    """Rows of a batch in which the matrices of a layer take no more than MATRIX_BYTES."""
    heads = max(bridge.blocks[layer].mixer.heads for layer in bridge.ssm_layers())
    return min(max(MATRIX_BYTES // (heads * tokens**2 * 4), 1), rows)


def _gate_of(bridge: ModelBridge, layer: int, seen: dict[str, Tensor]) -> Callable[..., None]:
    """A look at the gate z, the first channels of what a mixer projects."""
    mixer: Any = bridge.blocks[layer].mixer
    scale = getattr(mixer, mixer.projection_scale) if mixer.projection_scale else None
    inner = mixer.heads * mixer.head_dim

    def look(tensor: Tensor, hook: HookPoint) -> None:
        seen["gate"] = (tensor if scale is None else tensor * scale)[..., :inner].float()

    return look


_Taken = Callable[[dict[str, Tensor], int], Float[Tensor, "row seq head dim"]]
"""From what the hooks of a mixer saw from a position on, by their last names: what an edit takes out of its
scan's output.
"""


def _random_like(
    taken: Float[Tensor, "row seq head dim"], control: torch.Generator
) -> Float[Tensor, "row seq head dim"]:
    """Random directions of the same size, for each head and position."""
    drawn = torch.randn(taken.shape, generator=control).to(taken)
    size: Tensor = taken.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True)
    return drawn * size


def _everywhere(
    batches: Batches, edits: Sequence[Edit], taken: _Taken, control: torch.Generator | None
) -> Float[Tensor, "row vocab"]:
    """Each row with an edit of its own of every mixer: the scan less what is `taken` from it.

    It follows from what each row's own scan reads, so a run keeps no matrices.
    """
    bridge, seen = batches.bridge, dict[str, Tensor]()

    def look(tensor: Tensor, hook: HookPoint) -> None:
        seen[hook.name.rpartition(".")[2]] = tensor

    def write(tensor: Tensor, hook: HookPoint) -> Tensor:
        removed = taken(seen, hook.positions.start).flatten(2).to(tensor.device, torch.float32)
        part = gated(removed, seen.get("gate")).view_as(tensor).to(tensor.dtype)
        return tensor - (part if control is None else _random_like(part, control))

    hooks: list[Any] = []
    for layer in bridge.ssm_layers():
        mixer = f"blocks.{layer}.mixer"
        reads = ("hook_x", "hook_B", "hook_C", "hook_dt", "hook_log_decay")
        hooks += [(f"{mixer}.{name}", look) for name in reads]
        if f"{mixer}.inner_norm.hook_in" not in bridge.hook_points:  # hook_scan then sees y times silu(z)
            hooks.append((f"{mixer}.in_proj.hook_out", _gate_of(bridge, layer, seen)))
        hooks.append((f"{mixer}.hook_scan", write))
    return batches.logits_with(hooks, len(edits), min(map(_start, edits)))


def _of_sources(
    edits: Sequence[Edit], seen: dict[str, Tensor], start: int
) -> Float[Tensor, "row seq head dim"]:
    """What a token wrote, one for each row, without M: L[i,j]·⟨C[i], B[j]⟩·dt[j]·x[j]."""
    cuts = [edit for edit in edits if isinstance(edit, CutSource)]
    j = torch.tensor([cut.positions[0] for cut in cuts if cut.positions is not None]) - start
    cum, row = seen["hook_log_decay"].cumsum(dim=1), torch.arange(len(j))
    left = (cum - cum[row, j][:, None]).exp()  # what is left at i of j: [row, i, head]
    later = torch.arange(cum.shape[1]) < j[:, None]
    left = left.masked_fill(later[..., None].to(left.device), 0).float()
    match = torch.einsum("rign,rgn->rig", seen["hook_C"], seen["hook_B"][row, j])
    match = match.repeat_interleave(left.shape[2] // match.shape[2], dim=2)
    weight = left * match * seen["hook_dt"][row, j][:, None]
    return weight[..., None] * seen["hook_x"][row, j][:, None]


def _beyond_windows(
    edits: Sequence[Edit], seen: dict[str, Tensor], start: int
) -> Float[Tensor, "row seq head dim"]:
    """What lies further back than a window, one for each row: Σ M[i,j]·dt[j]·x[j] over i − j ≥ width."""
    widths = torch.tensor([edit.width for edit in edits if isinstance(edit, KeepLast)])
    x, dt, none = seen["hook_x"], seen["hook_dt"], seen["hook_dt"].new_zeros(seen["hook_dt"].shape[2])
    terms = SSDTerms.from_parts(
        x=x,
        B=seen["hook_B"],
        C=seen["hook_C"],
        dt=dt,
        A=none,
        D=none,
        log_decay=seen["hook_log_decay"],
    )
    W = effective_attention(terms, include_dt_scaling=True)
    i = torch.arange(x.shape[1])
    near = (i[:, None] - i)[None] < widths[:, None, None]
    return torch.einsum("rhij,rjhp->rihp", W.masked_fill(near[:, None].to(W.device), 0), x)
