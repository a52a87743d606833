"""Exports: the picture, the matrix, and the program that computes the matrix again.

Pure functions from charts and arrays to files; nothing here calls Streamlit. User input (a prompt, the name
of a model) ends up in files that a browser or a spreadsheet opens, so each format escapes it in its own way.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
from jaxtyping import Float32

from components.charts import FAINT, INK, MAX_TILES, QUIET, Figure, HeadCells, Window, tiles_of
from components.ssd import KINDS, Head, Statistic
from explorer.captures import PIECE_TOKENS
from explorer.subject import Subject

if TYPE_CHECKING:
    from components.bridge import ModelBridge

WIDTH = 1200
"""Width of an exported picture, in the units of SVG."""
PIXELS_PER_UNIT = 2
"""A PNG is this many times as wide, so that it stays sharp in print and on a projector."""

_PAPER = {False: "#ffffff", True: "#12151c"}
"""The page's background, light and dark."""

# The first three have the same metrics, so labels measured here fit elsewhere too.
_FONT = "Arial, Liberation Sans, Helvetica, sans-serif"

_LOOK = {
    "font": _FONT,
    "axis": {
        "domain": False,
        "ticks": False,
        "gridColor": FAINT.to_dict(),
        "gridOpacity": 0.4,
        "labelColor": QUIET.to_dict(),
        "titleColor": QUIET.to_dict(),
        "titleFontWeight": "normal",
    },
    "legend": {
        "labelColor": QUIET.to_dict(),
        "titleColor": QUIET.to_dict(),
        "titleFontWeight": "normal",
    },
    "title": {"color": INK.to_dict()},
    "mark": {"tooltip": {"content": "encoding"}},
    "view": {"stroke": "transparent"},
}
"""What Streamlit's theme sets on the page. Vega's defaults frame the view and set bold titles."""


# Pictures


def picture_svg(figure: Figure, dark: bool = False) -> bytes:
    """The figure as SVG, `WIDTH` units wide."""
    return _svg(figure, dark).encode()


def picture_png(figure: Figure, dark: bool = False) -> bytes:
    """The figure as PNG, `WIDTH` · `PIXELS_PER_UNIT` pixels wide."""
    import vl_convert

    png: bytes = vl_convert.svg_to_png(_svg(figure, dark), scale=PIXELS_PER_UNIT)
    return png


def picture_html(figure: Figure, title: str, dark: bool = False, notes: Sequence[str] = ()) -> bytes:
    """The figure as an interactive page that needs no network, as wide as its window, above the `notes`.

    The page contains Vega, and a Content-Security-Policy that forbids it to fetch anything.
    """
    spec = _specification(figure, "container", dark)
    page = _PAGE.format(
        title=html.escape(title),
        notes="".join(f"<p>{html.escape(note)}</p>\n" for note in notes),
        font=_FONT,
        paper=_PAPER[dark],
        ink="#f4f5f7" if dark else "#1f2430",
        vega=_vega(),
        # No "<": nothing in it can end the script. All is ASCII: no encoding can spoil it.
        spec=json.dumps(spec).replace("<", r"\u003c"),
    )
    return page.encode(errors="replace")


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ margin: 24px; background: {paper}; color: {ink}; font-family: {font}; }}
h1 {{ font-size: 20px; overflow-wrap: anywhere; }}
#chart {{ display: block; width: 100%; }}
</style>
</head>
<body>
<h1 dir="auto">{title}</h1>
<div id="chart"></div>
{notes}<script>{vega}</script>
<script>
vegaEmbed("#chart", {spec}, {{actions: {{export: true, source: false, compiled: false, editor: false}}}});
</script>
</body>
</html>
"""


@cache
def _vega() -> str:
    """Vega, Vega-Lite and vegaEmbed as one script. Bundling takes a second, so it is done once."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_vega_lite())
    return script


def _svg(figure: Figure, dark: bool) -> str:
    import vl_convert

    spec = _specification(figure, WIDTH, dark)
    spec["layer"] = [_still(layer) for layer in spec["layer"]]
    svg: str = vl_convert.vegalite_to_svg(spec, vl_version=_vega_lite(), allowed_base_urls=[])
    # Few fonts have this letter; a text that contains it would fall back to another font.
    return svg.replace("ᵀ</text>", '<tspan dy="-0.35em" font-size="70%">T</tspan></text>')


