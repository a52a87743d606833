"""The bridge of a softmax attention layer, as hybrids have beside their Mamba-2 mixers."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface

from components.bridge.attention_record import PATTERN
from components.bridge.generalized_component import Removable
from components.bridge.heads import BytesPerToken, HeadsBridge
from components.bridge.hook_point import HookPoint, Run, run_at
from components.ssd import softmax_attention


class SoftmaxAttentionBridge(HeadsBridge):
    """Wraps a softmax attention layer without reimplementing it.

    hook_in and hook_out [b, s, width] are the layer's input and output. hook_pattern [b, heads, s, keys] are
    the weights its queries give to the keys, float32, zero above the diagonal and at padding. No kernel
    returns them: the bridge computes them from the q and k that the layer passes to the attention interface
    of transformers, and only on demand. An edited pattern takes effect: the input of o_proj is then
    pattern · v; entries above the diagonal are ignored.
    """

    kind = "softmax"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hook_pattern = HookPoint(f"{self.name}.{PATTERN}", position_dim=2)

    @property
    def heads(self) -> int:
        """Number of heads."""
        return int(self.q_proj.out_features) // int(self.head_dim)

    def bytes_per_token(self, itemsize: int) -> BytesPerToken:
        """The run keeps q and k, which are the terms; reading takes twice their size."""
        compared = (self.q_proj.out_features + self.k_proj.out_features) * itemsize
        return BytesPerToken(compared, 0, compared, scratch=2 * compared, continued=compared, all_terms=0)

    def _attach(self, module: nn.Module) -> list[Removable]:
        return [_Observation(module, self.hook_pattern), *super()._attach(module)]


# The hook points of each layer that bridges wrap. A copy of such a layer has none, and runs as before.
_points: WeakKeyDictionary[nn.Module, list[HookPoint]] = WeakKeyDictionary()
_OBSERVED = "observed"


class _Observation:
    """Routes a layer's calls of its attention function through `_attend`, until removed.

    A layer looks the function up in transformers' AttentionInterface, by a name in its configuration. Only
    this layer gets a copy of the configuration, with another name; the model's own, from which transformers
    builds masks, does not change.
    """

    def __init__(self, module: Any, point: HookPoint) -> None:
        self._module, self._point = module, point
        _points.setdefault(module, []).append(point)
        if module.config._attn_implementation != _OBSERVED:
            observed = copy.copy(module.config)
            observed._attn_implementation_internal = _OBSERVED
            observed.unobserved = module.config
            module.config = observed

    def remove(self) -> None:
        """Remove the point, and with the last one the copied configuration."""
        points = _points[self._module]
        points.remove(self._point)
        if not points:
            del _points[self._module]
            self._module.config = self._module.config.unobserved


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Call the layer's attention function, or apply an edited pattern."""
    seen = ((run, point) for point in _points.get(module, ()) if (run := run_at(point)) is not None)
    run, point = next(seen, (None, None))
    edited = _edited(run, point, query, key, value, options["scaling"]) if run and point else None
    if edited is not None:
        return edited, None
    before = _AsBefore(module)
    # The eager function is the model's own; every other one is registered.
    eager: Callable[..., Any] = sys.modules[type(module).__module__].eager_attention_forward
    function = AttentionInterface().get_interface(before.config._attn_implementation or "eager", eager)
    out: tuple[Tensor, Tensor | None] = function(before, query, key, value, attention_mask, **options)
    return out


AttentionInterface.register(_OBSERVED, _attend)


def _edited(
    run: Run,
    point: HookPoint,
    q: Float[Tensor, "batch head seq dim"],
    k: Float[Tensor, "batch group key dim"],
    v: Float[Tensor, "batch group key width"],
    scale: float,
) -> Float[Tensor, "batch seq head width"] | None:
    """Record q and k for the current run; pattern · v if a hook edits the pattern, else None."""
    record = run.attentions.get(point.name.removesuffix(f".{PATTERN}"))
    if record is None:
        return None
    step = record.begin_step(q, k, scale, run.mask)
    if point.name not in run.hooks:
        return None
    queries = slice(record.length - q.shape[2], record.length)
    pattern, edited = run.edit(point, softmax_attention(record.terms(), queries=queries))
    if not edited:
        return None
    step.pattern = pattern.tril(queries.start)  # no query reads a later key, whatever was written there
    v = v.repeat_interleave(q.shape[1] // v.shape[1], dim=1)
    # tril again, so that no gradient goes there.
    return (step.pattern.tril(queries.start).to(v.dtype) @ v).transpose(1, 2).contiguous()


class _AsBefore:
    """A layer with its original configuration, in which some attention functions read their own name."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.config = module.config.unobserved

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
