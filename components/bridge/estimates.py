"""What many edits do to a prediction, estimated from one run and its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from components.bridge.hook_point import HookFunction
from components.bridge.model_bridge import ModelBridge
from components.bridge.norms import frozen_norms
from components.bridge.prompts import Ids
from components.bridge.rows import Metric
from components.bridge.sweeps import CleanRun, layer_of
from components.ssd import Edit, HeadEdit


def estimate(
    bridge: ModelBridge, ids: Ids, edits: Sequence[Edit], metric: Metric, *, freeze_norms: bool = True
) -> Float32[Tensor, "edit ..."]:
    """What `sweep` returns for these edits, to first order, from one run and a gradient for each figure.

    An edit that makes the scan's output y of a layer into y′ changes a figure m of the logits by about
    ⟨∂m/∂y, y′ − y⟩, and that of a softmax pattern likewise. This is attribution patching (Nanda 2023), here
    with y′ exact. With `freeze_norms` the norms keep their divisors while m is differentiated, see
    `frozen_norms`: a norm takes out of the plain gradient the part along its own input, which for a head that
    dominates its layer is most of it. An estimate knows nothing of what the layers above would make up for.

    Raises ValueError for several texts, for an edit of several layers, and, with `freeze_norms`, for a model
    whose norms cannot be frozen.
    """
    text = bridge.to_tokens(ids)
    if len(text) != 1:
        raise ValueError(f"These are {len(text)} texts; estimate them one by one.")
    hooks = [_hook_of(edit) for edit in edits]
    mixers = {layer for edit in edits if (layer := layer_of(edit)) is not None}
    with torch.no_grad():
        clean = CleanRun.of(bridge, text, mixers)
    patterns: list[tuple[str, HookFunction]] = [
        (hook, lambda tensor, hook: tensor) for hook in sorted({*hooks}) if not hook.endswith(_SCAN)
    ]
    logits, graph = bridge.run_with_cache(
        text,
        names_filter=sorted({*hooks}),
        fwd_hooks=[*(frozen_norms(bridge) if freeze_norms else ()), *patterns],
        logits_to_keep=1,
        grad=True,
    )
    figures = metric(logits[:, 0].float())[0]
    slopes = [graph.gradients(figure, sorted({*hooks})) for figure in figures.flatten()]
    found = figures.detach().flatten().repeat(len(edits), 1)
    with torch.no_grad():
        for row, edit, hook in zip(found, edits, hooks, strict=True):
            before = graph[hook].detach()
            after = clean.scan(edit) if hook.endswith(_SCAN) else _edited(bridge, edit, hook, before)
            change = (after - before).float()
            row += torch.stack([(slope[hook].float() * change).sum() for slope in slopes])
    return found.view(len(edits), *figures.shape)


_SCAN = ".hook_scan"


def _hook_of(edit: Edit) -> str:
    """Where an edit of one layer is read off: the scan's output of a mixer, or a softmax pattern."""
    if (layer := layer_of(edit)) is not None:
        return f"blocks.{layer}.mixer{_SCAN}"
    if isinstance(edit, HeadEdit) and edit.layers is not None and len(edit.layers) == 1:
        return f"blocks.{edit.layers[0]}.{edit.hook}"
    raise ValueError(f"An estimate is of edits of one layer each, and not of {edit.words!r}. Sweep it.")


def _edited(bridge: ModelBridge, edit: Edit, hook: str, tensor: Tensor) -> Tensor:
    """What an edit makes of the tensor at its hook, in a run of the whole text."""
    ((_, function),) = edit.hooks()
    point = bridge.hook_points[hook]
    whole = range(tensor.shape[point.position_dim])
    after = function(tensor.clone(), hook=point.at(whole, whole))
    return tensor if after is None else after
