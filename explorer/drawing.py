"""Figures on a page, and text escaped for Markdown."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pyarrow as pa
import streamlit as st

from components.charts import Figure, Table


def draw(figure: Figure, alt: str, *, key: str, **options: Any) -> None:
    """Draw a figure. While its chart stays the same, the browser keeps the view and replaces its tables.

    Scripts find it by the CSS class of its key, which Streamlit gives only to charts with selections; any
    other goes into a container with that class.
    """
    if "on_select" not in options:
        with st.container(key=key):
            draw(figure, alt, key=f"{key}_chart", on_select="ignore", **options)
        return
    tables = {name: _arrow(table) for name, table in figure.data.items()}
    st.vega_lite_chart({**figure.chart, "datasets": tables}, alt=alt, key=key, **options)


def _arrow(table: Table) -> pa.Table:
    """The table as it goes to the browser, where NaN is null."""
    if isinstance(table, pd.DataFrame):
        # Without pandas's metadata, which is as long as a short table; and in one thread: these tables are
        # too short for several.
        return pa.Table.from_pandas(table, preserve_index=False, nthreads=1).replace_schema_metadata()
    return pa.table({name: pa.array(column, from_pandas=True) for name, column in table.items()})


def plain(words: str) -> str:
    """Escape text so that Markdown shows it as is: every ASCII punctuation mark may be escaped.

    Streamlit makes links, icons and its logo of what is left once the escapes are gone. An invisible mark
    keeps the parts of such names from each other.
    """
    parted = _MADE_LATER.sub("\N{WORD JOINER}", words)
    return "".join(f"\\{mark}" if mark in _PUNCTUATION else mark for mark in parted)


_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_MADE_LATER = re.compile(r"(?<=:)(?=//|streamlit:|material_)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
"""Places in an address, in the name of an icon, and in that of the logo."""
