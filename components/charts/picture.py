"""A matrix as a picture of one pixel per entry, small enough to stand in a chart's specification."""

import base64
import struct
import zlib

import numpy as np
from jaxtyping import UInt8


def png_address(pixels: UInt8[np.ndarray, "row column 4"]) -> str:
    """The pixels (red, green, blue, opacity) as a PNG file in a `data:` address."""
    rows, columns, _ = pixels.shape
    unfiltered = np.zeros((rows, 1 + columns * 4), dtype=np.uint8)  # each row starts with filter type 0
    unfiltered[:, 1:] = pixels.reshape(rows, -1)
    png = b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)),
            _chunk(b"IDAT", zlib.compress(unfiltered.tobytes(), 6)),
            _chunk(b"IEND", b""),
        ]
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
