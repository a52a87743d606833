"""What a browser may send: the messages that the pages need, and values of their widgets' forms.

Streamlit obeys messages that no page sends, such as one that clears every cache of the server. `PagesOnly`
withholds them. Streamlit also expects a value in the form that its widget sends, and raises on any other.
`PagesOnly` removes such values, so the widget keeps its last value. `explorer.picks` and `explorer.widgets`
check the content of values of the right form.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from streamlit.proto.BackMsg_pb2 import BackendOperationRequest, BackMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime.runtime_util import get_max_widget_state_size_bytes

from explorer.settings import settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from streamlit.proto.ClientState_pb2 import ClientState

CHARTS = frozenset(
    {"head_map", "gallery_of_heads", "panels", "effect_map", "patched_heads", "estimated_heads"}
)
"""The keys of charts to click; they send selections as JSON."""

_KEYS = {
    "string_value": {
        *CHARTS,
        *("model", "prompt", "layer", "head", "query", "key"),
        *("continued_prompt", "pace"),
        *("asked_prompt", "other_prompt", "asked_position", "target", "foil"),
        *("language", "class_code"),
        *("edit_kind", "edit_what", "edit_layers", "edit_heads", "edit_positions", "edit_keys"),
    },
    "string_array_value": {
        *("preset", "measure", "sort", "reading", "draws", "alike"),
        *("lesson_control",),
        *("muting", "figure", "cut_in", "measured_by"),
    },
    "bool_value": {
        *("rms", "locked", "symlog", "read_by", "log", "log_time", "gallery", "large", "table"),
        *("lists", "copy_link", "export", "upload_menu", "export_experiment", "open_experiment"),
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
        "edit_width",
        "edit_factor",
    },
    "double_array_value": {"time", "time_so_far", "temperature", "top_p", "memory"},
    "file_uploader_state_value": {"upload", "experiment"},
    "json_trigger_value": {
        "keeper__events",
        "browser_store__events",
        "clock__events",
        "head_map_hand__events",
        "panels_hand__events",
    },
}
FORMS = {key: form for form, keys in _KEYS.items() for key in keys}
"""The form of each widget's value by the widget's key within its view. All other keys are buttons."""

_COMPONENTS = frozenset(
    {
        "keeper",
        "browser_store",
        "clock",
        "live_alt",
        "live_alt_of_edits",
        "passage",
        "head_map_hand",
        "panels_hand",
    }
)
"""The keys of components of ours. They tell events, under a key of their own, and have no value."""

_LEVELS = 4
"""Nesting of a selection: the object, its selections, the points of one, their fields."""

MOST_WIDGETS = 500
"""Of one message. The fullest page has a fifth of them."""
MOST_IN_A_LIST = 100
"""Values of one widget, and files of one upload."""
LONGEST_NAME = 1_000
"""Characters of identifiers, addresses, options and names of models. The pages' own are far shorter."""
LONGEST_JSON = 100_000
"""Characters of a chart's selection."""
LONGEST_QUERY = 65_536
"""Characters of a query string. The server accepts no longer request for a page."""
MOST_HASHES = 1_000
"""Messages that a browser says it has kept. Those that the server does not know of are sent again."""

_TEXTS = frozenset({"prompt", "continued_prompt", "asked_prompt", "other_prompt"})
_SURROGATE = re.compile("[\ud800-\udfff]")
_HALF_IN_BYTES = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
"""Three bytes, as many as of what replaces it, so lengths in the message stay true."""
_HASH = re.compile("[0-9a-f]{32}")
"""Streamlit's identifier of a fragment, and of a file that is made when its button is pressed."""
_WIDGET_ID = re.compile(
    r"(?P<events>\$\$STREAMLIT_INTERNAL_KEY_)?\$\$ID-[0-9a-f]{32}-(?P<view>[a-z0-9]+:)?(?P<key>\w{1,100})",
    re.ASCII,
)
"""Streamlit takes any other identifier for a key of the session's state, and raises if there is none."""


