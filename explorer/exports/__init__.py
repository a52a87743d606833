"""Exports: the picture, the matrix, the program that computes it again, and a page of every head.

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
from explorer.exports.snapshot import MOST_MEGABYTES, Snapshot, take_snapshot

__all__ = [
    "MOST_MEGABYTES",
    "PIXELS_PER_UNIT",
    "WIDTH",
    "Provenance",
    "Snapshot",
    "file_name",
    "matrix_csv",
    "matrix_npz",
    "picture_html",
    "picture_png",
    "picture_svg",
    "provenance_of",
    "snippet",
    "specification",
    "take_snapshot",
]
