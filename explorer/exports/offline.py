"""What pages that work offline have in common: Vega, the look of charts, a policy that fetches nothing."""

from __future__ import annotations

from functools import cache

import altair as alt

from components.charts import FAINT, INK, QUIET

PAPER = {False: "#ffffff", True: "#12151c"}
"""The page's background, light and dark."""
INKS = {False: "#1f2430", True: "#f4f5f7"}
"""The colour of its text."""

# The first three have the same metrics, so labels measured here fit elsewhere too.
FONT = "Arial, Liberation Sans, Helvetica, sans-serif"

LOOK = {
    "font": FONT,
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
"""A chart's `config`: what Streamlit's theme sets on the page. Vega's defaults frame the view and set bold
titles."""

HEAD = """<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'">
<meta name="viewport" content="width=device-width">"""
"""How a page's head begins: a browser then lets it fetch nothing."""


@cache
def vega() -> str:
    """Vega, Vega-Lite and vegaEmbed as one script. Bundling takes a second, so it is done once."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=vega_lite())
    return script


def vega_lite() -> str:
    """The version of Vega-Lite that this Altair writes."""
    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
