"""The link by which students join, and its QR code, made here and by no other server."""

from __future__ import annotations

from itertools import zip_longest
from urllib.parse import urlencode, urlsplit

import segno
import streamlit as st

PAGE = "classroom"
"""The path of the page where a class is started and joined."""

_THIS_COMPUTER = ("localhost", "127.0.0.1")
_BORDER = 4
"""Modules of white around a code, as its standard wants."""
_BLACK_ON_WHITE, _RESET = "\x1b[38;5;16;48;5;231m", "\x1b[0m"


def address_for_others(url: str) -> str:
    """The app's address on other devices, from the `url` of one of its pages.

    Where that is of this computer alone, `mamba2-explorer --class` has told Streamlit another.
    """
    parts = urlsplit(url)
    host = parts.netloc
    if parts.hostname in _THIS_COMPUTER:
        host = host.replace(parts.hostname, st.get_option("browser.serverAddress"))
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"{parts.scheme}://{host}{f'/{base}' if base else ''}"


def link_to_class(address: str, code: str = "") -> str:
    """The link to that page of an app at `address`, "http://192.168.1.7:8501"; with a code, to join."""
    query = f"?{urlencode({'code': code})}" if code else ""
    return f"{address.rstrip('/')}/{PAGE}{query}"


def qr_svg(link: str) -> str:
    """A QR code as an SVG. Its margin of four modules is white, so that a camera finds it on a dark page too.

    It fills the width that its frame has, and has no text: the page says what it is.
    """
    return str(
        _qr(link).svg_inline(
            border=_BORDER, dark="#000", light="#fff", omitsize=True, svgclass=None, lineclass=None
        )
    )


def qr_text(link: str) -> str:
    """A QR code in half blocks, black on white in any terminal that knows 256 colours."""
    rows = [list(row) for row in _qr(link).matrix_iter(border=_BORDER)]
    light = [0] * len(rows[0])
    lines = (
        "".join(" ▀▄█"[upper + 2 * lower] for upper, lower in zip(*pair, strict=True))
        for pair in zip_longest(rows[::2], rows[1::2], fillvalue=light)
    )
    return "\n".join(f"{_BLACK_ON_WHITE}{line}{_RESET}" for line in lines)


def _qr(link: str) -> segno.QRCode:
    return segno.make_qr(link, error="m")
