"""A client that sends what no browser of ours sends: it gets nothing, and the log holds no traceback."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

from benchmarks.browser import APP, serving
from components.ssd import KINDS
from explorer.wire import FORMS, MOST_WIDGETS
from tests.explorer.client import Client, connected
from tests.explorer.test_fuzz import PARAMETERS, SENT_TEXTS, TEXTS, thousand
from tests.explorer.test_wire import ALL_FORMS, NO_SELECTIONS, a_value

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=9,
)
FIELDS = ["layer", "head", "kind", "i", "j", "stamp"] + [
    f"{of}_{end}" for of in ("query", "key", "span") for end in ("start", "stop")
]
POINTS = st.lists(
    st.dictionaries(st.sampled_from(FIELDS), st.integers(-2, 9) | st.sampled_from(list(KINDS)) | SCALARS),
    max_size=3,
)
SELECTIONS = st.dictionaries(
    st.sampled_from(["head", "gallery_head", "query", "window", "span"]), POINTS | JSON, max_size=5
)
KEYS = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Escape"]
EVENTS = st.lists(
    st.fixed_dictionaries(
        {"event": st.sampled_from(["moved", "found", "again"]) | TEXTS},
        optional={
            "value": st.dictionaries(st.sampled_from([*KEYS, "key", "text"]), st.integers(-9, 9) | SCALARS)
            | JSON
        },
    ),
    max_size=3,
)


def put(form: str, value: Any, state: WidgetState) -> WidgetState:
    """A state with a value of this form."""
    if form.endswith("array_value"):
        getattr(state, form).SetInParent()
        getattr(state, form).data.extend(value)
    elif form == "file_uploader_state_value":
        state.file_uploader_state_value.SetInParent()
        for each in value:
            state.file_uploader_state_value.uploaded_file_info.add(file_id=each, name=each, size=len(each))
    else:
        setattr(state, form, value)
    return state


DOUBLES = st.floats() | st.integers(-2, 99).map(float)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "trigger_value": st.booleans(),
    "bool_value": st.booleans(),
    "double_value": DOUBLES,
    "int_value": st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 99),
    "string_value": SENT_TEXTS
    | (st.builds(lambda each: {"selection": each}, SELECTIONS) | JSON).map(json.dumps),
    "string_array_value": st.lists(SENT_TEXTS, max_size=4),
    "double_array_value": st.lists(DOUBLES, max_size=3),
    "int_array_value": st.lists(st.integers(-9, 9), max_size=3),
    "json_value": JSON.map(json.dumps),
    "json_trigger_value": (EVENTS | JSON).map(json.dumps),
    "file_uploader_state_value": st.lists(SENT_TEXTS, max_size=3),
    "bytes_value": st.binary(),
}


def states(names: dict[str, str]) -> st.SearchStrategy[WidgetState]:
    """Forged values of widgets, by identifier and key: of their own form, mostly."""

    def of(name: str) -> st.SearchStrategy[WidgetState]:
        own = FORMS.get(names.get(name, ""), "trigger_value")
        forms = st.sampled_from([own, own, *VALUES])
        return forms.flatmap(
            lambda form: VALUES[form].map(lambda value: put(form, value, WidgetState(id=name)))
        )

    known = st.sampled_from(sorted(names) or [f"$$ID-{'0' * 32}-prompt"])
    made_up = st.builds(f"$$ID-{'0' * 32}-{{}}".format, st.sampled_from(sorted(FORMS)) | SENT_TEXTS)
    return st.one_of(known, known, known, made_up, SENT_TEXTS).flatmap(of)


def reruns(names: dict[str, str]) -> st.SearchStrategy[BackMsg]:
    """Reruns with forged values, names, hashes and words about the browser."""

    def make(widgets: list[WidgetState], fields: dict[str, Any], context: dict[str, Any]) -> BackMsg:
        made = BackMsg(rerun_script={**fields, "context_info": context} if context else fields)
        made.rerun_script.SetInParent()
        made.rerun_script.widget_states.widgets.extend(widgets)
        return made

    flags = st.sampled_from([True, False])
    fields = {
        "query_string": PARAMETERS.map(urlencode) | SENT_TEXTS,
        "page_script_hash": SENT_TEXTS,
        "page_name": SENT_TEXTS | st.sampled_from(["generate", "how_to_read"]),
        "fragment_id": SENT_TEXTS,
        "is_auto_rerun": flags,
        "is_history_navigation": flags,
        "cached_message_hashes": st.lists(SENT_TEXTS, max_size=3),
    }
    context = {
        "timezone": SENT_TEXTS,
        "timezone_offset": st.integers(-(2**31), 2**31 - 1),
        "locale": SENT_TEXTS,
        "url": SENT_TEXTS,
        "is_embedded": flags,
        "color_scheme": SENT_TEXTS,
    }
    return st.builds(
        make,
        st.lists(states(names), max_size=4),
        st.fixed_dictionaries({}, optional=fields),
        st.fixed_dictionaries({}, optional=context),
    )


def others() -> st.SearchStrategy[BackMsg]:
    """Messages of every other type."""
    flags = ["clear_cache", "set_run_on_save", "stop_script", "load_git_info", "app_heartbeat"]
    flags += ["debug_disconnect_websocket", "debug_shutdown_runtime"]
    payloads: list[dict[str, Any]] = [
        {},
        {"install_skills": {}},
        {"dismiss_skills_nudge": {}},
        {"deferred_file": {"file_id": "x"}},
        {"dataframe_chunk": {"source_id": "x", "offset": 1, "limit": 2**31 - 1}},
    ]
    return st.one_of(
        st.builds(lambda name, value: BackMsg(**{name: value}), st.sampled_from(flags), st.booleans()),
        st.builds(
            lambda name, names: BackMsg(file_urls_request={"request_id": name, "file_names": names}),
            SENT_TEXTS,
            st.lists(SENT_TEXTS, max_size=9),
        ),
        st.builds(
            lambda name, payload: BackMsg(
                backend_operation_request={"request_id": name, "session_id": name, **payload}
            ),
            SENT_TEXTS,
            st.sampled_from(payloads),
        ),
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "log"


@pytest.fixture(scope="module")
def address(log: Path) -> Iterator[str]:
    """The real app, served. Forged names of models are looked up nowhere."""
    with serving(APP, log, HF_HUB_OFFLINE="1") as address:
        yield address


@pytest.fixture
def client(address: str, log: Path) -> Iterator[Client]:
    """A session that has drawn the page. Afterwards the server still draws it, and has told nobody more."""
    with connected(address) as client:
        client.settle()
        described = client.described
        assert "reads" in described
        yield client
        assert client.exceptions == []
    with connected(address) as honest:
        honest.settle()
        assert honest.described == described
    assert "Traceback" not in log.read_text()


AT_ONCE = 20
some = settings(parent=thousand, max_examples=1000 // AT_ONCE)


@some
@given(st.lists(st.binary() | others().map(BackMsg.SerializeToString), min_size=AT_ONCE, max_size=AT_ONCE))
def test_forged_messages_do_nothing(client: Client, messages: list[bytes]) -> None:
    client.exceptions.clear()
    for sent in messages:
        client.connection.send(sent)
    client.echo()
    assert client.exceptions == []


@pytest.mark.parametrize("page_name", ["", "generate"])
def test_forged_values_are_no_exception(client: Client, page_name: str) -> None:
    """The server makes one run, or a few, of messages that come at once."""
    client.page_name = page_name
    client.rerun(query="view=gallery,table&draws=sampled")
    for key in ("lists", "copy_link", "export", "generate"):
        for name in [name for name, each in client.widgets.items() if each == key]:
            client.rerun(put(FORMS.get(key, "trigger_value"), True, WidgetState(id=name)))
    client.settle()
    shown, fragments = dict(client.widgets), dict(client.fragments)

    @settings(parent=some, max_examples=300 // AT_ONCE)
    @given(st.lists(reruns(shown), min_size=AT_ONCE, max_size=AT_ONCE))
    def forge(messages: list[BackMsg]) -> None:
        client.exceptions.clear()
        for sent in messages:
            # A run of a fragment lets others join it. A run of the page stops those before it.
            states = sent.rerun_script.widget_states.widgets
            if not sent.rerun_script.fragment_id:
                sent.rerun_script.fragment_id = min(
                    (fragments.get(each.id, "") for each in states), default=""
                )
            client.connection.send(sent.SerializeToString())
        client.settle()
        assert client.exceptions == []

    forge()


FORGED_SELECTIONS = [
    {},
    {"head": 3, "gallery_head": "x", "query": None, "window": {}},
    {name: [] for name in ("head", "gallery_head", "query", "window")},
    *(
        {name: [dict.fromkeys(FIELDS, value)] for name in ("head", "gallery_head", "query", "window")}
        for value in ("x", -1, None, 1e300, [], {"a": 1}, float("nan"))
    ),
]
Forge = Callable[[WidgetState], object]
WITHHELD: list[Forge] = [
    *(lambda state, form=form: a_value(form, state) for form in sorted(ALL_FORMS - {"trigger_value"})),
    *(lambda state, text=text: setattr(state, "string_value", text) for text in NO_SELECTIONS),
]
"""Several of them go into one message: what of it passes is the widget's value."""
READ: list[Forge] = [
    *(
        lambda state, text=text: setattr(state, "string_value", text)
        for text in ["no option", *(json.dumps({"selection": each}) for each in FORGED_SELECTIONS)]
    ),
    lambda state: setattr(state, "int_value", -(2**63)),
    lambda state: setattr(state, "double_value", float("nan")),
    lambda state: state.double_array_value.data.extend([float("inf"), -1e308]),
    lambda state: state.string_array_value.data.extend([]),
]
AT_A_TIME = 5
FORGED = [WITHHELD[k : k + AT_A_TIME] for k in range(0, len(WITHHELD), AT_A_TIME)] + [[each] for each in READ]


