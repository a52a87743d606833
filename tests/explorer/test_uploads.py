import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from explorer.uploads import text_of_file

MARK = b"\xef\xbb\xbf"
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff")).filter(str.strip)


@given(TEXTS, st.sampled_from(["a.txt", "A.TXT", "read.me.Md", "no name.md", ".txt"]), st.booleans())
def test_text_comes_back_as_it_was_written(text: str, name: str, marked: bool) -> None:
    content = MARK * marked + text.encode()
    assert text_of_file(name, content) == text
    assert text_of_file(name, content.replace(b"\n", b"\r\n")) == text


def test_only_what_is_not_text_is_dropped() -> None:
    assert text_of_file("a.txt", MARK + MARK + b" one\r\n\r\ntwo\rthree\n ") == "\ufeff one\n\ntwo\rthree\n "


@given(st.binary())
@example(b"\xff\xfe")
@example(b"\0")
@example(b"\0\0\xfe\xff")
def test_any_content_is_text_or_refused_with_a_sentence(content: bytes) -> None:
    text, refusal = "", ""
    try:
        text = text_of_file("a.txt", content)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert re.fullmatch(r'"a\.txt" (is|cannot) .+\. (Choose|Save) .+\.', refusal)
    else:
        assert text.strip()
        assert "\0" not in text


@pytest.mark.parametrize("name", ["notes.pdf", "notes", "notes.txt.exe", "txt", "notes.md ", ""])
def test_another_ending_is_refused_whatever_the_content(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not a \.txt or \.md file\. Save .* or paste it\.$") as caught:
        text_of_file(name, b"text")
    assert str(caught.value).startswith(f'"{name}"')


@pytest.mark.parametrize(
    ("content", "byte", "seems"),
    [
        ("one café".encode("latin-1"), "8 is 0xE9", "in another encoding, perhaps Windows-1252 or Latin-1"),
        ("“one”".encode("cp1252"), "1 is 0x93", "in another encoding, perhaps Windows-1252 or Latin-1"),
        (b"a" * 4095 + b"\xfc", "4,096 is 0xFC", "in another encoding, perhaps Windows-1252 or Latin-1"),
        ("one".encode("utf-16"), "1 is 0xFF", "UTF-16"),
        ("猫".encode("utf-16"), "1 is 0xFF", "UTF-16"),
        (b"\xfe\xff" + "one".encode("utf-16-be"), "1 is 0xFE", "UTF-16"),
        ("one".encode("utf-32"), "1 is 0xFF", "UTF-32"),
        (b"\0\0\xfe\xff" + "one".encode("utf-32-be"), "3 is 0xFE", "UTF-32"),
        ("one".encode("utf-16-le"), "2 is 0x00", "UTF-16"),
        ("one".encode("utf-16-be"), "1 is 0x00", "UTF-16"),
        ("one ü".encode("utf-16-le"), "9 is 0xFC", "UTF-16"),
        ("one".encode("utf-32-le"), "2 is 0x00", "UTF-32"),
        ("one".encode("utf-32-be"), "1 is 0x00", "UTF-32"),
    ],
)
def test_another_encoding_is_named(content: bytes, byte: str, seems: str) -> None:
    with pytest.raises(ValueError, match="as UTF-8 text") as caught:
        text_of_file("notes.txt", content)
    assert str(caught.value) == (
        f'"notes.txt" cannot be read as UTF-8 text: its byte {byte}. It seems to be {seems}. '
        "Save it as UTF-8 in a text editor and upload it again."
    )


@pytest.mark.parametrize(
    "content",
    [
        b"one\0two",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x20",
        b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0\x3e\0\x01\0\0\0",
        bytes(64),
    ],
)
def test_binary_data_is_called_so(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"seems to be binary data, .*\. Choose a file of plain text\.$"):
        text_of_file("picture.txt", content)


@pytest.mark.parametrize("content", [b"", MARK, b" \r\n\t\n", "\u3000".encode()])
def test_a_file_without_text_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r'^"a\.md" is empty or blank\. Choose .* at least one word\.$'):
        text_of_file("a.md", content)


@pytest.mark.parametrize(("ending", "content"), [(".txt", b""), (".txt", b"\xff"), (".pdf", b"text")])
def test_a_long_name_is_shortened(ending: str, content: bytes) -> None:
    with pytest.raises(ValueError, match=rf'^"{"x" * 80}…" ') as caught:
        text_of_file("x" * 9999 + ending, content)
    assert len(str(caught.value)) < 300
