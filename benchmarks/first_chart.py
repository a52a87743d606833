"""Time from `streamlit run` to the first chart in a browser, against the required imports.

    python -m benchmarks.first_chart

A headless Chromium is already running and asks for the page until the server answers; the clock stops when
a mark of a chart is drawn. The two take turns, after one round that is not counted and warms the file cache.
"""

import argparse
import statistics
import subprocess
import sys

from playwright.sync_api import Browser

from benchmarks.browser import APP, chromium, serving
from benchmarks.measure import median_ratio, print_table, rounds

IMPORTS = (
    "import torch, streamlit, altair; from transformers import Mamba2ForCausalLM, PreTrainedTokenizerFast"
)
DRAWN = "() => document.querySelector('svg.marks .mark-rect path[d]') !== null"


def imports() -> None:
    """What any page with this model class and charts has to import."""
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True)


def first_chart(browser: Browser) -> None:
    """Start the explorer and wait until the browser draws a chart."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    with serving(APP) as address:
        page.goto(address, wait_until="commit")
        page.wait_for_function(DRAWN, polling=20, timeout=120_000)
    context.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with chromium() as browser:
        seconds = rounds({"imports": imports, "first chart": lambda: first_chart(browser)}, repeats)
    ratio = median_ratio(seconds["first chart"], seconds["imports"])
    print_table(
        ["", "seconds, median", "least", "most", "ratio"],
        [
            [name, *(f"{of(seconds[name]):.2f}" for of in (statistics.median, min, max)), shown]
            for name, shown in (("imports", "1.00"), ("first chart", f"{ratio:.2f}"))
        ],
    )


if __name__ == "__main__":
    main()
