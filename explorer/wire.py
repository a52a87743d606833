"""What a browser may send: for every widget of the pages, values of that widget's form.

Streamlit expects a value in the form that its widget sends, and raises on any other. `WidgetsOnly` removes
such values from the message before Streamlit sees it, so the widget keeps its last value. `explorer.picks`
and `explorer.widgets` check the content of values of the right form.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CHARTS = frozenset({"head_map", "gallery_of_heads", "panels"})
"""The keys of charts to click; they send selections as JSON."""

_KEYS = {
    "string_value": {
        *CHARTS,
        *("model", "prompt", "layer", "head", "query"),
        *("continued_prompt", "pace"),
    },
    "string_array_value": {"preset", "measure", "sort", "draws", "alike"},
    "bool_value": {
        *("dt", "rms", "locked", "symlog", "read_by", "log", "log_time", "gallery", "large", "table"),
        *("lists", "copy_link", "export", "upload_menu"),
    },
    "double_value": {
        "first_query",
        "last_query",
        "first_key",
        "last_key",
        "first_of_span",
        "last_of_span",
        "new_tokens",
        "seed",
    },
    "double_array_value": {"time", "time_so_far", "temperature", "top_p"},
    "file_uploader_state_value": {"upload"},
    "json_trigger_value": {
        "keeper__events",
        "head_map_hand__events",
        "panels_hand__events",
    },
}
FORMS = {key: form for form, keys in _KEYS.items() for key in keys}
"""The form of each widget's value by the widget's key within its view. All other keys are buttons."""

_LEVELS = 4
"""Nesting of a selection: the object, its selections, the points of one, their fields."""


class WidgetsOnly:
    """Removes from websocket messages the values that no widget of the pages can have sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""

        async def receive_checked() -> Message:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            return {"type": message["type"], "bytes": checked(message.get("bytes") or b"")}

        await self._app(scope, receive_checked if scope["type"] == "websocket" else receive, send)


def checked(data: bytes) -> bytes:
    """The message without values whose form is not their widget's; empty if it cannot be parsed."""
    message = BackMsg()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return b""
    widgets = message.rerun_script.widget_states.widgets
    good = [state for state in widgets if _well_formed(state)]
    if len(good) == len(widgets):
        return data
    del widgets[:]
    widgets.extend(good)
    return bytes(message.SerializeToString())


def _well_formed(state: WidgetState) -> bool:
    key = state.id.split("-", maxsplit=2)[-1].rpartition(":")[2]  # the identifier ends with it
    form = state.WhichOneof("value")
    if form is None:  # the widget was emptied
        return True
    if form == "int_value":  # how a browser sends a whole number; the pages' boxes accept only these
        return FORMS.get(key) == "double_value" and 0 <= state.int_value < 2**31
    if form != FORMS.get(key, "trigger_value"):
        return False
    if form == "double_value":
        return isfinite(state.double_value)
    if form == "json_trigger_value":
        return _is_list_of_events(state.json_trigger_value)
    return key not in CHARTS or _is_selection(state.string_value)


def _is_selection(text: str) -> bool:
    """Whether a text is the JSON of a chart's selections."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("selection"), dict) and _flat(value, _LEVELS)


def _is_list_of_events(text: str) -> bool:
    """Whether a text is the JSON of a component's events, each with its name."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(value, list)
        and all(isinstance(each, dict) and isinstance(each.get("event"), str) for each in value)
        and _flat(value, _LEVELS)
    )


def _flat(value: object, levels: int) -> bool:
    """Whether brackets nest at most so deep: Streamlit copies values recursively."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_flat(each, levels - 1) for each in inner)
    return True
