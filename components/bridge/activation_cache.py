"""What a run kept, by hook name, and results from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from components.bridge.attention_record import PATTERN
from components.bridge.hook_point import Run
from components.bridge.mixer_record import MixerRecord, gated
from components.bridge.prompts import require_tokenizer
from components.bridge.tokens import token_texts
from components.ssd import MixerTerms, Place, SoftmaxTerms, SSDTerms, effective_attention, reconstruct


class ActivationCache(Mapping[str, Tensor]):
    """Activations by hook name or alias, over prompt and continuation.

    Tensors inside a mixer are computed from its projection on each access, so they take no memory in between;
    `hook_decay`, `hook_attention` and the `hook_pattern` of softmax attention are [b, heads, seq, seq]. All
    are what the run used, with the edits of hooks.

    The short form of TransformerLens works: `cache["resid_post", 3]` is `cache["blocks.3.hook_resid_post"]`.

    In a run with gradients, `cache[name]` is part of the graph; the results of the methods are detached.
    """

    def __init__(
        self,
        run: Run,
        aliases: Mapping[str, str],
        heads: Mapping[Place, int],
        layers: int,
        tokenizer: PreTrainedTokenizerBase | None,
    ) -> None:
        self._captured = run.captured
        self._keeps = run.keeps
        self._grad = run.grad
        self._ssm_layers = [place.layer for place in heads if place.kind == SSDTerms.kind]
        self._attention_layers = [place.layer for place in heads if place.kind == SoftmaxTerms.kind]
        mixers = (f"blocks.{layer}.mixer" for layer in self._ssm_layers)
        self._records = {mixer: run.mixers[mixer] for mixer in mixers if mixer in run.mixers}
        self._attentions = run.attentions
        self._aliases = aliases
        self._places = list(heads)
        self._layers = layers
        self._ids, self._tokenizer = run.ids, tokenizer

    def __getitem__(self, name: str | tuple[str, int]) -> Tensor:
        hook = self._hook(name)
        if hook in self._captured:
            steps = self._captured[hook]
            if len(steps) > 1:
                steps[:] = [torch.cat(steps, dim=1)]
            return steps[0]
        if hook in self._patterns():
            return self._attentions[hook.removesuffix(f".{PATTERN}")].pattern()
        mixer, _, inside = hook.partition(".mixer.")
        record = self._records.get(f"{mixer}.mixer")
        if record is None or inside not in record.hooks:
            raise KeyError(
                f"{name!r} was not kept in this run; run again with a names_filter that includes it."
            )
        return record.at_hook(inside)

    def __iter__(self) -> Iterator[str]:
        yield from self._captured
        for mixer, record in self._records.items():
            yield from (f"{mixer}.{inside}" for inside in record.hooks)
        yield from self._patterns()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return self._hook(name) in set(self)

    def __repr__(self) -> str:
        return f"ActivationCache with {len(self)} hooks of {self._layers} layers"

    @property
    def str_tokens(self) -> list[str]:
        """The text of each position in a run of one text; ValueError for other runs."""
        if self._ids is None or len(self._ids) != 1:
            of = "one layer alone" if self._ids is None else f"{len(self._ids)} texts"
            raise ValueError(f"This cache is of {of}; run one text to see its tokens.")
        return token_texts(require_tokenizer(self._tokenizer), self._ids[0].tolist())

    def places_of(self, layer: int) -> list[Place]:
        """The places of a layer, one per kind; IndexError if it has none."""
        found = [place for place in self._places if place.layer == layer]
        if not found:
            held = ", ".join(map(str, sorted({place.layer for place in self._places})))
            raise IndexError(f"Layer {layer} holds no heads with attention; these do: {held}.")
        return found

    def terms(self, place: Place, *, with_x: bool = False) -> MixerTerms:
        """The terms of a layer's heads of one kind; those of a mixer have x only with `with_x`.

        Returns `ssd_terms` or `softmax_terms` and raises as they do; IndexError for a place without heads.
        """
        held = self.places_of(place.layer)
        if place not in held:
            kinds = ", ".join(each.kind for each in held)
            raise IndexError(f"Layer {place.layer} holds no heads of kind {place.kind!r}; it holds: {kinds}.")
        if place.kind == SoftmaxTerms.kind:
            return self.softmax_terms(place.layer)
        return self.ssd_terms(place.layer, with_x=with_x)

    def ssd_terms(self, layer: int, *, with_x: bool = True) -> SSDTerms:
        """The terms of one layer, in float32 with the cumulative decay in float64.

        Attention, decay and content do not need x, by far the largest term: `with_x=False` leaves it empty,
        [b, s, heads, 0]. The terms include rows of L and M that a hook replaced, so every function of
        `components.ssd` returns what the run used. Raises RuntimeError naming what the cache lacks.
        """
        record = self._record(layer)
        if with_x and not record.with_x:
            raise RuntimeError(_missing(layer, f"blocks.{layer}.mixer.hook_x"))
        terms = record.terms().detached()
        if with_x:
            return terms
        # Where the run kept x, B and C are views of a tensor that holds all three.
        own: dict[str, Any] = {"B": terms.B.clone(), "C": terms.C.clone()} if record.with_x else {}
        return replace(terms, x=terms.x[..., :0].clone(), **own)

    def softmax_terms(self, layer: int) -> SoftmaxTerms:
        """The terms of one softmax attention layer, which give its pattern or any window of it.

        They include rows that a hook replaced. Raises RuntimeError naming what the cache lacks.
        """
        if layer not in self._attention_layers:
            held = ", ".join(map(str, self._attention_layers)) or "none"
            raise IndexError(f"Layer {layer} holds no softmax attention; these do: {held}.")
        name = f"blocks.{layer}.attn.{PATTERN}"
        if name not in self._patterns():
            raise RuntimeError(_missing(layer, name))
        return self._attentions[f"blocks.{layer}.attn"].terms().detached()

    def gradients(
        self, score: Float[Tensor, ""], names: str | Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Gradient of a score by hook, d score / d `cache[name]`, in a run with `grad=True`.

        `score` is a number computed from the run's logits or activations. `names` are hooks or aliases, and
        the keys of the result; None means all that the run kept and the score depends on. A tensor inside a
        mixer, or a softmax pattern, has a gradient if a hook edited it or returned it unchanged: otherwise
        the model did not read it. Raises RuntimeError for a run without gradients, ValueError for a hook on
        which the score does not depend.
        """
        if not self._grad:
            raise RuntimeError("This run kept no gradients; run again: run_with_cache(..., grad=True).")
        asked = self._in_graph() if names is None else [names] if isinstance(names, str) else list(names)
        tensors = {name: self[name] for name in asked}
        in_graph = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
        found: Sequence[Tensor | None] = (
            torch.autograd.grad(score, list(in_graph.values()), retain_graph=True, allow_unused=True)
            if in_graph
            else ()
        )
        gradients = {
            name: gradient for name, gradient in zip(in_graph, found, strict=True) if gradient is not None
        }
        missing = [name for name in asked if name not in gradients]
        if names is not None and missing:
            raise ValueError(
                f"The score does not depend on {missing[0]!r}. If it lies inside a mixer or is a pattern, "
                "let a hook of the run return it, so that the model goes on from it: "
                f"fwd_hooks=[({missing[0]!r}, lambda tensor, hook: tensor)]."
            )
        return gradients

    def compute_ssm_effective_attention(
        self, layer: int | None = None, include_dt_scaling: bool = False
    ) -> (
        Float32[Tensor, "batch head seq seq"]
        | Float32[Tensor, "layer batch head seq seq"]
        | dict[int, Float32[Tensor, "batch head seq seq"]]
    ):
        """Effective attention of one layer, or of all: stacked, or by layer if some have no mixer.

        Raises RuntimeError naming what the cache lacks.
        """
        if layer is not None:
            return self._attention(layer, include_dt_scaling)
        by_layer = {index: self._attention(index, include_dt_scaling) for index in self._ssm_layers}
        if len(by_layer) < self._layers:
            return by_layer
        # Layers may live on several devices.
        device = by_layer[0].device
        return torch.stack([M.to(device) for M in by_layer.values()])

    def faithfulness(self, layer: int) -> float:
        """Largest |M·dt·x + D·x − y| over largest |y|, y being the model's own scan output.

        y is the input of the mixer's inner norm, before functions at hook_scan; in a mixer without a norm,
        both sides are times silu(z). Where hooks edited M or its terms, y is what the run computed from
        them. Around 1e-6 in float32; do not trust a picture of a layer above `tolerance`. Raises
        RuntimeError naming what the cache lacks.
        """
        name = f"blocks.{layer}.mixer.hook_scan"
        terms = self.ssd_terms(layer)
        if name not in self._captured:
            raise RuntimeError(_missing(layer, name))
        record = self._record(layer)
        unedited = record.scan_before_hooks()
        y = (self[name].flatten(2) if unedited is None else unedited).detach().float()
        gate = record.gate()
        rebuilt = gated(reconstruct(terms).flatten(2), None if gate is None else gate.detach())
        return float((rebuilt - y).abs().max() / y.abs().max())

    def tolerance(self, layer: int) -> float:
        """Faithfulness above which you should not trust a picture of a layer.

        1e-4, where the model's scan computes in float32 from the projection. Three things round more in half
        precision: GPU kernels take dt in float32, while the terms, like the model's own PyTorch code, have
        it in the model's precision; decode steps return y in that precision; and so does a mixer without an
        inner norm.
        """
        record = self._record(layer)
        projected = record.steps[0].projected
        decoded = any(step.recurrent for step in record.steps)
        rounds = projected.device.type != "cpu" or decoded or not record.scan.has_norm
        return max(1e-4, 4 * torch.finfo(projected.dtype).eps) if rounds else 1e-4

    @property
    def notes(self) -> list[str]:
        """What a reader of this capture should know, in sentences."""
        notes = []
        clamping = [mixer for mixer, record in self._records.items() if record.clamps_against_config]
        if clamping:
            scan = self._records[clamping[0]].scan
            notes.append(
                f"{_listed(clamping)}: transformers clamps dt to {_limit(scan.dt_limit)} while it reads a "
                f"text; the model's configuration says {_limit(scan.config_dt_limit)} (transformers issue "
                "48989). What is shown is what this code computes."
            )
        for mixer, record in self._records.items():
            unclamped = record.unclamped_positions()
            if unclamped:
                notes.append(
                    f"{mixer}: the model clamps dt to {_limit(record.scan.dt_limit)} while it reads the "
                    f"prompt and not while it generates; dt is outside at {len(unclamped)} generated "
                    f"positions, the first being {unclamped[0]}. The terms follow what ran."
                )
        return notes

    def _hook(self, name: object) -> str:
        """The hook that a name, an alias, or the short form (name, layer) stands for."""
        if isinstance(name, tuple) and len(name) == 2:
            short, layer = name
            layer = layer % self._layers if isinstance(layer, int) and -self._layers <= layer < 0 else layer
            inside = (f"blocks.{layer}.{part}hook_{short}" for part in ("", "mixer.", "attn."))
            known = {*self, *self._aliases}
            name = next((hook for hook in inside if hook in known), f"blocks.{layer}.hook_{short}")
        return self._aliases.get(str(name), str(name))

    def _in_graph(self) -> list[str]:
        """The kept hooks whose tensors the model computed with."""
        edited = [
            f"{mixer}.{hook}" for mixer, record in self._records.items() for hook in record.edited_hooks
        ]
        patterns = [
            f"{attention}.{PATTERN}" for attention, record in self._attentions.items() if record.edited
        ]
        return [*self._captured, *edited, *patterns]

    def _patterns(self) -> list[str]:
        """The attention patterns that this run keeps."""
        names = (f"{attention}.{PATTERN}" for attention in self._attentions)
        return [name for name in names if name in self._keeps]

    def _attention(self, layer: int, include_dt_scaling: bool) -> Float32[Tensor, "batch head seq seq"]:
        return effective_attention(self.ssd_terms(layer, with_x=False), include_dt_scaling=include_dt_scaling)

    def _record(self, layer: int) -> MixerRecord:
        if layer not in self._ssm_layers:
            held = ", ".join(map(str, self._ssm_layers))
            raise IndexError(f"Layer {layer} holds no Mamba-2 mixer; these do: {held}.")
        record = self._records.get(f"blocks.{layer}.mixer")
        if record is None:
            raise RuntimeError(_missing(layer, f"blocks.{layer}.mixer.in_proj.hook_out"))
        return record


