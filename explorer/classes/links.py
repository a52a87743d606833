"""The link by which students join, and its QR code, made here and by no other server."""

from __future__ import annotations

from io import StringIO
from urllib.parse import urlencode

import segno

PAGE = "classroom"
"""The path of the page where a class is started and joined."""


def link_to_class(address: str, code: str = "") -> str:
    """The link to that page of an app at `address`, "http://192.168.1.7:8501"; with a code, to join."""
    query = f"?{urlencode({'code': code})}" if code else ""
    return f"{address.rstrip('/')}/{PAGE}{query}"


def qr_svg(link: str) -> str:
    """A QR code as an SVG. Its margin of four modules is white, so that a camera finds it on a dark page too.

    It fills the width that its frame has, and has no text: the page says what it is.
    """
    return str(
        segno.make_qr(link, error="m").svg_inline(
            border=4, dark="#000000", light="#ffffff", omitsize=True, svgclass=None, lineclass=None
        )
    )


def qr_text(link: str) -> str:
    """A QR code in block characters, for a terminal that is dark or light."""
    drawn = StringIO()
    segno.make_qr(link, error="m").terminal(drawn, compact=True)
    return drawn.getvalue()
