"""A PostgreSQL server of the tests' own, from the programs that Debian installs."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = Path("/usr/lib/postgresql")


def program(name: str) -> str | None:
    """Where a program of the server is: on PATH, or where Debian has it beside its other versions."""
    return shutil.which(name) or next(map(str, sorted(PROGRAMS.glob(f"*/bin/{name}"), reverse=True)), None)


@contextmanager
def served() -> Iterator[str]:
    """The URL of a server that listens on a socket in a folder of its own."""
    user = "nobody" if os.geteuid() == 0 else None  # the server refuses to be root's
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if user:
        shutil.chown(folder, user)
    options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=40", "-k", str(folder)]
    try:
        subprocess.run(
            [program("initdb"), "--no-sync", "-A", "trust", "-U", "explorer", "-E", "UTF8", "-D", "data"],
            cwd=folder, user=user, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        with (folder / "log.txt").open("w") as log:
            server = subprocess.Popen(
                [program("postgres"), "-D", str(folder / "data"), *options],
                cwd=folder, user=user, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            _wait(folder, server)
            yield f"postgresql://explorer:a-secret@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)  # closes connections rather than wait for them
            server.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


def _wait(folder: Path, server: subprocess.Popen) -> None:
    import psycopg

    for _ in range(240):
        try:
            psycopg.connect(host=str(folder), user="explorer", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None, (folder / "log.txt").read_text()
            time.sleep(0.25)
    raise AssertionError((folder / "log.txt").read_text())
