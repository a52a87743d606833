"""The server of a page with two views, with everything that the explorer's own server has."""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from explorer.guard import Guard
from explorer.shell import pages
from explorer.wire import PagesOnly

MAIN = Path(__file__).with_name("main.py")

app = st.App(MAIN, routes=pages(), middleware=[Middleware(Guard), Middleware(PagesOnly)])
