"""What the page says, in a real browser: verdicts, explanations, other scripts, boxes for numbers."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image, ImageColor
from playwright.sync_api import Page, expect
from transformers import PreTrainedTokenizerFast

from components.demo.presets import PRESETS
from tests.browser.conftest import Explorer
from tests.tiny import tiny_model
from tests.tokenizers import byte_level

pytestmark = pytest.mark.browser

LONG = "Leo is in the garden. " * 40


def test_faithfulness_is_a_verdict_in_words_and_then_a_figure(sight: Explorer) -> None:
    verdict = sight.page.get_by_text(re.compile(r"^.*Faithfulness: exact to \d digits$"))
    verdict.wait_for()
    sight.page.get_by_text(re.compile(r"The largest difference is .*10⁻")).wait_for()


def test_another_head_comes_with_its_own_facts_and_those_that_read_alike(explorer: Explorer) -> None:
    explorer.page.get_by_text("Faithfulness: exact").wait_for()
    explorer.page.evaluate(
        """() => {
            window.seen = [];
            window.watch = new MutationObserver(() => {
                const charts = [...document.querySelectorAll("[role=graphics-document]")];
                const labels = charts.map((chart) => chart.getAttribute("aria-label"));
                const panels = labels.find((label) => /head \\d+ (halves|never)/.test(label));
                const heading = document.querySelector("h3").innerText;
                const text = document.body.innerText;
                seen.push([panels, heading, (text.match(/output of layer (\\d+)/) ?? [])[1] ?? ""]);
            });
            watch.observe(document.body, {
                subtree: true, childList: true, characterData: true, attributes: true
            });
        }"""
    )
    explorer.click_head(0, 1)
    explorer.page.get_by_text("scan output of layer 0").wait_for()
    seen = explorer.page.evaluate("watch.disconnect(), seen")
    new = [each for each in seen if each[0] and "Layer 0, head 1 " in each[0]]
    assert new
    assert {heading for _, heading, _ in new} == {"Layer 0, head 1"}
    assert {layer for _, _, layer in new} <= {"", "0"}
    # A head that reads alike is a click away.
    button = explorer.page.get_by_text(re.compile(r"^L\d+ H\d+ · [01]\.\d{3}$")).first
    layer, head = re.findall(r"\d+", button.inner_text())[:2]
    button.click()
    explorer.settle()
    assert explorer.picked() == f"Layer {layer}, head {head}"
    a_figure_links_to_what_explains_it_and_nothing_is_lost(explorer, f"Layer {layer}, head {head}")


def a_figure_links_to_what_explains_it_and_nothing_is_lost(explorer: Explorer, picked: str) -> None:
    page = explorer.page
    passages = {
        "the head map": ("distance", "Mean distance: how far a head looks"),
        "the panels": ("panels", "Unrolled, the memory is a matrix"),
        "a row": ("row", "A row is a query, a column is a key"),
        "decay curves": ("memory", "A head is a memory"),
        "faithfulness": ("faithfulness", "Faithfulness: is the picture true?"),
    }
    for figure, (anchor, _) in passages.items():
        link = page.get_by_role("link", name=f"How to read {figure}", exact=True)
        expect(link).to_have_attribute("href", re.compile(rf"how_to_read\?.*passage={anchor}(&|$)"))
    for figure in ("the head map", "faithfulness"):
        page.get_by_role("link", name=f"How to read {figure}", exact=True).click()
        for anchor, heading in passages.values():
            expect(page.locator(f"#{anchor}").get_by_text(heading)).to_have_count(1)
        passage = page.get_by_role("heading", name=passages[figure][1])
        expect(passage).to_be_in_viewport()
        explorer.still(25)  # all above has grown
        box = passage.bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 250, figure
        assert page.get_by_test_id("stException").count() == 0
        page.get_by_role("link", name="Explore", exact=True).click()
        page.get_by_role("heading", name=picked).wait_for()
        expect(page.get_by_label("Prompt", exact=True)).to_have_value(PRESETS[0].prompt)
        explorer.settle()


def test_each_switch_has_a_line(sight: Explorer) -> None:
    sight.page.set_viewport_size({"width": 390, "height": 844})
    sight.settle()
    tops = []
    for label in (
        "Gallery: small pictures of all heads",
        "Projector: larger type",
        "Log colours: weak values show",
        "Lock scale: one scale for all heads",
    ):
        expect(sight.page.get_by_label(label, exact=True)).to_have_role("switch")
        said = sight.page.get_by_text(label, exact=True)
        box = said.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390
        assert said.evaluate("e => e.scrollWidth <= e.clientWidth"), label  # nothing is cut
        tops.append((box["y"], box["x"]))
    assert tops == sorted(tops)


def test_a_window_in_which_nothing_is_left_says_so(tab: Explorer) -> None:
    told = tab.page.get_by_text(re.compile(r"othing is left here: of what these keys wrote"))
    tab.open("?" + urlencode({"prompt": LONG, "layer": 2, "head": 7, "window": "200-230x0-20"}))
    told.wait_for()
    tab.back_to(0)
    expect(told).to_have_count(0)


def test_an_export_shows_the_panels_in_the_colours_of_the_page(sight: Explorer) -> None:
    drawn = sight.download("SVG").read_text()
    assert drawn.startswith("<svg")
    assert "#ffffff" in drawn
    assert "#12151c" not in drawn
    sight.page.emulate_media(color_scheme="dark")
    sight.settle()
    drawn = sight.download("SVG").read_text()
    assert "#12151c" in drawn
    assert "#ffffff" not in drawn
    drawn = sight.download("HTML").read_text()
    assert "background:#12151c" in drawn.replace(" ", "")
    image = Image.open(sight.download("PNG")).convert("RGB")
    assert image.width >= 1200
    assert len(image.getcolors(1 << 24)) > 50
    assert image.getpixel((0, 0)) == ImageColor.getrgb("#12151c")
    drawn = sight.download("Page of all heads").read_text("utf-8")
    assert all(f'id="layer-{layer}"' in drawn for layer in range(4))
    sight.page.emulate_media(color_scheme="light")


def test_new_tokens_are_what_the_box_shows(tab: Explorer) -> None:
    page = tab.page
    page.goto(f"{tab.address}/generate")
    box = page.get_by_role("spinbutton", name="New tokens")
    for typed, used, said in (
        ("600", "512", "600 is not from 1 to 512: 512 is used."),
        ("", "64", "The box was empty: 64 is used."),
    ):
        box.fill(typed)
        box.press("Enter")
        page.get_by_text(said).wait_for()
        expect(box).to_have_value(used)
        box.fill("7")
        box.press("Enter")
        expect(page.get_by_text(said)).to_have_count(0)
        expect(box).to_have_value("7")


def model_with(tokenizer: PreTrainedTokenizerFast, folder: Path) -> str:
    """A tiny model that reads text byte by byte."""
    model = tiny_model()
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_characters_of_several_tokens_are_named_in_lists_and_words(tab: Explorer, tmp_path: Path) -> None:
    page: Page = tab.page
    prompt = "ش 中 😀 ที่"
    tab.open("?" + urlencode({"model": model_with(byte_level(), tmp_path), "prompt": prompt}))
    page.get_by_role("button", name="Pick from lists").click()
    queries = page.get_by_role("combobox", name="Query position i")
    queries.scroll_into_view_if_needed()  # in the menu; a list that has opened closes when its menu scrolls
    tab.settle()
    queries.click()
    options = page.get_by_role("option")
    options.first.wait_for()
    shown = " ".join(options.all_inner_texts())
    assert "<0x" not in shown
    assert "😀 4/4" in shown
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert "<0x" not in tab.described("panels")
