"""Wraps a Hugging Face model: runs that keep, read or edit its activations."""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import DynamicCache

from components.bridge import tokens
from components.bridge.activation_cache import ActivationCache
from components.bridge.generation import Generation
from components.bridge.passes import ForwardHooks, NamesFilter, Passes, name_of_cache, pieces_of
from components.bridge.prompts import Ids, Prompt, one_row, require_tokenizer
from components.bridge.sampling import generation_settings
from components.bridge.short_chunk import in_short_chunk


class ModelBridge(Passes):
    """Wraps a Mamba-2 language model and replaces nothing; its logits stay bit for bit the same.

    A prompt is a text, a list of texts (padded on the left), token ids [s] or [b, s] in any container, or
    what a tokenizer returned. Hooks are named as in TransformerLens, such as
    `blocks.3.mixer.in_proj.hook_out`; `hook_points` lists them all. A function at a hook edits its tensor in
    place, returns another, or only reads it; `hook.positions` are the positions of the text in the tensor.
    Several threads may use one bridge at once, and several bridges one model.

    Raises ValueError or TypeError for a model that it cannot wrap, and says what to pass instead.
    """

    def ssm_layers(self) -> list[int]:
        """Indices of the layers that hold a Mamba-2 mixer."""
        return [i for i, block in enumerate(self.blocks) if "mixer" in block.real_components]

    def attention_layers(self) -> list[int]:
        """Indices of the layers that hold softmax attention, as some layers of hybrids do."""
        return [i for i, block in enumerate(self.blocks) if "attn" in block.real_components]

    def to_tokens(self, prompt: Prompt) -> Int64[Tensor, "batch seq"]:
        """Token ids of a prompt, padded on the left where texts differ in length."""
        return self._inputs(prompt, None)[0]

    def to_str_tokens(self, prompt: str | Ids) -> list[str]:
        """The text of each token of one text, or of ids [s] or [1, s]; ValueError when there are none."""
        tokenizer = require_tokenizer(self.tokenizer)
        ids = tokens.encode(tokenizer, prompt) if isinstance(prompt, str) else one_row(prompt)
        return tokens.token_texts(tokenizer, ids)

    def run_with_cache(
        self,
        prompt_or_ids: Prompt,
        *,
        attention_mask: Ids | None = None,
        names_filter: NamesFilter = None,
        fwd_hooks: ForwardHooks = (),
        piece_tokens: int | None = None,
        logits_to_keep: int = 0,
        grad: bool = False,
    ) -> tuple[Float[Tensor, "batch kept vocab"], ActivationCache]:
        """One forward pass: logits [b, s, vocab], and the tensors at the hooks that `names_filter` selects.

        `names_filter` is a name, several, or a function of the name; None keeps everything. `fwd_hooks` as in
        `run_with_hooks`; the cache has their edits.

        A long text can go through the model `piece_tokens` at a time: each piece starts from the state of the
        one before, so the result is that of one pass, up to rounding, in the memory of a piece and of what
        the run keeps. Hooks then fire once for each piece, with its positions. With `logits_to_keep`, the run
        computes the logits of only that many last positions (0: of all).

        With `grad`, autograd records model and hooks: `cache.gradients(score)` returns the gradient of any
        number computed from the logits. A tensor inside a mixer has one if a hook edits it.

        Raises ValueError for an unknown name, for a padded batch in pieces, and for gradients of pieces.
        """
        if grad and piece_tokens is not None:
            raise ValueError("Gradients do not pass from piece to piece; run the text without piece_tokens.")
        if grad and any(parameter.is_inference() for parameter in self.model.parameters()):
            raise ValueError(
                "This model was loaded in inference mode, which keeps no gradients. Load it outside of "
                "torch.inference_mode()."
            )
        run = self._run(fwd_hooks, self._names(names_filter), grad=grad)
        logits = self._forward(run, prompt_or_ids, attention_mask, piece_tokens, logits_to_keep)
        return logits, self._cache(run)

    def run_with_hooks(
        self,
        prompt_or_ids: Prompt,
        *,
        fwd_hooks: ForwardHooks = (),
        attention_mask: Ids | None = None,
    ) -> Float[Tensor, "batch seq vocab"]:
        """One forward pass with functions at hooks: logits [b, s, vocab].

        Each is (name or function of the name, fn); `fn(tensor, hook)` edits the tensor in place, returns
        another of the same shape, or only reads it. Raises ValueError for an unknown name or another shape.
        """
        run = self._run(fwd_hooks, set())
        return self._forward(run, prompt_or_ids, attention_mask)

    def run_mixer(
        self,
        layer: int,
        hidden: Float[Tensor, "batch seq model"],
        *,
        attention_mask: Int64[Tensor, "batch seq"] | None = None,
        names_filter: NamesFilter = None,
        fwd_hooks: ForwardHooks = (),
        piece_tokens: int | None = None,
    ) -> tuple[Float[Tensor, "batch seq model"], ActivationCache]:
        """Run one mixer alone on its input from another run: its output, and a cache of that mixer.

        `hidden` is `blocks.{layer}.mixer.hook_in` of an earlier run, which need not have kept anything else.
        `piece_tokens` and `fwd_hooks` as in `run_with_cache`; give hooks that edited this mixer in that run
        again. Hooks outside this mixer do not fire, nor do those at its hook_in. Raises ValueError as
        `run_with_cache`, IndexError for a layer that does not exist or has no mixer.
        """
        layer = range(len(self.blocks))[layer]
        if layer not in self.ssm_layers():
            held = ", ".join(map(str, self.ssm_layers()))
            raise IndexError(f"Layer {layer} holds no Mamba-2 mixer; these do: {held}.")
        inside = f"blocks.{layer}.mixer."
        run = self._run(fwd_hooks, {name for name in self._names(names_filter) if name.startswith(inside)})
        run.hooks = {name: each for name, each in run.hooks.items() if name != f"{inside}hook_in"}
        run.mask, run.prompt = attention_mask, range(hidden.shape[1])
        pieces = pieces_of(hidden.shape[1], piece_tokens, attention_mask)
        state, mask = (
            (DynamicCache(config=self.model.config), None) if len(pieces) > 1 else (None, attention_mask)
        )
        mixer: Any = self.blocks[layer].mixer.original_component
        cache = {name_of_cache(mixer): state}
        if state is None:
            mixer = in_short_chunk(mixer, {"": mixer}, *hidden.shape[:2])
        out = []
        with self._running(run):
            for piece in pieces:
                run.advance(piece.stop - piece.start)
                out.append(mixer(hidden_states=hidden[:, piece], attention_mask=mask, **cache))
        return torch.cat(out, dim=1), self._cache(run)

    def generate(
        self,
        prompt_or_ids: Prompt,
        *,
        max_new_tokens: int,
        with_cache: bool = False,
        attention_mask: Ids | None = None,
        names_filter: NamesFilter = None,
        fwd_hooks: ForwardHooks = (),
        **sampling: Any,
    ) -> Int64[Tensor, "batch seq"] | tuple[Int64[Tensor, "batch seq"], ActivationCache]:
        """Continue a prompt: ids [b, prompt and continuation], and with `with_cache` the capture.

        Greedy, whatever the model's generation_config says; only its special tokens count. `sampling` are
        settings of transformers' own `generate`, such as do_sample, temperature or
        repetition_penalty. The cache covers every id returned: the last one, which generation itself never
        feeds back, takes one more decode step. Raises ValueError, naming it, for a setting whose steps belong
        to several texts or that a capture cannot follow.
        """
        settings, others = generation_settings(self.model, sampling)
        ids, mask = self._inputs(prompt_or_ids, attention_mask)
        state = DynamicCache(config=self.model.config)
        run = self._run(fwd_hooks, self._names(names_filter) if with_cache else set())
        continuations = settings.num_return_sequences or 1
        run.mask = None if mask is None else mask.repeat_interleave(continuations, dim=0)
        run.prompt = range(ids.shape[1])
        # A shallow copy of the model, with generation settings of its own.
        twin = copy.copy(self.model)
        twin.generation_config = settings
        with self._running(run):
            continued = twin.generate(
                ids,
                attention_mask=torch.ones_like(ids) if mask is None else mask,
                max_new_tokens=max_new_tokens,
                use_cache=True,
                **{self._cache_name: state},
                **others,
            )
            run.ids = continued
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
        fwd_hooks: ForwardHooks = (),
    ) -> Generation:
        """Continue a prompt token by token, at the caller's pace; see `Generation`."""
        return Generation(
            self,
            prompt_or_ids,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            names_filter=names_filter,
            fwd_hooks=fwd_hooks,
        )