class PagesOnly:
    """Withholds websocket messages, and values in them, that no page can have sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""

        async def receive_checked() -> Message:
            while True:
                message = await receive()
                if message["type"] != "websocket.receive":
                    return message
                # Streamlit logs an empty message, and raises on a text.
                if data := checked(message.get("bytes") or b""):
                    return {"type": message["type"], "bytes": data}

        await self._app(scope, receive_checked if scope["type"] == "websocket" else receive, send)


def checked(data: bytes) -> bytes:
    """What of a message goes to the server: all, all but some values, or nothing."""
    if len(data) > get_max_widget_state_size_bytes():
        return data  # Streamlit reads none of it, and ends the connection
    message = BackMsg()
    try:
        message.ParseFromString(data)
    except DecodeError:
        # A browser whose reader deleted half an emoji sends the other half, in every message from then on.
        data = _HALF_IN_BYTES.sub("\N{REPLACEMENT CHARACTER}".encode(), data)
        try:
            message.ParseFromString(data)
        except DecodeError:
            return b""
    match message.WhichOneof("type"):
        case "stop_script" | "app_heartbeat":
            return data
        case "file_urls_request":
            request = message.file_urls_request
            fits = len(request.file_names) <= MOST_IN_A_LIST and len(request.request_id) <= LONGEST_NAME
            return data if fits else b""
        case "backend_operation_request":
            return data if _asks_for_a_download(message.backend_operation_request) else b""
        case "rerun_script":
            return _checked_rerun(data, message)
    # The rest is for developers of an app: clear the caches, run on save, tell of Git, install skills.
    return b""


def _asks_for_a_download(request: BackendOperationRequest) -> bool:
    """Whether this asks for a file that is made when its button is pressed. No page asks for more."""
    return (
        request.WhichOneof("payload") == "deferred_file"
        and _HASH.fullmatch(request.deferred_file.file_id) is not None
        and max(len(request.request_id), len(request.session_id)) <= LONGEST_NAME
    )


def _checked_rerun(data: bytes, message: BackMsg) -> bytes:
    """A rerun, without what no page can have sent."""
    state = message.rerun_script
    if state.fragment_id and not _HASH.fullmatch(state.fragment_id):
        return b""  # Streamlit would log it, as it is
    changed = _drop_too_long(state)
    widgets = state.widget_states.widgets
    good = [widget for widget in widgets[:MOST_WIDGETS] if _well_formed(widget)]
    if len(good) < len(widgets):
        changed = True
        del widgets[:]
        widgets.extend(good)
    return bytes(message.SerializeToString()) if changed else data


def _drop_too_long(state: ClientState) -> bool:
    """Remove what is too long beside the widgets. Returns whether anything was."""
    context = state.context_info
    too_long: list[tuple[Any, str]] = [
        (holder, field)
        for holder, field, most in (
            (state, "query_string", LONGEST_QUERY),
            (state, "page_script_hash", LONGEST_NAME),
            (state, "page_name", LONGEST_NAME),
            (context, "timezone", LONGEST_NAME),
            (context, "locale", LONGEST_NAME),
            (context, "url", LONGEST_NAME),
            (context, "color_scheme", LONGEST_NAME),
        )
        if len(getattr(holder, field)) > most
    ]
    if len(state.cached_message_hashes) > MOST_HASHES:
        too_long.append((state, "cached_message_hashes"))
    for holder, field in too_long:
        holder.ClearField(field)
    return bool(too_long)


def _well_formed(state: WidgetState) -> bool:
    named = _WIDGET_ID.fullmatch(state.id)
    if named is None:
        return False
    key = named["key"]
    if key in _COMPONENTS or (named["events"] and key not in FORMS):
        return False
    form = state.WhichOneof("value")
    if form is None:  # the widget was emptied
        return True
    if form == "int_value":  # how a browser sends a whole number; the pages' boxes accept only these
        return FORMS.get(key) == "double_value" and 0 <= state.int_value < 2**31
    if form != FORMS.get(key, "trigger_value"):
        return False
    match form:
        case "double_value":
            return isfinite(state.double_value)
        case "double_array_value":
            numbers = state.double_array_value.data
            return len(numbers) <= MOST_IN_A_LIST and all(map(isfinite, numbers))
        case "string_array_value":
            texts = state.string_array_value.data
            return len(texts) <= MOST_IN_A_LIST and all(len(text) <= LONGEST_NAME for text in texts)
        case "file_uploader_state_value":
            return len(state.file_uploader_state_value.uploaded_file_info) <= MOST_IN_A_LIST
        case "json_trigger_value":
            return _is_list_of_events(state.json_trigger_value)
        case "string_value" if key in CHARTS:
            return len(state.string_value) <= LONGEST_JSON and _is_selection(state.string_value)
        case "string_value":
            most = settings().most_characters if key in _TEXTS else LONGEST_NAME
            return most is None or len(state.string_value) <= most
    return True


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
        and len(value) <= MOST_IN_A_LIST
        and all(isinstance(each, dict) and isinstance(each.get("event"), str) for each in value)
        and _flat(value, _LEVELS)
    )


def _flat(value: object, levels: int) -> bool:
    """Whether brackets nest at most so deep, since Streamlit copies values recursively; and whether all texts
    are texts: JSON can name halves of a pair of surrogates, which no page can be sent.
    """
    if isinstance(value, dict | list):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return levels > 0 and all(_flat(each, levels - 1) for each in inner)
    return not (isinstance(value, str) and _SURROGATE.search(value))
