"""A session as a browser has it, without the browser: it speaks Streamlit's own messages over a websocket."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.typing import Subprotocol

_MOST_BYTES = 2**28
_clicks = itertools.count(1)


@dataclass
class Answer:
    """What the server sent for one request."""

    seconds: float = 0.0
    """From the request until the script has finished."""
    last_delta: float = 0.0
    """From the request until the last change of the page."""
    nbytes: int = 0
    exceptions: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """Of all headings, Markdown, captions, plain texts, alerts and progress."""


class Visitor:
    """One session. `open` first; then it types prompts and picks heads."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self._states: dict[str, WidgetState] = {}
        self._page, self._page_name, self._query = "", "", ""
        self.session = ""
        """The server's name of the session."""
        self.widgets: dict[str, str] = {}
        """The identifiers of the page's widgets, by key."""
        self.fragments: dict[str, str] = {}
        """The fragment in which each widget was drawn, by key."""

    async def open(self, query: str = "") -> Answer:
        """Open the page, as a new tab does."""
        self._query = query
        return await self._rerun()

    async def type_prompt(self, prompt: str) -> Answer:
        """Give another prompt."""
        return await self.change(WidgetState(id=self.widgets["prompt"], string_value=prompt))

    async def pick_head(self, layer: int, head: int) -> Answer:
        """Click a head in the head map."""
        point = {"layer": layer, "kind": "mamba2", "head": head, "stamp": next(_clicks)}
        value = json.dumps({"selection": {"head": [point]}})
        return await self.change(
            WidgetState(id=self.widgets["head_map"], string_value=value), self.fragments["head_map"]
        )

    async def change(self, state: WidgetState, fragment: str = "") -> Answer:
        """Send a widget's new value, which runs the script or one of its fragments."""
        self._states[state.id] = state
        return await self._rerun(fragment=fragment)

    async def send(self, state: WidgetState) -> None:
        """Send a widget's new value, and do not wait for the answer."""
        self._states[state.id] = state
        await self._request()

    async def _request(self, *pressed: WidgetState, fragment: str = "", by_itself: bool = False) -> None:
        """Ask for a run, with the values of all widgets and those that are `pressed` only now."""
        message = BackMsg()
        message.rerun_script.query_string = self._query
        message.rerun_script.page_script_hash = self._page
        message.rerun_script.page_name = self._page_name
        message.rerun_script.fragment_id = fragment
        message.rerun_script.is_auto_rerun = by_itself
        message.rerun_script.widget_states.widgets.extend([*self._states.values(), *pressed])
        await self.socket.send(message.SerializeToString())

    async def _rerun(self, fragment: str = "") -> Answer:
        began = time.monotonic()
        await self._request(fragment=fragment)
        answer, begun = Answer(), False
        while True:
            data = await self.socket.recv()
            answer.nbytes += len(data)
            reply = ForwardMsg()
            reply.ParseFromString(data)
            match reply.WhichOneof("type"):
                case "new_session":
                    begun, self._page = True, reply.new_session.page_script_hash
                    self.session = reply.new_session.initialize.session_id
                case "navigation":
                    self._page = reply.navigation.page_script_hash
                case "page_info_changed":
                    self._query = reply.page_info_changed.query_string
                case "delta":
                    answer.last_delta = time.monotonic() - began
                    self.read(reply.delta, answer)
                case "script_finished" if begun:
                    answer.seconds = time.monotonic() - began
                    return answer

    def read(self, delta: Any, answer: Answer) -> None:
        """Note the widgets, and what went wrong."""
        if delta.WhichOneof("type") == "add_block":
            self._note(delta.add_block, delta.add_block.WhichOneof("type"), delta.fragment_id)
            return
        element = delta.new_element
        kind = element.WhichOneof("type")
        self._note(element, kind, delta.fragment_id)
        match kind:
            case "exception":
                answer.exceptions.append(f"{element.exception.type}: {element.exception.message}")
            case "heading" | "markdown" | "alert" | "text":
                answer.texts.append(getattr(element, kind).body)
            case "progress":
                answer.texts.append(element.progress.text)

    def _note(self, holder: Any, kind: str | None, fragment: str) -> None:
        identifier = getattr(getattr(holder, kind), "id", "") if kind else ""
        if identifier:
            key = identifier.split("-", maxsplit=2)[-1]
            self.widgets[key], self.fragments[key] = identifier, fragment


@asynccontextmanager
async def visiting(address: str, cookies: str = "") -> AsyncIterator[Visitor]:
    """A new session on the server at `address`, http://…, until the block ends; cookies as in a header."""
    async with connected(address, cookies) as socket:
        yield Visitor(socket)


@asynccontextmanager
async def connected(address: str, cookies: str = "") -> AsyncIterator[Any]:
    """The websocket of a new session."""
    url = f"{address.replace('http', 'ws', 1)}/_stcore/stream"
    async with websockets.connect(
        url,
        subprotocols=[Subprotocol("streamlit")],
        additional_headers={"Cookie": cookies} if cookies else {},
        max_size=_MOST_BYTES,
        open_timeout=120,
        close_timeout=0.5,  # a browser does not wait until the server agrees
    ) as socket:
        yield socket
