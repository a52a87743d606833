"""Reads an uploaded file, and one as text, with helpful errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.settings import settings

if TYPE_CHECKING:
    from streamlit.typing import UploadedFile

ENDINGS = (".txt", ".md")
"""Endings of file names that are read, in lower case."""

_MARKS = {
    # UTF-32's mark starts with UTF-16's, so UTF-32 comes first.
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")


def content_of(file: UploadedFile) -> bytes:
    """What is in a file; ValueError, with a sentence, if that is more than the settings allow."""
    most = settings().most_upload_kilobytes
    if file.size > most * 1024:
        raise ValueError(
            f'"{file.name}" has {file.size / 1024:,.0f} KB. At most {most:,} KB are read. '
            "Choose a shorter file."
        )
    return file.getvalue()


def text_of_file(name: str, content: bytes) -> str:
    r"""Text of a .txt or .md file in UTF-8, without its byte-order mark and with Windows' line ends as "\n".

    Raises ValueError, with a sentence, for a file of another ending or encoding, and for one that holds
    binary data or nothing.
    """
    shown = f'"{name}"' if len(name) <= 80 else f'"{name[:80]}…"'
    if not name.lower().endswith(ENDINGS):
        raise ValueError(
            f"{shown} is not a {' or '.join(ENDINGS)} file. Save its text as one of these, or paste it."
        )
    fault = _first_fault(content)
    if fault is not None:
        raise ValueError(
            f"{shown} cannot be read as UTF-8 text: its byte {fault + 1:,} is 0x{content[fault]:02X}. "
            f"{_diagnosis(content)}"
        )
    text = content.decode("utf-8-sig").replace("\r\n", "\n")
    if not text.strip():
        raise ValueError(f"{shown} is empty or blank. Choose a file that holds at least one word.")
    return text


def _first_fault(content: bytes) -> int | None:
    """Position of the first byte that is not UTF-8; failing that, of the first NUL, which no text holds."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    nul = content.find(0)
    return nul if nul >= 0 else None


def _diagnosis(content: bytes) -> str:
    """Say what content that is not UTF-8 text seems to be, and what to do."""
    encoding = _encoding(content)
    if encoding is None:
        return "It seems to be binary data, such as a picture. Choose a file of plain text."
    return f"It seems to be {encoding}. Save it as UTF-8 in a text editor and upload it again."


def _encoding(content: bytes) -> str | None:
    """The likely encoding of content that is not UTF-8 text; None for binary data."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return encoding
    nuls = content.count(0)
    if not nuls:
        return "in another encoding, perhaps Windows-1252 or Latin-1"
    # Latin letters are NUL in every second byte of UTF-16; decoded as such, a text has no NUL.
    if 4 * nuls >= len(content):
        return next((codec[:6].upper() for codec in _WIDE if _reads_as(codec, content)), None)
    return None


def _reads_as(codec: str, content: bytes) -> bool:
    try:
        return "\0" not in content.decode(codec)
    except UnicodeDecodeError:
        return False
