"""The command `mamba2-explorer`, from a copy of what a wheel holds and in a folder of its own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from explorer.class_command import addresses_here
from explorer.classes import PAGE
from tests.explorer.conftest import ROOT

RUN = """
import json, streamlit
from explorer.launch import main
from explorer.settings import settings
from streamlit.web import bootstrap
serve = bootstrap.run_asgi_app
names = ["address", "port", "maxMessageSize", "maxWidgetStateSize"]
options = [f"server.{name}" for name in names] + ["client.allowedOrigins", "theme.base"]
options += ["theme.light.primaryColor", "theme.dark.backgroundColor"]
def tell_and_serve(*given, **named):
    told = {name: streamlit.get_option(name) for name in options} | {"models": settings().offered}
    print(json.dumps(told), flush=True)
    serve(*given, **named)
bootstrap.run_asgi_app = tell_and_serve
main()
"""
"""The command, which tells its settings before it serves."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two packages without their repository."""
    site = tmp_path_factory.mktemp("site")
    for package in ("components", "explorer"):
        # Compiled as it is, but for what another process is just writing.
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("*.pyc.*"))
    return site


@pytest.fixture
def surroundings(site: Path, tmp_path: Path) -> dict[str, str]:
    """An environment in which the copy is found first, and whose user starts Streamlit for the first time."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("EXPLORER_", "STREAMLIT_"))
    }
    return {**clean, "PYTHONPATH": str(site), "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}


@contextmanager
def served(host: str, folder: Path, environment: dict[str, str], *options: str) -> Iterator[tuple[int, Path]]:
    """The port of the command's server, and its log, once it answers at this address."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    log = folder / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-c", RUN, *options, "--server.port", str(port), "--server.headless", "true"],
            cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"http://{host}:{port}/_stcore/health", timeout=5) as answer:
                    assert answer.read() == b"ok"
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.25)
        else:
            pytest.fail(log.read_text())
        yield port, log
    finally:
        server.terminate()
        server.wait(timeout=20)
    assert "Traceback" not in log.read_text()


def told(log: Path) -> dict[str, Any]:
    """The settings of a server."""
    (line,) = (line for line in log.read_text().splitlines() if line.startswith("{"))
    found: dict[str, Any] = json.loads(line)
    return found


def test_serves_the_app_without_a_checkout(surroundings: dict[str, str], tmp_path: Path) -> None:
    """Theme and defaults of the server come with the package."""
    with served("localhost", tmp_path, surroundings) as (port, log):
        for other in addresses_here():  # it is not open to the network
            with pytest.raises(OSError, match="refused"):
                urllib.request.urlopen(f"http://{other}:{port}/_stcore/health", timeout=5)
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    expected = {
        "server.address": config["server"]["address"],
        "server.port": port,
        "theme.light.primaryColor": config["theme"]["light"]["primaryColor"],
        "theme.dark.backgroundColor": config["theme"]["dark"]["backgroundColor"],
    }
    assert expected.items() <= told(log).items()


def test_serves_a_class_in_the_local_network(surroundings: dict[str, str], tmp_path: Path) -> None:
    """With the limits of strangers."""
    addresses = [str(each) for each in addresses_here()]
    host = addresses[0] if addresses else "localhost"
    environment = surroundings | {"EXPLORER_HOSTED": "0"}
    with served(host, tmp_path, environment, "--class", "--theme.base", "dark") as (port, log):
        for address in ["localhost", *addresses]:
            with urllib.request.urlopen(f"http://{address}:{port}/{PAGE}", timeout=5) as answer:
                assert b"<title>Streamlit</title>" in answer.read()
        said = log.read_text()
    assert f"    http://{host}:{port}/{PAGE}\n" in said
    # Streamlit names, and opens in a browser, the same address.
    assert said.index("press Ctrl+C") < said.index(f"URL: http://{host}:{port}")
    expected = {
        "server.address": "0.0.0.0" if addresses else "localhost",
        "server.maxMessageSize": 50,
        "server.maxWidgetStateSize": 5,
        "client.allowedOrigins": ["https://none.invalid"],
        "theme.base": "dark",
        "models": ["demo"],
    }
    assert expected.items() <= told(log).items()


def test_a_malformed_setting_is_told_before_anything_is_served(
    surroundings: dict[str, str], tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env={**surroundings, "EXPLORER_HOSTED": "maybe"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith('mamba2-explorer: EXPLORER_HOSTED is "maybe".')


def test_the_command_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"mamba2-explorer": "explorer.launch:main"}
