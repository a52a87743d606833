"""Tokens full of markup, in a real browser: wherever one is named, its characters stand, and nothing runs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
import torch
from playwright.sync_api import Locator, Page, expect
from transformers import Mamba2ForCausalLM

from tests.browser.conftest import Explorer, Panels, comes_true, without_dialogs
from tests.tokenizers import byte_level

pytestmark = pytest.mark.browser

HOSTILE = [
    "<img/src=x/onerror=window.hacked=1>",
    "<script>window.hacked=2</script>",
    "</script><script>window.hacked=3</script>",
    "[link](javascript:window.hacked=4)",
    "![image](https://localhost/x.png)",
    "https://localhost/x",
    "www.localhost.com",
    "someone@localhost.com",
    "#heading",
    "**bold**`code`~~struck~~",
    ":material/home:",
    ":material_home:",
    ":red[x]:small[y]:blue-badge[z]",
    ":smile:",
    ":streamlit:",
    "$x^2$",
    "$$\\int$$",
    "datum.value",
    "${now()}",
    "{{signal}}",
    "%s%d%(x)s",
    "{0}{prompt}",
    "&lt;b&gt;&amp;&#60;",
    "-->->",
]
"""Each is one token of the model, so that nothing stands between its characters."""
PROMPT = "".join(HOSTILE)
LENGTH = len(HOSTILE)
MADE_OF_TEXT = ":is(img, script, iframe, .katex, del, code, em, h1, h2, [data-testid=stIconMaterial], a)"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny model that knows the hostile tokens."""
    golden = Path(__file__).parents[1] / "data" / "golden" / "grouped"
    folder = tmp_path_factory.mktemp("hostile")
    tokenizer = byte_level()
    tokenizer.add_tokens(HOSTILE)
    assert tokenizer.tokenize(PROMPT) == HOSTILE
    torch.manual_seed(18)  # such that cells of one key are as pale as grey lines
    model = Mamba2ForCausalLM.from_pretrained(golden)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@contextmanager
def nothing_runs(page: Page) -> Iterator[None]:
    """No dialog opens, and no script or handler of the text's runs."""
    with without_dialogs(page):
        yield
    assert page.evaluate("window.hacked") is None


def rows(tab: Explorer, last: int) -> Iterator[Locator]:
    """The sentence about each row, from the last one up, as soon as it is the one for ears."""
    tab.chart("panels").focus()
    for row in range(last, -1, -1):
        said = tab.page.get_by_test_id("stMarkdown").filter(has_text=f"Row {row}, kept.")
        said.wait_for()
        tab.page.locator(f"[role=graphics-document][aria-label^='Row {row}, kept']").wait_for()
        yield said
        tab.page.keyboard.press("ArrowUp")


def test_the_page_names_tokens_as_they_are(tab: Explorer, model: str) -> None:
    page = tab.page
    with nothing_runs(page):
        link = {"model": model, "prompt": PROMPT, "query": LENGTH - 1, "view": "table"}
        tab.open("?" + urlencode(link))
        for i, j in ((LENGTH - 1, 0), (12, 10), (LENGTH - 4, 1)):
            told = told_at(tab, i, j)
            assert (told["query token"], told["key token"]) == (HOSTILE[i], HOSTILE[j])
            assert page.locator("#vg-tooltip-element td *").count() == 0
        over_the_text(tab)
        assert set(HOSTILE) & set(tab.tooltip().values())
        assert page.locator("#vg-tooltip-element td *").count() == 0
        page.mouse.move(0, 0)
        for token, said in zip(reversed(HOSTILE), rows(tab, LENGTH - 1), strict=True):
            words = said.inner_text().replace("\N{WORD JOINER}", "")
            assert words == tab.described("panels")
            assert f"'{token}' reads" in words
            assert said.locator(MADE_OF_TEXT).count() == 0
        cells = page.get_by_test_id("stDataFrame").locator("td")
        assert comes_true(page, lambda: HOSTILE[0] in cells.all_text_contents())
        page.get_by_role("button", name="Pick from lists").click()
        page.get_by_role("combobox", name="Query position i").click()
        options = page.get_by_role("option")
        expect(options.first).to_contain_text(HOSTILE[0])
        for text, place in zip(options.all_text_contents(), range(LENGTH), strict=False):
            assert text == f"{place}  {HOSTILE[place]}"
        assert options.locator(MADE_OF_TEXT).count() == 0
        assert page.locator("img[src=x]").count() == 0
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(page.get_by_test_id("stPopoverBody")).to_have_count(0)


