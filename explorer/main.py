"""The script that every session runs: page configuration and navigation, nothing else."""

from pathlib import Path

import streamlit as st

ICON = Path(__file__).with_name("icon.png")  # a file of ours: a named icon would be fetched from a server

st.set_page_config(page_title="Mamba-2 Explorer", page_icon=ICON, layout="wide")

st.navigation(
    [st.Page("app_pages/explore.py", title="Explore", icon=":material/grid_on:", default=True)],
    position="hidden",
).run()
