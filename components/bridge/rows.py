"""Many runs of one text that differ in one activation each, as the rows of one batch.

The input of the layer that is changed is that of the unedited run, so each row joins at its layer, from the
first position that is changed in one of them, and only the rest of the model runs. In models of other
families than mamba2 the layers below run too, since only the model itself can call its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from components.bridge.activation_cache import ActivationCache
from components.bridge.hook_point import HookPoint
from components.bridge.model_bridge import ModelBridge
from components.bridge.passes import ForwardHooks, name_of_cache
from components.bridge.prefix_state import PrefixState, repeat_state
from components.bridge.short_chunk import short_model

Metric = Callable[[Float[Tensor, "row vocab"]], Float[Tensor, "row ..."]]
"""From the logits after the last position of each row, its figures."""

Report = Callable[[int, int], None]
"""Takes how many runs are done, and of how many. An error that it raises ends the work."""

ROWS = 16
"""Runs that make one batch: 8 and 16 are fastest on two cores."""

Hook = Literal["hook_in", "mixer.hook_scan"]
RESIDUAL: Hook = "hook_in"
SCAN: Hook = "mixer.hook_scan"

_GATE = "mixer.inner_norm.hook_gate"

_GROWING = "mamba2"
"""The family whose layers can be called alone."""


@dataclass(frozen=True, eq=False)
class Row:
    """One run: what takes the place of a layer's own tensor, [1, seq, ...], at one of its hooks."""

    layer: int
    hook: Hook
    tensor: Tensor
    start: int = 0
    """The first position that differs, or one before it."""

    @property
    def name(self) -> str:
        """The full name of the hook."""
        return f"blocks.{self.layer}.{self.hook}"


def needed_for(bridge: ModelBridge, hook: Hook, layers: Iterable[int]) -> set[str]:
    """Names of what `Batches.logits` reads in the cache for rows that change a hook of these layers."""
    if bridge.model.config.model_type != _GROWING:
        return set()
    found = {f"blocks.{layer}.{name}" for layer in layers for name in (RESIDUAL, _GATE)}
    above = {f"blocks.{layer + 1}.{RESIDUAL}" for layer in layers if layer + 1 < len(bridge.blocks)}
    return (found if hook == SCAN else set()) | above


class Batches:
    """Runs of one text, `ids` [1, s], as the rows of batches.

    What comes before the first difference runs once; batches whose differences begin later and later are
    cheapest.
    """

    def __init__(self, bridge: ModelBridge, ids: Tensor) -> None:
        self.bridge, self.ids = bridge, ids
        self._prefixes: dict[int, PrefixState] = {}

    def logits(self, cache: ActivationCache, rows: Sequence[Row]) -> Float[Tensor, "row vocab"]:
        """The logits after the last position in each of these runs, which stand in order of layers.

        `cache` is of the unedited run, with what is `needed_for` these rows.
        """
        if self.bridge.model.config.model_type == _GROWING:
            return self._growing(cache, rows)
        return self._writing(rows)

    def logits_with(self, hooks: ForwardHooks, count: int = 1, start: int = 0) -> Float[Tensor, "row vocab"]:
        """The logits after the last position of each of `count` rows, in one run with these hooks.

        The hooks change nothing before position `start`, and may fire for later positions alone.
        """
        bridge, ids = self.bridge, self.ids.expand(count, -1)
        start, state = self._prefix(0, self._read).before(start) if start else (0, None)
        if state is None or not start:
            logits, _ = bridge.run_with_cache(ids, names_filter=[], fwd_hooks=hooks, logits_to_keep=1)
            return logits[:, 0]
        run = bridge._run(hooks, set())
        run.ids, run.prompt, run.positions = ids, range(ids.shape[1]), range(start)
        with bridge._running(run):
            return bridge.step(ids, start, repeat_state(state, count), short=True)[:, 0]

    def _prefix(self, layer: int, read: Callable[[slice, DynamicCache], object]) -> PrefixState:
        """The prefix of the layers from this one on; that of another layer is dropped."""
        if layer not in self._prefixes:
            self._prefixes = {layer: PrefixState(self.ids.shape[1], self.bridge.model.config, read)}
        return self._prefixes[layer]

    def _read(self, piece: slice, state: DynamicCache) -> None:
        """Run a piece of the text through the model."""
        bridge = self.bridge
        with bridge._running(bridge._run((), set())):
            bridge.step(self.ids[:, : piece.stop], piece.start, state, short=True)

    def _growing(self, cache: ActivationCache, rows: Sequence[Row]) -> Float[Tensor, "row vocab"]:
        """Each row joins at its layer: before it, or with what the rest of it makes of the changed scan."""
        bridge, last = self.bridge, len(self.bridge.blocks) - 1
        above = rows[0].layer + (rows[0].hook == SCAN)  # the first that runs on these rows

        def read(piece: slice, state: DynamicCache) -> None:
            hidden = cache[f"blocks.{above}.{RESIDUAL}"][:, piece]
            for block in self._blocks(range(above, last + 1), piece.stop - piece.start):
                hidden = block(hidden, **{name_of_cache(block): state})

        start, state = min(row.start for row in rows), None
        if start and above <= last:
            start, state = self._prefix(above, read).before(start)
        hidden: Tensor | None = None
        layers = range(rows[0].layer, last + 1)
        for layer, block in zip(layers, self._blocks(layers, self.ids.shape[1] - start), strict=True):
            positions = slice(-1 if layer == last else start, None)
            streams = [row.tensor[:, start:] for row in rows if (row.layer, row.hook) == (layer, RESIDUAL)]
            if streams:
                hidden = torch.cat(streams if hidden is None else [hidden, *streams])
            if hidden is not None:
                carried = repeat_state(state, len(hidden), layer) if state and start else None
                hidden = block(hidden, **({name_of_cache(block): carried} if carried else {}))
                hidden = hidden[:, -1:] if layer == last else hidden
            scans = [row.tensor[:, positions] for row in rows if (row.layer, row.hook) == (layer, SCAN)]
            if scans:
                gate = cache[f"blocks.{layer}.{_GATE}"][:, positions]
                residual = cache[f"blocks.{layer}.{RESIDUAL}"][:, positions]
                residual = residual.float() if block.residual_in_fp32 else residual
                y = torch.cat(scans).flatten(2)
                joined = residual + block.mixer.out_proj(block.mixer.norm(y, gate))
                hidden = joined if hidden is None else torch.cat([hidden, joined])
        assert hidden is not None
        head: Any = bridge.model.lm_head
        logits: Tensor = bridge.unembed(bridge.ln_final(hidden[:, -1:]).to(head.weight.dtype))
        return logits[:, 0]

    def _blocks(self, layers: range, positions: int) -> list[Any]:
        """These layers of the model, for so many positions."""
        model = short_model(self.bridge.model, self.bridge._mixers, positions)
        return [model.get_submodule(self.bridge.blocks[layer].name) for layer in layers]

    def _writing(self, rows: Sequence[Row]) -> Float[Tensor, "row vocab"]:
        """The whole model runs, and each row gets its changed tensor."""

        def write(tensor: Tensor, hook: HookPoint) -> Tensor:
            for place, row in enumerate(rows):
                if hook.name == row.name:
                    tensor[place] = row.tensor[0, hook.positions.start :]
            return tensor

        hooks = [(name, write) for name in dict.fromkeys(row.name for row in rows)]
        return self.logits_with(hooks, len(rows), min(row.start for row in rows))
