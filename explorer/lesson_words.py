"""The language of the lessons for one visitor."""

from __future__ import annotations

import streamlit as st

from explorer.lessons import ENGLISH, Language, TranslationError, english, languages
from explorer.session import session
from explorer.widgets import chosen, put


def language_of_visit() -> Language:
    """The language that the reader has chosen, else that of the browser, else English."""
    try:
        known = languages()
    except TranslationError as error:
        st.warning(
            "A translation of the lessons cannot be used. They are in English.", icon=":material/translate:"
        )
        st.text(str(error))
        return english()
    of_browser = (st.context.locale or ENGLISH).split("-")[0]
    code = next((code for code in (session().language, of_browser) if code in known), ENGLISH)
    if len(known) > 1:
        put("language", code)
        st.selectbox(
            known[code].frame.language,
            list(known),
            format_func=lambda code: known[code].name,
            key="language",
            on_change=_take,
            width=200,
        )
    return known[code]


def _take() -> None:
    session().language = chosen("language", str) or ENGLISH
