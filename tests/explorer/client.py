"""A session of the real app, spoken to without a browser, and what it may be told."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import ClientConnection, connect


class Client:
    """One session. It keeps which widgets the page has, what it says, and what went wrong."""

    def __init__(self, connection: ClientConnection, page_name: str) -> None:
        self.connection, self.page_name = connection, page_name
        self.widgets: dict[str, str] = {}
        """The keys of the page's widgets, by identifier."""
        self.fragments: dict[str, str] = {}
        """The fragment in which each was drawn, by identifier."""
        self.described = ""
        self.exceptions: list[str] = []
        self._running, self._asked = False, 0

    def rerun(self, *states: WidgetState, query: str = "") -> None:
        """Send values, and read what comes until the script has ended."""
        sent = BackMsg()
        sent.rerun_script.widget_states.widgets.extend(states)
        sent.rerun_script.query_string, sent.rerun_script.page_name = query, self.page_name
        self.connection.send(bytes(sent.SerializeToString()))
        while self.read().WhichOneof("type") != "script_finished":
            pass

    def settle(self) -> None:
        """Let what was sent so far run to its end, then the page as it is."""
        self.echo()
        while self._running:
            self.read()
        self.rerun()

    def echo(self) -> None:
        """Wait until the server has taken all messages so far."""
        self._asked += 1
        name = f"echo {self._asked}"
        asked = BackMsg(file_urls_request={"request_id": name}).SerializeToString()
        for _ in range(100):
            self.connection.send(bytes(asked))
            with suppress(TimeoutError):
                while self.read(timeout=0.3).file_urls_response.response_id != name:
                    pass
                return
            # A run that begins drops what has not been sent, such as this answer.
        raise TimeoutError("The server does not answer.")

    def read(self, timeout: float = 60) -> ForwardMsg:
        """The next message of the server."""
        got = ForwardMsg()
        got.ParseFromString(self.connection.recv(timeout=timeout))
        kind = got.WhichOneof("type")
        if kind in ("new_session", "script_finished"):
            self._running = kind == "new_session"
        if kind == "delta" and (change := got.delta.WhichOneof("type")) in ("new_element", "add_block"):
            self._note(getattr(got.delta, change), got.delta.fragment_id)
        return got

    def _note(self, element: Any, fragment: str) -> None:
        """What is said, and which widgets there are, in an element or a block."""
        kind = element.WhichOneof("type")
        if kind == "exception":
            self.exceptions.append(f"{element.exception.type}: {element.exception.message}")
        if kind == "bidi_component" and element.bidi_component.component_name == "live_alt":
            self.described = element.bidi_component.json
        name = getattr(getattr(element, kind or "", None), "id", "")
        if name.startswith("$$ID"):
            self.widgets[name] = name.split("-", maxsplit=2)[-1]
            self.fragments[name] = fragment


@contextmanager
def connected(address: str, page_name: str = "") -> Iterator[Client]:
    """A new session on the server at this address, http://…"""
    stream = f"{address.replace('http', 'ws', 1)}/_stcore/stream"
    with connect(stream, subprotocols=["streamlit"], max_size=None) as connection:
        yield Client(connection, page_name)
