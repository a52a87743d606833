"""A hybrid in a real browser: softmax heads in the head map, their panels, their windows."""

import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect
from transformers import AutoTokenizer

from components.demo import MODEL_FOLDER
from tests.browser.conftest import Explorer, Panels
from tests.browser.test_accessible import violations
from tests.families import FAMILY_CASES

pytestmark = pytest.mark.browser

CASE = next(case for case in FAMILY_CASES if case.family == "falcon_h1")


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model whose layers hold a mixer and softmax attention, with the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("hybrid")
    tokenizer = AutoTokenizer.from_pretrained(MODEL_FOLDER)
    model = CASE.build()
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_click_on_a_softmax_cell_shows_its_pattern(tab: Explorer, hybrid: str) -> None:
    tab.open("?" + urlencode({"model": hybrid, "layer": CASE.mixers[0], "head": 1}))
    assert tab.picked() == f"Layer {CASE.mixers[0]}, head 1"
    layer = CASE.attentions[-1]
    tab.click_head(layer, 2, "softmax attention")
    assert tab.picked() == f"Layer {layer}, softmax attention, head 2"
    parameters = tab.parameters()
    assert (parameters["layer"], parameters["head"], parameters["kind"]) == (str(layer), "2", "softmax")
    expect(tab.page.get_by_test_id("stVegaLiteChart")).to_have_count(2)  # nothing decays
    shown = Panels(tab.pixels().image[:300])  # above the text and the bars
    assert shown.coloured(0) > 500  # scores have two signs
    assert shown.green(1) > 100  # attention has none
    assert shown.coloured(2) < 50  # words
    assert re.search(r"softmax head 2, .* reads ", tab.described("panels"))
    assert violations(tab.page) == []
    a_brush_and_a_press_in_the_pattern(tab)
    the_gallery_holds_both_kinds(tab)
    tab.click_head(CASE.mixers[0], 0)
    assert tab.picked() == f"Layer {CASE.mixers[0]}, head 0"
    assert "kind" not in tab.parameters()
    expect(tab.page.get_by_test_id("stVegaLiteChart")).to_have_count(4)  # with the gallery


def a_brush_and_a_press_in_the_pattern(tab: Explorer) -> None:
    tab.point(1, 0.1, 0.5)
    tab.page.mouse.down()
    tab.page.mouse.up()
    tab.settle()
    query = int(tab.parameters()["query"])
    assert f"Row {query}, kept" in tab.described("panels")
    tab.brush(1, (0.05, 0.5), (0.4, 0.9))
    (window,) = tab.windows()
    assert window[0] > 0
    assert window[3] < window[1]
    # Beside the two panels there are words, and nothing to brush.
    tab.brush(2, (0.1, 0.5), (0.5, 0.9))
    assert tab.windows() == [window]
    tab.back_to(0)


def the_gallery_holds_both_kinds(tab: Explorer) -> None:
    tab.switch("Gallery")
    assert tab.picture("gallery").width > 300
    assert tab.download("PNG").read_bytes().startswith(b"\x89PNG")
