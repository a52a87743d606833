"""The browser keeps texts that are too long for a link, for as long as its tab is open.

The address names such a text by its key. After a reload or on another server, this component requests the
text. It also reloads a page whose session is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from explorer.session import session
from explorer.widgets import told_by

_keep = st.components.v2.component(
    "keeper",
    # The component shows nothing: it takes no room.
    css=".st-key-keeper { position: absolute; }",
    js="""
const PREFIX = "text-";

const keep = (key, text) => {
  if (sessionStorage.getItem(PREFIX + key) !== null) return;
  try {
    sessionStorage.setItem(PREFIX + key, text);
  } catch {  // it is full: the texts before make room
    Object.keys(sessionStorage).filter((each) => each.startsWith(PREFIX))
      .forEach((each) => sessionStorage.removeItem(each));
    sessionStorage.setItem(PREFIX + key, text);
  }
};

const kept = (key) => {
  try {
    return sessionStorage.getItem(PREFIX + key);
  } catch {  // storage is forbidden
    return null;
  }
};

export default function ({ data, setTriggerValue }) {
  window.sessionOfPage ??= data.session;
  if (window.sessionOfPage !== data.session) {  // the one that drew this page is gone
    location.reload();
    return;
  }
  window.onreconnected = () => setTriggerValue("again", true);
  if (!window.hearsReconnection) {
    window.hearsReconnection = true;
    window.addEventListener("reconnected", () => window.onreconnected());
  }
  for (const [key, text] of Object.entries(data.texts)) {
    try { keep(key, text); } catch { /* that it is not there is told when it is asked for */ }
  }
  if (data.wanted) setTriggerValue("found", { key: data.wanted, text: kept(data.wanted) });
}
""",
    isolate_styles=False,
)


def keeper(texts: Mapping[str, str], wanted: str, on_found: Callable[[], None]) -> None:
    """Let the browser keep `texts` by their keys, and ask it for the text with the key `wanted`, if any."""
    _keep(
        data={"session": session().id, "texts": dict(texts), "wanted": wanted},
        key="keeper",
        on_found_change=on_found,
        on_again_change=_again,
    )


def found() -> tuple[str, str | None]:
    """The requested key, and its text if the browser has it."""
    answer = told_by("keeper", "found")
    key, text = (answer.get(name) for name in ("key", "text")) if isinstance(answer, Mapping) else ("", None)
    return key if isinstance(key, str) else "", text if isinstance(text, str) else None


def _again() -> None:
    """Do nothing: the rerun itself sends the session's id to the browser."""
