"""The script that every session runs: page configuration and navigation, nothing else."""

import streamlit as st

st.set_page_config(page_title="Mamba-2 Explorer", page_icon=":material/grid_on:", layout="wide")

st.navigation(
    [st.Page("app_pages/explore.py", title="Explore", icon=":material/grid_on:", default=True)],
    position="hidden",
).run()