def _still(layer: dict[str, Any]) -> dict[str, Any]:
    """The layer as drawn in a static picture."""
    if layer["mark"].get("opacity") == 0:
        return {**layer, "data": {"values": []}}  # hover targets, up to a rectangle per token
    if layer["mark"]["type"] == "image":  # its description would repeat the picture's own bytes
        return {**layer, "mark": {**layer["mark"], "aria": False}}
    return layer


def _specification(figure: Figure, width: int | str, dark: bool) -> dict[str, Any]:
    return figure.specification() | {"width": width, "background": _PAPER[dark], "config": _LOOK}


def _vega_lite() -> str:
    """The version of Vega-Lite that this Altair writes."""
    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


# Matrix

PACKAGES = ("mamba2-explorer", "torch", "transformers", "altair")


def _versions() -> dict[str, str]:
    return {package: _version(package) for package in PACKAGES}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # the explorer itself, run from a checkout
        return "source checkout"


@dataclass(frozen=True)
class Provenance:
    """Where a matrix comes from: all that is needed to compute it again."""

    subject: Subject
    revision: str | None
    """Commit of a hub model; None for the embedded one and for folders."""
    dtype: str
    """Of the weights, such as "float32"."""
    head: Head
    window: Window
    """The queries and keys of the matrix."""
    queries: Sequence[str]
    """Texts of its rows, as the page shows them."""
    keys: Sequence[str]
    """Texts of its columns."""
    statistic: Statistic = "mean"
    """Of tiles, where the window is larger than the picture."""
    with_dt: bool = False
    """Whether column j is multiplied by dt[j]."""
    notes: Sequence[str] = ()
    """What a reader should know about the computation, in sentences."""
    versions: dict[str, str] = field(default_factory=_versions)
    """Versions of `PACKAGES`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return len(tiles_of(self.window.queries)), len(tiles_of(self.window.keys))


def provenance_of(
    bridge: ModelBridge,
    subject: Subject,
    head: Head,
    cells: HeadCells,
    *,
    with_dt: bool = False,
    notes: Sequence[str] = (),
) -> Provenance:
    """The provenance of `cells` of a head in a run of this bridge; `notes` are from that run."""
    folder = Path(bridge.model.name_or_path or "")  # the hub's cache names a snapshot by its commit
    return Provenance(
        subject=subject,
        revision=folder.name if folder.parent.name == "snapshots" else None,
        dtype=str(bridge.model.dtype).removeprefix("torch."),
        head=head,
        window=cells.window,
        queries=cells.queries["text"].tolist(),
        keys=cells.keys["text"].tolist(),
        statistic=cells.statistic,
        with_dt=with_dt,
        notes=notes,
    )


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
        "with_dt": provenance.with_dt,
    }
    facts |= {"edits": _code(subject)} if subject.edits else {}
    facts |= {name: f"{each[0]}-{each[-1]}" for name, each in _ranges(provenance).items()}
    facts |= {"statistic": provenance.statistic} if window.pooled else {}
    facts |= {"notes": "\n".join(provenance.notes)} if provenance.notes else {}
    facts |= {f"version of {package}": number for package, number in provenance.versions.items()}
    lines = [f"# {name}: {_one_cell(value)}" for name, value in facts.items()]
    lines.append(",".join(['""', *(_quoted(f"key {label}") for label in columns)]))
    for label, row in zip(rows, (matrix + 0).tolist(), strict=True):
        # Nine digits determine a float32, whichever way the reader rounds; "+ 0" above writes −0 as 0.
        lines.append(",".join([_quoted(f"query {label}"), *(f"{value:.9g}" for value in row)]))
    return "\n".join([*lines, ""]).encode("utf-8-sig", errors="replace")


def _ranges(provenance: Provenance) -> dict[str, range]:
    return {"queries": provenance.window.queries, "keys": provenance.window.keys}


def _labels(positions: range, texts: Sequence[str]) -> list[str]:
    """Position and text of each token; for a tile, first and last position and text."""
    positions_of = (
        str(tile[0]) if len(tile) == 1 else f"{tile[0]}-{tile[-1]}" for tile in tiles_of(positions)
    )
    return [f"{at} {text}" for at, text in zip(positions_of, texts, strict=True)]


def _code(subject: Subject) -> str:
    """The Python expression for the edits."""
    return f"[{', '.join(edit.code for edit in subject.edits)}]"


def _one_cell(value: Any) -> str:
    """JSON without separators, so that no spreadsheet starts a cell in it and reads that as a formula."""
    return json.dumps(value).replace(",", r"\u002c").replace(";", r"\u003b")


def _quoted(label: str) -> str:
    """Labels start with "query" or "key", so none is a formula, number or date; quotes make "#" safe."""
    return '"' + label.replace('"', '""') + '"'


def matrix_npz(matrix: Float32[np.ndarray, "query key"], provenance: Provenance) -> bytes:
    """The matrix as a compressed NumPy archive, which `numpy.load` opens without pickles.

    `attention` [query, key] float32; `queries` and `keys`, the first position in the prompt of each row and
    column; `query_texts` and `key_texts`; `statistic` of tiles, "" where a row and a column are one token;
    `model`, `revision` ("" if there is none), `dtype`, `prompt`, `layer`, `kind` ("mamba2" or "softmax"),
    `head`, `with_dt`; `edits`, as Python expressions; `notes` about the computation; `versions`, a JSON
    object.
    Raises ValueError if the shapes of matrix and window differ.
    """
    _check(matrix, provenance)
    starts = {
        name: np.array([tile.start for tile in tiles_of(positions)], dtype=np.int64)
        for name, positions in _ranges(provenance).items()
    }
    subject, place, index = provenance.subject, provenance.head.place, provenance.head.index
    file = BytesIO()
    np.savez_compressed(
        file,
        attention=matrix,
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
        with_dt=np.bool_(provenance.with_dt),
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


# Program


def snippet(provenance: Provenance) -> str:
    """A Python program that computes the matrix again, with the package's public names only."""
    how = {"revision": provenance.revision, "dtype": provenance.dtype}
    given = "".join(f", {name}={value!r}" for name, value in how.items() if value)
    subject, place, index = provenance.subject, provenance.head.place, provenance.head.index
    kind, is_pooled = KINDS[place.kind], provenance.window.pooled
    function = (kind.attention.pooled if is_pooled else kind.attention.full).__name__
    names = [f"blocks.{place.layer}.{hook}" for hook in kind.hooks]
    terms = kind.terms.format(layer=place.layer)
    options = f"\n    include_dt_scaling={provenance.with_dt}," if kind.times_dt else ""
    if is_pooled:
        options = f"\n    tiles={MAX_TILES},\n    statistic={provenance.statistic!r},{options}"
    ranges = {name: f"slice({each.start}, {each.stop})" for name, each in _ranges(provenance).items()}
    notes = "".join(f"# {' '.join(note.split())}\n" for note in provenance.notes)
    classes = sorted({(type(edit).__module__, type(edit).__name__) for edit in subject.edits})
    imports = "".join(f"from {module} import {name}\n" for module, name in classes)
    edits, hooks = "", ""
    if subject.edits:
        edits = f"edits = {_code(subject)}\n"
        hooks = "\n    fwd_hooks=[hook for edit in edits for hook in edit.hooks()],"
    return f"""\
{notes}from components.models import load_bridge
from components.ssd import {function}
{imports}
bridge = load_bridge({subject.model!r}{given})
prompt = {subject.prompt!r}
names = {json.dumps(names)}
{edits}logits, cache = bridge.run_with_cache(
    prompt,
    names_filter=names,{hooks}
    piece_tokens={PIECE_TOKENS},
    logits_to_keep=1,
)
attention = {function}(
    cache.{terms},
    heads=[{index}],
    queries={ranges["queries"]},  # positions in the prompt
    keys={ranges["keys"]},{options}
)[0, 0].cpu().numpy()
print(attention.shape)
"""


def file_name(provenance: Provenance, suffix: str) -> str:
    """A file name that is valid on every system, such as `mamba2-demo-layer2-head5.svg`."""
    last = re.split(r"[/\\]", provenance.subject.model.rstrip("/\\"))[-1].removeprefix("mamba2-")
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", last)[:60].strip(".-") or "model"
    dt = "-dt" if provenance.with_dt else ""
    place, index = provenance.head.place, provenance.head.index
    short = KINDS[place.kind].short
    kind = f"-{short}" if short else ""
    return f"mamba2-{model}-layer{place.layer}{kind}-head{index}{dt}.{suffix.lstrip('.')}"
