"""The database of the classes: a private file, or the PostgreSQL server that several replicas share."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import streamlit as st
from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, TimeoutError
from streamlit.connections import SQLConnection

from explorer.classes.errors import ClassError
from explorer.classes.tables import Base

_UNREACHABLE = (
    "Classes are not available now: their database cannot be used, and the log of the server says why. "
    "Everything else works as before."
)
_WAIT = 10
"""Seconds to wait for an answer or for the turn to write."""
_FIRST = {
    "sqlite": "BEGIN IMMEDIATE",
    # The number is a name of ours. A replica that hangs does not keep the others waiting for ever.
    "postgresql": f"SET LOCAL statement_timeout = '{_WAIT}s';"
    f"SET LOCAL idle_in_transaction_session_timeout = '{_WAIT}s';"
    "SELECT pg_advisory_xact_lock(7305809115)",
}
"""What begins a transaction that writes, so that they come one after the other."""


class Database:
    """Where the classes are kept.

    `url` is that of a PostgreSQL database; None: a file of this computer. What goes wrong, here and later, is
    told in the log, and raised as a ClassError without details.
    """

    def __init__(self, url: str | None) -> None:
        with _told():
            self._engine = _server(url) if url else _file(private_folder() / "classes.sqlite")
        with self.writing() as connection:
            Base.metadata.create_all(connection)

    @property
    def dialect(self) -> str:
        """Which SQL it speaks: "sqlite" or "postgresql"."""
        return self._engine.dialect.name

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for one SELECT."""
        with _told(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction. No other writes until it ends, so what it has read stays true."""
        with _told(), self._engine.begin() as connection:
            connection.exec_driver_sql(_FIRST[self.dialect])
            yield connection

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


@contextmanager
def _told() -> Iterator[None]:
    """Errors as sentences. Those of a driver do not name a password."""
    try:
        yield
    except (DBAPIError, TimeoutError, OSError, _ConfigurationError) as error:
        logging.getLogger(__name__).error("Classes: %s", getattr(error, "orig", None) or error)
        raise ClassError(_UNREACHABLE) from None


class _ConfigurationError(Exception):
    """Its text, for the log, says what to set or to install."""


def _server(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = URL.create("nothing")
    if parsed.drivername not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise _ConfigurationError(
            "EXPLORER_DATABASE_URL is not the address of a PostgreSQL database. Set it to one such as "
            "postgresql://user:password@host/name, or to nothing: then classes are kept in a file."
        )
    try:
        return _engine(
            parsed.set(drivername="postgresql+psycopg"), {"connect_timeout": _WAIT // 2}, pool_pre_ping=True
        )
    except ModuleNotFoundError:
        raise _ConfigurationError(
            "EXPLORER_DATABASE_URL is set, but the driver of PostgreSQL is not installed: "
            'pip install "mamba2-explorer[postgresql]".'
        ) from None


def _file(path: Path) -> Engine:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite would let everyone read it
    # None: sqlite3 begins no transaction by itself, so that one SELECT waits for nobody.
    engine = _engine(URL.create("sqlite", database=str(path)), {"timeout": _WAIT, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: object) -> None:
        # With a log of writes, who reads does not wait for who writes.
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _engine(url: URL, connect_args: dict[str, Any], **options: Any) -> Engine:
    text = url.render_as_string(hide_password=False)
    connection: SQLConnection = st.connection(
        "classes", type="sql", ttl=None, url=text, connect_args=connect_args, **options
    )
    return connection.engine


def private_folder() -> Path:
    """A folder for temporary files that nobody else can open: the same as before, or a new one."""
    if os.name == "nt":  # where the folder of temporary files is the user's own
        folder = Path(tempfile.gettempdir()) / "mamba2-explorer"
        folder.mkdir(exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir()) / f"mamba2-explorer-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix="mamba2-explorer-"))  # somebody else has made one of this name
