import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from components.charts import Window, strongest_tile
from components.demo.presets import PRESETS
from components.ssd import Head, Place
from explorer import captures
from explorer.captures import terms_of
from explorer.picks import span_of, window_of
from explorer.pictures import small_pictures
from explorer.settings import settings
from explorer.subject import Subject
from tests.explorer.conftest import ROOT

CHARTS = ("head_map", "panels", "decay_curves")


def spec(page: AppTest, name: str) -> dict[str, Any]:
    charts = page.get("vega_lite_chart")
    assert len(charts) == len(CHARTS)
    return json.loads(charts[CHARTS.index(name)].proto.spec)


def table(page: AppTest, name: str, of: str) -> pd.DataFrame:
    """One of the tables that a chart draws."""
    chart = page.get("vega_lite_chart")[CHARTS.index(name)].proto
    (found,) = (dataset.data.data for dataset in chart.datasets if dataset.name == of)
    return pa.ipc.open_stream(found).read_pandas()


def described(page: AppTest, name: str) -> str:
    """What the browser is told to put in the place of the chart's `alt`."""
    told = [json.loads(each.proto.json or "{}") for each in page.get("bidi_component")]
    (words,) = (each for each in told if name in each)
    return str(words[name])


def open_lists(page: AppTest) -> None:
    """Open the menu that holds the lists of layers, heads and queries."""
    page.session_state.lists = True
    page.run()


def shown_words(page: AppTest) -> str:
    return "\n".join(str(element.value) for kind in (page.text, page.info, page.warning) for element in kind)


def test_opens_with_the_first_preset_and_says_what_its_charts_show(page: AppTest) -> None:
    assert not page.exception
    assert page.text_area(key="prompt").value == PRESETS[0].prompt
    assert [metric.label for metric in page.metric] == ["Half-life", "Mean distance"]
    assert not page.warning
    assert not page.error
    assert page.metric[0].delta.startswith(
        ("about ", "less than ", "longer than ", "far longer than ", "for ever")
    )
    layer, head = re.findall(r"Layer (\d+), head (\d+)", page.subheader[0].value)[0]
    assert described(page, "panels").startswith(f"Row 29, kept. Layer {layer}, head {head} ")
    assert f"Picked: layer {layer}, head {head}." in described(page, "head_map")


def test_a_chart_stays_while_what_it_shows_changes(page: AppTest) -> None:
    """Or the browser would build each view anew."""
    before = {name: (spec(page, name), described(page, name)) for name in CHARTS}
    page.session_state.session.selection = page.session_state.session.selection.with_head(Head(Place(1), 3))
    page.run()
    for name, (chart, words) in before.items():
        assert spec(page, name) == chart
        assert described(page, name) != words


def test_a_head_that_the_model_lacks_becomes_the_nearest_one(page: AppTest) -> None:
    page.session_state.session.selection = page.session_state.session.selection.with_head(Head(Place(99), 99))
    page.run()
    assert not page.exception
    capture = captures.capture(Subject("demo", PRESETS[0].prompt))
    last = max(place.layer for place in capture.places)
    assert page.subheader[0].value == f"Layer {last}, head {terms_of(capture, Place(last)).heads - 1}"


def test_every_preset_is_drawn_and_fills_in_its_prompt(page: AppTest) -> None:
    for preset in PRESETS[1:]:
        page.get_by_key("preset").set_value(preset.name).run()
        assert not page.exception
        assert page.text_area(key="prompt").value == preset.prompt
        assert page.session_state.session.selection.query == preset.query


def test_a_typed_prompt_is_no_preset(page: AppTest) -> None:
    page.text_area(key="prompt").set_value("Mia has the map.").run()
    assert page.get_by_key("preset").value is None
    assert page.session_state.session.selection.query is None
    assert not page.exception


def opened_with(model: str) -> AppTest:
    """The page after a model was typed in. (AppTest cannot type a new option, only begin with one.)"""
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60)
    page.session_state["model"] = model
    return page.run()


def test_a_bad_model_keeps_the_picture_and_says_why(page: AppTest) -> None:
    with_bad_model = opened_with("/no/such/folder")
    assert not with_bad_model.exception
    assert len(with_bad_model.error) == 1
    assert "/no/such/folder" in with_bad_model.text[0].value
    assert described(with_bad_model, "panels") == described(page, "panels")
    assert with_bad_model.session_state.session.selection.subject.model == "demo"


