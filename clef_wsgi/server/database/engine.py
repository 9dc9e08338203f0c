"""Open a database, SQLite or PostgreSQL, and hand out transactions that behave alike on both.

``writing()`` is exclusive from its first moment on SQLite (``BEGIN IMMEDIATE``); on PostgreSQL it is READ
COMMITTED, and who touches a person's logins locks the person first (``records.people.lock``). Another row that came out
of the locking statement may be older than the lock: read or update it afterwards, in a statement of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from clef_wsgi.base.writer_queue import WriterQueue, busy_timeout
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
        self._begin = _BEGIN if self.path is None else "BEGIN"
        self._queue = WriterQueue()
        after_fork(self._forget)

    @property
    def dialect(self) -> str:
        """Return ``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextmanager
    def writing(self, *, wait_seconds: float | None = None) -> Iterator[Connection]:
        """Open a transaction, committed at the end, rolled back by any exception.

        On SQLite the writers of this process have their turn in the order in which they came.

        :param wait_seconds: how long it waits on SQLite for others to end, in this process and outside together, if
            not ``BUSY_SECONDS``.
        :raises DatabaseUnavailable: it can't be reached, or is locked for too long.
        """
        seconds = BUSY_SECONDS if wait_seconds is None else wait_seconds
        with (
            nullcontext() if self.path is None else self._queue.turn(seconds, DatabaseUnavailable) as deadline,
            _translated(),
            self._engine.connect() as connection,
            connection.execution_options(clef_begin=self._begin, clef_deadline=deadline).begin(),
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
            connection.execution_options(clef_begin=self._begin).begin(),
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
        with suppress(sqlite3.Error, DBAPIError), self._engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            with busy_timeout(raw, CHECKPOINT_SECONDS):
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close all connections. The database opens again by itself when it is used."""
        self._engine.dispose()

    def _forget(self) -> None:
        self._engine.dispose(close=False)
        self._queue = WriterQueue()  # a thread of the parent may have had the turn


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, sqlite3.OperationalError) as error:
        raise DatabaseUnavailable from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable from error
        raise
