"""The page "How to read this", with the embedded model itself: the page is about that one."""

import json
import re
from collections.abc import Iterator

import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from components.bridge import contributions_of, logit_direction, readings
from components.demo import by_task, heads_table, in_words, measures_table, read_findings
from components.demo.presets import PRESETS
from components.models import load_bridge
from components.ssd import KINDS, ContributionTerms, effective_attention
from tests.explorer.conftest import ROOT

PRESET = PRESETS[0]


@pytest.fixture(scope="module", autouse=True)
def embedded() -> Iterator[None]:
    """Take the place of the fixture that swaps in the tiny model."""
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture(scope="module")
def page() -> AppTest:
    """The page, from the one that opens."""
    opened = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60).run()
    return opened.switch_page("app_pages/how_to_read.py").run()


def words(page: AppTest) -> str:
    return "\n".join(element.value for element in page.markdown)


def test_stands_alone_and_says_what_every_chart_shows(page: AppTest) -> None:
    assert not page.exception
    assert not page.warning
    charts = page.get("vega_lite_chart")
    assert len(charts) == 9
    assert all(re.search(r"\d", chart.proto.alt) for chart in charts)
    assert all(json.loads(chart.proto.spec) for chart in charts)


def test_numbers_come_from_the_model(page: AppTest) -> None:
    _, cache = load_bridge("demo").run_with_cache(PRESET.prompt)
    row = effective_attention(cache.ssd_terms(PRESET.layer), heads=[PRESET.head], queries=[-1])[0, 0, 0]
    formula = next(element.value for element in page.latex if "underbrace" in element.value)
    content, decay, attention = map(float, re.findall(r"underbrace\{(-?[\d.]+)\}", formula))
    assert attention == pytest.approx(float(row[row.abs().argmax()]), abs=0.01)
    assert content * decay == pytest.approx(attention, rel=0.02)


def test_the_experiments_show_what_the_text_says(page: AppTest) -> None:
    text = words(page)
    assert "but 4 columns of layer 0 change" in text  # the convolution's kernel
    kept, lost = re.findall(r"([\d.]+)%\. Without it in head \d+, it is still ([\d.]+)%", text)[0]
    assert float(kept) < 50 < float(lost)


def test_one_vocabulary(page: AppTest) -> None:
    assert "query position *i* reads key position *j*" in words(page)
    assert "attends to" not in words(page)


def test_what_attention_tells_is_said_as_it_was_found(page: AppTest) -> None:
    findings = by_task(read_findings())
    text = words(page)
    assert all(sentence in text for sentence in in_words(findings))
    shown = [table.value.to_dict("list") for table in page.table]
    assert shown == [measures_table(findings), heads_table(findings)]
    assert [link.proto.page for link in page.get("page_link")] == ["effect"]


def test_measures_of_the_table_are_readings_of_the_last_panel(page: AppTest) -> None:
    assert "the contribution norm or the direct effect, the direct logit above, of every cell" in words(page)
    bridge, layer, head = load_bridge("demo"), PRESET.layer, PRESET.head
    ids = bridge.to_tokens(PRESET.prompt)
    found = readings(bridge, ids, layer, head, 892, 817)
    _, cache = bridge.run_with_cache(ids)
    direction = logit_direction(bridge, cache, 892, 817)
    terms = ContributionTerms.of(contributions_of(bridge, cache, layer), direction)
    for name, measure in (("contribution", "contribution norm"), ("toward", "direct logit")):
        row = KINDS[terms.kind].reading(name).full(terms, heads=[head], queries=[-1])[0, 0, 0]
        torch.testing.assert_close(row, found[measure])


def test_no_docstring_stands_on_the_page(page: AppTest) -> None:
    assert words(page).startswith("The embedded model has read one text.")
