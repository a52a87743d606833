"""A matrix with its provenance, as CSV or NPZ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import Float32

from components.charts import tiles_of
from explorer.exports.provenance import Provenance, edits_code


def matrix_csv(matrix: Float32[np.ndarray, "query key"], provenance: Provenance) -> bytes:
    """The matrix as CSV: lines `# name: value` with JSON values, a line of keys, then a line per query.

    `pandas.read_csv(file, comment="#", index_col=0)` reads it; as float32 its numbers are exactly those of
    the matrix. UTF-8 with a byte-order mark, for spreadsheets. Raises ValueError if the shapes of matrix and
    window differ.
    """
    _check(matrix, provenance)
    window = provenance.window
    rows, columns = _labels(window.queries, provenance.queries), _labels(window.keys, provenance.keys)
    subject, place, index = provenance.subject, provenance.head.place, provenance.head.index
    facts: dict[str, Any] = {
        "model": subject.model,
        "revision": provenance.revision,
        "dtype": provenance.dtype,
        "prompt": subject.prompt,
        "layer": place.layer,
        "kind": place.kind,
        "head": index,
        "reading": provenance.shown.name,
    }
    facts |= {"target": provenance.target, "foil": provenance.foil} if provenance.target is not None else {}
    facts |= {"edits": edits_code(subject)} if subject.edits else {}
    facts |= {name: f"{each[0]}-{each[-1]}" for name, each in provenance.ranges.items()}
    facts |= {"statistic": provenance.statistic} if window.pooled else {}
    facts |= {"notes": "\n".join(provenance.notes)} if provenance.notes else {}
    facts |= {f"version of {package}": number for package, number in provenance.versions.items()}
    lines = [f"# {name}: {_one_cell(value)}" for name, value in facts.items()]
    lines.append(",".join(['""', *(_quoted(f"key {label}") for label in columns)]))
    for label, row in zip(rows, (matrix + 0).tolist(), strict=True):
        # Nine digits determine a float32, whichever way the reader rounds; "+ 0" above writes −0 as 0.
        lines.append(",".join([_quoted(f"query {label}"), *(f"{value:.9g}" for value in row)]))
    return "\n".join([*lines, ""]).encode("utf-8-sig", errors="replace")


def _labels(positions: range, texts: Sequence[str]) -> list[str]:
    """Position and text of each token; for a tile, first and last position and text."""
    positions_of = (
        str(tile[0]) if len(tile) == 1 else f"{tile[0]}-{tile[-1]}" for tile in tiles_of(positions)
    )
    return [f"{at} {text}" for at, text in zip(positions_of, texts, strict=True)]


def _one_cell(value: Any) -> str:
    """JSON without separators, so that no spreadsheet starts a cell in it and reads that as a formula."""
    return json.dumps(value).replace(",", r"\u002c").replace(";", r"\u003b")


def _quoted(label: str) -> str:
    """Labels start with "query" or "key", so none is a formula, number or date; quotes make "#" safe."""
    return '"' + label.replace('"', '""') + '"'


def matrix_npz(matrix: Float32[np.ndarray, "query key"], provenance: Provenance) -> bytes:
    """The matrix as a compressed NumPy archive, which `numpy.load` opens without pickles.

    `reading`, what the matrix shows: "attention", "attention_dt" if column j is multiplied by dt[j], or
    "contribution" or "toward"; and by this name the matrix, [query, key] float32; `target` and `foil`, the
    ids of a direction's tokens, −1 without; `queries` and `keys`, the first position in the prompt of
    each row and column; `query_texts` and `key_texts`; `statistic` of tiles, "" where a row and a column are
    one token; `model`, `revision` ("" if there is none), `dtype`, `prompt`, `layer`, `kind` ("mamba2" or
    "softmax"), `head`; `edits`, as Python expressions; `notes` about the computation; `versions`, a JSON
    object.
    Raises ValueError if the shapes of matrix and window differ.
    """
    _check(matrix, provenance)
    starts = {
        name: np.array([tile.start for tile in tiles_of(positions)], dtype=np.int64)
        for name, positions in provenance.ranges.items()
    }
    subject, place, index = provenance.subject, provenance.head.place, provenance.head.index
    shown: dict[str, Any] = {provenance.shown.name: matrix}
    file = BytesIO()
    np.savez_compressed(
        file,
        **shown,
        reading=np.str_(provenance.shown.name),
        target=np.int64(-1 if provenance.target is None else provenance.target),
        foil=np.int64(-1 if provenance.foil is None else provenance.foil),
        queries=starts["queries"],
        keys=starts["keys"],
        query_texts=np.array(provenance.queries, dtype=np.str_),
        key_texts=np.array(provenance.keys, dtype=np.str_),
        statistic=np.str_(provenance.statistic if provenance.window.pooled else ""),
        model=np.str_(subject.model),
        revision=np.str_(provenance.revision or ""),
        dtype=np.str_(provenance.dtype),
        prompt=np.str_(subject.prompt),
        layer=np.int64(place.layer),
        kind=np.str_(place.kind),
        head=np.int64(index),
        edits=np.array([edit.code for edit in subject.edits], dtype=np.str_),
        notes=np.array(provenance.notes, dtype=np.str_),
        versions=np.str_(json.dumps(provenance.versions)),
    )
    return file.getvalue()


def _check(matrix: Float32[np.ndarray, "query key"], provenance: Provenance) -> None:
    if matrix.shape != provenance.shape:
        given, wanted = (" × ".join(map(str, shape)) for shape in (matrix.shape, provenance.shape))
        raise ValueError(
            f"The matrix is {given}, but the window has {wanted} cells; give one head, over this window."
        )