def test_a_bad_model_is_named_as_text() -> None:
    page = opened_with("/no/**such** <b>folder</b>")
    assert "**such**" in page.text[0].value
    assert all("such" not in element.value for kind in (page.markdown, page.error) for element in kind)


def test_another_folder_is_opened(folder: Path) -> None:
    page = opened_with(str(folder))
    assert not page.error
    assert page.session_state.session.selection.subject.model == str(folder)


def test_no_prompt_says_what_to_do(page: AppTest) -> None:
    page.text_area(key="prompt").set_value("").run()
    assert not page.exception
    assert "Type at least one word" in shown_words(page)
    assert not page.get("vega_lite_chart")


def test_any_text_is_drawn(page: AppTest) -> None:
    for prompt in ("a", " ", "<b>x</b> **y** $z$", "\u202e\u0007🦊", "שלום עולם"):
        page.text_area(key="prompt").set_value(prompt).run()
        assert not page.exception
        assert page.session_state.session.selection.subject.prompt == prompt
        assert spec(page, "panels")
        assert not any(element.allow_html for element in (*page.markdown, *page.caption))


@pytest.mark.usefixtures("bytes_of_unknown")
def test_a_character_of_several_tokens_is_named_at_each_of_them() -> None:
    page = at(prompt="中😀")
    assert not page.exception
    shown = ["·", "中 1/3", "中 2/3", "中 3/3", "😀 1/4", "😀 2/4", "😀 3/4", "😀 4/4"]
    assert table(page, "panels", "text")["letters"].tolist() == shown
    assert table(page, "panels", "keys")["label"].tolist() == shown
    assert "'😀 4/4' reads" in described(page, "panels")


LONG = " ".join(f"word {k * k}" for k in range(120))
"""Some 1,000 tokens of the tiny model."""


@pytest.fixture
def long(page: AppTest) -> AppTest:
    page.text_area(key="prompt").set_value(LONG).run()
    assert not page.exception
    return page


def length_of(prompt: str) -> int:
    return captures.capture(Subject("demo", prompt)).length


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