def matrix_inputs(name: str) -> bool:
    """Names filter that keeps just what attention, decay and content of every layer need.

    It also keeps each mixer's input, so that `ModelBridge.run_mixer` can run a layer again for the rest, and
    the queries and keys of softmax attention.
    """
    return name.endswith(_MATRIX_INPUTS)


def ssd_inputs(name: str) -> bool:
    """Names filter that keeps just what the terms of every layer need, and the faithfulness of mixers."""
    return name.endswith(_SSD_INPUTS)


_MATRIX_INPUTS = (
    *(f".mixer.{name}" for name in ("hook_in", "hook_B", "hook_C", "hook_dt")),
    f".attn.{PATTERN}",
)
_SSD_INPUTS = (
    *(f".mixer.{name}" for name in ("hook_x", "hook_B", "hook_C", "hook_dt", "hook_scan")),
    f".attn.{PATTERN}",
)


def _limit(limit: tuple[float, float]) -> str:
    return f"[{limit[0]:g}, {limit[1]:g}]"


def _listed(mixers: Sequence[str]) -> str:
    """The name of one mixer, or the first and how many more."""
    return mixers[0] if len(mixers) == 1 else f"{mixers[0]} and {len(mixers) - 1} more"


def _missing(layer: int, name: str) -> str:
    return (
        f"The cache has no {name!r}, from which this is computed for layer {layer}; "
        "run again with a names_filter that includes it."
    )
