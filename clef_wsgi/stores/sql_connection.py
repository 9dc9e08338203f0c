"""Lend connections to a SQL database for one piece of work at a time, guarded against threads, forks and long waits."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, ProgrammingError, SQLAlchemyError

from clef_wsgi.base.errors import ConfigurationError, StoreUnavailable
from clef_wsgi.base.writer_queue import WriterQueue, begin_immediate, repeat_while_busy

from .sql_databases import Engines, errors_of_driver, is_busy

T = TypeVar("T")

_AT_ONCE_SECONDS = 0.25


class NotPreparedError(Exception):
    """Something is missing that :class:`Connections` has to prepare."""


class Connections:
    """Do work with a connection, which is closed where the work fails.

    Faults of the database, of its driver, and what ``prepare`` refused, come out as ``StoreUnavailable`` with the
    cause attached.

    :param read_seconds: the longest that :meth:`read` waits for others, and any one statement.
    :param write_seconds: the longest that :meth:`write` waits for others, in this process and beyond it.
    :param prepare: called before the first work, and again where the work raised :class:`NotPreparedError` or
        found no table.
    """

    def __init__(
        self, engines: Engines, *, read_seconds: float, write_seconds: float, prepare: Callable[[Connection], None]
    ) -> None:
        self._engines, self._read_seconds, self._write_seconds = engines, read_seconds, write_seconds
        self._prepare = prepare
        self._is_prepared = False
        self._queue = WriterQueue()
        # What happens while a connection is taken from the pool, SQLAlchemy lets through as it is.
        self._faults = (SQLAlchemyError, ConfigurationError, NotPreparedError, errors_of_driver(engines.read))
        self._pid = os.getpid()

    def close(self) -> None:
        """Close this process's idle connections."""
        self._dispose(close=self._pid == os.getpid())

    def read(self, work: Callable[[Connection], T]) -> T:
        """Do the work without queuing for it."""
        engine, seconds = self._engines.read, self._read_seconds
        if not self._is_prepared:  # which is one thread's work
            self._in_turn(engine, seconds, lambda _: None)
        return self._run(engine, time.monotonic() + seconds, work)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do the work when it is this thread's turn."""
        return self._in_turn(self._engines.write, self._write_seconds, work)

    def _in_turn(self, engine: Engine, seconds: float, work: Callable[[Connection], T]) -> T:
        self._notice_fork()
        with self._queue.turn(seconds, StoreUnavailable) as deadline:
            return self._run(engine, deadline, work)

    def _run(self, engine: Engine, deadline: float, work: Callable[[Connection], T]) -> T:
        """Do the work, again and again while others hold what it needs."""
        try:
            return repeat_while_busy(lambda: self._heal(engine, work), is_busy, deadline)
        except self._faults as error:
            raise StoreUnavailable() from error

    def _heal(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        """Do the work; once more when the store had to be prepared first, or its connection was an old, dead one."""
        began = time.monotonic()
        try:
            return self._try(engine, work)
        except self._faults as error:
            if not _may_go_better(error, time.monotonic() - began):
                raise
        self._is_prepared = False
        return self._try(engine, work)

    def _try(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        self._notice_fork()
        try:
            with engine.connect() as connection:
                return self._use(connection, work)
        except BaseException as error:
            # The idle ones beside it are no better: each would cost somebody a time-out.
            if not is_busy(error):
                self._dispose()
            raise

    def _use(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        try:
            if not self._is_prepared:
                self._prepare(connection)
                self._is_prepared = True
            return work(connection)
        except BaseException:
            # Whatever state it is in: closing it rolls back, and no late answer is taken for another's.
            connection.invalidate()
            raise

    def _notice_fork(self) -> None:
        # https://docs.sqlalchemy.org/en/20/core/pooling.html#using-connection-pools-with-multiprocessing-or-os-fork
        if self._pid != os.getpid():
            self._dispose(close=False)
            self._queue = WriterQueue()  # a thread of the parent may have had the turn
            self._pid = os.getpid()

    def _dispose(self, *, close: bool = True) -> None:
        for engine in {self._engines.read, self._engines.write}:
            engine.dispose(close=close)

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """Begin a write transaction, and commit it. An exception goes through: the connection is closed then."""
        file = connection.connection.driver_connection
        if isinstance(file, sqlite3.Connection):
            begin_immediate(file, time.monotonic() + self._read_seconds)
        else:
            connection.exec_driver_sql("BEGIN")
        yield
        connection.exec_driver_sql("COMMIT")


def _may_go_better(error: Exception, seconds: float) -> bool:
    """Return whether making what is missing may help, or, after so many seconds, a new connection."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, NotPreparedError)
    is_table_missing = isinstance(error, ProgrammingError) or "no such table" in str(error.orig)
    # What took long was a time-out: a second one would be too long.
    return is_table_missing or (error.connection_invalidated and seconds <= _AT_ONCE_SECONDS)
