from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.charts import Window
from components.demo.presets import PRESETS
from components.ssd import KINDS, MEASURES, OF_CELL, Head, Place
from explorer.links import (
    LONGEST_LINK,
    frame_code,
    link,
    query_of,
    selection_of,
    short_query_of,
    text_key,
    without_text,
)
from explorer.selection import SWITCHES, Selection, View, first_selection, fitted
from tests.selections import selected

VIEWS = st.builds(
    View,
    measure=st.sampled_from([*MEASURES, *OF_CELL]),
    reading=st.sampled_from(["", *(each.name for kind in KINDS.values() for each in kind.readings)]),
    **dict.fromkeys(SWITCHES, st.booleans()),
)
SELECTIONS = st.builds(
    selected,
    model=st.text(min_size=1),
    prompt=st.one_of(st.text(), st.sampled_from([preset.prompt for preset in PRESETS])),
    layer=st.integers(0, 99),
    head=st.integers(0, 255),
    query=st.one_of(st.none(), st.integers(0, 131_072)),
    key=st.one_of(st.none(), st.integers(0, 131_072)),
    span=st.one_of(st.none(), st.builds(range, st.integers(0, 9), st.integers(10, 131_072))),
    view=VIEWS,
    other=st.one_of(st.none(), st.text()),
)


def test_opens_with_the_first_preset() -> None:
    preset = PRESETS[0]
    assert first_selection("demo") == selected("demo", preset.prompt, preset.layer, preset.head, preset.query)
    assert selection_of({}, "demo") == (first_selection("demo"), [])


def test_each_change_keeps_the_rest() -> None:
    view = View(reading="attention_dt")
    start = selected("demo", "text", 1, 2, 3, view)
    assert start.with_head(Head(Place(0), 7)) == selected("demo", "text", 0, 7, 3, view)
    assert start.with_model("other") == selected("other", "text", 1, 2, 3, view)
    assert start.with_prompt("new") == selected("demo", "new", 1, 2, None, view)
    assert start.with_query(9) == selected("demo", "text", 1, 2, 9, view)
    assert start.with_view(log=True).view == View(reading="attention_dt", log=True)
    cell = start.with_cell(9, 4)
    assert (cell.cell, cell.with_query(5).cell, start.cell) == ((9, 4), (5, 4), None)
    for gone in (
        cell.with_query(3),
        cell.with_query(None),
        cell.with_span(range(2)),
        cell.with_prompt("new"),
    ):
        assert (gone.cell, gone.key) == (None, None)
    assert cell.with_head(Head(Place(0), 7)).cell == (9, 4)


@given(SELECTIONS)
def test_a_selection_survives_its_url(selection: Selection) -> None:
    if selection.preset is not None and selection.query is None:
        selection = selection.with_query(0)  # with a preset, no query means the preset's
    assert selection_of(query_of(selection), "demo") == (selection, [])


@given(SELECTIONS)
def test_a_link_is_never_too_long(selection: Selection) -> None:
    selection = selected("demo", selection.subject.prompt, 1, 2, 3)
    address, cut = link("http://localhost:8501", selection)
    assert len(address) <= LONGEST_LINK
    parameters = {name: value[0] for name, value in parse_qs(urlsplit(address).query).items()}
    assert ("prompt" in parameters or "preset" in parameters or not selection.subject.prompt) != cut


@given(SELECTIONS)
def test_the_html_of_a_frame_is_one_tag_whatever_it_holds(selection: Selection) -> None:
    if selection.preset is not None and selection.query is None:
        selection = selection.with_query(0)
    ((tag, given_attributes),) = tags_of(frame_code("http://localhost:8501/", selection))
    attributes = dict(given_attributes)
    assert tag == "iframe"
    assert set(attributes) == {"src", "width", "height", "title", "loading"}
    query = urlsplit(str(attributes["src"])).query
    parameters = {name: value[0] for name, value in parse_qs(query, keep_blank_values=True).items()}
    assert parameters.pop("embed") == "true"
    assert selection_of(parameters, "demo") == (selection, [])


def tags_of(code: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda *tag: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(code)
    return tags


def test_a_long_prompt_is_left_out_of_the_link() -> None:
    address, cut = link("http://localhost:8501/", selected("demo", "word " * 1_000, 3, 4))
    assert cut
    assert "prompt" not in address
    assert "layer=3&head=4" in address


@pytest.mark.parametrize(
    ("parameters", "unread"),
    [
        ({"layer": "two"}, ["layer"]),
        ({"layer": "-1", "head": "1.5", "query": "٣"}, ["layer", "head", "query"]),
        ({"layer": "9" * 40}, ["layer"]),
        ({"preset": "no-such"}, ["preset"]),
        ({"measure": "beauty", "view": "rms,upside-down"}, ["measure", "view"]),
        ({"reading": "palms"}, ["reading"]),
    ],
)
def test_what_cannot_be_read_is_named_and_becomes_the_default(
    parameters: dict[str, str], unread: list[str]
) -> None:
    selection, named = selection_of(parameters, "demo")
    assert named == unread
    start = first_selection("demo")
    assert (selection.subject, selection.head, selection.query) == (start.subject, start.head, start.query)
    assert selection.view.measure == View.measure


def test_a_link_with_a_former_switch_opens_the_reading() -> None:
    selection, unread = selection_of({"view": "dt,rms"}, "demo")
    assert (selection.view, unread) == (View(reading="attention_dt", rms=True), [])
    assert query_of(selection)["view"] == "rms"
    assert query_of(selection)["reading"] == "attention_dt"
    assert selection_of({"view": "dt", "reading": "attention_dt"}, "demo")[0].view == View(
        reading="attention_dt"
    )


def test_a_preset_goes_by_name_and_a_prompt_by_its_text() -> None:
    selection = first_selection("demo").with_preset(PRESETS[1])
    assert query_of(selection)["preset"] == "copy-a-list"
    assert query_of(selection.with_prompt(""))["prompt"] == ""
    assert selection_of({"prompt": ""}, "demo")[0].subject.prompt == ""


def test_what_is_out_of_range_is_fitted_and_named() -> None:
    heads = {Place(0): 4, Place(2): 2, Place(1, "softmax"): 3}
    wild = selected(
        "demo",
        "text",
        99,
        50,
        query=7,
        key=6,
        windows=(Window(range(0, 20), range(0, 20)), Window(range(30, 40), range(30, 40))),
        span=range(4, 90),
    )
    found, names = fitted(wild, heads, 6)
    assert (found.head, found.query, found.key, found.span) == (Head(Place(2), 1), 5, 5, range(4, 6))
    assert found.windows == (Window(range(6), range(6)),)
    assert names == ["layer", "head", "query", "key", "window", "span"]
    assert fitted(found, heads, 6) == (found, [])
    assert fitted(wild.with_head(Head(Place(0, "softmax"), 0)), heads, 6)[0].head.place.kind == "softmax"


def test_a_text_too_long_for_a_link_goes_by_its_key() -> None:
    selection = selected("demo", "word " * 900, 1, 2, 3)
    parameters, cut = short_query_of("http://here", selection)
    assert cut
    assert (
        parameters["text"] == text_key(selection.subject.prompt) != text_key(selection.subject.prompt + " ")
    )
    assert "prompt" not in parameters
    assert without_text(parameters) == {"model": "demo"}
    whole = {**parameters, "prompt": selection.subject.prompt}
    assert selection_of(whole, "demo") == (selection, [])
    assert short_query_of("http://here", selection.with_prompt("")) == (
        query_of(selection.with_prompt("")),
        False,
    )
