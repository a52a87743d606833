"""A client that sends what no browser of ours sends: it gets nothing, and the log holds no traceback."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest
from websockets.sync.client import ClientConnection, connect

from components.charts import Window
from components.ssd import KINDS
from explorer.picks import head_of, point_of, position_of, window_of
from explorer.wire import CHARTS, FORMS, checked
from tests.explorer.conftest import ROOT

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
FIELDS = (
    "layer",
    "head",
    "kind",
    "i",
    "query_start",
    "query_stop",
    "key_start",
    "key_stop",
    "span_start",
    "span_stop",
    "stamp",
)
POINTS = st.dictionaries(
    st.sampled_from(FIELDS), SCALARS | st.integers(0, 9) | st.sampled_from(list(KINDS)) | JSON
)


@given(JSON | st.lists(POINTS))
def test_whatever_a_selection_holds_is_a_pick_or_nothing(points: Any) -> None:
    point = point_of(points)
    head, window, position = head_of(points), window_of(points), position_of(points, "i")
    if head is not None:
        assert (head[0], head[1], head[2]) == (point["layer"], point["head"], point["kind"])
        assert min(head[:2]) >= 0
    if window is not None:
        assert window == Window(
            range(int(point["query_start"]), int(point["query_stop"])),
            range(int(point["key_start"]), int(point["key_stop"])),
        )
        assert len(window.queries) > 0 < len(window.keys)
    assert position is None or position == point["i"] >= 0


@pytest.mark.parametrize("value", [-1, 1.5, float("nan"), float("inf"), 10**400, True, "3", None, [3], {}])
def test_what_counts_nothing_is_no_position(value: Any) -> None:
    assert position_of([{"i": value}], "i") is None
    assert head_of([{"layer": value, "head": 0, "kind": "mamba2"}]) is None


def identifier(key: str) -> str:
    return f"$$ID-0123abcd-{key}"


def message(*states: WidgetState) -> bytes:
    sent = BackMsg()
    sent.rerun_script.widget_states.widgets.extend(states)
    return bytes(sent.SerializeToString())


def received(data: bytes) -> list[WidgetState]:
    read = BackMsg()
    read.ParseFromString(data)
    return list(read.rerun_script.widget_states.widgets)


def a_value(form: str, state: WidgetState) -> WidgetState:
    """A value of a form, put into a state."""
    if form.endswith("array_value"):
        getattr(state, form).data.extend(["a"] if "string" in form else [1])
    elif form == "file_uploader_state_value":
        state.file_uploader_state_value.uploaded_file_info.add(file_id="none")
    else:
        texts = {
            "string_value": {"selection": {"head": []}},
            "json_value": {},
            "json_trigger_value": [{"event": "found", "value": {}}],
        }
        setattr(state, form, json.dumps(texts[form]) if form in texts else 1)
    return state


ALL_FORMS = {*FORMS.values(), "trigger_value", "int_value", "int_array_value", "json_value"}


@pytest.mark.parametrize("key", [*sorted(FORMS), "generate", "None"])
def test_only_the_form_of_a_widget_s_value_passes(key: str) -> None:
    for form in ALL_FORMS:
        passed = received(checked(message(a_value(form, WidgetState(id=identifier(key))))))
        own = FORMS.get(key, "trigger_value")
        # A browser sends a whole number as one, where Streamlit's own Python sends a float.
        assert bool(passed) == (form in {own, "int_value" if own == "double_value" else own})
    assert received(checked(message(WidgetState(id=identifier(key)))))  # emptied


DEEP = '{"selection":{"head":' + "[" * 50_000 + "]" * 50_000 + "}}"
NO_SELECTIONS = ["", "{", "[]", "3.5", "{}", '{"selection": []}', '{"selection": 3}', DEEP, "9" * 5_000]


@pytest.mark.parametrize("text", NO_SELECTIONS)
def test_a_selection_is_an_object_of_selections(text: str) -> None:
    for chart in CHARTS:
        assert not received(checked(message(WidgetState(id=identifier(chart), string_value=text))))
    assert received(checked(message(WidgetState(id=identifier("prompt"), string_value=text))))


@pytest.mark.parametrize("text", [*NO_SELECTIONS[:2], "3.5", "{}", "[3]", '[{"event": 3}]', DEEP])
def test_what_a_component_tells_is_a_list_of_events(text: str) -> None:
    assert not received(
        checked(message(WidgetState(id=identifier("keeper__events"), json_trigger_value=text)))
    )


def test_what_is_well_formed_passes_beside_what_is_not() -> None:
    good = WidgetState(id=identifier("time"))
    good.double_array_value.data.append(3)
    bad = WidgetState(id=identifier("dt"), string_value="on")
    assert received(checked(message(bad, good, bad))) == [good]
    assert checked(message(good)) == message(good)


@given(st.binary())
def test_any_bytes_become_a_message(data: bytes) -> None:
    received(checked(data))


def test_the_form_of_every_widget_is_known(page: AppTest) -> None:
    """Or its value would not arrive."""
    page.session_state.lists = page.session_state.copy_link = page.session_state.export = True
    page.session_state.session.selection = page.session_state.session.selection.with_view(gallery=True)
    page.text_area(key="prompt").set_value("word " * 300).run()
    page.session_state.session.selection = page.session_state.session.selection.with_span(range(2, 4))
    found = registered(page.run())
    page.switch_page("app_pages/generate.py").run()
    page.get_by_key("draws").set_value("Sampled").run()
    page.selectbox(key="pace").set_value("no limit")
    page.button(key="generate").click().run()
    page.session_state.session.continuation._thread.join()
    found |= registered(page.run())
    # Of a component only what it tells as an event is read, and nothing of these, which tell none.
    silent = ("live_alt", "passage")
    ours = {
        key: form
        for key, form in found.items()
        if form and form != "json_value" and not key.startswith(silent)
    }
    assert {key: FORMS.get(key, "trigger_value") for key in ours} == ours
    assert set(FORMS) - set(ours) <= {"time_so_far", "upload"}  # one of a moment, and one without a value


def registered(page: AppTest) -> dict[str, str]:
    """The form of the value of each widget that the page has drawn, by its key."""
    assert not page.exception
    metadata = page.session_state._state._state._new_widget_state.widget_metadata
    return {
        name.split("-", maxsplit=2)[-1].rpartition(":")[2]: each.value_type for name, each in metadata.items()
    }


class Client:
    """A session of the real app, spoken to without a browser."""

    def __init__(self, connection: ClientConnection, page_name: str) -> None:
        self.connection, self.page_name = connection, page_name
        self.widgets: dict[str, str] = {}
        self.described = ""
        self.exceptions: list[str] = []

    def rerun(self, *states: WidgetState, query: str = "") -> None:
        """Send values, and read what comes until the script has ended."""
        sent = BackMsg()
        sent.rerun_script.widget_states.widgets.extend(states)
        sent.rerun_script.query_string, sent.rerun_script.page_name = query, self.page_name
        self.connection.send(bytes(sent.SerializeToString()))
        while True:
            got = ForwardMsg()
            got.ParseFromString(self.connection.recv(timeout=60))
            kind = got.WhichOneof("type")
            if kind == "delta":
                self._read(getattr(got.delta, got.delta.WhichOneof("type")))
            if kind == "script_finished":
                return

    def _read(self, element: Any) -> None:
        """What is said, and which widgets there are, in an element or a block."""
        kind = element.WhichOneof("type")
        if kind == "exception":
            self.exceptions.append(f"{element.exception.type}: {element.exception.message}")
        if kind == "bidi_component" and element.bidi_component.component_name == "live_alt":
            self.described = element.bidi_component.json
        name = getattr(getattr(element, kind or "", None), "id", "")
        if name.startswith("$$ID"):
            self.widgets[name] = name.split("-", maxsplit=2)[-1]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "log.txt"


@pytest.fixture(scope="module")
def port(log: Path) -> Iterator[int]:
    """The real app, served."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        number = int(free.getsockname()[1])
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "explorer" / "app.py")]
    options = ["--server.port", str(number), "--server.headless", "true"]
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, *options], cwd=log.parent, stdout=file, stderr=subprocess.STDOUT, env=os.environ
        )
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"http://localhost:{number}/_stcore/health", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.25)
            yield number
        finally:
            server.terminate()
            server.wait(timeout=20)


