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

import pytest

from explorer.class_command import addresses_here
from explorer.classes import PAGE
from tests.explorer.conftest import ROOT

RUN = "from explorer.launch import main; main()"
TELL_OPTIONS = """
import json, streamlit
from streamlit.web import bootstrap
names = ["server.address", "server.port", "theme.light.primaryColor", "theme.dark.backgroundColor"]
bootstrap.run_asgi_app = lambda *_: print(json.dumps({name: streamlit.get_option(name) for name in names}))
"""
TELL_CLASS = """
import json, streamlit
from explorer.settings import settings
from streamlit.web import bootstrap
names = ["server.address", "server.maxMessageSize", "server.maxWidgetStateSize", "client.allowedOrigins"]
names.append("theme.base")
bootstrap.run_asgi_app = lambda *_: print(
    json.dumps({name: streamlit.get_option(name) for name in names} | {"models": settings().offered})
)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two packages without their repository."""
    site = tmp_path_factory.mktemp("site")
    for package in ("components", "explorer"):
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    return site


@pytest.fixture
def surroundings(site: Path, tmp_path: Path) -> dict[str, str]:
    """An environment in which the copy is found first, and whose user starts Streamlit for the first time."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("EXPLORER_", "STREAMLIT_"))
    }
    return {**clean, "PYTHONPATH": str(site), "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}


def test_theme_and_server_defaults_come_with_the_package(
    surroundings: dict[str, str], tmp_path: Path
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", TELL_OPTIONS + RUN, "--server.port", "8600"],
        cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert json.loads(told.stdout.splitlines()[-1]) == {
        "server.address": config["server"]["address"],
        "server.port": 8600,
        "theme.light.primaryColor": config["theme"]["light"]["primaryColor"],
        "theme.dark.backgroundColor": config["theme"]["dark"]["backgroundColor"],
    }


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


def test_serves_the_app_without_a_checkout(surroundings: dict[str, str], tmp_path: Path) -> None:
    with served("localhost", tmp_path, surroundings) as (port, _):
        for other in addresses_here():  # it is not open to the network
            with pytest.raises(OSError, match="refused"):
                urllib.request.urlopen(f"http://{other}:{port}/_stcore/health", timeout=5)


def test_serves_a_class_in_the_local_network(surroundings: dict[str, str], tmp_path: Path) -> None:
    addresses = [str(each) for each in addresses_here()]
    host = addresses[0] if addresses else "localhost"
    with served(host, tmp_path, surroundings, "--class") as (port, log):
        for address in ["localhost", *addresses]:
            with urllib.request.urlopen(f"http://{address}:{port}/{PAGE}", timeout=5) as answer:
                assert b"<title>Streamlit</title>" in answer.read()
        said = log.read_text()
    assert f"    http://{host}:{port}/{PAGE}\n" in said
    # Streamlit names, and opens in a browser, the same address.
    assert said.index("press Ctrl+C") < said.index(f"URL: http://{host}:{port}")


def test_a_class_has_the_limits_of_strangers(surroundings: dict[str, str], tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", TELL_CLASS + RUN, "--class", "--theme.base", "dark"],
        cwd=tmp_path, env=surroundings | {"EXPLORER_HOSTED": "0"}, capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout.splitlines()[-1]) == {
        "server.address": "0.0.0.0" if addresses_here() else "localhost",
        "server.maxMessageSize": 50,
        "server.maxWidgetStateSize": 5,
        "client.allowedOrigins": ["https://none.invalid"],
        "theme.base": "dark",
        "models": ["demo"],
    }


def test_a_malformed_setting_is_told_before_anything_is_served(
    surroundings: dict[str, str], tmp_path: Path
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env={**surroundings, "EXPLORER_HOSTED": "maybe"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith('mamba2-explorer: EXPLORER_HOSTED is "maybe".')


def test_the_command_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"mamba2-explorer": "explorer.launch:main"}
