"""A headless Chromium and Streamlit servers, for the benchmarks that measure in a browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

APP = Path(__file__).parents[1] / "explorer" / "app.py"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def found() -> str | None:
    """A Chromium on PATH."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    path = found()
    if path is None:
        raise SystemExit("This needs a Chromium on PATH.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def serving(script: Path, log: Path | None = None, **environment: str) -> Iterator[str]:
    """The address of a Streamlit server that runs `script`, as soon as it answers.

    It writes its log to a file, if one is given.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true"]
    output = subprocess.DEVNULL if log is None else log.open("wb")
    server = subprocess.Popen(
        [*command, "--server.port", str(port)],
        stdout=output,
        stderr=output,
        env={**os.environ, **environment},
    )
    try:
        while not _answers(port):
            if server.poll() is not None:
                raise SystemExit(f"The server stopped; run `streamlit run {script.name}` to see why.")
            time.sleep(0.02)
        yield f"http://localhost:{port}"
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5).close()
    except OSError:
        return False
    return True
