"""Sweeps: what each of many edits does to a prediction, exactly, for less than as many runs.

The input of an edited layer is that of the unedited run. So what its scan returns under the edit follows from
one capture, in closed form, and only the rest of the model has to run: many edits as the rows of one batch,
each joining at its layer. In models of other families than mamba2 the layers below run too, since only the
model itself can call its layers; an edit of several layers needs them as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from components.bridge.activation_cache import ActivationCache
from components.bridge.hook_point import HookPoint
from components.bridge.mixer_record import gated
from components.bridge.model_bridge import ModelBridge
from components.bridge.passes import ForwardHooks
from components.bridge.prompts import Ids
from components.bridge.short_chunk import short_model
from components.ssd import CutEdge, CutSource, Edit, HeadEdit, Mute, SSDTerms, effective_attention

Metric = Callable[[Float[Tensor, "row vocab"]], Float[Tensor, "row ..."]]
"""From the logits after the last position of each row, its figures."""

Report = Callable[[int, int], None]
"""Takes how many edits are done, and of how many. An error that it raises ends the sweep."""

ROWS = 16
"""Edits that run as one batch: 8 and 16 are fastest on two cores."""

WHOLE_TOKENS = 512
"""Longest text of which a sweep holds the matrices of a layer: 25 MB with 24 heads."""

_GROWING = "mamba2"
"""The family whose layers can be called alone."""


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
    alone = [number for number, edit in enumerate(edits) if _layer_of(edit) is not None]
    order = sorted(alone, key=lambda number: (_layer_of(edits[number]), _alike(edits[number]), number))
    clean = _Clean.of(bridge, text, {_layer_of(edits[number]) for number in order}) if order else None
    found: dict[int, Tensor] = {}

    def done(numbers: Iterable[int], logits: Float[Tensor, "row vocab"]) -> None:
        found.update(zip(numbers, metric(logits.float()), strict=True))
        if report is not None:
            report(len(found), len(edits))

    for start, stop in pairwise([*range(0, len(order), rows), len(order)]):
        numbers = order[start:stop]
        assert clean is not None
        done(numbers, clean.logits([edits[number] for number in numbers], control))
    whole = [number for number in range(len(edits)) if number not in found]
    cuts = [number for number in whole if _is_cut_everywhere(edits[number])]
    for start, stop in pairwise([*range(0, len(cuts), rows), len(cuts)]):
        numbers = cuts[start:stop]
        done(numbers, _with_sources_cut(bridge, text, [edits[number] for number in numbers], control))
    for number in whole:
        if number not in found:
            if control is not None:
                raise ValueError(f"There is no random control of the size of {edits[number].words!r}.")
            done([number], _last_logits(bridge, text, edits[number].hooks()))
    if not found:
        return metric(torch.zeros(0, bridge.model.config.vocab_size))
    return torch.stack([found[number] for number in range(len(edits))])


def has_control(edit: Edit) -> bool:
    """Whether a sweep can put a random change of the same size in the place of an edit."""
    return _layer_of(edit) is not None or _is_cut_everywhere(edit)


def _layer_of(edit: Edit) -> int | None:
    """The only layer that an edit changes, if it is a mixer and the scan's output shows it all."""
    if not isinstance(edit, HeadEdit) or edit.layers is None or len(edit.layers) != 1:
        return None
    return edit.layers[0] if edit.kind == SSDTerms.kind else None


def _alike(edit: Edit) -> tuple[str, str]:
    """Edits that are computed together stand together."""
    assert isinstance(edit, HeadEdit)
    return type(edit).__name__, repr(edit.heads)