def test_a_long_prompt_is_shown_whole_as_tiles(long: AppTest) -> None:
    assert table(long, "panels", "scene").loc[0, ["rows", "columns"]].tolist() == [128, 128]
    assert f"**Whole text, {length_of(LONG):,} tokens**" in [each.value for each in long.markdown]
    assert "window" not in long.query_params
    side = -(-length_of(LONG) // 128)
    assert f"over {side} × {side}" in table(long, "panels", "scene").loc[0, "note"]
    assert any(re.search(r"tokens, about \d+ s and", caption.value) for caption in long.caption)
    # A window of it is opened in figures and left by the trail.
    open_lists(long)
    long.number_input(key="first_query").set_value(200).run()
    long.number_input(key="last_query").set_value(299).run()
    long.number_input(key="last_key").set_value(49).run()
    assert not long.exception
    assert long.query_params["window"] == ["200-299x0-49"] or long.query_params["window"] == "200-299x0-49"
    assert table(long, "panels", "scene").loc[0, ["rows", "columns"]].tolist() == [100, 50]
    assert "**queries 200–299 · keys 0–49**" in [each.value for each in long.markdown]
    assert described(long, "panels").startswith("Queries 200–299, keys 0–49. The last row. ")
    long.button(key="back_to_0").click().run()
    assert "window" not in long.query_params
    assert table(long, "panels", "scene").loc[0, ["rows", "columns"]].tolist() == [128, 128]


def test_rms_is_told_and_the_strongest_tile_a_click_away_until_tokens_are_single(long: AppTest) -> None:
    long.toggle(key="rms").set_value(True).run()
    assert long.query_params["view"] in ("rms", ["rms"])
    assert "(RMS " in described(long, "panels")
    assert (table(long, "panels", "queries")["low"] == 0).all()
    long.button(key="strongest").click().run()
    (window,) = long.session_state.session.selection.windows
    assert len(window.queries) >= 64
    capture = captures.capture(Subject("demo", LONG))
    layer, head = map(int, re.findall(r"Layer (\d+), head (\d+)", long.subheader[0].value)[0])
    tile = strongest_tile(terms_of(capture, Place(layer)), head, Window.whole(capture.length))
    assert set(tile.queries) <= set(window.queries)
    assert set(tile.keys) <= set(window.keys)
    assert "Open the strongest tile (RMS)" not in labels(long)
    assert "RMS" not in [toggle.label for toggle in long.toggle]  # of single tokens it would be |M|
    assert table(long, "panels", "scene").loc[0, "note"] == ""


def test_a_brush_leaves_a_window_or_a_span() -> None:
    brush = {"query_start": 256, "query_stop": 512, "key_start": 0, "key_stop": 128, "stamp": 17}
    assert window_of([brush]) == Window(range(256, 512), range(128))
    assert window_of([{}]) is window_of([]) is None
    assert span_of([{"span_start": 3, "span_stop": 7, "stamp": 17}]) == range(3, 7)
    assert span_of([{"span_start": 7, "span_stop": 7}]) is span_of([brush]) is None


def test_a_link_opens_its_window() -> None:
    page = at(prompt="one two three four five", window="2-4x0-3_3-4x1-2")
    assert not page.exception
    assert table(page, "panels", "scene").loc[0, ["rows", "columns"]].tolist() == [2, 2]
    assert "positions" not in described(page, "panels")
    assert f"Whole text, {length_of('one two three four five'):,} tokens" in labels(page)
    assert "queries 2–4 · keys 0–3" in labels(page)


def test_a_window_beyond_the_text_shows_the_whole() -> None:
    page = at(prompt="one two", window="900-999x900-999")
    assert not page.exception
    assert table(page, "panels", "scene").loc[0, "rows"] == length_of("one two")


def test_a_run_that_takes_long_is_asked_for_first(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    before = described(page, "panels")
    monkeypatch.setattr("explorer.captures.measured_rate", lambda *_: 1.0)
    page.text_area(key="prompt").set_value(LONG).run()
    assert not page.exception
    assert described(page, "panels") == before
    told = next(caption.value for caption in page.caption if "previous prompt" in caption.value)
    assert re.match(r"[\d,]+ tokens, about \d+ min and [\d.e-]+ GB of memory\.", told)
    assert page.text_area(key="prompt").value == LONG
    next(button for button in page.button if button.label == "Run the prompt").click().run()
    assert described(page, "panels") != before
    assert page.session_state.session.selection.subject.prompt == LONG


def test_a_link_to_a_long_text_asks_and_keeps_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.captures.measured_rate", lambda *_: 1.0)
    page = at(prompt=LONG, layer="1", head="3", query="7")
    assert not page.exception
    assert not page.get("vega_lite_chart")
    assert "previous" not in shown_words(page)
    next(button for button in page.button if button.label == "Run the prompt").click().run()
    selection = page.session_state.session.selection
    assert (selection.subject.prompt, selection.head.place.layer, selection.head.index) == (LONG, 1, 3)
    assert selection.query == 7
    assert page.query_params["head"] == "3"


def test_a_run_beyond_the_limit_is_refused_and_the_picture_stays(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = described(page, "panels")
    monkeypatch.setenv("EXPLORER_MAX_GIGABYTES", "0.000001")
    settings.cache_clear()
    page.text_area(key="prompt").set_value(LONG).run()
    settings.cache_clear()
    assert not page.exception
    assert "for one run. Shorten the text." in shown_words(page)
    assert described(page, "panels") == before
    assert page.text_area(key="prompt").value == LONG


def test_an_uploaded_text_is_run(page: AppTest) -> None:
    page.get_by_key("upload").upload("story.txt", b"Mia has the key.", "text/plain").run()
    assert not page.exception
    assert page.text_area(key="prompt").value == "Mia has the key."
    assert page.session_state.session.selection.subject.prompt == "Mia has the key."


def test_an_uploaded_file_in_another_encoding_is_told(page: AppTest) -> None:
    before = described(page, "panels")
    page.get_by_key("upload").upload("story.txt", "Käse".encode("latin-1"), "text/plain").run()
    assert not page.exception
    assert "cannot be read as UTF-8" in shown_words(page)
    assert described(page, "panels") == before
    page.run()
    assert "UTF-8" not in shown_words(page)


def test_the_gallery_shows_every_head_and_sorts_them(page: AppTest) -> None:
    page.toggle(key="gallery").set_value(True).run()
    assert not page.exception
    gallery = page.get("vega_lite_chart")[1].proto
    heads = {
        dataset.name: pa.ipc.open_stream(dataset.data.data).read_pandas() for dataset in gallery.datasets
    }
    capture = captures.capture(Subject("demo", PRESETS[0].prompt))
    assert len(heads["heads"]) == len(capture.measures) == len(small_pictures(capture))
    page.get_by_key("sort").set_value("half_life").run()
    assert not page.exception
    assert {
        page.query_params[name][0] if isinstance(page.query_params[name], list) else page.query_params[name]
        for name in ("sort", "view")
    } == {"half_life", "gallery"}


def test_a_picture_that_does_not_rebuild_the_model_is_flagged(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.run()
    capture = captures.capture(Subject("demo", PRESETS[0].prompt))
    for layer, (_, tolerance) in capture.faithful.items():
        monkeypatch.setitem(capture.faithful, layer, (2e-3, tolerance))
    page.run()
    assert "Do not trust this picture" in shown_words(page)


def at(**parameters: str) -> AppTest:
    """The page as a link with these parameters opens it."""
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60)
    page.query_params.update(parameters)
    return page.run()


def test_a_link_opens_what_it_names() -> None:
    page = at(model="demo", prompt="one two three", layer="1", head="3", query="1", view="dt,locked")
    assert not page.exception
    assert page.text_area(key="prompt").value == "one two three"
    assert page.subheader[0].value == "Layer 1, head 3"
    open_lists(page)
    assert page.selectbox(key="query").value == 1
    assert page.get_by_key("reading").value == "attention_dt"
    assert page.toggle(key="locked").value
    assert not page.toggle(key="log").value


def test_a_malformed_link_is_told_once_and_quietly() -> None:
    page = at(layer="two", view="upside-down")
    assert not page.exception
    notices = [caption.value for caption in page.caption if "could not be read" in caption.value]
    assert len(notices) == 1
    assert "layer and view" in notices[0]
    assert not page.error
    page.run()
    assert not [caption for caption in page.caption if "could not be read" in caption.value]


def test_a_link_to_a_model_that_cannot_be_opened_draws_the_first(tmp_path: Path) -> None:
    page = at(model=str(tmp_path / "nothing"))
    assert "This model cannot be opened" in page.error[0].value
    assert spec(page, "panels")


def test_the_url_holds_every_pick(page: AppTest) -> None:
    page.toggle(key="log").set_value(True).run()
    open_lists(page)
    page.selectbox(key="layer").set_value(Place(0)).run()
    picks = {name: page.query_params[name] for name in ("preset", "layer", "view")}
    assert picks == {"preset": "where-is-mia", "layer": "0", "view": "log"}


def test_the_scale_of_all_heads_is_that_of_the_strongest(page: AppTest) -> None:
    page.toggle(key="locked").set_value(True).run()
    open_lists(page)
    limits = ["content_limit", "attention_limit", "locked"]
    first = table(page, "panels", "scene")[limits]
    assert first["locked"].all()
    page.selectbox(key="head").set_value(1).run()
    assert not page.exception
    pd.testing.assert_frame_equal(table(page, "panels", "scene")[limits], first)


def test_the_row_can_be_read_as_a_table(page: AppTest) -> None:
    page.toggle(key="table").set_value(True).run()
    assert len(page.dataframe[0].value) == PRESETS[0].query + 1


def test_a_prompt_that_was_stopped_waits_for_a_click(page: AppTest) -> None:
    page.session_state.prompt = "a text that was stopped"
    page.run()
    assert any("Stopped" in caption.value for caption in page.caption)
    page.button[0].click().run()
    assert page.session_state.session.selection.subject.prompt == "a text that was stopped"
    assert not any("Stopped" in caption.value for caption in page.caption)


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EXPLORER_HOSTED", "1")
    monkeypatch.setenv("EXPLORER_MAX_TOKENS", "30")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("hosted")
def test_a_hosted_copy_says_what_is_limited_and_keeps_to_it(folder: Path) -> None:
    for model in (str(folder), "AntonV/mamba2-130m-hf"):
        page = at(model=model, prompt="one two")
        assert "does not open" in shown_words(page)
        assert spec(page, "panels")
    assert any("opens only these models: demo" in caption.value for caption in page.caption)
    assert page.selectbox(key="model").options == ["Demo (built in)"]
    page.text_area(key="prompt").set_value("word " * 80).run()
    assert "takes at most 30. Shorten it." in shown_words(page)
    page.text_area(key="prompt").set_value("one").run()
    assert spec(page, "panels")
