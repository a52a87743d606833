"""What a browser may send, and what of it reaches the server."""

import json
from pathlib import Path
from typing import Any

import pytest
import streamlit
from hypothesis import given
from hypothesis import strategies as st
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from components.charts import Window
from components.ssd import KINDS
from explorer.lessons import languages
from explorer.picks import head_of, point_of, position_of, window_of
from explorer.settings import Settings
from explorer.wire import (
    CHARTS,
    FORMS,
    LONGEST_NAME,
    LONGEST_QUERY,
    MOST_HASHES,
    MOST_IN_A_LIST,
    MOST_WIDGETS,
    PagesOnly,
    checked,
)
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
    return f"$$ID-{'0123abcd' * 4}-{key}"


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
    bad = WidgetState(id=identifier("rms"), string_value="on")
    assert received(checked(message(bad, good, bad))) == [good]
    assert checked(message(good)) == message(good)


@given(st.binary())
def test_any_bytes_become_a_message(data: bytes) -> None:
    received(checked(data))


NEEDED = [
    BackMsg(stop_script=True),
    BackMsg(app_heartbeat=True),
    BackMsg(rerun_script={"page_name": "generate"}),
]
FOR_DEVELOPERS = [
    BackMsg(clear_cache=True),
    BackMsg(set_run_on_save=True),
    BackMsg(load_git_info=True),
    BackMsg(debug_disconnect_websocket=True),
    BackMsg(debug_shutdown_runtime=True),
    BackMsg(),
]


def test_messages_for_developers_are_withheld() -> None:
    for sent in NEEDED:
        assert checked(sent.SerializeToString()) == sent.SerializeToString()
    for sent in FOR_DEVELOPERS:
        assert checked(sent.SerializeToString()) == b""
    known = {field.name for field in BackMsg.DESCRIPTOR.fields}
    told = {str(sent.WhichOneof("type")) for sent in [*NEEDED, *FOR_DEVELOPERS]}
    assert known - told == {"file_urls_request", "backend_operation_request"}, (
        "Does a page need the new ones?"
    )


def asked(payload: str, **fields: Any) -> bytes:
    sent = BackMsg()
    sent.backend_operation_request.request_id = "1"
    getattr(sent.backend_operation_request, payload).SetInParent()
    for name, value in fields.items():
        setattr(getattr(sent.backend_operation_request, payload), name, value)
    return bytes(sent.SerializeToString())


def test_of_operations_only_a_download_passes() -> None:
    download = asked("deferred_file", file_id="0123456789abcdef" * 2)
    assert checked(download) == download
    for payload in ("install_skills", "dismiss_skills_nudge", "dataframe_chunk"):
        assert checked(asked(payload)) == b""
    for file_id in ("", "../x", "0123456789ABCDEF" * 2, "0" * 33, "0" * 32 + "\n"):
        assert checked(asked("deferred_file", file_id=file_id)) == b""
    assert checked(BackMsg(backend_operation_request={"request_id": "1"}).SerializeToString()) == b""


def test_an_upload_asks_for_few_addresses() -> None:
    few, many = (
        BackMsg(file_urls_request={"request_id": "1", "file_names": ["a.txt"] * count}).SerializeToString()
        for count in (MOST_IN_A_LIST, MOST_IN_A_LIST + 1)
    )
    assert (checked(few), checked(many)) == (few, b"")


@pytest.mark.parametrize(
    ("field", "most"),
    [("query_string", LONGEST_QUERY), ("page_name", LONGEST_NAME), ("page_script_hash", LONGEST_NAME)],
)
def test_what_is_too_long_beside_the_widgets_is_dropped(field: str, most: int) -> None:
    prompt = WidgetState(id=identifier("prompt"), string_value="Mia")
    for length in (most, most + 1):
        sent = BackMsg()
        sent.rerun_script.widget_states.widgets.append(prompt)
        setattr(sent.rerun_script, field, "x" * length)
        got = BackMsg.FromString(checked(sent.SerializeToString())).rerun_script
        assert len(getattr(got, field)) == (length if length == most else 0)
        assert list(got.widget_states.widgets) == [prompt]


