"""Open a database, SQLite or PostgreSQL, and hand out transactions that behave alike on both.

``writing()`` is exclusive from its first moment on SQLite (``BEGIN IMMEDIATE``); on PostgreSQL it is READ
COMMITTED, and who touches a person's logins locks the person first (``records.people.lock``). Another row that came out
of the locking statement may be older than the lock: read or update it afterwards, in a statement of its own.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from clef_wsgi.server.database import connecting
from clef_wsgi.server.errors import DatabaseUnavailable
from clef_wsgi.server.forks import after_fork

BUSY_SECONDS = connecting.BUSY_SECONDS
CHECKPOINT_SECONDS = 0.5
"""Longest wait of a checkpoint for readers; the next one does the rest."""

_Answer = TypeVar("_Answer")

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"


class Database:
    """A database, shared by the threads of a process; a forked process opens connections of its own.

    :param where: a file, ``sqlite:///file``, or ``postgresql://user@host/name``. There ``?prepare_threshold=none``
        keeps psycopg from preparing statements, for PgBouncer in transaction mode.
    :raises ConfigurationError: when it can be neither.
    """

    def __init__(self, where: str | Path) -> None:
        self.path = connecting.sqlite_path(where)
        self._engine = connecting.postgresql(str(where)) if self.path is None else connecting.sqlite(self.path)
        # a read that turns into a write can't wait for its lock: SQLite gives up at once instead of waiting
        self._begin_reading, self._begin_writing = ("BEGIN", "BEGIN IMMEDIATE") if self.path else (_BEGIN, _BEGIN)
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
            connection.execution_options(clef_begin=self._begin_writing).begin(),
        ):
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that changes nothing. Waits for nobody on SQLite.

        :raises DatabaseUnavailable: it can't be reached.
        """
        with (
            _translated(),
            self._engine.connect() as connection,
            connection.execution_options(clef_begin=self._begin_reading).begin(),
        ):
            yield connection

    def look(self, ask: Callable[[Connection], _Answer]) -> _Answer:
        """Return what ``ask`` reads by one SELECT, outside of a transaction: neither BEGIN nor COMMIT is sent.

        It is called once more where the connection turns out to be dead.

        :raises DatabaseUnavailable: the database can't be reached.
        """
        with _translated():
            try:
                with self._engine.connect() as connection:
                    return ask(connection)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            with self._engine.connect() as connection:
                return ask(connection)

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
