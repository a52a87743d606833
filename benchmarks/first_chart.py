"""From `streamlit run` to the first chart in a browser, against the imports that it cannot do without.

    python -m benchmarks.first_chart

A headless Chromium is already running and asks for the page until the server answers; the clock stops when
a mark of a chart is drawn. The two take turns, after one round that is not counted and warms the file cache.
"""

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.measure import median_ratio, print_table, rounds

APP = Path(__file__).parents[1] / "explorer" / "app.py"
IMPORTS = (
    "import torch, streamlit, altair; from transformers import Mamba2ForCausalLM, PreTrainedTokenizerFast"
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DRAWN = "() => document.querySelector('svg.marks .mark-rect path[d]') !== null"


def imports() -> None:
    """What any page with this model class and charts has to import."""
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True)


def first_chart(browser: Browser) -> None:
    """Start the explorer and wait until a chart stands in the browser."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.headless", "true"]
    server = subprocess.Popen(
        [*command, "--server.port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not _answers(port):
            if server.poll() is not None:
                raise SystemExit("The server stopped; run `streamlit run explorer/app.py` to see why.")
            time.sleep(0.02)
        page.goto(f"http://localhost:{port}", wait_until="commit")
        page.wait_for_function(DRAWN, polling=20, timeout=120_000)
    finally:
        server.kill()
        server.wait()
        context.close()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5).close()
    except OSError:
        return False
    return True


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("This needs a Chromium on PATH.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        seconds = rounds({"imports": imports, "first chart": lambda: first_chart(browser)}, repeats)
        browser.close()
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
