"""A figure on a page, and words as they are written."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import streamlit as st

from components.charts import Figure


def draw(figure: Figure, alt: str, *, key: str, **options: Any) -> None:
    """Draw a figure. While its chart stays the same, the browser keeps the view and changes its tables.

    In the page it is found by the class of its key, which Streamlit gives to a chart only if something can be
    picked in it; any other stands in a container that has the class.
    """
    if "on_select" not in options:
        with st.container(key=key):
            draw(figure, alt, key=f"{key}_chart", on_select="ignore", **options)
        return
    # Without what pandas would note of itself, which is as long as a short table; and in this thread: these
    # tables are too short to be shared out.
    tables = {
        name: pa.Table.from_pandas(table, preserve_index=False, nthreads=1).replace_schema_metadata()
        for name, table in figure.tables.items()
    }
    st.vega_lite_chart({**figure.chart, "datasets": tables}, alt=alt, key=key, **options)


def plain(words: str) -> str:
    """Text as Markdown that shows just this text: every ASCII punctuation mark may be escaped."""
    return "".join(f"\\{mark}" if mark in _PUNCTUATION else mark for mark in words)


_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