def forged(key: str, name: str, forge: Forge) -> list[WidgetState]:
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
        "reading",
        "first_query",
    },
    "generate": {"time", "motion:panels", "motion:layer", "motion:head", "draws", "pace", "new_tokens"},
}


@pytest.mark.parametrize("page_name", SHOWN)
def test_forged_values_give_nothing_and_leave_no_traceback(address: str, log: Path, page_name: str) -> None:
    with connected(address, page_name) as client:
        client.rerun(query="view=gallery&new_tokens=4&pace=no-limit&prompt=" + "word%20" * 50)
        for name, key in list(client.widgets.items()):
            if key in {"lists", "generate"}:
                client.rerun(a_value(FORMS.get(key, "trigger_value"), WidgetState(id=name)))
        given_up = time.monotonic() + 60
        while not SHOWN[page_name] <= set(client.widgets.values()) and time.monotonic() < given_up:
            client.rerun()
            time.sleep(0.2)
        assert SHOWN[page_name] <= set(client.widgets.values())
        client.rerun()
        before = client.described
        for together in FORGED:
            states = [forged(key, name, forge) for forge in together for name, key in client.widgets.items()]
            assert len(states) <= MOST_WIDGETS
            client.rerun(*(state for each in states for state in each))
            assert client.exceptions == []
            assert "Traceback" not in log.read_text()
        client.rerun()
        assert client.described == before
