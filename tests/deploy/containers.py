"""The Dockerfile, read, and what it runs as processes of this machine."""

import asyncio
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
T = TypeVar("T")


@dataclass
class Dockerfile:
    """The instructions of a Dockerfile, in order. Those of the last stage are the image's."""

    text: str
    instructions: list[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        lines = [line for line in self.text.splitlines() if line.strip() and not line.startswith("#")]
        whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
        self.instructions = [
            (name, rest) for name, _, rest in (line.partition(" ") for line in whole.splitlines())
        ]

    def all(self, name: str) -> list[str]:
        """What follows each instruction of this name."""
        return [rest for each, rest in self.instructions if each == name]

    def copied(self) -> list[str]:
        """What is copied from the checkout."""
        return [
            path for rest in self.all("COPY") if not rest.startswith("--from") for path in rest.split()[:-1]
        ]

    def environment(self) -> dict[str, str]:
        """The variables of the image."""
        pairs = [pair.partition("=") for rest in self.all("ENV") for pair in shlex.split(rest)]
        return {name: value for name, _, value in pairs}

    def command(self, name: str) -> list[str]:
        """The program of a CMD or of the HEALTHCHECK, and its arguments."""
        (rest,) = self.all(name)
        command = json.loads(rest[rest.index("[") :])
        assert isinstance(command, list)
        return command


DOCKERFILE = Dockerfile((DEPLOY / "Dockerfile").read_text(encoding="utf-8"))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def in_container(port: int, **environment: str) -> dict[str, str]:
    """The variables of a container, and its commands: those of this Python and this checkout."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("EXPLORER_", "STREAMLIT_"))
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": path, "PYTHONPATH": str(ROOT), "PORT": str(port), "OMP_NUM_THREADS": "1"}
    return {**clean, **DOCKERFILE.environment(), **own, **environment}


@dataclass
class Container:
    """What the Dockerfile runs, as a process in a folder of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.log = self.folder / f"{self.port}.txt"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                DOCKERFILE.command("CMD"),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=in_container(self.port, **self.environment),
            )

    @property
    def address(self) -> str:
        return f"http://localhost:{self.port}"

    def wait(self) -> None:
        """Return when it answers."""
        wait_for(f"{self.address}/_stcore/health", self.process, self.log)

    def kill(self) -> None:
        """End it at once, as a machine that fails does."""
        self.process.kill()
        self.process.wait(timeout=20)


def in_own_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns. It runs in a thread: an open browser has the loop of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when the process answers at this address."""
    for _ in range(240):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.25)
    raise AssertionError(log.read_text())


@contextmanager
def containers(*several: Container) -> Iterator[None]:
    """Until the block ends they run."""
    try:
        for each in several:
            each.wait()
        yield
    finally:
        for each in several:
            each.kill()
