"""Whether a visitor still has the page open."""

from __future__ import annotations

from collections.abc import Callable

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx


def visit() -> Callable[[], bool]:
    """For the session of this script: a function that any thread may call, to ask whether it is connected.

    Streamlit keeps a session for a while after its browser has gone, and lets its script run on.
    """
    context = get_script_run_ctx()
    if context is None or not runtime.exists():  # in a test without a server
        return lambda: True
    server, session = runtime.get_instance(), context.session_id
    return lambda: server.is_active_session(session)
