"""The browser keeps small texts between visits, such as a score. No server keeps them."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from explorer.session import session
from explorer.widgets import told_by

MOST_CHARACTERS = 4_000
"""Of one text. What a browser tells beyond is dropped."""
MOST_TEXTS = 100

_store = st.components.v2.component(
    "browser_store",
    # The component shows nothing: it takes no room.
    css=".st-key-browser_store { position: absolute; }",
    js="""
const PREFIX = "mamba2-explorer-";

const kept = () => Object.fromEntries(
  Object.entries(localStorage)
    .filter(([key]) => key.startsWith(PREFIX))
    .map(([key, text]) => [key.slice(PREFIX.length), text]));

export default function ({ data, setTriggerValue }) {
  let texts = {};
  try {
    for (const [name, text] of Object.entries(data.texts)) localStorage.setItem(PREFIX + name, text);
    texts = kept();
  } catch { /* storage is forbidden or full: nothing outlives the page */ }
  if (data.ask) setTriggerValue("found", { texts });
}
""",
    isolate_styles=False,
)


def browser_store() -> None:
    """Let the browser keep what was put, and ask it once for what it keeps. Call it last on a page."""
    texts = session().in_browser
    _store(data={"texts": texts or {}, "ask": texts is None}, key="browser_store", on_found_change=_take)


def has_told() -> bool:
    """Whether the browser has said what it keeps."""
    return session().in_browser is not None


def in_browser(name: str) -> str:
    """The text with this name; "" if the browser has none, or has not told yet."""
    return (session().in_browser or {}).get(name, "")


def put_in_browser(name: str, text: str) -> None:
    """Keep a text in the browser."""
    session().in_browser = (session().in_browser or {}) | {name: text}


def _take() -> None:
    """Take what the browser tells. It can tell anything."""
    answer = told_by("browser_store", "found")
    told = answer.get("texts") if isinstance(answer, Mapping) else None
    texts = told.items() if isinstance(told, Mapping) else ()
    good = [(name, text) for name, text in texts if isinstance(text, str) and len(text) <= MOST_CHARACTERS]
    session().in_browser = dict(good[:MOST_TEXTS]) | (session().in_browser or {})