@dataclass
class _Clean:
    """One unedited run: what the scans of some layers were given and returned."""

    bridge: ModelBridge
    ids: Tensor
    cache: ActivationCache
    terms: dict[int, SSDTerms]
    _matrix: tuple[int, Tensor] | None = None

    @staticmethod
    def of(bridge: ModelBridge, ids: Tensor, layers: Iterable[int | None]) -> _Clean:
        wanted = {layer for layer in layers if layer is not None}
        inside = ("hook_x", "hook_B", "hook_C", "hook_dt", "hook_in", "hook_scan", "inner_norm.hook_gate")
        names = {f"blocks.{layer}.mixer.{name}" for layer in wanted for name in inside}
        names |= {f"blocks.{layer}.hook_in" for layer in wanted}
        known = names & set(bridge.hook_points)
        for layer in wanted - set(bridge.ssm_layers()):
            bridge._hook_name(f"blocks.{layer}.mixer.hook_scan")  # says that there is none
        _, cache = bridge.run_with_cache(ids, names_filter=sorted(known), logits_to_keep=1)
        return _Clean(bridge, ids, cache, {layer: cache.ssd_terms(layer) for layer in wanted})

    def logits(self, edits: Sequence[Edit], control: torch.Generator | None) -> Float[Tensor, "row vocab"]:
        """The logits after the last position under each of these edits, which stand in order of layers."""
        scans = [(_only_layer(edit), self.scan(edit)) for edit in edits]
        if control is not None:
            clean = [self.cache[f"blocks.{layer}.mixer.hook_scan"] for layer, _ in scans]
            scans = [
                (layer, before - _random_like(before - after, control))
                for (layer, after), before in zip(scans, clean, strict=True)
            ]
        if self.bridge.model.config.model_type == _GROWING:
            return self._growing(scans)
        return self._writing(scans)

    def scan(self, edit: Edit) -> Float[Tensor, "1 seq head dim"]:
        """What hook_scan sees under an edit of one layer."""
        assert isinstance(edit, HeadEdit)
        layer = _only_layer(edit)
        terms, y = self.terms[layer], self.cache[f"blocks.{layer}.mixer.hook_scan"]
        if edit.heads is not None and edit.heads.stop > terms.heads:
            raise ValueError(f"Layer {layer} has {terms.heads} heads; the edit names {edit.heads}.")
        heads = range(terms.heads)[_slice(edit.heads)]
        at = slice(heads.start, heads.stop)
        match edit:
            case Mute(what="all"):
                y = y.clone()
                y[:, _slice(edit.positions), at] = 0
                return y
            case Mute(what="attention"):
                y, rows = y.clone(), _slice(edit.positions)
                skip = self._gated(layer, terms.D[:, None] * terms.x).to(y.dtype)
                y[:, rows, at] = skip[:, rows, at]
                return y
            case CutSource(what="reading"):
                rows, keys = slice(None), _slice(edit.positions)
            case CutEdge():
                rows, keys = _slice(edit.positions), _slice(edit.keys)
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

    def _growing(self, scans: Sequence[tuple[int, Tensor]]) -> Float[Tensor, "row vocab"]:
        """Each row joins at its layer, with what the rest of that layer makes of the edited scan."""
        bridge, cache = self.bridge, self.cache
        hidden: Tensor | None = None
        layers = sorted({layer for layer, _ in scans})
        last = len(bridge.blocks) - 1
        model = short_model(bridge.model, bridge._mixers, self.ids.shape[1])
        for layer in range(layers[0], last + 1):
            block: Any = model.get_submodule(bridge.blocks[layer].name)
            positions = slice(-1, None) if layer == last else slice(None)
            if hidden is not None:
                hidden = block(hidden)[:, positions]
            joining = [y for of, y in scans if of == layer]
            if joining:
                gate = cache[f"blocks.{layer}.mixer.inner_norm.hook_gate"][:, positions]
                y = torch.cat([each[:, positions] for each in joining]).flatten(2)
                residual = cache[f"blocks.{layer}.hook_in"][:, positions]
                residual = residual.float() if block.residual_in_fp32 else residual
                joined = residual + block.mixer.out_proj(block.mixer.norm(y, gate))
                hidden = joined if hidden is None else torch.cat([hidden, joined])
        assert hidden is not None
        logits: Tensor = bridge.unembed(bridge.ln_final(hidden[:, -1:]).to(bridge.model.lm_head.weight.dtype))
        return logits[:, 0]

    def _writing(self, scans: Sequence[tuple[int, Tensor]]) -> Float[Tensor, "row vocab"]:
        """The whole model runs, and each row gets its edited scan."""

        def write(tensor: Tensor, hook: HookPoint) -> Tensor:
            for row, (layer, y) in enumerate(scans):
                if hook.name == f"blocks.{layer}.mixer.hook_scan":
                    tensor[row] = y[0]
            return tensor

        hooks = [(f"blocks.{layer}.mixer.hook_scan", write) for layer in sorted({of for of, _ in scans})]
        ids = self.ids.expand(len(scans), -1)
        return _last_logits(self.bridge, ids, hooks)


