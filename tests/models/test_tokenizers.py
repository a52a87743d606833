"""Text becomes the tokens that the model was trained with, and padding changes nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from components.models import load_bridge
from tests.models.conftest import GOLDEN, LocalHub, refused
from tests.models.test_families import case_of, saved

TEXTS = ["Mia has the key.", "Leo"]


def golden_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(GOLDEN)
    tokenizer.add_special_tokens(special)
    return tokenizer


def assert_padding_changes_nothing(bridge: Any) -> None:
    together, _ = bridge.run_with_cache(TEXTS)
    for row, text in zip(together, TEXTS, strict=True):
        alone, _ = bridge.run_with_cache(text)
        assert torch.allclose(row[-alone.shape[1] :], alone[0], atol=1e-4)


# Tokens beyond the embeddings


@pytest.mark.parametrize("is_told", [True, False])
def test_a_padding_token_that_was_added_without_resizing(
    folder: Path, edit_config: Callable[..., None], is_told: bool
) -> None:
    golden_tokenizer(pad_token="[PAD]").save_pretrained(folder)
    if is_told:
        edit_config(folder, pad_token_id=97)  # as many have it, and beyond the vocabulary then
    bridge = load_bridge(folder)
    assert bridge.tokenizer.pad_token_id == bridge.model.config.vocab_size == 97
    expected, _ = load_bridge(GOLDEN).run_with_cache(TEXTS[0])
    assert torch.equal(bridge.run_with_cache(TEXTS[0])[0], expected)
    assert_padding_changes_nothing(bridge)
    with pytest.raises(ValueError, match="between 0 and 96"):
        bridge.run_with_cache("so [PAD] it is")


def test_tokens_of_chats_that_were_added_without_resizing(folder: Path) -> None:
    tokenizer = golden_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>"]})
    tokenizer.save_pretrained(folder)
    expected, _ = load_bridge(GOLDEN).run_with_cache(TEXTS[0])
    assert torch.equal(load_bridge(folder).run_with_cache(TEXTS[0])[0], expected)


def test_words_that_were_added_without_resizing(folder: Path) -> None:
    tokenizer = golden_tokenizer()
    tokenizer.add_tokens(["Mia"])
    tokenizer.save_pretrained(folder)
    with refused("belongs to another model: it has tokens up to number 97, and the model knows 97"):
        load_bridge(folder)


def test_a_token_for_the_unknown_beyond_the_embeddings(folder: Path) -> None:
    golden_tokenizer(unk_token="[UNK]").save_pretrained(folder)
    with refused("belongs to another model: it has tokens up to number 97"):
        load_bridge(folder)


def test_a_token_beyond_the_embeddings_that_begins_every_text(folder: Path) -> None:
    content = json.loads((GOLDEN / "tokenizer.json").read_text())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 97, "content": "[BOS]"})
    content["post_processor"]["single"].insert(0, {"SpecialToken": {"id": "[BOS]", "type_id": 0}})
    content["post_processor"]["special_tokens"] = {"[BOS]": {"id": "[BOS]", "ids": [97], "tokens": ["[BOS]"]}}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with refused("belongs to another model: it has tokens up to number 97"):
        load_bridge(folder)


# Numbers for padding that are no tokens

WITHOUT_BIASES = [
    "mamba2-gelu",
    "bamba-gelu",
    "granitemoehybrid-dense-nope",
    "zamba2-grouped-nope",
    "nemotron_h-latent",
    "falcon_h1-no-norm-open",
]
"""In these padding is not read; elsewhere the bias of `in_proj` is."""


@pytest.mark.parametrize(("name", "number"), list(zip(WITHOUT_BIASES, [-1, 97, 5000] * 2, strict=True)))
def test_a_padding_number_that_is_no_token(
    name: str, number: int, tmp_path: Path, edit_config: Callable[..., None]
) -> None:
    model = saved(case_of(name), tmp_path)
    edit_config(tmp_path, pad_token_id=number)
    bridge = load_bridge(tmp_path)
    ids = bridge.to_tokens(TEXTS[0])
    assert torch.equal(bridge.model(ids).logits, model(ids).logits)
    assert_padding_changes_nothing(bridge)


def test_a_padding_number_that_is_no_token_pads_no_generation(
    folder: Path, edit_config: Callable[..., None]
) -> None:
    """Of two texts one ends before the other, and is filled up."""
    first = load_bridge(GOLDEN).generate(TEXTS[1], max_new_tokens=1)[0, -1]
    for number in (-1, 97):
        edit_config(folder, pad_token_id=number, eos_token_id=int(first))
        settings = {"pad_token_id": number, "eos_token_id": int(first)}
        (folder / "generation_config.json").write_text(json.dumps(settings))
        ids = load_bridge(folder).generate(TEXTS, max_new_tokens=4)
        assert ids.min() >= 0
        assert ids.max() < 97


def test_numbers_that_are_no_tokens_are_special_to_no_tokenizer(
    folder: Path, edit_config: Callable[..., None]
) -> None:
    (folder / "tokenizer_config.json").unlink()
    edit_config(folder, bos_token_id=-1, pad_token_id=-1)
    tokenizer = load_bridge(folder).tokenizer
    assert (tokenizer.bos_token, tokenizer.pad_token) == (None, None)


# Formats


def sentencepiece_model(words: list[str]) -> bytes:
    """A `tokenizer.model` with these pieces and nothing else, written as protobuf."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    return b"".join(field(1, field(1, word.encode())) for word in words)


