"""Two views stand on one page: each is picked for itself, and they share a scale."""

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from components.ssd import Head, Place
from tests.explorer.conftest import ROOT


@pytest.fixture
def page() -> AppTest:
    opened = AppTest.from_file(str(ROOT / "tests" / "two_views" / "main.py"), default_timeout=60).run()
    assert not opened.exception
    return opened


def scenes(page: AppTest) -> list[dict[str, object]]:
    """What the panels of both views are drawn by."""
    found = []
    for chart in page.get("vega_lite_chart"):
        tables = {table.name: table.data.data for table in chart.proto.datasets}
        if "cells" in tables and "scene" in tables:
            found.append(pa.ipc.open_stream(tables["scene"]).read_pandas().iloc[0].to_dict())
    return found


def test_both_are_drawn_on_the_scale_that_they_share(page: AppTest) -> None:
    left, right = scenes(page)
    for scene in (left, right):
        assert (scene["content_limit"], scene["attention_limit"]) == (4.0, 2.0)
        assert scene["locked"]


@pytest.mark.parametrize(("one", "other"), [("left", "right"), ("right", "left")])
def test_each_is_picked_for_itself(page: AppTest, one: str, other: str) -> None:
    before = page.session_state.picked[other]
    page.session_state[f"{one}:lists"] = True
    page.run()
    page.selectbox(key=f"{one}:layer").set_value(Place(0))
    page.selectbox(key=f"{one}:head").set_value(3)
    page.selectbox(key=f"{one}:query").set_value(4).run()
    page.number_input(key=f"{one}:first_of_span").set_value(1.0).run()
    page.number_input(key=f"{one}:last_key").set_value(5.0).run()
    page.get_by_key(f"{one}:reading").set_value("attention_dt")
    page.toggle(key=f"{one}:gallery").set_value(True)
    page.get_by_key(f"{one}:measure").set_value("half_life").run()
    assert not page.exception
    shown = page.session_state.picked[one]
    assert shown.head == Head(Place(0), 3)
    assert shown.view.reading == "attention_dt"
    assert shown.view.gallery
    assert shown.view.measure == "half_life"
    assert shown.windows[-1].keys == range(6)
    assert page.session_state.picked[other] == before
    assert [each.value for each in page.subheader if "head" in each.value].count("Layer 0, head 3") == 1
