"""The exported page, opened as a file in a browser without a network."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from components.charts import head_cells, panels_chart, visible_tokens
from components.models import load_bridge
from explorer.exports import picture_html
from tests.browser.conftest import comes_true, picture_of, settled_picture

PROMPT = "Mia is </script><img src=x onerror=alert(1)> in\x07 the \u202ekitchen. \U0001f600 Where is Mia?"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bridge = load_bridge("demo", device="cpu")
    tokens = visible_tokens(bridge.to_str_tokens(PROMPT))
    terms = bridge.run_with_cache(PROMPT)[1].ssd_terms(2)
    chart = panels_chart(head_cells(terms, 2, tokens))
    file = tmp_path_factory.mktemp("export") / "picture.html"
    file.write_bytes(picture_html(chart, f"Layer 2, head 2: {PROMPT}"))
    return file


def test_exported_page_draws_and_answers_the_pointer_offline(browser: Browser, page_file: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    canvas = page.locator("#chart canvas")
    canvas.wait_for()
    before = settled_picture(canvas)
    assert before.shape[1] > 1100
    for third in np.array_split(np.ptp(before, axis=-1) > 60, 3, axis=1):
        assert third.mean() > 0.01

    box = canvas.bounding_box()
    assert box is not None
    for across in (0.149, 0.15):  # into the first panel, below its diagonal
        page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["width"] * 0.2)
    page.locator("#vg-tooltip-element").get_by_text("query token").wait_for()

    def marked() -> bool:
        changed = np.ptp(np.asarray(picture_of(canvas), dtype=np.int16) - before, axis=-1) > 30
        return all(third.any() for third in np.array_split(changed, 3, axis=1))

    assert comes_true(page, marked)

    assert page.title().startswith("Layer 2, head 2: Mia is </script><img src=x")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.evaluate("document.characterSet") == "UTF-8"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()
    assert messages == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