SELECTIONS = [
    {},
    {"head": 3, "gallery_head": "x", "query": None, "window": {}},
    {name: [] for name in ("head", "gallery_head", "query", "window")},
    *(
        {name: [dict.fromkeys(FIELDS, value)] for name in ("head", "gallery_head", "query", "window")}
        for value in ("x", -1, None, 1e300, [], {"a": 1}, float("nan"))
    ),
]
FORGED: list[Callable[[WidgetState], object]] = [
    *(lambda state, form=form: a_value(form, state) for form in sorted(ALL_FORMS - {"trigger_value"})),
    *(
        lambda state, text=text: setattr(state, "string_value", text)
        for text in [*NO_SELECTIONS, "no option", *(json.dumps({"selection": each}) for each in SELECTIONS)]
    ),
    lambda state: setattr(state, "int_value", -(2**63)),
    lambda state: setattr(state, "double_value", float("nan")),
    lambda state: state.double_array_value.data.extend([float("inf"), -1e308]),
    lambda state: state.string_array_value.data.extend([]),
]


def forged(key: str, name: str, forge: Callable[[WidgetState], object]) -> list[WidgetState]:
    """A state that this widget cannot have sent, if this makes one."""
    state = WidgetState(id=name)
    forge(state)
    form = {"int_value": "double_value"}.get(str(state.WhichOneof("value")), state.WhichOneof("value"))
    sent = FORMS.get(key) == form and (state.bool_value or state.double_value == 1 or state.int_value > 0)
    # Any text is a prompt, and the name of a model that is looked for.
    return [] if sent or key in {"prompt", "continued_prompt", "model"} else [state]


SHOWN = {
    "": {
        "head_map",
        "panels",
        "gallery_of_heads",
        "layer",
        "head",
        "query",
        "measure",
        "sort",
        "first_query",
    },
    "generate": {"time", "motion:panels", "motion:layer", "motion:head", "draws", "pace", "new_tokens"},
}


@pytest.mark.parametrize("page_name", SHOWN)
def test_forged_values_give_nothing_and_leave_no_traceback(port: int, log: Path, page_name: str) -> None:
    address = f"ws://localhost:{port}/_stcore/stream"
    with connect(address, subprotocols=["streamlit"], max_size=None) as connection:
        client = Client(connection, page_name)
        client.rerun(query="view=gallery&prompt=" + "word%20" * 300)
        for name, key in list(client.widgets.items()):
            if key in {"lists", "generate"}:
                client.rerun(a_value(FORMS.get(key, "trigger_value"), WidgetState(id=name)))
        for _ in range(300):
            client.rerun()
            if SHOWN[page_name] <= set(client.widgets.values()):
                break
            time.sleep(0.2)
        assert SHOWN[page_name] <= set(client.widgets.values())
        client.rerun()
        before = client.described
        for forge in FORGED:
            states = [forged(key, name, forge) for name, key in client.widgets.items()]
            client.rerun(*(state for each in states for state in each))
            assert client.exceptions == []
            assert "Traceback" not in log.read_text()
        client.rerun()
        assert client.described == before
