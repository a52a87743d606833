"""What people hold in their hands: prompts, ids and settings in any form, or a clear sentence."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, BatchEncoding, GenerationConfig

from components.bridge import ModelBridge
from components.models import load_bridge
from components.ssd import mean_distance, pooled_attention, state_norms
from tests.families import FAMILY_CASES
from tests.tiny import GOLDEN, random_ids, relative, tiny_model

ROWS = [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
IDS = torch.tensor(ROWS)


@pytest.fixture(scope="module")
def bridge() -> ModelBridge:
    return ModelBridge(tiny_model(), AutoTokenizer.from_pretrained(GOLDEN / "grouped"))


@pytest.mark.parametrize(
    "prompt",
    [
        ROWS,
        IDS,
        IDS.int(),
        np.array(ROWS),
        np.array(ROWS, dtype=np.int32),
        [np.array(row) for row in ROWS],
        list(IDS),
        tuple(map(tuple, ROWS)),
        {"input_ids": IDS},
        BatchEncoding({"input_ids": ROWS, "attention_mask": [[1] * 5, [1] * 5]}),
        BatchEncoding({"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}),
    ],
    ids=lambda prompt: type(prompt).__name__,
)
def test_ids_in_any_container(bridge: ModelBridge, prompt: Any) -> None:
    truth = bridge.run_with_hooks(IDS)
    assert torch.equal(bridge.to_tokens(prompt), IDS)
    assert torch.equal(bridge.run_with_hooks(prompt), truth)
    assert torch.equal(bridge.run_with_cache(prompt)[0], truth)
    assert torch.equal(bridge.generate(prompt, max_new_tokens=3), bridge.generate(IDS, max_new_tokens=3))


@pytest.mark.parametrize("row", [[5, 6, 7], torch.tensor([5, 6, 7]), np.array([5, 6, 7])])
def test_ids_of_one_text(bridge: ModelBridge, row: Any) -> None:
    assert bridge.to_tokens(row).tolist() == [[5, 6, 7]]
    assert bridge.to_tokens([np.int64(5), torch.tensor(6), 7]).tolist() == [[5, 6, 7]]
    expected = bridge.to_str_tokens([5, 6, 7])
    assert len(expected) == 3
    assert bridge.to_str_tokens(row) == expected
    assert bridge.to_str_tokens(bridge.to_tokens(row)) == expected
    assert bridge.to_str_tokens([[5, 6, 7]]) == expected
    with pytest.raises(ValueError, match="2 texts; give them one by one"):
        bridge.to_str_tokens(IDS)


def test_rows_of_different_lengths_are_padded_on_the_left(bridge: ModelBridge) -> None:
    ragged = [[5, 6, 7], [10, 11, 12, 13, 14]]
    logits = bridge.run_with_hooks(ragged)
    assert relative(logits[:1, 2:], bridge.run_with_hooks([5, 6, 7])) <= 1e-5
    assert relative(logits[1:], bridge.run_with_hooks(ragged[1])) <= 1e-5
    encoded = BatchEncoding({"input_ids": ragged, "attention_mask": [[1] * 3, [1] * 5]})
    assert torch.equal(bridge.run_with_hooks(encoded), logits)


def test_what_a_tokenizer_returned(bridge: ModelBridge) -> None:
    texts = ["a b c", "b"]
    tokenizer = bridge.tokenizer
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(96)
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    assert bool((encoded["attention_mask"] == 0).any())
    logits = bridge.run_with_hooks(encoded)
    alone = bridge.run_with_hooks(texts[1])
    assert relative(logits[1:, -alone.shape[1] :], alone) <= 1e-5
    # A mask that is given beside counts before it.
    masked = bridge.run_with_hooks(encoded, attention_mask=torch.ones_like(encoded["attention_mask"]))
    assert relative(masked[1:, -alone.shape[1] :], alone) > 1e-3


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({"ids": [1, 2]}, "no input_ids, but ids"),
        (torch.tensor([0.5, 1.0]), "float32 hold no text; give at least one id"),
        (np.zeros((1, 2, 3), dtype=int), r"shape \(1, 2, 3\).*hold no text"),
        ([[]], "hold no text"),
        ([97], "between 0 and 96"),
        ([1.7, 2.9], "Token ids in a list cannot be read"),
        ([[[1, 2]]], "Token ids in a list cannot be read"),
        ([1, [2, 3]], "Token ids in a list cannot be read"),
        ([10**30], "Token ids in a list cannot be read|between 0 and 96"),
        (torch.tensor([1j]), "complex64 hold no text"),
        (np.array([1, "a"], dtype=object), "Token ids in an array cannot be read"),
        ([[1, 2], [-3]], "between 0 and 96"),
        ("", "The prompt is empty"),
    ],
)
def test_what_is_no_prompt_is_told(bridge: ModelBridge, prompt: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bridge.run_with_hooks(prompt)


def test_a_mask_of_another_shape_is_told(bridge: ModelBridge) -> None:
    with pytest.raises(ValueError, match=r"mask's shape \(1, 5\) is not that of the ids, \(2, 5\)"):
        bridge.run_with_hooks(IDS, attention_mask=[1] * 5)
    expected = bridge.run_with_hooks(IDS, attention_mask=torch.tensor([[0, 1, 1, 1, 1], [1] * 5]))
    assert torch.equal(bridge.run_with_hooks(IDS, attention_mask=[[0, 1, 1, 1, 1], [1] * 5]), expected)


@pytest.mark.parametrize("pad_id", [None, -1, 97, 10**6])
def test_texts_are_padded_whatever_the_configuration_calls_a_pad(pad_id: int | None) -> None:
    model = tiny_model()
    model.config.pad_token_id = model.generation_config.pad_token_id = pad_id
    bridge = ModelBridge(model, AutoTokenizer.from_pretrained(GOLDEN / "grouped"))
    texts = ["a b c d", "b c"]
    logits = bridge.run_with_hooks(texts)
    alone = bridge.run_with_hooks(texts[1])
    assert relative(logits[1:, -alone.shape[1] :], alone) <= 1e-5
    continued = bridge.generate(texts, max_new_tokens=4, eos_token_id=7)
    assert int(continued.max()) < 97


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ([[1] * 5, [1] * 4], "rows are not as long as those of the ids"),
        ([[5] * 5, [1] * 5], "1 where a token is real and 0 where it pads"),
        ([[-1] * 5, [1] * 5], "1 where a token is real"),
        (torch.full((2, 5), 0.5), "A mask of shape .* hold no text"),
        ([[0.5] * 5, [1] * 5], "A mask in a list cannot be read"),
    ],
)
def test_what_is_no_mask_is_told(bridge: ModelBridge, mask: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bridge.run_with_hooks(IDS, attention_mask=mask)
    half = torch.tensor([[0, 1, 1, 1, 1], [1] * 5])
    expected = bridge.run_with_hooks(IDS, attention_mask=half)
    for good in (half.bool(), half.float(), half.numpy()):
        assert torch.equal(bridge.run_with_hooks(IDS, attention_mask=good), expected)


# TransformerLens's short form


def test_the_short_form_of_a_hooks_name(bridge: ModelBridge) -> None:
    _, cache = bridge.run_with_cache(IDS)
    assert torch.equal(cache["resid_post", 0], cache["blocks.0.hook_out"])
    assert torch.equal(cache["resid_pre", 1], cache["blocks.1.hook_in"])
    assert torch.equal(cache["blocks.1.hook_resid_post"], cache["blocks.1.hook_out"])
    assert torch.equal(cache["attention", 1], cache["blocks.1.mixer.hook_attention"])
    assert torch.equal(cache["ssm_out", 1], cache["blocks.1.mixer.hook_out"])
    assert torch.equal(cache["resid_post", -1], cache["blocks.1.hook_out"])
    assert ("resid_post", 1) in cache
    assert ("resid_mid", 1) not in cache
    with pytest.raises(KeyError, match=r"resid_mid.*was not kept"):
        cache["resid_mid", 1]
    hooks = [("blocks.0.hook_resid_post", lambda t, hook: t * 0)]
    assert torch.equal(
        bridge.run_with_hooks(IDS, fwd_hooks=hooks),
        bridge.run_with_hooks(IDS, fwd_hooks=[("blocks.0.hook_out", lambda t, hook: t * 0)]),
    )


# Generation


def test_generation_is_greedy_whatever_the_models_settings_say() -> None:
    plain = ModelBridge(tiny_model())
    greedy = plain.generate(IDS, max_new_tokens=12)
    model = tiny_model()
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=9.0,
        top_k=3,
        repetition_penalty=5.0,
        no_repeat_ngram_size=1,
        suppress_tokens=greedy[0, 5:8].tolist(),
        num_beams=2,
        guidance_scale=3.0,
        return_dict_in_generate=True,
        pad_token_id=96,
    )
    kept = model.generation_config.to_dict()
    found = ModelBridge(model).generate(IDS, max_new_tokens=12)
    assert torch.equal(found, greedy)
    assert model.generation_config.to_dict() == kept
    penalised = ModelBridge(model).generate(IDS, max_new_tokens=12, repetition_penalty=5.0)
    assert not torch.equal(penalised, greedy)
    assert torch.equal(plain.generate(IDS, max_new_tokens=12, repetition_penalty=5.0), penalised)


def test_an_end_that_is_asked_for_is_none() -> None:
    greedy = ModelBridge(tiny_model()).generate(IDS[:1], max_new_tokens=12)
    model = tiny_model()
    model.generation_config.eos_token_id = [int(greedy[0, 7])]
    assert torch.equal(ModelBridge(model).generate(IDS[:1], max_new_tokens=12, eos_token_id=None), greedy)
    with pytest.raises(ValueError, match="generation_config is a dict; give a GenerationConfig"):
        ModelBridge(model).generate(IDS, max_new_tokens=2, generation_config={"do_sample": True})


def test_end_tokens_are_those_of_the_model() -> None:
    model = tiny_model()
    greedy = ModelBridge(tiny_model()).generate(IDS[:1], max_new_tokens=12)[0].tolist()
    model.generation_config.eos_token_id = [greedy[7]]
    ended = ModelBridge(model).generate(IDS[:1], max_new_tokens=12)[0].tolist()
    assert ended == greedy[: greedy.index(greedy[7], 5) + 1]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("num_beams", 2, "Beam search"),
        ("guidance_scale", 1.5, "Guidance"),
        ("return_dict_in_generate", True, "What comes back are ids"),
        ("penalty_alpha", 0.6, "Contrastive"),
        ("prompt_lookup_num_tokens", 3, "takes tokens back"),
        ("assistant_model", object(), "takes tokens back"),
        ("use_cache", False, "reads the whole text again"),
        ("dola_layers", "high", "DoLa"),
        ("past_key_values", None, "carried state"),
        ("return_dict", False, "read by name"),
        ("is_assistant", True, "takes tokens back"),
        ("inputs_embeds", torch.zeros(1, 2, 32), "text or token ids"),
    ],
)
def test_what_generation_cannot_follow_is_refused_by_name(
    bridge: ModelBridge, name: str, value: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=rf"(?s)cannot follow {name}=.*{words}"):
        bridge.generate(IDS, max_new_tokens=2, **{name: value})
    if name in GenerationConfig().to_dict():
        settings = GenerationConfig()
        setattr(settings, name, value)
        with pytest.raises(ValueError, match=f"cannot follow {name}="):
            bridge.generate(IDS, max_new_tokens=2, generation_config=settings)


def test_settings_can_come_as_an_object(bridge: ModelBridge) -> None:
    settings = GenerationConfig(repetition_penalty=3.0, num_return_sequences=1)
    found = bridge.generate(IDS, max_new_tokens=8, generation_config=settings)
    assert torch.equal(found, bridge.generate(IDS, max_new_tokens=8, repetition_penalty=3.0))


# PyTorch's own settings


@pytest.fixture
def default_float64() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("case", FAMILY_CASES[::3], ids=str)
def test_a_default_dtype_of_float64_changes_nothing(case: Any, default_float64: None) -> None:
    torch.set_default_dtype(torch.float32)
    bridge, ids = ModelBridge(case.build()), random_ids(0, 1, 40)
    pattern = [f"blocks.{i}.attn.hook_pattern" for i in case.attentions]

    def look() -> list[Tensor]:
        _, cache = bridge.run_with_cache(ids)
        found = [cache[name] for name in pattern]
        for layer in case.mixers:
            terms = cache.ssd_terms(layer)
            found += [cache[f"blocks.{layer}.mixer.hook_attention"], torch.tensor(cache.faithfulness(layer))]
            found += [pooled_attention(terms, tiles=5, statistic="rms"), state_norms(terms)]
            found += [mean_distance(terms, rows=8).error]
        hooks = [(f"blocks.{case.mixers[0]}.mixer.hook_attention", lambda M, hook: M * 0.5)]
        return [*found, bridge.run_with_hooks(ids, fwd_hooks=hooks), bridge.generate(ids, max_new_tokens=3)]

    expected = look()
    torch.set_default_dtype(torch.float64)
    found = look()
    for one, other in zip(found, expected, strict=True):
        assert relative(one, other) <= 1e-6


@pytest.mark.parametrize("surrounding", [torch.inference_mode, torch.enable_grad, torch.no_grad])
def test_whatever_mode_the_caller_is_in(bridge: ModelBridge, surrounding: Callable[[], Any]) -> None:
    name = "blocks.0.mixer.hook_x"

    def halve(x: Tensor, hook: object) -> None:
        x[..., ::2] *= 0.5

    expected, truth = bridge.run_with_cache(IDS, fwd_hooks=[(name, halve)])
    with surrounding():
        logits, cache = bridge.run_with_cache(IDS, fwd_hooks=[(name, halve)])
        generation = bridge.stream(IDS[:1], max_new_tokens=2)
        next(generation)
    assert not logits.requires_grad
    assert torch.equal(logits, expected)
    assert torch.equal(cache.compute_ssm_effective_attention(0), truth.compute_ssm_effective_attention(0))
    assert next(generation).position == 5


def test_a_hooks_numbers_in_another_precision(bridge: ModelBridge) -> None:
    for name in ("blocks.0.hook_out", "blocks.0.mixer.hook_attention", "blocks.1.mixer.hook_dt"):
        expected = bridge.run_with_hooks(IDS, fwd_hooks=[(name, lambda t, hook: t * 2)])
        assert torch.equal(
            bridge.run_with_hooks(IDS, fwd_hooks=[(name, lambda t, hook: t.double() * 2)]), expected
        )
        with pytest.raises(ValueError, match=r"returned .* of complex numbers"):
            bridge.run_with_hooks(IDS, fwd_hooks=[(name, lambda t, hook: t * 1j)])
        with pytest.raises(ValueError, match="returned a ndarray"):
            bridge.run_with_hooks(IDS, fwd_hooks=[(name, lambda t, hook: t.numpy())])


def test_the_embedded_models_own_tokens() -> None:
    bridge = load_bridge("demo")
    text = "Mia has the key."
    encoded = bridge.tokenizer(text, return_tensors="pt")
    assert bridge.to_str_tokens(encoded["input_ids"]) == bridge.to_str_tokens(text)


def test_texts_of_different_lengths_are_padded_on_the_left() -> None:
    tokenizer = AutoTokenizer.from_pretrained(GOLDEN / "grouped")
    bridge = ModelBridge(tiny_model(), tokenizer)
    texts = [tokenizer.decode(random_ids(seed, 1, length)[0]) for seed, length in ((0, 12), (1, 5))]
    lengths = [len(bridge.to_str_tokens(text)) for text in texts]
    assert lengths[0] != lengths[1]
    logits, cache = bridge.run_with_cache(texts)
    assert logits.shape[:2] == (2, max(lengths))
    short = 0 if lengths[0] < lengths[1] else 1
    alone, _ = bridge.run_with_cache(texts[short])
    assert relative(logits[short, -min(lengths) :], alone[0]) <= 1e-5
    ids, cache = bridge.generate(texts, max_new_tokens=4, do_sample=False, with_cache=True)
    by_itself = bridge.generate(texts[short], max_new_tokens=4, do_sample=False)
    assert torch.equal(ids[short, -4:], by_itself[0, -4:])
    assert cache.faithfulness(0) <= 5e-6
