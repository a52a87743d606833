"""A page that goes on by itself, without a browser: its fragments run again, its browser keeps texts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

from benchmarks.visitor import Answer, Visitor, connected

PATIENCE = 60.0
"""Seconds after which something that is awaited does not come."""
_STORE = "browser_store"

Page = TypeVar("Page", bound="LivePage")


class LivePage(Visitor):
    """A page that reads all that its server sends, and asks again by itself where the server told it to.

    `kept` is what its browser keeps between visits, see `explorer.browser_store`.
    """

    def __init__(self, socket: Any, kept: Mapping[str, str] | None = None) -> None:
        super().__init__(socket)
        self.kept = dict(kept or {})
        self.seen = Answer()
        """All that came so far."""
        self.slider: list[str] = []
        """The options of the last slider."""
        self._heard = asyncio.Condition()
        self._intervals: dict[str, tuple[float, asyncio.Task[None]]] = {}

    async def go_to(self, page_name: str, query: str = "") -> None:
        """Open a page by its link."""
        self._page_name, self._query = page_name, query
        await self._request()

    async def press(self, key: str) -> float:
        """Click a button. Returns when."""
        began = time.monotonic()
        await self._request(
            WidgetState(id=self.widgets[key], trigger_value=True), fragment=self.fragments[key]
        )
        return began

    async def slide(self, key: str, option: str) -> None:
        """Move a slider to one of its options."""
        state = WidgetState(id=self.widgets[key])
        state.string_array_value.data.append(option)
        self._states[state.id] = state
        await self._request(fragment=self.fragments[key])

    async def run_again(self) -> None:
        """Run all of the page, as the key R does."""
        await self._request()

    async def until(self, holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until something holds of what has come. Raises TimeoutError after so many seconds."""
        async with asyncio.timeout(seconds), self._heard:
            await self._heard.wait_for(holds)

    async def live(self) -> None:
        """Read what comes, for ever."""
        async for data in self.socket:
            reply = ForwardMsg.FromString(data)
            match reply.WhichOneof("type"):
                case "new_session":
                    self._page = reply.new_session.page_script_hash
                    if not reply.metadata.run.fragment_ids:  # all of the page runs
                        self.stop()
                case "navigation":
                    self._page = reply.navigation.page_script_hash
                case "page_info_changed":
                    self._query = reply.page_info_changed.query_string
                case "auto_rerun":
                    self._ask_again(reply.auto_rerun.fragment_id, reply.auto_rerun.interval)
                case "stop_auto_rerun":
                    for fragment in reply.stop_auto_rerun.fragment_ids:
                        self._ask_no_more(fragment)
                case "delta":
                    self.read(reply.delta, self.seen)
                    await self._keep(reply.delta.new_element)
            async with self._heard:
                self._heard.notify_all()

    def read(self, delta: Any, answer: Answer) -> None:
        """Note a change of the page."""
        super().read(delta, answer)
        if delta.new_element.WhichOneof("type") == "slider":
            self.slider = list(delta.new_element.slider.options)

    def stop(self) -> None:
        """Ask for nothing more."""
        for fragment in list(self._intervals):
            self._ask_no_more(fragment)

    def _ask_again(self, fragment: str, interval: float) -> None:
        """As a browser does, which leaves a timer of the same interval as it is."""
        if fragment in self._intervals and self._intervals[fragment][0] == interval:
            return
        self._ask_no_more(fragment)
        self._intervals[fragment] = interval, asyncio.create_task(self._every(fragment, interval))

    def _ask_no_more(self, fragment: str) -> None:
        if fragment in self._intervals:
            self._intervals.pop(fragment)[1].cancel()

    async def _every(self, fragment: str, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            await self._request(fragment=fragment, by_itself=True)

    async def _keep(self, element: Any) -> None:
        """Keep texts, and tell them when the server asks, as the component's script does."""
        component = element.bidi_component
        if component.component_name != _STORE:
            return
        data = json.loads(component.json)
        self.kept |= data["texts"]
        if data["ask"]:
            told = json.dumps([{"event": "found", "value": {"texts": self.kept}}])
            identifier = f"$$STREAMLIT_INTERNAL_KEY_{component.id}__events"
            await self._request(WidgetState(id=identifier, json_trigger_value=told))


@asynccontextmanager
async def living(
    address: str, kind: type[Page], kept: Mapping[str, str] | None = None
) -> AsyncIterator[Page]:
    """A new page of the server at `address`, in a browser that keeps these texts, until the block ends."""
    async with connected(address) as socket:
        page = kind(socket, kept)
        reader = asyncio.create_task(page.live())
        try:
            yield page
        finally:
            page.stop()
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