def test_what_a_browser_says_of_itself_is_short() -> None:
    context = {"timezone": "x" * 1001, "locale": "en", "url": "http://" + "x" * 1000, "color_scheme": "dark"}
    sent = BackMsg(rerun_script={"context_info": context, "cached_message_hashes": ["x"] * (MOST_HASHES + 1)})
    got = BackMsg.FromString(checked(sent.SerializeToString())).rerun_script
    assert not got.cached_message_hashes
    assert (got.context_info.locale, got.context_info.color_scheme) == ("en", "dark")
    assert not got.context_info.HasField("timezone")
    assert not got.context_info.HasField("url")


def test_only_the_name_of_a_fragment_runs_one() -> None:
    known = BackMsg(rerun_script={"fragment_id": "0123abcd" * 4}).SerializeToString()
    assert checked(known) == known
    for name in ("x" * 32, "0" * 31, "0" * 33, "0" * 32 + "\n", "a line\nin the log"):
        assert checked(BackMsg(rerun_script={"fragment_id": name}).SerializeToString()) == b""


@pytest.mark.parametrize("key", ["keeper", "live_alt", "passage", "left:panels_hand", "head_map_hand"])
def test_a_component_has_no_value_of_its_own(key: str) -> None:
    internal = f"$$STREAMLIT_INTERNAL_KEY_{identifier('live_alt__events')}"
    for form in ALL_FORMS:
        assert received(checked(message(a_value(form, WidgetState(id=identifier(key)))))) == []
        assert received(checked(message(a_value(form, WidgetState(id=internal))))) == []


@pytest.mark.parametrize(
    "state",
    [
        WidgetState(id=identifier("x" * 101), trigger_value=True),
        WidgetState(id=identifier("model"), string_value="x" * 1001),
        WidgetState(id=identifier("sort"), string_array_value={"data": ["a"] * 101}),
        WidgetState(id=identifier("sort"), string_array_value={"data": ["a" * 1001]}),
        WidgetState(id=identifier("time"), double_array_value={"data": [1.0] * 101}),
        WidgetState(id=identifier("time"), double_array_value={"data": [float("nan")]}),
        WidgetState(id=identifier("upload"), file_uploader_state_value={"uploaded_file_info": [{}] * 101}),
        WidgetState(id=identifier("panels"), string_value='{"selection": {"x": "' + "x" * 100_000 + '"}}'),
    ],
)
def test_no_widget_sends_so_much(state: WidgetState) -> None:
    assert received(checked(message(state))) == []


@pytest.mark.parametrize(
    "name",
    [
        *("", "session", "prompt", "$$ID", "$$ID-", "$$ID-0123-prompt"),
        *map(identifier, ("", "a b", "prompt\n", "::prompt")),
        *(identifier("prompt").upper(), f" {identifier('prompt')}"),
    ],
)
def test_what_is_no_identifier_is_no_widget(name: str) -> None:
    """Streamlit would take it for a key of the session's state."""
    assert received(checked(message(WidgetState(id=name)))) == []
    assert received(checked(message(WidgetState(id=name, string_value="x")))) == []


@pytest.mark.parametrize("value", [r"\ud800", r"a\udc00b", r"\udc00\ud800"])
def test_half_a_character_is_no_text(value: str) -> None:
    """No page could be sent it, so the page that shows it would break."""
    for text in (f'[{{"event": "found", "value": "{value}"}}]', f'[{{"event": "found", "{value}": 1}}]'):
        json.loads(text)
        state = WidgetState(id=identifier("keeper__events"), json_trigger_value=text)
        assert received(checked(message(state))) == []


def test_half_an_emoji_in_a_box_is_replaced() -> None:
    """Or the browser, which sends all values each time, could send nothing any more."""
    whole = message(
        WidgetState(id=identifier("prompt"), string_value="one \N{REPLACEMENT CHARACTER} two"),
        WidgetState(id=identifier("rms"), bool_value=True),
    )
    half = whole.replace("\N{REPLACEMENT CHARACTER}".encode(), "\ud83e".encode(errors="surrogatepass"))
    assert half != whole
    assert checked(half) == whole
    assert checked(half + b"\xff") == b""


def test_a_message_holds_no_more_widgets_than_a_page() -> None:
    states = [WidgetState(id=identifier(str(each)), trigger_value=True) for each in range(MOST_WIDGETS + 9)]
    assert received(checked(message(*states))) == states[:MOST_WIDGETS]


