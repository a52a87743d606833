"""Many runs of one text that differ in one activation each, as the rows of one batch.

The input of the layer that is changed is that of the unedited run, so each row joins at its layer, and only
the rest of the model runs. In models of other families than mamba2 the layers below run too, since only the
model itself can call its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from components.bridge.activation_cache import ActivationCache
from components.bridge.hook_point import HookPoint
from components.bridge.model_bridge import ModelBridge
from components.bridge.passes import ForwardHooks
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

    @property
    def name(self) -> str:
        """The full name of the hook."""
        return f"blocks.{self.layer}.{self.hook}"


def needed_for(bridge: ModelBridge, hook: Hook, layers: Iterable[int]) -> set[str]:
    """Names of what `logits_of_rows` reads in the cache for rows that change a hook of these layers."""
    if hook == RESIDUAL or bridge.model.config.model_type != _GROWING:
        return set()
    return {f"blocks.{layer}.{name}" for layer in layers for name in (RESIDUAL, _GATE)}


def logits_of_rows(
    bridge: ModelBridge, cache: ActivationCache, ids: Tensor, rows: Sequence[Row]
) -> Float[Tensor, "row vocab"]:
    """The logits after the last position in each of these runs, which stand in order of layers.

    `ids` [1, s] are the text, `cache` is of its unedited run.
    """
    if bridge.model.config.model_type == _GROWING:
        return _growing(bridge, cache, ids, rows)
    return _writing(bridge, ids, rows)


def last_logits(bridge: ModelBridge, ids: Tensor, hooks: ForwardHooks) -> Float[Tensor, "row vocab"]:
    """Those after the last position of each row, in a run with these hooks."""
    logits, _ = bridge.run_with_cache(ids, names_filter=[], fwd_hooks=hooks, logits_to_keep=1)
    return logits[:, 0]


def _growing(
    bridge: ModelBridge, cache: ActivationCache, ids: Tensor, rows: Sequence[Row]
) -> Float[Tensor, "row vocab"]:
    """Each row joins at its layer: before it, or with what the rest of it makes of the changed scan."""
    hidden: Tensor | None = None
    last = len(bridge.blocks) - 1
    model = short_model(bridge.model, bridge._mixers, ids.shape[1])
    for layer in range(rows[0].layer, last + 1):
        block: Any = model.get_submodule(bridge.blocks[layer].name)
        positions = slice(-1, None) if layer == last else slice(None)
        streams = [row.tensor for row in rows if (row.layer, row.hook) == (layer, RESIDUAL)]
        if streams:
            hidden = torch.cat(streams if hidden is None else [hidden, *streams])
        if hidden is not None:
            hidden = block(hidden)[:, positions]
        scans = [row.tensor[:, positions] for row in rows if (row.layer, row.hook) == (layer, SCAN)]
        if scans:
            gate = cache[f"blocks.{layer}.{_GATE}"][:, positions]
            residual = cache[f"blocks.{layer}.{RESIDUAL}"][:, positions]
            residual = residual.float() if block.residual_in_fp32 else residual
            y = torch.cat(scans).flatten(2)
            joined = residual + block.mixer.out_proj(block.mixer.norm(y, gate))
            hidden = joined if hidden is None else torch.cat([hidden, joined])
    assert hidden is not None
    logits: Tensor = bridge.unembed(bridge.ln_final(hidden[:, -1:]).to(bridge.model.lm_head.weight.dtype))
    return logits[:, 0]


def _writing(bridge: ModelBridge, ids: Tensor, rows: Sequence[Row]) -> Float[Tensor, "row vocab"]:
    """The whole model runs, and each row gets its changed tensor."""

    def write(tensor: Tensor, hook: HookPoint) -> Tensor:
        for place, row in enumerate(rows):
            if hook.name == row.name:
                tensor[place] = row.tensor[0]
        return tensor

    hooks = [(name, write) for name in dict.fromkeys(row.name for row in rows)]
    return last_logits(bridge, ids.expand(len(rows), -1), hooks)