@pytest.mark.parametrize("described", [True, False])
def test_tokenizer_model_alone(folder: Path, described: bool) -> None:
    (folder / "tokenizer.json").unlink()
    if not described:
        (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(["<unk>", "<s>", "</s>", "▁Mia", "▁has"]))
    with refused("tokenizer.model alone, a format of sentencepiece.*Add the tokenizer.json.*tokenizer="):
        load_bridge(folder)


def test_tokenizer_model_beside_tokenizer_json(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(["<unk>"]))
    assert load_bridge(folder).to_tokens("Mia").tolist() == load_bridge(GOLDEN).to_tokens("Mia").tolist()


# Another tokenizer than the model's own


@pytest.fixture
def bare(folder: Path) -> Path:
    """The golden model without its tokenizer."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    return folder


@pytest.fixture
def reversed_folder(tmp_path: Path) -> Path:
    """A tokenizer with the golden one's tokens, numbered the other way round."""
    content = json.loads((GOLDEN / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {token: 94 - n if n <= 94 else n for token, n in vocabulary.items()}
    target = tmp_path / "reversed"
    target.mkdir()
    (target / "tokenizer.json").write_text(json.dumps(content))
    shutil.copy(GOLDEN / "tokenizer_config.json", target)
    return target


def test_a_tokenizer_itself(bare: Path) -> None:
    tokenizer = golden_tokenizer()
    bridge = load_bridge(bare, tokenizer=tokenizer)
    assert bridge.tokenizer is tokenizer
    assert torch.equal(bridge.run_with_cache("Mia")[0], load_bridge(GOLDEN).run_with_cache("Mia")[0])


def test_the_folder_of_a_tokenizer(bare: Path, reversed_folder: Path) -> None:
    expected = (94 - load_bridge(GOLDEN).to_tokens("Mia")).tolist()
    assert load_bridge(bare, tokenizer=reversed_folder).to_tokens("Mia").tolist() == expected
    assert load_bridge(bare, tokenizer=str(reversed_folder)).to_tokens("Mia").tolist() == expected
    # also in place of one that the model has
    assert load_bridge(GOLDEN, tokenizer=reversed_folder).to_tokens("Mia").tolist() == expected


@pytest.mark.parametrize("name", ["someone/words", "https://huggingface.co/someone/words/tree/main"])
def test_the_repository_of_a_tokenizer(
    local_hub: LocalHub, bare: Path, reversed_folder: Path, name: str
) -> None:
    local_hub.repositories["someone/words"] = reversed_folder
    expected = (94 - load_bridge(GOLDEN).to_tokens("Mia")).tolist()
    assert load_bridge(bare, tokenizer=name).to_tokens("Mia").tolist() == expected


def test_the_original_format_with_a_tokenizer_fetches_none(
    local_hub: LocalHub, original_folder: Path
) -> None:
    (original_folder / "tokenizer.json").unlink()
    assert load_bridge(original_folder, tokenizer=golden_tokenizer()).to_str_tokens("Mia")
    assert local_hub.served == []


def test_a_tokenizer_that_does_not_fit(bare: Path, edit_config: Callable[..., None]) -> None:
    tokenizer = golden_tokenizer()
    tokenizer.add_tokens(["more"])
    with refused("tokenizer for .* belongs to another model: it has tokens up to number 97"):
        load_bridge(bare, tokenizer=tokenizer)


@pytest.mark.parametrize(
    "given",
    [Tokenizer.from_file(str(GOLDEN / "tokenizer.json")), 5, AutoTokenizer],
    ids=["raw", "5", "class"],
)
def test_what_is_no_tokenizer(bare: Path, given: object) -> None:
    with refused("tokenizer= was given a (Tokenizer|int|type). Give a tokenizer of transformers, such as "):
        load_bridge(bare, tokenizer=given)


def test_a_folder_without_any_says_that_one_can_be_named(bare: Path) -> None:
    with refused("has no tokenizer.*or name it with tokenizer="):
        load_bridge(bare)
    with refused("There is no folder .*none"):
        load_bridge(bare, tokenizer="./none")
