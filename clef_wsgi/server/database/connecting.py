"""Make SQLAlchemy's Engine for a SQLite file or a PostgreSQL address.

A transaction begins by the word that its connection's option ``clef_begin`` holds; without one each statement stands
alone. On SQLite one with ``clef_deadline`` may write, and waits for other writers up to that moment. On PostgreSQL no
connection is pinged: BEGIN is sent first, and is harmless to repeat on a new connection.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from clef_wsgi.base.writer_queue import begin_immediate, is_locked, repeat_while_busy
from clef_wsgi.server.errors import ConfigurationError

BUSY_SECONDS = 5
"""Longest wait of a transaction for another one's lock, and for a connection."""

MAX_CONNECTIONS = 25
"""Connections of one process. It opens one for each thread that asks at the same time, and keeps it."""

PREPARE_THRESHOLD = "prepare_threshold"
"""The part of a PostgreSQL address that psycopg understands and libpq does not."""

_POOL = {"pool_size": MAX_CONNECTIONS, "max_overflow": 0, "pool_timeout": BUSY_SECONDS}
_UNREADABLE = (
    "database: the address can't be read. A port is a number, and of a user's name or password "
    "the characters @, :, / and % are written %40, %3A, %2F and %25."
)


def sqlite_path(where: str | Path) -> Path | None:
    """Return the file that ``where`` names; ``None`` where it is an address."""
    if isinstance(where, Path) or "://" not in where:
        return Path(where).absolute()
    if where.startswith("sqlite:///") and len(where) > len("sqlite:///"):
        return Path(where.removeprefix("sqlite:///").partition("?")[0]).absolute()
    return None


def sqlite(path: Path) -> Engine:
    """Return the Engine of a file, which is created with mode 0600."""
    _create_private(path)
    url = sqlalchemy.URL.create("sqlite+pysqlite", database=str(path))
    engine = sqlalchemy.create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
        poolclass=sqlalchemy.QueuePool,
        hide_parameters=True,  # an error's text goes to the log; what people sent does not
        **_POOL,
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


def _create_private(path: Path) -> None:
    """Create the file with mode 0600 from its first moment; SQLite gives the files beside it the same."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigurationError(f"database: {path} can't be opened ({error.strerror}).") from error


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # SQLite refuses all but one process that turns WAL on, without waiting.
    turn_wal_on = partial(cursor.execute, "PRAGMA journal_mode=WAL")
    repeat_while_busy(turn_wal_on, is_locked, time.monotonic() + BUSY_SECONDS)
    cursor.execute("PRAGMA synchronous=FULL")  # a logout that was acknowledged survives a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    """Begin as the transaction asks for; without a word of it each statement stands alone."""
    options = connection.get_execution_options()
    words, deadline = options.get("clef_begin"), options.get("clef_deadline")
    if words is None:
        return
    if deadline is not None:
        # A read that turns into a write can't wait for its lock: SQLite gives up at once instead of waiting.
        raw: Any = connection.connection.driver_connection
        begin_immediate(raw, deadline)
        return
    try:
        connection.exec_driver_sql(words)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        connection.exec_driver_sql(words)  # it died while it lay in the pool, and is replaced: nothing was asked so far


def postgresql(where: str) -> Engine:
    """Return the Engine of an address.

    :raises ConfigurationError: it is none, or psycopg is missing.
    """
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise ConfigurationError("database must be a file, or postgresql://user@host/name.") from error
    except ValueError:  # its text quotes what stands where the port belongs: part of the password, if that has a "@"
        raise ConfigurationError(_UNREADABLE) from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigurationError("database must be a file (SQLite), or postgresql://user@host/name.")
    arguments = {"connect_timeout": BUSY_SECONDS, **_prepare_threshold(url)}
    url = url.difference_update_query([PREPARE_THRESHOLD])
    try:
        engine = sqlalchemy.create_engine(
            url.set(drivername="postgresql+psycopg"), connect_args=arguments, hide_parameters=True, **_POOL
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            'PostgreSQL needs an extra: pip install ".[server, postgresql]" in its clone.'
        ) from error
    event.listen(engine, "connect", _set_up_postgresql)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_threshold(url: sqlalchemy.URL) -> dict[str, int | None]:
    """Return psycopg's own option, which libpq does not know: how often a statement is used before it is prepared."""
    given = url.query.get(PREPARE_THRESHOLD)
    if given is None:
        return {}
    if given == "none":
        return {PREPARE_THRESHOLD: None}
    if not (isinstance(given, str) and given.isascii() and given.isdigit()):
        raise ConfigurationError(f"database: {PREPARE_THRESHOLD} must be none, for PgBouncer, or a number.")
    return {PREPARE_THRESHOLD: int(given)}


def _set_up_postgresql(connection: Any, _record: Any) -> None:
    connection.autocommit = True  # transactions begin by the word BEGIN, and single statements without one
    connection.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
