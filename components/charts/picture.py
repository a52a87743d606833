"""A matrix as a picture of one pixel per entry, small enough to stand in a chart's specification."""

import base64
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def png_address(pixels: UInt8[np.ndarray, "row column 4"]) -> str:
    """The pixels (red, green, blue, opacity) as a PNG file in a `data:` address."""
    png = BytesIO()
    Image.fromarray(pixels).save(png, format="PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
