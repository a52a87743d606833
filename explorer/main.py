"""The script that every session runs: page configuration, navigation, and reading the address."""

from pathlib import Path

import streamlit as st

from components.models import DEMO
from explorer.address import read_address
from explorer.settings import settings

ICON = Path(__file__).with_name("icon.png")  # a file of ours: a named icon would be fetched from a server

st.set_page_config(page_title="Mamba-2 Explorer", page_icon=ICON, layout="wide")

if not settings().shows_details:
    st.set_option("client.showErrorDetails", "none")

embedded = st.context.is_embedded  # a frame of an article, by `embed=true` in the address
explore = "app_pages/embedded.py" if embedded else "app_pages/explore.py"
pages = [
    st.Page(explore, title="Explore", icon=":material/grid_on:", default=True),
    st.Page("app_pages/effect.py", title="Does it matter?", icon=":material/content_cut:", url_path="effect"),
    st.Page("app_pages/two_prompts.py", title="Two prompts", icon=":material/compare_arrows:"),
    st.Page("app_pages/generate.py", title="Generate", icon=":material/play_arrow:"),
]
if settings().allows(DEMO):  # their examples are the embedded model's
    pages += [
        st.Page("app_pages/how_to_read.py", title="How to read this", icon=":material/menu_book:"),
        st.Page("app_pages/lessons.py", title="Lessons", icon=":material/school:"),
        st.Page("app_pages/check_yourself.py", title="Check yourself", visibility="hidden"),
        st.Page("app_pages/classroom.py", title="A class", visibility="hidden"),
    ]
page = st.navigation(pages, position="hidden" if embedded else "top")
read_address()
page.run()
