"""Token texts: one per position, with spaces, and bytes where a character is cut."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from components.bridge import ModelBridge
from components.bridge.tokens import _bytes_by_character, encode, token_texts
from tests.tiny import tiny_model
from tests.tokenizers import byte_fallback, byte_level


def metaspace() -> PreTrainedTokenizerFast:
    """Like Llama's and Codestral's: spaces are ▁, and the decoder drops the first."""
    vocabulary = {"▁": 0, "▁the": 1, "▁key": 2, "s": 3, "<unk>": 4}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


BYTE_LEVEL, BYTE_FALLBACK = byte_level(), byte_fallback()
BOTH = pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, BYTE_FALLBACK], ids=["byte level", "byte fallback"])


def of_bytes(tokenizer: PreTrainedTokenizerFast, data: bytes) -> list[int]:
    """The tokens that are single bytes."""
    if tokenizer is BYTE_FALLBACK:
        return tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in data])
    names = {byte: name for name, byte in _bytes_by_character().items()}
    return tokenizer.convert_tokens_to_ids([names[byte] for byte in data])


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


@BOTH
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("😀", ["<0xF0>", "<0x9F>", "<0x98>", "😀"]),
        ("中文", ["<0xE4>", "<0xB8>", "中", "<0xE6>", "<0x96>", "文"]),
        ("ش", ["<0xD8>", "ش"]),
        ("a\u0301", ["a", "<0xCC>", "\u0301"]),
    ],
)
def test_a_character_stands_where_its_bytes_are_complete(
    tokenizer: PreTrainedTokenizerFast, text: str, shown: list[str]
) -> None:
    texts = token_texts(tokenizer, encode(tokenizer, text))
    assert texts[len(texts) - len(shown) :] == shown
    assert "".join(texts[: len(texts) - len(shown)]) in ("", " ")  # Mistral's puts a space before any text


@BOTH
@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"\xf0\x9f", ["<0xF0>", "<0x9F>"]),  # not complete
        (b"\xf0\x9fa", ["<0xF0>", "<0x9F>", "a"]),  # never to be
        (b"\x80\xd8\xb4", ["<0x80>", "<0xD8>", "ش"]),  # in the middle of one
        (b"\xc0\x80", ["<0xC0>", "<0x80>"]),  # longer than needed
        (b"\xed\xa0\x80", ["<0xED>", "<0xA0>", "<0x80>"]),  # half of a pair of UTF-16
        (b"\xd8\xd8\xb4", ["<0xD8>", "<0xD8>", "ش"]),
        (b"\n\x00", ["\n", "\0"]),
        ("\ufffd".encode(), ["<0xEF>", "<0xBF>", "\ufffd"]),  # a character as any other
    ],
)
def test_bytes_of_no_character_stay_bytes(
    tokenizer: PreTrainedTokenizerFast, data: bytes, shown: list[str]
) -> None:
    assert token_texts(tokenizer, of_bytes(tokenizer, data)) == shown


def test_a_token_of_several_bytes_completes_one_character_and_begins_another() -> None:
    tokenizer = Tokenizer(models.WordLevel({"ĠðŁ": 0, "ĺ": 1, "ĢaØ": 2, "´": 3}, unk_token="ĺ"))
    tokenizer.decoder = decoders.ByteLevel()
    texts = token_texts(PreTrainedTokenizerFast(tokenizer_object=tokenizer), [0, 1, 2, 3, 2])
    assert texts == [" <0xF0 0x9F>", "<0x98>", "😀a<0xD8>", "ش", "<0x80>a<0xD8>"]


@pytest.mark.parametrize("text", ["é", "ð", "\ufffd", "<0xF0>"])
def test_what_only_looks_like_a_byte_is_text(text: str) -> None:
    assert "".join(token_texts(BYTE_FALLBACK, encode(BYTE_FALLBACK, text))) == f" {text}"
    assert "".join(token_texts(BYTE_LEVEL, encode(BYTE_LEVEL, text))).endswith(text)


def characters_of(texts: list[str]) -> str:
    """What stands in the texts beside bytes."""
    return re.sub("<0x..(?: 0x..)*>", "", "".join(texts))


@BOTH
@given(text=st.text(st.characters(exclude_characters="<▁", exclude_categories=["Cs"]), min_size=1))
@settings(max_examples=150, deadline=None)
def test_every_character_stands_once_and_in_order(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = encode(tokenizer, text)
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids)
    assert characters_of(texts) == (f" {text}" if tokenizer is BYTE_FALLBACK else text)


@BOTH
@given(data=st.binary(max_size=12), cut=st.integers(0, 12))
@settings(max_examples=150, deadline=None)
def test_what_comes_later_changes_no_text(tokenizer: PreTrainedTokenizerFast, data: bytes, cut: int) -> None:
    ids = of_bytes(tokenizer, data)
    texts = token_texts(tokenizer, ids)
    assert token_texts(tokenizer, ids[:cut]) == texts[:cut]
    # Each byte is written as one, unless it completes a character.
    for byte, shown in zip(data, texts, strict=True):
        assert shown == f"<0x{byte:02X}>" or shown.encode()[-1] == byte
    assert characters_of(texts) == data.decode(errors="ignore")


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