def pixels(tab: Explorer) -> Panels:
    """The panels as they stand now, not pointed at."""
    tab.page.mouse.move(0, 0)
    tab.settle()
    return tab.pixels()


def told_at(tab: Explorer, i: int, j: int) -> dict[str, str]:
    """The tooltip of a cell of the third panel, once it is there."""

    def told() -> bool:
        drawn = pixels(tab)  # anew each time: what comes late above or in the panels moves the cell
        tab.point_at(drawn, 2, i, j, LENGTH)
        shown = tab.tooltip()
        return (shown.get("query i"), shown.get("key j")) == (str(i), str(j))

    assert comes_true(tab.page, told), f"Nothing is told of the cell {i}, {j}."
    return tab.tooltip()


def over_the_text(tab: Explorer) -> None:
    """Move the pointer down from the panels until it is over a token of the text."""
    left, top, side = pixels(tab).place(0)
    box = tab.chart("panels").locator("canvas").bounding_box()
    assert box is not None
    for down in range(60, 400, 6):
        tab.page.mouse.move(box["x"] + left + 20, box["y"] + top + side + down)
        tab.still(2)
        if tab.tooltip():
            return
    raise AssertionError("There is no text below the panels.")


def test_a_text_that_goes_on_is_written_as_it_is(tab: Explorer, model: str) -> None:
    page = tab.page
    with nothing_runs(page):
        link = {"model": model, "prompt": PROMPT, "new_tokens": 9, "pace": "no-limit", "draws": "sampled"}
        page.goto(f"{tab.address}/generate?{urlencode(link)}")
        page.get_by_role("button", name="Generate").click()
        page.get_by_text("9 of 9 new tokens").wait_for()
        text = page.locator(".st-key-motion_text")
        expect(text).to_contain_text(PROMPT)
        assert text.locator(MADE_OF_TEXT).count() == 0
        tooltip = page.locator("#vg-tooltip-element.visible")
        # The names of the tokens that were expected and came, in the picture, its tooltip and in words.
        page.locator(".st-key-motion-next_token canvas").hover(position={"x": 140, "y": 16})
        expect(tooltip).to_contain_text("probability")
        assert tooltip.locator("td *").count() == 0
        said = page.get_by_test_id("stMarkdown").filter(has_text=re.compile("' reads ('|itself)"))
        said.wait_for()
        assert said.locator(MADE_OF_TEXT).count() == 0
        assert page.get_by_test_id("stMain").locator("img[src=x], script, .katex").count() == 0


def test_half_an_emoji_in_the_prompt_is_replaced(explorer: Explorer) -> None:
    """Python has no such text, so the page would never hear of it, nor of anything after it."""
    prompt = explorer.page.get_by_label("Prompt", exact=True)
    prompt.evaluate(
        """box => {
            const value = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value");
            value.set.call(box, "Mia has the " + String.fromCharCode(0xd83e));
            box.dispatchEvent(new Event("input", { bubbles: true }));
        }"""
    )
    prompt.press("Control+Enter")
    explorer.settle()
    assert explorer.parameters()["prompt"] == "Mia has the \N{REPLACEMENT CHARACTER}"
    explorer.click_head(0, 1)
    assert explorer.picked() == "Layer 0, head 1"
