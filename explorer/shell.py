"""The HTML of the pages: Streamlit's, with our scripts and styles before its own."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import streamlit
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from explorer.sampling import SETTINGS

FOLDER = Path(__file__).resolve().parent
MODULES = ("accessible", "hand")
"""Each a script and a style. They run after `shell.js` and before Streamlit."""
_HEAD = "<head>"


@cache
def html() -> str:
    """The HTML that every page serves."""
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text("utf-8")
    shell = _read("shell.js").replace("__SETTINGS__", json.dumps(list(SETTINGS)))
    modules = "".join(f'<script type="module">{_read(f"{name}.js")}</script>' for name in MODULES)
    styles = "".join(f"<style>{_read(f'{name}.css')}</style>" for name in MODULES)
    if page.count(_HEAD) != 1:
        raise ValueError("Streamlit's page has no head, or several.")
    return page.replace(_HEAD, f"{_HEAD}<script>{shell}</script>{modules}{styles}")


def _read(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


async def _page(_: Request) -> HTMLResponse:
    return HTMLResponse(html(), headers={"Cache-Control": "no-cache"})


def pages() -> list[Route]:
    """A route for each page, beside those of Streamlit."""
    base = str(streamlit.get_option("server.baseUrlPath") or "").strip("/")
    names = ["", *(file.stem for file in (FOLDER / "app_pages").glob("*.py"))]
    return [Route(f"{f'/{base}' if base else ''}/{name}", _page) for name in names]
