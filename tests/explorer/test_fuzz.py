"""Whatever an address, a prompt, a file or a browser holds: no exception, and nothing that runs as markup."""

import json
import re
import string
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from components.charts import (
    Window,
    head_cells,
    head_in_words,
    panels_chart,
    row_table,
    span_in_words,
    visible_tokens,
)
from components.ssd import KINDS, MEASURES, OF_CELL, Head
from explorer.captures import capture, terms_of
from explorer.drawing import draw, plain
from explorer.links import link, query_of, selection_of
from explorer.models import bridge, encoded
from explorer.pictures import cells_of, sums_of
from explorer.readings import Reading
from explorer.sampling import SETTINGS, query_of_settings, settings_of
from explorer.selection import SWITCHES, fitted
from explorer.subject import Subject
from explorer.uploads import ENDINGS, text_of_file
from tests.explorer.conftest import ROOT

thousand = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](https://localhost/x.png)",
    "# heading",
    "    indented",
    "```\ncode\n```",
    ":material/home:",
    ":material_home:",
    ":streamlit:",
    ":red[x]",
    ":smile:",
    "$x^2$",
    "$$\\int$$",
    "datum.value",
    "${now()}",
    "{{x}}",
    "%s %d %(x)s",
    "{0} {prompt} {",
    "www.localhost.com https://localhost a@localhost.com",
    "\u202e\u2066\u200b\u200d\ufeff",
    "\0\x07\x1b[31m\x7f\x85\u2028\u2029",
    "🏳️‍🌈 é e\u0301 𝔘",
    "../../etc/passwd",
    "\\",
    "9" * 400,
    "-1",
    "1e999",
    "NaN",
    "٣",
]
TEXTS = st.text(max_size=40) | st.sampled_from(HOSTILE) | st.lists(st.sampled_from(HOSTILE)).map(" ".join)
SENT_TEXTS = TEXTS.map(lambda text: text.encode(errors="replace").decode())
"""As a browser can send them: UTF-8 holds no half of a pair of surrogates."""


# Addresses

NAMES = [
    *("model", "preset", "prompt", "text", "edits", "layer", "kind", "head", "query", "window", "span"),
    *("key", "target", "foil", "other"),
    *("measure", "sort", "reading", "view", "passage", "embed", *SETTINGS),
]
NUMBERS = st.integers(0, 10**12).map(str) | st.integers().map(str) | st.floats().map(str)
RANGES = st.tuples(NUMBERS, NUMBERS).map("-".join)
NEARLY = st.one_of(
    NUMBERS,
    RANGES,
    st.lists(st.tuples(RANGES, RANGES).map("x".join), max_size=9).map("_".join),
    st.lists(st.sampled_from([*SWITCHES, "no switch"])).map(",".join),
    st.sampled_from(
        [*KINDS, *MEASURES, *OF_CELL, "where-is-mia", "demo", "greedy", "sampled", "no-limit", "true"]
    ),
    st.lists(st.sampled_from(["a.1.2", "mute.0.0", "."])).map(",".join),
)
PARAMETERS = st.lists(st.tuples(st.sampled_from(NAMES) | SENT_TEXTS, NEARLY | SENT_TEXTS), max_size=9)


@settings(parent=thousand, max_examples=400)
@given(PARAMETERS.map(urlencode) | SENT_TEXTS)
@example("layer=1&layer=&layer=%ff&%00=%ed%a0%80&prompt=%ed%a0%80")
def test_any_address_names_a_selection_and_comes_back_from_its_link(query: str) -> None:
    parameters = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    selection, unread = selection_of(parameters, "demo")
    assert set(unread) <= set(parameters)
    if selection.preset is not None and selection.query is None:
        selection = selection.with_query(0)  # with a preset, no query means the preset's
    assert selection_of(query_of(selection), "demo") == (selection, [])
    address, _ = link("http://localhost:8501", selection)
    assert address.isascii()
    shown, beyond = fitted(selection, bridge("demo").heads, 5)
    assert fitted(shown, bridge("demo").heads, 5) == (shown, [])
    assert set(beyond) <= {"layer", "kind", "head", "query", "key", "window", "span"}
    values, unread, beyond = settings_of(parameters)
    assert {*unread, *beyond} <= set(parameters)
    assert settings_of(query_of_settings(values)) == (values, [], [])


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES[1:]), NEARLY | SENT_TEXTS, min_size=1))
def test_any_address_is_drawn(parameters: dict[str, str]) -> None:
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60)
    for name, value in parameters.items():
        if not name.startswith("embed"):  # Streamlit takes these out of the address
            page.query_params[name] = value
    page.run()
    assert not page.exception
    for shown in (*page.markdown, *page.caption):
        assert not shown.allow_html


