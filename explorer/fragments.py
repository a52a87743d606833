"""Parts of a page that are drawn again by themselves."""

from __future__ import annotations

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.runtime.scriptrunner import get_script_run_ctx


def redraw(*keys: str) -> None:
    """Draw the fragments with these keys, or the whole page, instead of the fragment that was clicked in.

    The last step of a callback. Where the whole page is drawn anyway, nothing changes.
    """
    context = get_script_run_ctx()
    if context is not None and context.fragment_ids_this_run:
        try:
            st.rerun(list(keys) or "app")
        except StreamlitAPIException:  # the page has them no longer: another has been opened meanwhile
            st.rerun()
