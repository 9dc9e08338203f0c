"""Open a database, SQLite or PostgreSQL, and hand out transactions that behave alike on both.

``writing()`` is exclusive from its first moment on SQLite (``BEGIN IMMEDIATE``); on PostgreSQL it is READ
COMMITTED, and who touches a person's logins locks the person first (``records.people.lock``).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from clef_wsgi.server.errors import ConfigurationError, DatabaseUnavailable
from clef_wsgi.server.forks import after_fork

BUSY_SECONDS = 5
"""Longest wait of a transaction for another one's lock, and for a connection."""


CHECKPOINT_SECONDS = 0.5
"""Longest wait of a checkpoint for readers; the next one does the rest."""

_UNREADABLE = (
    "database: the address can't be read. A port is a number, and of a user's name or password "
    "the characters @, :, / and % are written %40, %3A, %2F and %25."
)


class Database:
    """A database, shared by the threads of a process; a forked process opens connections of its own.

    :param where: a file, ``sqlite:///file``, or ``postgresql://user@host/name``.
    :raises ConfigurationError: when it can be neither.
    """

    def __init__(self, where: str | Path) -> None:
        self.path = _sqlite_path(where)
        self._engine = _postgresql(str(where)) if self.path is None else _sqlite(self.path)
        self._turn = threading.Lock()
        after_fork(self._forget)

    @property
    def dialect(self) -> str:
        """Return ``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextmanager
    def writing(self, *, wait_seconds: float | None = None) -> Iterator[Connection]:
        """Open a transaction, committed at the end, rolled back by any exception.

        :param wait_seconds: how long it waits on SQLite for another one to end, in this process or outside, if not
            ``BUSY_SECONDS``.
        :raises DatabaseUnavailable: it can't be reached, or is locked for too long.
        """
        with (
            self._own_turn(wait_seconds),
            _translated(),
            self._engine.connect() as connection,
            _waiting(connection, wait_seconds),
            connection.execution_options(clef_writes=True).begin(),
        ):
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that changes nothing. Waits for nobody on SQLite.

        :raises DatabaseUnavailable: it can't be reached.
        """
        with _translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    def checkpoint(self) -> None:
        """Move a SQLite file's ``-wal`` into the file itself, as far as nobody reads it.

        It never fails: what was committed is safe where it is, and SQLite does the same later.
        """
        if self.path is None:
            return
        harmless = suppress(sqlite3.Error, DBAPIError)
        with harmless, self._engine.connect() as connection, _waiting(connection, CHECKPOINT_SECONDS):
            raw: Any = connection.connection.driver_connection
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close all connections. The database opens again by itself when it is used."""
        self._engine.dispose()

    def _forget(self) -> None:
        self._engine.dispose(close=False)

    @contextmanager
    def _own_turn(self, seconds: float | None) -> Iterator[None]:
        """Queue the writers of this process. SQLite's own wait polls in longer and longer steps: newcomers go first."""
        if self.path is None:
            yield
            return
        if not self._turn.acquire(timeout=BUSY_SECONDS if seconds is None else seconds):
            raise DatabaseUnavailable
        try:
            yield
        finally:
            self._turn.release()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable from error
        raise


@contextmanager
def _waiting(connection: Connection, seconds: float | None) -> Iterator[None]:
    raw: Any = connection.connection.driver_connection
    if seconds is None or connection.dialect.name != "sqlite":
        yield
        return
    raw.execute(f"PRAGMA busy_timeout={int(seconds * 1000)}")
    try:
        yield
    finally:
        raw.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")


def _sqlite_path(where: str | Path) -> Path | None:
    if isinstance(where, Path) or "://" not in where:
        return Path(where).absolute()
    if where.startswith("sqlite:///") and len(where) > len("sqlite:///"):
        return Path(where.removeprefix("sqlite:///").partition("?")[0]).absolute()
    return None


def _sqlite(path: Path) -> Engine:
    _create_private(path)
    url = sqlalchemy.URL.create("sqlite+pysqlite", database=str(path))
    engine = sqlalchemy.create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
        poolclass=sqlalchemy.QueuePool,
        hide_parameters=True,  # an error's text goes to the log; what people sent does not
        pool_timeout=BUSY_SECONDS,
        max_overflow=20,
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _create_private(path: Path) -> None:
    """Create the file with mode 0600 from its first moment; SQLite gives the files beside it the same."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigurationError(f"database: {path} can't be opened ({error.strerror}).") from error


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    deadline = time.monotonic() + BUSY_SECONDS
    while not _has_wal(cursor, deadline):
        time.sleep(0.01)  # SQLite has no event for a lock that is free
    cursor.execute("PRAGMA synchronous=FULL")  # a logout that was acknowledged survives a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _has_wal(cursor: sqlite3.Cursor, deadline: float) -> bool:
    """Turn WAL on, and return whether it is. SQLite refuses all but one process that does so, without waiting."""
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error) or time.monotonic() > deadline:
            raise
        return False
    return True


def _begin_sqlite(connection: Connection) -> None:
    # a read that turns into a write can't wait for its lock: SQLite gives up at once instead of waiting
    writes = connection.get_execution_options().get("clef_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgresql(where: str) -> Engine:
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise ConfigurationError("database must be a file, or postgresql://user@host/name.") from error
    except ValueError:  # its text quotes what stands where the port belongs: part of the password, if that has a "@"
        raise ConfigurationError(_UNREADABLE) from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigurationError("database must be a file (SQLite), or postgresql://user@host/name.")
    try:
        engine = sqlalchemy.create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={"connect_timeout": BUSY_SECONDS},
            hide_parameters=True,
            pool_pre_ping=True,  # a restarted database costs no visitor an error
            pool_timeout=BUSY_SECONDS,
            max_overflow=20,
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            'PostgreSQL needs an extra: pip install ".[server, postgresql]" in its clone.'
        ) from error
    event.listen(engine, "connect", _set_up_postgresql)
    return engine


def _set_up_postgresql(connection: Any, _record: Any) -> None:
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
    connection.execute("SET default_transaction_isolation = 'read committed'")
    connection.autocommit = False
