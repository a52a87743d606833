"""Exports: the picture, the matrix, and the program that computes the matrix again.

Pure functions from charts and arrays to files; nothing here calls Streamlit. User input (a prompt, the name
of a model) ends up in files that a browser or a spreadsheet opens, so each format escapes it in its own way.
"""

from explorer.exports.matrix import matrix_csv, matrix_npz
from explorer.exports.picture import (
    PIXELS_PER_UNIT,
    WIDTH,
    picture_html,
    picture_png,
    picture_svg,
    specification,
)
from explorer.exports.program import snippet
from explorer.exports.provenance import Provenance, file_name, provenance_of

__all__ = [
    "PIXELS_PER_UNIT",
    "WIDTH",
    "Provenance",
    "file_name",
    "matrix_csv",
    "matrix_npz",
    "picture_html",
    "picture_png",
    "picture_svg",
    "provenance_of",
    "snippet",
    "specification",
]
