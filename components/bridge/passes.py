"""Runs a model with its hooks: in one pass, or piece by piece and step by step on a carried state."""

from __future__ import annotations

import difflib
import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from components.bridge.activation_cache import ActivationCache
from components.bridge.attention_record import attention_records_for
from components.bridge.embedding import EmbeddingBridge
from components.bridge.families import layers_of
from components.bridge.generalized_component import GeneralizedComponent
from components.bridge.heads import HeadsBridge
from components.bridge.hook_point import HookFunction, HookPoint, Run, running
from components.bridge.mixer_record import records_for
from components.bridge.offload import turn_of
from components.bridge.prompts import Ids, Prompt, ids_and_mask
from components.bridge.short_chunk import in_short_chunk, short_model
from components.bridge.ssm_block import SSMBlockBridge
from components.bridge.wrappable import refuse_compiled, require_wrappable
from components.ssd import Place

NamesFilter = str | Sequence[str] | Callable[[str], bool] | None
ForwardHooks = Iterable[tuple[str | Callable[[str], bool], HookFunction]]


class Passes:
    """What all runs of a wrapped model share: hooks, records, and how to feed the model.

    `ModelBridge` adds the runs that users call; `Generation` continues a text with it.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        family = require_wrappable(model)
        # In training, a fused kernel runs the whole mixer and no hook inside it fires.
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.embed = EmbeddingBridge(family.embed, model.config)
        self.blocks = [
            SSMBlockBridge(name, layer, family, model.config) for name, layer in layers_of(model, family)
        ]
        self.ln_final = GeneralizedComponent(family.ln_final, model.config)
        self.unembed = GeneralizedComponent("lm_head", model.config)
        self.hook_points: dict[str, HookPoint] = {}
        self.hook_aliases: dict[str, str] = {}
        # A garbage-collected bridge, as after rerunning a notebook cell, removes its hooks.
        self._off = weakref.finalize(self, _remove_hooks, [component for _, component in self._components()])
        self._off.atexit = False
        for key, component in self._components():
            component.set_original_component(model.get_submodule(component.name))
            for name, point in component.hook_points():
                point.name = f"{key}.{name}"
                self.hook_points[point.name] = point
            for alias, name in component.alias_names():
                self.hook_aliases[f"{key}.{alias}"] = f"{key}.{name}"
        self._modules = tuple(model.modules())
        mixers = [
            f"{block.name}.{block.mixer.name}" for block in self.blocks if "mixer" in block.real_components
        ]
        self._mixers = {path: model.get_submodule(path) for path in mixers}
        self._cache_name = name_of_cache(model)
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    def remove_hooks(self) -> None:
        """Remove the hooks from the model, which can then be pickled; later runs raise RuntimeError."""
        self._off()

    @property
    def heads(self) -> dict[Place, int]:
        """How many heads each layer has, by kind, down the model."""
        parts = [(i, part) for i, block in enumerate(self.blocks) for part in block.with_heads]
        found = {Place(i, part.kind): part.heads for i, part in parts}
        return {place: found[place] for place in sorted(found, key=lambda place: place.order)}

    def at(self, place: Place) -> HeadsBridge:
        """The component with the heads of a place; IndexError if there is none."""
        for part in self.blocks[place.layer].with_heads:
            if part.kind == place.kind:
                return part
        raise IndexError(f"This model has no heads at {place}.")

    def step(
        self,
        ids: Int64[Tensor, "batch seq"],
        start: int,
        state: DynamicCache,
        mask: Int64[Tensor, "batch prompt"] | None = None,
        logits_to_keep: int = 1,
        *,
        short: bool = False,
    ) -> Float[Tensor, "batch kept vocab"]:
        """Feed the ids from position `start` on; `state` has those before. Logits of the last positions.

        `mask` is 1 at the real positions of a padded prompt. `short` pads these ids no further than needed,
        and may round otherwise. For callers that step by hand, in a run.
        """
        fed = ids[:, start:]
        given: dict[str, Any] = {self._cache_name: state}
        if mask is not None:
            mask = F.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
        if self._takes_positions:  # not every model counts positions
            real = torch.ones_like(ids) if mask is None else mask
            given["position_ids"] = (real.cumsum(dim=1) - 1).clamp(min=0)[:, start:]
        model = short_model(self.model, self._mixers, fed.shape[1]) if short else self.model
        out = model(
            input_ids=fed, attention_mask=mask, use_cache=True, logits_to_keep=logits_to_keep, **given
        )
        logits: Tensor = out.logits
        return logits

    def _components(self) -> Iterable[tuple[str, GeneralizedComponent]]:
        yield "embed", self.embed
        for i, block in enumerate(self.blocks):
            yield f"blocks.{i}", block
        yield "ln_final", self.ln_final
        yield "unembed", self.unembed

    def _run(self, hooks: ForwardHooks, keeps: set[str], *, grad: bool = False) -> Run:
        by_name = self._hooks(hooks)
        records, attentions = records_for(by_name, keeps), attention_records_for({*by_name, *keeps})
        return Run(self.hook_points, by_name, keeps, records, attentions, grad=grad)

    @contextmanager
    def _running(self, run: Run) -> Iterator[None]:
        """Make this the current run; raises when hooks of the model cannot fire."""
        if not self._off.alive:
            raise RuntimeError("This bridge's hooks were removed; wrap the model again: ModelBridge(model).")
        modules = tuple(self.model.modules())
        if modules != self._modules:
            raise RuntimeError(
                "The model has other modules than when it was wrapped, such as an adapter or another layer. "
                "Wrap it again: ModelBridge(model)."
            )
        refuse_compiled(self.model, modules)
        if self.model.training:
            raise RuntimeError(
                "The model is in training mode, in which its mixers skip the hooks inside. Call model.eval()."
            )
        with turn_of(self.model, modules), running(run):
            yield

    def _cache(self, run: Run) -> ActivationCache:
        return ActivationCache(run, self.hook_aliases, self.heads, len(self.blocks), self.tokenizer)

    def _forward(
        self,
        run: Run,
        prompt: Prompt,
        mask: Ids | None,
        piece_tokens: int | None = None,
        logits_to_keep: int = 0,
    ) -> Float[Tensor, "batch kept vocab"]:
        ids, mask = self._inputs(prompt, mask)
        run.ids, run.mask, run.prompt = ids, mask, range(ids.shape[1])
        pieces = pieces_of(ids.shape[1], piece_tokens, mask)
        kept = ids.shape[1] - logits_to_keep if logits_to_keep else 0
        with self._running(run):
            if len(pieces) == 1:
                model = in_short_chunk(self.model, self._mixers, *ids.shape)
                whole: Tensor = model(
                    input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=logits_to_keep
                ).logits
                return whole
            logits, state = [], DynamicCache(config=self.model.config)
            for piece in pieces:
                wanted = max(piece.stop - max(piece.start, kept), 0)
                # To the model, 0 would mean all.
                of_piece = self.step(ids[:, : piece.stop], piece.start, state, None, max(wanted, 1))
                logits += [of_piece] if wanted else []
        return torch.cat(logits, dim=1)

    def _inputs(self, prompt: Prompt, mask: Ids | None) -> tuple[Tensor, Tensor | None]:
        """Ids [b, s] and mask on the device of the model's input."""
        config = self.model.config
        ids, mask = ids_and_mask(prompt, mask, self.tokenizer, config.vocab_size, config.pad_token_id)
        real = (p.device for p in self.model.parameters() if p.device.type != "meta")
        device = next(real, torch.device("cpu"))
        return ids.to(device), None if mask is None else mask.to(device)

    def _hook_name(self, name: str) -> str:
        """The hook's name, by name or alias; ValueError suggests the nearest."""
        name = self.hook_aliases.get(name, name)
        if name not in self.hook_points:
            near = difflib.get_close_matches(name, [*self.hook_points, *self.hook_aliases], n=3)
            advice = f"Did you mean {' or '.join(near)}?" if near else "See bridge.hook_points for all names."
            raise ValueError(f"There is no hook {name!r}. {advice}")
        return name

    def _hooks(self, hooks: ForwardHooks) -> dict[str, list[HookFunction]]:
        by_name: dict[str, list[HookFunction]] = {}
        for where, function in hooks:
            names = [self._hook_name(where)] if isinstance(where, str) else filter(where, self.hook_points)
            for name in names:
                by_name.setdefault(name, []).append(function)
        return by_name

    def _names(self, names: NamesFilter) -> set[str]:
        if names is None:
            return set(self.hook_points)
        if callable(names):
            return set(filter(names, self.hook_points))
        return {self._hook_name(name) for name in ([names] if isinstance(names, str) else names)}


def _remove_hooks(components: list[GeneralizedComponent]) -> None:
    for component in components:
        component.remove_hooks()


def name_of_cache(module: Any) -> str:
    """The argument for the carried state; before transformers 5.24 a mixer and its model differ in it."""
    known = inspect.signature(module.forward).parameters
    return next(name for name in ("cache", "cache_params", "past_key_values") if name in known)


def pieces_of(length: int, tokens: int | None, mask: Tensor | None) -> list[slice]:
    """The positions of each piece; the last one may be longer by one.

    The model takes a piece of a single token as a decode step, which computes differently (no clamp of dt).
    """
    if tokens is None or length <= tokens + 1:
        return [slice(0, length)]
    if mask is not None and not bool(mask.all()):
        raise ValueError("A padded batch cannot be run in pieces; run its texts one by one.")
    if tokens < 2:
        raise ValueError(f"A piece of {tokens} tokens is too short: the model reads pieces of two and more.")
    starts = list(range(0, length - 1, tokens))
    return [slice(*ends) for ends in pairwise([*starts, length])]
