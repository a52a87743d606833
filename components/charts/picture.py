"""A matrix as a picture of one pixel per entry, small enough to stand in a chart's specification."""

import base64
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def png_address(levels: UInt8[np.ndarray, "row column"], palette: UInt8[np.ndarray, "level 4"]) -> str:
    """A picture as a PNG file in a `data:` address; `palette` is red, green, blue, opacity of each level."""
    png, picture = BytesIO(), Image.fromarray(levels)
    picture.putpalette(palette[:, :3].tobytes())
    picture.save(png, format="PNG", transparency=palette[:, 3].tobytes())
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
