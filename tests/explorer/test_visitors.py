"""Visitors of one hosted server, over websockets: a line, a limit of time, and a closed page."""

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

from benchmarks.browser import APP, serving
from benchmarks.page import text_of_tokens
from benchmarks.visitor import Answer, visiting
from tests.deploy.containers import in_own_loop

SECRET = "Zanzibar is in the garden."
LONG = 40_000
"""Tokens that the embedded model reads for several seconds."""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "log"


@pytest.fixture(scope="module")
def server(log: Path) -> Iterator[str]:
    limits = {
        "EXPLORER_MAX_TOKENS": "200000",
        "EXPLORER_RUN_SECONDS": "2",
        "EXPLORER_RUNS_AT_ONCE": "1",
        "OMP_NUM_THREADS": "1",
    }
    with serving(APP, log, EXPLORER_HOSTED="1", **limits) as address:
        yield address


def test_a_run_that_takes_too_long_stops_and_says_so_and_the_page_goes_on(server: str) -> None:
    async def visit() -> tuple[Answer, Answer]:
        async with visiting(server) as visitor:
            await visitor.open()
            return await visitor.type_prompt(text_of_tokens(LONG)), await visitor.pick_head(1, 1)

    answer, after = in_own_loop(visit())
    assert answer.exceptions == after.exceptions == []
    told = "\n".join(answer.texts)
    assert "stopped after 2 s, the most that this hosted copy allows" in told
    assert any("Layer 1\\, head 1" in text for text in after.texts)


def test_a_closed_page_frees_the_run(server: str) -> None:
    """Of two who wait for one long text and leave, nothing keeps the next one waiting."""

    async def leave() -> None:
        async with visiting(server) as visitor:
            await visitor.open()
            prompt = WidgetState(id=visitor.widgets["prompt"], string_value="And " + text_of_tokens(LONG))
            await visitor.send(prompt)
            await asyncio.sleep(0.3)

    async def come() -> float:
        began = time.monotonic()
        async with visiting(server) as visitor:
            await visitor.open()
            await visitor.type_prompt(SECRET)
        return time.monotonic() - began

    async def one_after_the_other() -> float:
        await asyncio.gather(leave(), leave())
        return await come()

    assert in_own_loop(one_after_the_other()) < 20


def test_visitors_see_their_place_in_the_line_and_all_are_served(server: str) -> None:
    async def visit(number: int) -> Answer:
        async with visiting(server) as visitor:
            await visitor.open()
            # another text for each, of about 0.1 s
            return await visitor.type_prompt(f"{SECRET} " * number + text_of_tokens(1500))

    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(*(visit(number) for number in range(6)))

    answers = in_own_loop(all_at_once())
    assert [answer.exceptions for answer in answers] == [[]] * 6
    places = {text for answer in answers for text in answer.texts if "in line" in text}
    assert any(re.fullmatch(r"Waiting for other runs: \w+ in line(, about \d+ s)?", text) for text in places)
    assert all(any("Whole text, 1," in text for text in answer.texts) for answer in answers)


def test_prompts_are_not_logged(server: str, log: Path) -> None:
    written = log.read_text()
    assert "Zanzibar" not in written
    assert "Traceback" not in written


def test_an_edit_draws_what_it_changes_and_not_the_whole_page(server: str) -> None:
    async def visit() -> set[str]:
        async with visiting(server) as visitor:
            visitor._page_name = "effect"
            opened = await visitor.open(urlencode({"prompt": text_of_tokens(64)}))
            assert opened.exceptions == []
            pressed = WidgetState(id=visitor.widgets["add_edit"], trigger_value=True)
            await visitor._request(pressed, fragment=visitor.fragments["add_edit"])
            answer, drawn = Answer(), set()
            while "undo_edit" not in visitor.widgets:
                reply = ForwardMsg()
                reply.ParseFromString(await visitor.socket.recv())
                if reply.WhichOneof("type") == "delta":
                    visitor.read(reply.delta, answer)
                    drawn.add(reply.delta.fragment_id)
            assert answer.exceptions == []
            return drawn

    drawn = in_own_loop(visit())
    assert len(drawn) == 2
    assert "" not in drawn  # what stands in no fragment
