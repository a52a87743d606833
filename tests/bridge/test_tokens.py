"""Token texts: one per position, with spaces, and bytes where a character is cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from components.bridge import ModelBridge
from components.bridge.tokens import encode, token_texts
from tests.tiny import tiny_model


def byte_level() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the key and the map " * 9], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def metaspace() -> PreTrainedTokenizerFast:
    """Like Llama's and Codestral's: spaces are ▁, and the decoder drops the first."""
    vocabulary = {"▁": 0, "▁the": 1, "▁key": 2, "s": 3, "<unk>": 4}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


BYTE_LEVEL = byte_level()


def test_spaces_and_newlines_are_kept() -> None:
    assert token_texts(BYTE_LEVEL, encode(BYTE_LEVEL, "the key\n the map")) == [
        "the",
        " key",
        "\n",
        " the",
        " map",
    ]


def test_spaces_are_kept_where_the_decoder_drops_the_first() -> None:
    assert token_texts(metaspace(), [1, 2, 3]) == [" the", " key", "s"]


def test_a_cut_character_shows_its_bytes() -> None:
    assert token_texts(BYTE_LEVEL, encode(BYTE_LEVEL, "😀")) == ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]


@given(
    st.text(st.characters(max_codepoint=126, categories=["L", "N", "P", "Zs", "Cc"]), min_size=1, max_size=60)
)
@settings(max_examples=60, deadline=None)
def test_texts_of_plain_tokens_join_to_the_prompt(prompt: str) -> None:
    ids = encode(BYTE_LEVEL, prompt)
    texts = token_texts(BYTE_LEVEL, ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == prompt


def test_an_empty_prompt_says_what_to_do() -> None:
    bridge = ModelBridge(tiny_model(), BYTE_LEVEL)
    for use in (bridge.to_str_tokens, bridge.run_with_cache):
        with pytest.raises(ValueError, match=r"empty.*Type at least one word"):
            use("")


def test_without_a_tokenizer_ids_are_asked_for() -> None:
    with pytest.raises(ValueError, match="no tokenizer; give token ids"):
        ModelBridge(tiny_model()).run_with_cache("text")
