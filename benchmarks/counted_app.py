"""The app, with one address more: how many hooks its model has, and how many threads its server."""

import sys
import threading
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from explorer.guard import Guard  # noqa: E402
from explorer.shell import pages  # noqa: E402
from explorer.wire import PagesOnly  # noqa: E402


async def counts(_: Request) -> JSONResponse:
    """Hooks on all modules of the embedded model, and threads."""
    from explorer.models import bridge

    modules = bridge("demo").model.modules()
    hooks = sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in modules)
    return JSONResponse({"hooks": hooks, "threads": threading.active_count()})


app = st.App(
    ROOT / "explorer" / "main.py",
    routes=[Route("/counts", counts), *pages()],
    middleware=[Middleware(Guard), Middleware(PagesOnly)],
)
