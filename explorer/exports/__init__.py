"""Exports: the picture, the matrix, the program that computes it again, a page of every head, an experiment.

Pure functions from charts and arrays to files; nothing here calls Streamlit. User input (a prompt, the name
of a model) ends up in files that a browser or a spreadsheet opens, so each format escapes it in its own way.
"""

from explorer.exports.experiment import Experiment, compare_results, experiment_json, experiment_of
from explorer.exports.matrix import matrix_csv, matrix_npz
from explorer.exports.picture import (
    PIXELS_PER_UNIT,
    WIDTH,
    picture_html,
    picture_png,
    picture_svg,
    specification,
)
from explorer.exports.program import experiment_program, snippet
from explorer.exports.provenance import Provenance, file_name, name_in_files, provenance_of
from explorer.exports.snapshot import MOST_MEGABYTES, Snapshot, take_snapshot

__all__ = [
    "MOST_MEGABYTES",
    "PIXELS_PER_UNIT",
    "WIDTH",
    "Experiment",
    "Provenance",
    "Snapshot",
    "compare_results",
    "experiment_json",
    "experiment_of",
    "experiment_program",
    "file_name",
    "matrix_csv",
    "matrix_npz",
    "name_in_files",
    "picture_html",
    "picture_png",
    "picture_svg",
    "provenance_of",
    "snippet",
    "specification",
    "take_snapshot",
]
