"""A session's continuation: its own thread generates tokens, while pages read it and may stop it.

A session has at most one, which stops when the session starts another or picks another model.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from components.ssd import hooks_of
from explorer.jobs import StoppedError
from explorer.line import line
from explorer.models import bridge, encoded
from explorer.settings import LimitError, settings
from explorer.threads import use_threads
from explorer.visit import visit

if TYPE_CHECKING:
    from components.bridge import ActivationCache, Generation, ModelBridge
    from components.ssd import MixerTerms, Place
    from explorer.sampling import SamplingOptions
    from explorer.subject import Subject

_BEGUN = 3
"""Most tokens that can precede the one that completes a character: UTF-8 has up to four bytes."""

UNWATCHED_SECONDS = 120
"""A continuation that no page reads for so long stops; a hidden browser tab reads once a minute."""

CLOSED_SECONDS = 10
"""A continuation stops so long after its visitor has closed the page, or lost the connection for good."""

Made = TypeVar("Made")


class Continuation:
    """A text being generated. Raises ValueError, with a sentence, if it is impossible or not allowed.

    It starts at once and runs until it is done, stopped, failed or unwatched.
    """

    def __init__(self, subject: Subject, options: SamplingOptions) -> None:
        from components.bridge import Generation, ssd_inputs

        ids, _ = encoded(subject.model, subject.prompt)
        self.subject, self.options = subject, options
        self.bridge = bridge(subject.model)
        _check_room(self.bridge, ids.shape[1], options.new_tokens)
        self.generation: Generation = Generation(
            self.bridge,
            ids,
            max_new_tokens=options.new_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed,
            names_filter=ssd_inputs,
            fwd_hooks=hooks_of(subject.edits),
        )
        self.failure: Exception | None = None
        self.refusal = ""
        """The limit of this copy that ended it, in a sentence."""
        self.waits = ""
        """Its place in the line while it waits for other runs."""
        self.unwatched = False
        self._stopped = threading.Event()
        self._is_open = visit()
        self._looked = self._last_open = time.monotonic()
        self._computed = 0.0
        self._made: dict[str, tuple[object, Any]] = {}
        self._tokens: list[str] = []
        self._thread = threading.Thread(target=self._pull, name="continuation", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether more tokens may come."""
        return self._thread.is_alive()

    @property
    def total(self) -> int:
        """Positions expected in the end while it runs, then actual ones."""
        generation = self.generation
        return generation.prompt_length + self.options.new_tokens if self.running else generation.length

    @cached_property
    def heads(self) -> dict[Place, int]:
        """How many heads each layer has, by kind."""
        return self.bridge.heads

    def terms(self, place: Place, *, with_x: bool) -> MixerTerms:
        """The terms of a layer over the text so far."""
        return self.made(
            "terms",
            (self.generation.length, place, with_x),
            lambda: self.cache().terms(place, with_x=with_x),
        )

    def stop(self) -> None:
        """Stop generating. The tokens so far stay."""
        self._stopped.set()
        self._thread.join(timeout=1)  # the token under way

    def look(self) -> None:
        """Note that a page is reading."""
        self._looked = time.monotonic()

    def tokens(self) -> list[str]:
        """The text of each position so far, ready for display."""
        from components.charts import visible_tokens

        ids, known = self.generation.ids, len(self._tokens)
        if known < len(ids):
            # New tokens complete characters that earlier ones began, which changes their text.
            changed = max(known - _BEGUN, 0)
            start = max(changed - _BEGUN, 0)
            self._tokens[changed:] = visible_tokens(self.bridge.to_str_tokens(ids[start:]))[changed - start :]
        return self._tokens[: len(ids)]

    def tokens_after(self, time: int, candidates: Sequence[int]) -> list[str]:
        """The text of each of these tokens after the position `time`, ready for display."""
        from components.charts import visible_tokens

        before = self.generation.ids[max(time + 1 - _BEGUN, 0) : time + 1]
        return [visible_tokens(self.bridge.to_str_tokens([*before, each]))[-1] for each in candidates]

    def text(self, positions: int) -> str:
        """The text of the first positions, decoded together: a character may span several tokens.

        Leaves out a last character that is incomplete.
        """
        tokenizer = self.bridge.tokenizer
        assert tokenizer is not None  # the prompt was a text
        whole = str(
            tokenizer.decode(
                self.generation.ids[:positions], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
        return whole.rstrip("\ufffd")

    def cache(self) -> ActivationCache:
        """The activations so far."""
        return self.made("cache", self.generation.length, lambda: self.generation.cache)

    def made(self, name: str, of: object, make: Callable[[], Made]) -> Made:
        """The result of `make`, cached under `name` for as long as `of` stays the same."""
        if name not in self._made or self._made[name][0] != of:
            self._made[name] = of, make()
        made: Made = self._made[name][1]
        return made

    def _pull(self) -> None:
        parameters, prompt = self.bridge.model.num_parameters(), self.generation.prompt_length
        memory = gigabytes(self.bridge, prompt + self.options.new_tokens)
        try:
            with line().admitted(self._wait, gigabytes=memory, places=0):
                for _ in self._by_turns(self.generation.read_prompt(), parameters * prompt):
                    self._go_on_or_stop()
                began = time.monotonic()
                for _ in self._by_turns(self.generation, parameters):
                    self._go_on_or_stop(began)
        except StoppedError:
            pass
        except LimitError as error:
            self.refusal = str(error)
        except Exception as error:
            logging.getLogger(__name__).exception("A continuation failed.")
            self.failure = error

    def _by_turns(self, steps: Iterator[object], work: int) -> Iterator[None]:
        """Take each step in a turn of its own. Raises LimitError if they take too long together."""
        while True:
            with line().admitted(self._wait):
                self.waits = ""
                use_threads(work)
                began = time.monotonic()
                if next(steps, None) is None:
                    return
                self._computed += time.monotonic() - began
            settings().check_seconds(self._computed)
            yield

    def _wait(self, place: str, _: float | None) -> None:
        self.waits = place
        self._go_on_or_stop()

    def _go_on_or_stop(self, began: float | None = None) -> None:
        """Pause to keep the pace of what has begun. Raises StoppedError if nobody wants more."""
        now, pause = time.monotonic(), 0.0
        if began is not None and self.options.pace:
            new = self.generation.length - self.generation.prompt_length
            pause = began + new / self.options.pace - now
        if self._is_open():
            self._last_open = now
        self.unwatched = now - self._looked > UNWATCHED_SECONDS or now - self._last_open > CLOSED_SECONDS
        if self._stopped.wait(max(pause, 0)) or self.unwatched:
            raise StoppedError


def _check_room(bridge: ModelBridge, prompt: int, new: int) -> None:
    """Raise ValueError, with a sentence, if so many tokens exceed the limits or free memory."""
    from components.models import available_memory

    most = settings().most_tokens
    if most is not None and prompt + new > most:
        raise ValueError(
            f"The prompt's {prompt:,} tokens and {new:,} new ones are {prompt + new:,}; at most {most:,} are "
            "allowed here. Shorten the prompt, or ask for fewer new tokens."
        )
    free = available_memory(next(bridge.model.parameters()).device) / 1e9
    settings().check_cost(gigabytes(bridge, prompt + new), free)


def gigabytes(bridge: ModelBridge, tokens: int) -> float:
    """GB of memory that a continuation of so many tokens takes.

    It keeps the inputs of every layer's terms. It uses the terms of one layer at a time, and the logits of a
    piece of the prompt in float32.
    """
    from components.bridge import PIECE_TOKENS

    item = bridge.model.dtype.itemsize
    layers = [bridge.at(place).bytes_per_token(item) for place in bridge.heads]
    each_token = sum(each.continued for each in layers) + max(each.all_terms for each in layers)
    logits = 3 * min(tokens, PIECE_TOKENS) * bridge.model.config.vocab_size * 4
    return float(tokens * each_token + logits) / 1e9
