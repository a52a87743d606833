"""What a visitor does while a script runs: closes the page, or clicks."""

from __future__ import annotations

from collections.abc import Callable

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType


def visit() -> Callable[[], bool]:
    """For the session of this script: a function that any thread may call, to ask whether it is connected.

    Streamlit keeps a session for a while after its browser has gone, and lets its script run on.
    """
    context = get_script_run_ctx()
    if context is None or not runtime.exists():  # in a test without a server
        return lambda: True
    server, session = runtime.get_instance(), context.session_id
    return lambda: server.is_active_session(session)


def clicked() -> bool:
    """Whether the visitor has clicked something that waits until this script has ended.

    Streamlit lets a click in a fragment wait so, and a click elsewhere end the script. But Stop beside a
    fragment's work has to end it, too.
    """
    context = get_script_run_ctx()
    requests = None if context is None else context.script_requests
    if requests is None or requests._state is not ScriptRequestType.RERUN:
        return False
    return not requests._rerun_data.is_auto_rerun
