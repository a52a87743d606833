"""A figure as SVG, PNG, or a page that works offline."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

from components.charts import Figure
from explorer.exports.offline import FONT, HEAD, INKS, LOOK, PAPER, vega, vega_lite

WIDTH = 1200
"""Width of an exported picture, in the units of SVG."""
PIXELS_PER_UNIT = 2
"""A PNG is this many times as wide, so that it stays sharp in print and on a projector."""


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
    spec = specification(figure, "container", dark)
    page = _PAGE.format(
        title=html.escape(title),
        notes="".join(f"<p>{html.escape(note)}</p>\n" for note in notes),
        head=HEAD,
        font=FONT,
        paper=PAPER[dark],
        ink=INKS[dark],
        vega=vega(),
        # No "<": nothing in it can end the script. All is ASCII: no encoding can spoil it.
        spec=json.dumps(spec).replace("<", r"\u003c"),
    )
    return page.encode(errors="replace")


_PAGE = """<!doctype html>
<html lang="en">
<head>
{head}
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


def _svg(figure: Figure, dark: bool) -> str:
    import vl_convert

    spec = specification(figure, WIDTH, dark)
    spec["layer"] = [_still(layer) for layer in spec["layer"]]
    svg: str = vl_convert.vegalite_to_svg(spec, vl_version=vega_lite(), allowed_base_urls=[])
    # Few fonts have this letter; a text that contains it would fall back to another font.
    return svg.replace("ᵀ</text>", '<tspan dy="-0.35em" font-size="70%">T</tspan></text>')


def _still(layer: dict[str, Any]) -> dict[str, Any]:
    """The layer as drawn in a static picture."""
    if layer["mark"].get("opacity") == 0:
        return {**layer, "data": {"values": []}}  # hover targets, up to a rectangle per token
    if layer["mark"]["type"] == "image":  # its description would repeat the picture's own bytes
        return {**layer, "mark": {**layer["mark"], "aria": False}}
    return layer


def specification(figure: Figure, width: int | str, dark: bool) -> dict[str, Any]:
    """The figure's specification with the page's look, for a picture of this width."""
    return figure.specification() | {"width": width, "background": PAPER[dark], "config": LOOK}