# Prompts


@thousand
@given(TEXTS)
def test_words_are_escaped_whatever_they_hold(words: str) -> None:
    escaped = plain(words)
    shown = "".join(escaped[place] for place in unescaped(escaped))
    # What Streamlit makes links and pictures of, escaped or not.
    assert not re.search(r"://|www\.|@[-\w]|:streamlit:|:material_\w+:", shown, re.ASCII | re.IGNORECASE)
    assert shown.replace("\N{WORD JOINER}", "") == words.replace("\N{WORD JOINER}", "")


def unescaped(words: str) -> Iterator[int]:
    """Places of what stands in words once their escapes are gone. No ASCII punctuation is without one."""
    place = 0
    while place < len(words):
        if words[place] == "\\":
            place += 1
        else:
            assert words[place] not in string.punctuation
        yield place
        place += 1


FOUR = st.lists(SENT_TEXTS.filter(bool), min_size=4, max_size=4)


@settings(parent=thousand, max_examples=100)
@given(prompts=FOUR, at=st.integers(0, 999), query=st.integers(0, 15))
def test_any_tokens_are_one_line_of_words(prompts: list[str], at: int, query: int) -> None:
    """Four prompts at once, since the words are made of tables."""
    run = capture(Subject("demo", "Mia has the key."))
    texts = [visible_tokens(encoded("demo", prompt)[1]) for prompt in prompts]
    tokens = [each[(at + position) % len(each)] for each in texts for position in range(run.length // 4)]
    cells = head_cells(terms_of(run, run.places[0]), 0, tokens, Window.whole(run.length))
    words = head_in_words(cells, Head(run.places[0], 0), 1.5, query)
    assert f"'{tokens[query]}' reads" in words
    # A second line could begin a list, a heading, code or a table.
    assert len(words.splitlines()) == 1
    assert set(row_table(cells, query)["key token"]) <= set(tokens)


@pytest.fixture(scope="module")
def drawn() -> dict[bool, str]:
    """The chart of each form of the panels."""
    return {}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(prompt=SENT_TEXTS.filter(bool), spanned=st.booleans())
def test_a_prompt_is_data_of_the_charts(drawn: dict[bool, str], prompt: str, spanned: bool) -> None:
    run = capture(Subject("demo", prompt))
    head = Head(run.places[-1], 0)
    cells = cells_of(run, head, Window.whole(run.length), "mean", Reading())
    sums = None
    if spanned:
        sums = sums_of(run.subject, head, range(run.length), cells.window, False, Reading(), run.tokens)
        assert len(span_in_words(sums, cells).splitlines()) == 1
    pointed = None if spanned else (run.length - 1, 0)
    figure = panels_chart(cells, pointed=pointed, with_bars=True, span=sums)
    chart = json.dumps(figure.chart)
    assert drawn.setdefault(spanned, chart) == chart
    draw(figure, "The panels.", key="panels")


# Files


@thousand
@given(
    TEXTS | st.builds(str.__add__, TEXTS, st.sampled_from(ENDINGS)),
    st.binary() | TEXTS.map(lambda text: text.encode(errors="replace")),
)
def test_any_file_is_text_or_refused_with_one_sentence(name: str, content: bytes) -> None:
    text, refusal = "", ""
    try:
        text = text_of_file(name, content)
    except UnicodeError:
        raise  # is a ValueError, but no sentence
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert refusal.endswith(".")
        assert len(refusal) < 300
    else:
        assert name.lower().endswith(ENDINGS)
        assert text.strip()
        assert "\0" not in text
        text.encode()
