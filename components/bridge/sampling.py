"""The settings of transformers' `generate` that a capture can follow."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig, PreTrainedModel

# Refused settings: the values at which each is off, and why.
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "num_beams": ((None, 1), "Beam search mixes several texts in its steps"),
    "num_beam_groups": ((None, 1), "Beam search mixes several texts in its steps"),
    "constraints": ((None,), "Constrained search is beam search, which mixes several texts in its steps"),
    "force_words_ids": ((None,), "Constrained search is beam search, which mixes several texts in its steps"),
    "penalty_alpha": ((None, 0), "Contrastive search tries several tokens in a step"),
    "guidance_scale": ((None, 1), "Guidance runs a second text beside this one"),
    "negative_prompt_ids": ((None,), "Guidance runs a second text beside this one"),
    "assistant_model": ((None,), "Assisted generation takes tokens back"),
    "prompt_lookup_num_tokens": ((None,), "Assisted generation takes tokens back"),
    "assistant_early_exit": ((None,), "Assisted generation takes tokens back"),
    "use_mtp": ((None, False), "Assisted generation takes tokens back"),
    "dola_layers": ((None,), "DoLa decoding reads other layers' predictions"),
    "custom_generate": ((None,), "The capture cannot know what your own function feeds"),
    "return_dict_in_generate": ((None, False), "What comes back are ids; with_cache=True gives the rest"),
    "use_cache": ((None, True), "Without the carried state every step reads the whole text again"),
    **dict.fromkeys(
        ("past_key_values", "cache_params", "cache"), ((), "The carried state is the bridge's own")
    ),
    "return_dict": ((None, True), "The model's outputs are read by name"),
    "is_assistant": ((None, False), "Assisted generation takes tokens back"),
    "inputs_embeds": ((None,), "A prompt is text or token ids"),
}


def generation_settings(
    model: PreTrainedModel, asked: Mapping[str, Any]
) -> tuple[GenerationConfig, dict[str, Any]]:
    """The settings of one continuation, and the rest of `asked`, for `generate`.

    Greedy decoding unless `asked` differs; of the model's generation_config only special tokens count.
    Raises ValueError for a setting that a capture cannot follow.
    """
    others = dict(asked)
    own = model.generation_config
    given = others.pop("generation_config", None)
    if given is not None and not isinstance(given, GenerationConfig):
        raise ValueError(
            f"generation_config is a {type(given).__name__}; give a GenerationConfig of transformers, or its "
            "settings one by one."
        )
    settings = copy.deepcopy(given) if given is not None else GenerationConfig(do_sample=False)
    others = settings.update(**others)
    for name, (off, reason) in _REFUSED.items():
        if name not in asked and not hasattr(settings, name):
            continue
        value = asked.get(name, getattr(settings, name, None))
        if not any(value is each or (isinstance(value, int | float) and value == each) for each in off):
            raise ValueError(f"generate cannot follow {name}={value!r}. {reason}; leave it out.")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if getattr(settings, name) is None and name not in asked:
            setattr(settings, name, getattr(own, name))
    pad = settings.pad_token_id
    if pad is not None and not 0 <= pad < model.config.vocab_size:
        settings.pad_token_id = None  # transformers then takes an end token
    return settings, others
