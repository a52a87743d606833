"""What a session has picked, where all parts of a page find it."""

import streamlit as st

from explorer.selection import Selection


def picked() -> Selection:
    """What this session has picked."""
    selection: Selection = st.session_state.selection
    return selection
