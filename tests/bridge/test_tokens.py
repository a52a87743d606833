"""Token texts: one per position, with spaces, and bytes where a character is cut."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from components.bridge import ModelBridge
from components.bridge.tokens import encode, token_texts
from tests.tiny import tiny_model


def byte_level(texts: Sequence[str] = ("the key and the map " * 9,)) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def metaspace() -> PreTrainedTokenizerFast:
    """Like Llama's and Codestral's: spaces are ▁, and the decoder drops the first."""
    vocabulary = {"▁": 0, "▁the": 1, "▁key": 2, "s": 3, "<unk>": 4}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def byte_fallback() -> PreTrainedTokenizerFast:
    """Like Mistral's and Zamba2's: what the vocabulary lacks is spelled in bytes."""
    words = ["▁", "a", "k", "e", "y", "▁a", "▁k", "▁ke", "▁key"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    merges = [("▁", "a"), ("▁", "k"), ("▁k", "e"), ("▁ke", "y")]
    vocabulary = {name: number for number, name in enumerate(names)}
    model = models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


BYTE_LEVEL, BYTE_FALLBACK = byte_level(), byte_fallback()


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


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, BYTE_FALLBACK], ids=["byte level", "byte fallback"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("😀", ["<0xF0>", "<0x9F>", "<0x98>", "😀"]),
        ("ش", ["<0xD8>", "ش"]),
        ("日本", ["<0xE6>", "<0x97>", "日", "<0xE6>", "<0x9C>", "本"]),
        ("é", ["<0xC3>", "é"]),
        ("\ufffd", ["<0xEF>", "<0xBF>", "\ufffd"]),  # itself, and no sign of something else
        ("\x01", ["\x01"]),
    ],
)
def test_a_character_of_several_tokens_stands_where_it_is_complete(
    tokenizer: PreTrainedTokenizerFast, text: str, expected: list[str]
) -> None:
    ids = encode(tokenizer, text)
    before = len(ids) - len(expected)  # a space that the tokenizer puts first
    assert token_texts(tokenizer, ids)[before:] == expected
    assert token_texts(tokenizer, ids[:-1])[before:] == expected[:-1]  # not yet complete
    again = token_texts(tokenizer, ids[-1:] * 2)  # in the middle of a character there is no character
    if len(expected) > 1:
        assert again == [f"<0x{text.encode()[-1]:02X}>"] * 2
    bridge = ModelBridge(tiny_model(vocab_size=512), tokenizer)
    assert bridge.to_str_tokens(text)[before:] == expected
    assert bridge.to_str_tokens(bridge.to_tokens(text))[before:] == expected


def test_bytes_that_complete_nothing_are_bytes() -> None:
    def ids_of(*some: int) -> list[int]:
        return [BYTE_FALLBACK.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in some]

    assert token_texts(BYTE_FALLBACK, ids_of(0xF0, 0x9F, 0x41, 0x80)) == ["<0xF0>", "<0x9F>", "A", "<0x80>"]
    assert token_texts(BYTE_FALLBACK, ids_of(0xF0, 0xD8, 0xB4)) == ["<0xF0>", "<0xD8>", "ش"]
    assert token_texts(BYTE_FALLBACK, ids_of(0xC0, 0xFF)) == ["<0xC0>", "<0xFF>"]
    key = BYTE_FALLBACK.convert_tokens_to_ids("▁key")
    assert token_texts(BYTE_FALLBACK, [*ids_of(0xF0, 0x9F), key, *ids_of(0x98, 0x80)]) == [
        "<0xF0>",
        "<0x9F>",
        " key",
        "<0x98>",
        "<0x80>",
    ]


def test_a_token_with_the_beginning_of_a_character() -> None:
    """As large vocabularies have them: a space and the first bytes of an emoji, then the last byte."""
    tokenizer = byte_level(["the 😀 key " * 9, "a 😁 map " * 9])
    ids = encode(tokenizer, "the 😂 key")
    texts = token_texts(tokenizer, ids)
    assert "".join(texts).replace("<0xF0 0x9F 0x98>", "") == "the 😂 key"
    assert " <0xF0 0x9F 0x98>" in texts


PLACEHOLDER = r"<0x[0-9A-F]{2}( 0x[0-9A-F]{2})*>"


@given(st.text(st.characters(blacklist_characters="<", blacklist_categories=["Cs"]), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_every_character_of_a_text_is_shown_once(text: str) -> None:
    for tokenizer, before in ((BYTE_LEVEL, ""), (BYTE_FALLBACK, " ")):
        ids = encode(tokenizer, text)
        texts = token_texts(tokenizer, ids)
        assert len(texts) == len(ids)
        assert re.sub(PLACEHOLDER, "", "".join(texts)) == before + text


@given(st.lists(st.integers(0, 258), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_shown(ids: list[int]) -> None:
    for tokenizer in (BYTE_LEVEL, BYTE_FALLBACK):
        texts = token_texts(tokenizer, ids)
        assert len(texts) == len(ids)
        assert all(texts[place] for place, number in enumerate(ids) if number > 2)


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