def test_a_hosted_copy_takes_no_longer_prompt_than_its_box_does(monkeypatch: pytest.MonkeyPatch) -> None:
    hosted = Settings(hosted=True)
    long = WidgetState(id=identifier("prompt"), string_value="x" * 1_000_000)
    assert received(checked(message(long))) == [long]
    monkeypatch.setattr("explorer.wire.settings", lambda: hosted)
    assert received(checked(message(long))) == []
    long.string_value = long.string_value[: hosted.most_characters]
    assert received(checked(message(long))) == [long]


def test_what_is_too_long_for_the_server_stays_unread() -> None:
    data = message(WidgetState(id=identifier("prompt"), string_value="x" * 25_000_001))
    assert checked(data) is data


def test_nothing_withheld_reaches_the_server() -> None:
    """Not even as an empty message, which it would log; nor a text, on which it raises."""
    stop = BackMsg(stop_script=True).SerializeToString()
    sent: list[dict[str, Any]] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "bytes": BackMsg(clear_cache=True).SerializeToString()},
        {"type": "websocket.receive", "bytes": b""},
        {"type": "websocket.receive", "bytes": b"\xff"},
        {"type": "websocket.receive", "text": "text"},
        {"type": "websocket.receive", "bytes": stop},
        {"type": "websocket.disconnect"},
    ]
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not got or got[-1]["type"] != "websocket.disconnect":
            got.append(await receive())

    async def receive() -> Any:
        return sent.pop(0)

    with pytest.raises(StopIteration):  # it has ended; nothing here waits, so it needs no loop
        PagesOnly(app)({"type": "websocket"}, receive, receive).send(None)
    assert got == [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "bytes": stop},
        {"type": "websocket.disconnect"},
    ]


def test_the_form_of_every_widget_is_known(
    page: AppTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Or its value would not arrive."""
    page.session_state.lists = page.session_state.copy_link = page.session_state.export = True
    page.session_state.session.selection = page.session_state.session.selection.with_view(gallery=True)
    page.text_area(key="prompt").set_value("word " * 30).run()
    page.session_state.session.selection = page.session_state.session.selection.with_span(range(2, 4))
    found = registered(page.run())
    page.session_state.session.selection = page.session_state.session.selection.with_prompt("Mia has a key")
    page.switch_page("app_pages/generate.py").run()
    page.get_by_key("draws").set_value("Sampled").run()
    page.selectbox(key="pace").set_value("no limit")
    page.number_input(key="new_tokens").set_value(4)
    page.button(key="generate").click().run()
    page.session_state.session.continuation._thread.join()
    found |= registered(page.run())
    page.switch_page("app_pages/effect.py").run()
    for kind in ("mute", "edge", "window", "decay"):
        page.selectbox(key="edit_kind").set_value(kind)
        found |= registered(page.run())
    page.session_state.export_experiment = page.session_state.open_experiment = True
    found |= registered(page.run())
    page.session_state.session.selection = page.session_state.session.selection.with_other("Leo has a key")
    page.switch_page("app_pages/two_prompts.py").run()
    found |= registered(page.run())
    monkeypatch.undo()  # the lessons are about the embedded model itself
    streamlit.cache_resource.clear()
    (tmp_path / "xx.toml").write_text('language = "x"', "utf-8")
    monkeypatch.setattr("explorer.lesson_words.languages", lambda: languages(tmp_path))
    lessons = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60).run()
    lessons.switch_page("app_pages/lessons.py").run()
    lessons.button(key="choice_0").click().run()
    found |= registered(lessons)
    lessons.session_state.session.in_browser = {}
    lessons.switch_page("app_pages/classroom.py").run()
    found |= registered(lessons)
    # Of a component only what it tells as an event is read, and nothing of these, which tell none.
    silent = ("live_alt", "passage")
    ours = {
        key: form
        for key, form in found.items()
        if form and form != "json_value" and not key.startswith(silent)
    }
    assert {key: FORMS.get(key, "trigger_value") for key in ours} == ours
    of_a_moment, without_a_value, of_a_class = "time_so_far", {"upload", "experiment"}, "clock__events"
    assert set(FORMS) - set(ours) <= {of_a_moment, *without_a_value, of_a_class}


def registered(page: AppTest) -> dict[str, str]:
    """The form of the value of each widget that the page has drawn, by its key."""
    assert not page.exception
    metadata = page.session_state._state._state._new_widget_state.widget_metadata
    return {
        name.split("-", maxsplit=2)[-1].rpartition(":")[2]: each.value_type for name, each in metadata.items()
    }