def _only_layer(edit: Edit) -> int:
    layer = _layer_of(edit)
    assert layer is not None
    return layer


def _slice(positions: range | None) -> slice:
    return slice(None) if positions is None else slice(positions.start, positions.stop)


def _is_cut_everywhere(edit: Edit) -> bool:
    """Whether an edit cuts one token in every layer and head of mixers."""
    return (
        isinstance(edit, CutSource)
        and edit.what == "reading"
        and (edit.layers, edit.heads, edit.kind) == (None, None, SSDTerms.kind)
        and edit.positions is not None
        and len(edit.positions) == 1
    )


def _gate_of(bridge: ModelBridge, layer: int, seen: dict[str, Tensor]) -> Callable[..., None]:
    """A look at the gate z, the first channels of what a mixer projects."""
    mixer: Any = bridge.blocks[layer].mixer
    scale = getattr(mixer, mixer.projection_scale) if mixer.projection_scale else None
    inner = mixer.heads * mixer.head_dim

    def look(tensor: Tensor, hook: HookPoint) -> None:
        seen["gate"] = (tensor if scale is None else tensor * scale)[..., :inner].float()

    return look


def _random_like(
    taken: Float[Tensor, "row seq head dim"], control: torch.Generator
) -> Float[Tensor, "row seq head dim"]:
    """Random directions of the same size, for each head and position."""
    drawn = torch.randn(taken.shape, generator=control).to(taken)
    size: Tensor = taken.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True)
    return drawn * size


def _with_sources_cut(
    bridge: ModelBridge, ids: Tensor, edits: Sequence[Edit], control: torch.Generator | None
) -> Float[Tensor, "row vocab"]:
    """Each row without its token in every mixer: the scan less what the token wrote, without M.

    y[i] − L[i,j]·⟨C[i], B[j]⟩·dt[j]·x[j], from what each row's own scan reads.
    """
    cuts = [edit for edit in edits if isinstance(edit, CutSource)]
    sources = torch.tensor([cut.positions[0] for cut in cuts if cut.positions is not None])
    seen: dict[str, Tensor] = {}

    def look(tensor: Tensor, hook: HookPoint) -> None:
        seen[hook.name.rpartition(".")[2]] = tensor

    def write(tensor: Tensor, hook: HookPoint) -> Tensor:
        cum = seen["hook_log_decay"].cumsum(dim=1)
        row, j = torch.arange(len(sources)), sources
        left = (cum - cum[row, j][:, None]).exp()  # what is left at i of j: [row, i, head]
        later = torch.arange(cum.shape[1]) < j[:, None]
        left = left.masked_fill(later[..., None].to(left.device), 0).to(tensor.device, torch.float32)
        match = torch.einsum("rign,rgn->rig", seen["hook_C"], seen["hook_B"][row, j])
        match = match.repeat_interleave(left.shape[2] // match.shape[2], dim=2)
        weight = left * match * seen["hook_dt"][row, j][:, None]
        removed = (weight[..., None] * seen["hook_x"][row, j][:, None]).flatten(2)
        taken = gated(removed, seen.get("gate")).view_as(tensor).to(tensor.dtype)
        return tensor - (taken if control is None else _random_like(taken, control))

    hooks: list[Any] = []
    for layer in bridge.ssm_layers():
        mixer = f"blocks.{layer}.mixer"
        reads = ("hook_x", "hook_B", "hook_C", "hook_dt", "hook_log_decay")
        hooks += [(f"{mixer}.{name}", look) for name in reads]
        if f"{mixer}.inner_norm.hook_in" not in bridge.hook_points:  # hook_scan then sees y times silu(z)
            hooks.append((f"{mixer}.in_proj.hook_out", _gate_of(bridge, layer, seen)))
        hooks.append((f"{mixer}.hook_scan", write))
    return _last_logits(bridge, ids.expand(len(edits), -1), hooks)


def _last_logits(bridge: ModelBridge, ids: Tensor, hooks: ForwardHooks) -> Float[Tensor, "row vocab"]:
    """Those after the last position of each row, in a run with these hooks."""
    logits, _ = bridge.run_with_cache(ids, names_filter=[], fwd_hooks=hooks, logits_to_keep=1)
    return logits[:, 0]
