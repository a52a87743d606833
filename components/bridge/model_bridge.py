"""A Hugging Face model, seen: runs that keep activations, look at them or edit them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from threading import Lock
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from components.bridge import tokens
from components.bridge.activation_cache import ActivationCache
from components.bridge.attention_record import attention_records_for
from components.bridge.families import family_of, layers_of
from components.bridge.generalized_component import GeneralizedComponent
from components.bridge.generation import Generation
from components.bridge.hook_point import HookFunction, HookPoint, Run, running
from components.bridge.mixer_record import records_for
from components.bridge.ssm_block import SSMBlockBridge

Prompt = str | Sequence[str] | Sequence[int] | Tensor
NamesFilter = str | Sequence[str] | Callable[[str], bool] | None
ForwardHooks = Iterable[tuple[str | Callable[[str], bool], HookFunction]]


class ModelBridge:
    """Wraps a Mamba-2 language model; nothing of it is replaced, its logits stay bit for bit the same.

    A prompt is a text, a list of texts (padded on the left), token ids [s] or [b, s]. Hooks are named as in
    TransformerLens, such as `blocks.3.mixer.in_proj.hook_out`; `hook_points` lists them all. Several threads
    may use one bridge at once.

    Raises ValueError for a model without Mamba-2 mixers, or of a family that is not known.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        family = family_of(model)
        # While training, a fused kernel runs the whole mixer and no hook inside it fires.
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.embed = GeneralizedComponent(family.embed, model.config)
        self.blocks = [
            SSMBlockBridge(name, layer, family, model.config) for name, layer in layers_of(model, family)
        ]
        self.ln_final = GeneralizedComponent(family.ln_final, model.config)
        self.unembed = GeneralizedComponent("lm_head", model.config)
        self.hook_points: dict[str, HookPoint] = {}
        self.hook_aliases: dict[str, str] = {}
        for key, component in self._components():
            component.set_original_component(model.get_submodule(component.name))
            for name, point in component.hook_points():
                point.name = f"{key}.{name}"
                self.hook_points[point.name] = point
            for alias, name in component.alias_names():
                self.hook_aliases[f"{key}.{alias}"] = f"{key}.{name}"
        self._cache_name = _name_of_cache(model)
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self._offload_lock: AbstractContextManager[Any] = Lock() if _offloads(model) else nullcontext()

    def ssm_layers(self) -> list[int]:
        """Indices of the layers that hold a Mamba-2 mixer."""
        return [i for i, block in enumerate(self.blocks) if "mixer" in block.real_components]

    def attention_layers(self) -> list[int]:
        """Indices of the layers that hold softmax attention, as some layers of hybrids do."""
        return [i for i, block in enumerate(self.blocks) if "attn" in block.real_components]

    def to_tokens(self, prompt: Prompt) -> Int64[Tensor, "batch seq"]:
        """Token ids of a prompt, padded on the left where texts differ in length."""
        return self._inputs(prompt, None)[0]

    def to_str_tokens(self, prompt: str | Sequence[int] | Int64[Tensor, " seq"]) -> list[str]:
        """The text of each token, one per position; ValueError for an empty prompt."""
        tokenizer = self._tokenizer()
        ids = tokens.encode(tokenizer, prompt) if isinstance(prompt, str) else list(map(int, prompt))
        return tokens.token_texts(tokenizer, ids)

    @torch.no_grad()
    def run_with_cache(
        self,
        prompt_or_ids: Prompt,
        *,
        attention_mask: Int64[Tensor, "batch seq"] | None = None,
        names_filter: NamesFilter = None,
        fwd_hooks: ForwardHooks = (),
        piece_tokens: int | None = None,
        logits_to_keep: int = 0,
    ) -> tuple[Float[Tensor, "batch kept vocab"], ActivationCache]:
        """One forward pass: logits [b, s, vocab], and what passed the hooks that `names_filter` lets through.

        `names_filter` is a name, several, or a function of the name; None keeps everything. `fwd_hooks` as in
        `run_with_hooks`; what they edit is kept edited.

        A long text can go through the model `piece_tokens` at a time: each piece begins with the state that
        the one before it left, so the result is that of one pass, up to rounding, in the memory of a piece
        and of what is kept. Hooks then fire once for each piece. With `logits_to_keep` only those of the last
        positions are computed (0: of all). Raises ValueError for an unknown name, and for a padded batch in
        pieces.
        """
        run = _run(self._hooks(fwd_hooks), self._names(names_filter))
        logits = self._forward(run, prompt_or_ids, attention_mask, piece_tokens, logits_to_keep)
        return logits, self._cache(run)

    @torch.no_grad()
    def run_with_hooks(
        self,
        prompt_or_ids: Prompt,
        *,
        fwd_hooks: ForwardHooks = (),
        attention_mask: Int64[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, "batch seq vocab"]:
        """One forward pass with functions at hooks: logits [b, s, vocab].

        Each is (name or function of the name, fn); `fn(tensor, hook)` returns a tensor of the same shape to
        edit, None to look. Raises ValueError for an unknown name or another shape.
        """
        run = _run(self._hooks(fwd_hooks), set())
        return self._forward(run, prompt_or_ids, attention_mask)

    @torch.no_grad()
    def run_mixer(
        self,
        layer: int,
        hidden: Float[Tensor, "batch seq model"],
        *,
        attention_mask: Int64[Tensor, "batch seq"] | None = None,
        names_filter: NamesFilter = None,
        piece_tokens: int | None = None,
    ) -> tuple[Float[Tensor, "batch seq model"], ActivationCache]:
        """One mixer alone, on what it was given in a run: its output, and a cache of that layer.

        `hidden` is `blocks.{layer}.mixer.hook_in` of an earlier run, which need not have kept anything else.
        `piece_tokens` as in `run_with_cache`.
        """
        run = _run({}, {name for name in self._names(names_filter) if name.startswith(f"blocks.{layer}.")})
        pieces = _pieces(hidden.shape[1], piece_tokens, attention_mask)
        state, mask = (
            (DynamicCache(config=self.model.config), None) if len(pieces) > 1 else (None, attention_mask)
        )
        mixer = self.blocks[layer].mixer
        cache = {_name_of_cache(mixer): state}
        with self._offload_lock, running(run):
            out = [mixer(hidden_states=hidden[:, piece], attention_mask=mask, **cache) for piece in pieces]
        return torch.cat(out, dim=1), self._cache(run)

    @torch.no_grad()
    def generate(
        self,
        prompt_or_ids: Prompt,
        *,
        max_new_tokens: int,
        with_cache: bool = False,
        attention_mask: Int64[Tensor, "text prompt"] | None = None,
        names_filter: NamesFilter = None,
        fwd_hooks: ForwardHooks = (),
        **sampling: Any,
    ) -> Int64[Tensor, "batch seq"] | tuple[Int64[Tensor, "batch seq"], ActivationCache]:
        """Continue a prompt: ids [b, prompt and continuation], and with `with_cache` what passed on the way.

        `sampling` goes to the model's own `generate`, which decodes greedily by default. The cache covers
        every id returned: the last one, which generation itself never feeds back, takes one more decode step.
        Raises ValueError for beam search, whose steps belong to several texts.
        """
        if sampling.get("num_beams", 1) != 1:
            raise ValueError(
                "Beam search mixes several texts in its steps; sample or decode greedily instead."
            )
        ids, mask = self._inputs(prompt_or_ids, attention_mask)
        state = DynamicCache(config=self.model.config)
        run = _run(self._hooks(fwd_hooks), self._names(names_filter) if with_cache else set())
        continuations = sampling.get("num_return_sequences", 1)
        run.mask = None if mask is None else mask.repeat_interleave(continuations, dim=0)
        with self._offload_lock, running(run):
            continued = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids) if mask is None else mask,
                max_new_tokens=max_new_tokens,
                use_cache=True,
                **{self._cache_name: state},
                **sampling,
            )
            if with_cache:
                self.step(continued, continued.shape[1] - 1, state, run.mask)
        return (continued, self._cache(run)) if with_cache else continued

    def stream(
        self,
        prompt_or_ids: Prompt,
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        names_filter: NamesFilter = None,
    ) -> Generation:
        """Continue a prompt token by token, at the pace of who asks; see `Generation`."""
        return Generation(
            self,
            prompt_or_ids,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            names_filter=names_filter,
        )

    def step(
        self,
        ids: Int64[Tensor, "batch seq"],
        start: int,
        state: DynamicCache,
        mask: Int64[Tensor, "batch prompt"] | None = None,
        logits_to_keep: int = 1,
    ) -> Float[Tensor, "batch kept vocab"]:
        """Feed the ids from position `start` on, those before being in `state`: logits of the last positions.

        `mask` is 1 at the real positions of a padded prompt. For who steps by hand, inside a run.
        """
        fed = ids[:, start:]
        given: dict[str, Any] = {self._cache_name: state}
        if mask is not None:
            mask = F.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
        if self._takes_positions:  # not every model counts what it has seen
            real = torch.ones_like(ids) if mask is None else mask
            given["position_ids"] = (real.cumsum(dim=1) - 1).clamp(min=0)[:, start:]
        out = self.model(
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

    def _cache(self, run: Run) -> ActivationCache:
        return ActivationCache(
            run, self.hook_aliases, self.ssm_layers(), self.attention_layers(), len(self.blocks)
        )

    def _forward(
        self,
        run: Run,
        prompt: Prompt,
        mask: Tensor | None,
        piece_tokens: int | None = None,
        logits_to_keep: int = 0,
    ) -> Float[Tensor, "batch kept vocab"]:
        ids, mask = self._inputs(prompt, mask)
        run.mask = mask
        pieces = _pieces(ids.shape[1], piece_tokens, mask)
        kept = ids.shape[1] - logits_to_keep if logits_to_keep else 0
        with self._offload_lock, running(run):
            if len(pieces) == 1:
                whole: Tensor = self.model(
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

    def _inputs(self, prompt: Prompt, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Ids [b, s] and mask on the device where the model takes them in."""
        if isinstance(prompt, Tensor):
            ids = prompt.reshape(1, -1) if prompt.ndim == 1 else prompt
        elif isinstance(prompt, str) or (prompt and isinstance(prompt[0], str)):
            texts = [prompt] if isinstance(prompt, str) else list(prompt)
            rows = [tokens.encode(self._tokenizer(), str(text)) for text in texts]
            ids, padding = tokens.left_padded(rows, self.model.config.pad_token_id or 0)
            mask = padding if mask is None else mask
        else:
            ids = torch.tensor([list(prompt)])
        vocabulary = self.model.config.vocab_size
        if ids.ndim != 2 or not ids.numel():
            raise ValueError(
                f"Token ids of shape {tuple(ids.shape)} hold no text; give at least one id, [s] or [b, s]."
            )
        least, most = (int(bound) for bound in ids.aminmax())
        if least < 0 or most >= vocabulary:
            raise ValueError(f"Token ids must lie between 0 and {vocabulary - 1}, the model's vocabulary.")
        if mask is not None and mask.shape != ids.shape:
            raise ValueError(
                f"The mask's shape {tuple(mask.shape)} is not that of the ids, {tuple(ids.shape)}."
            )
        real = (p.device for p in self.model.parameters() if p.device.type != "meta")
        device = next(real, torch.device("cpu"))
        return ids.to(device), None if mask is None else mask.to(device)

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise ValueError(
                "This bridge has no tokenizer; give token ids, or load the model with its tokenizer."
            )
        return self.tokenizer

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


def _run(hooks: dict[str, list[HookFunction]], keeps: set[str]) -> Run:
    return Run(hooks, keeps, records_for(hooks, keeps), attention_records_for({*hooks, *keeps}))


def _name_of_cache(module: Any) -> str:
    """What the carried state is called; before transformers 5.24 a mixer and its model differ in that."""
    known = inspect.signature(module.forward).parameters
    return next(name for name in ("cache", "cache_params", "past_key_values") if name in known)


def _pieces(length: int, tokens: int | None, mask: Tensor | None) -> list[slice]:
    """The positions of each piece; the last one may be longer by one.

    A piece of a single token would be a decode step to the model, which is other arithmetic (no clamp of dt).
    """
    if tokens is None or length <= tokens + 1:
        return [slice(0, length)]
    if mask is not None and not bool(mask.all()):
        raise ValueError("A padded batch cannot be run in pieces; run its texts one by one.")
    if tokens < 2:
        raise ValueError(f"A piece of {tokens} tokens is too short: the model reads pieces of two and more.")
    starts = list(range(0, length - 1, tokens))
    return [slice(*ends) for ends in pairwise([*starts, length])]


def _offloads(model: PreTrainedModel) -> bool:
    """Whether accelerate moves weights in and out during the forward pass: one thread at a time then."""
    return any(getattr(getattr(m, "_hf_hook", None), "offload", False) for m in model.modules())
