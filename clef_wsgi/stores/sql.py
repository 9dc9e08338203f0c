"""The logout store in a SQL database: PostgreSQL, MariaDB, MySQL or SQLite, for several machines.

This file knows nothing of sessions, providers or HTTP, and leaves how the databases differ to
``_sql_databases``, and the statements to ``_sql_sentences``.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError, ProgrammingError, SQLAlchemyError

from clef_wsgi._checks import Faults
from clef_wsgi.errors import ConfigurationError, StoreUnavailable
from clef_wsgi.interfaces import EVERYONE

from ._keys import digest, digests, microseconds
from ._sql_databases import engines_of, errors_of_driver, is_busy
from ._sql_sentences import PRUNED_AT_ONCE, Sentences
from ._waiting import POLL_SECONDS, Line, begin_immediate

T = TypeVar("T")

_SCHEMA_VERSION = 1
_AT_ONCE_SECONDS = 0.25


class SQLAlchemyLogoutStore:
    """Keeps stamps in three tables of a database, shared by all machines that reach it.

    Stamps are the database's time. Each change is one transaction that locks the mark, the row of the greatest
    stamp, first; a look-up is one statement. Writers wait in line, those of one process in the order in which they
    came. The tables are made when they are missing. When records are lost, because a table was emptied or dropped,
    everybody has to sign in again. Older records, as after a failover or from a backup, are noticed by a process
    alone that has seen newer ones: record a logout of everyone then.

    Nothing is asked of the database before the first call. Every method raises ``StoreUnavailable`` when the
    database can't be asked in time; the cause is attached, and the next call tries again. All methods may be
    called by many threads at once, and after a fork.

    :param url: ``postgresql://``, ``mariadb://``, ``mysql://`` or ``sqlite:///``, of the database that is written
        to, never of a replica; or an Engine, which brings its own driver, pool and time-outs.
    :param table_prefix: begins the tables' names.
    :param connect_timeout_seconds: the longest that connecting takes, and waiting for a free connection. For a
        URL only.
    :param read_timeout_seconds: the longest that an answer takes, and that a statement waits for others. For a URL
        only; an Engine's own limits hold there.
    :param write_timeout_seconds: the longest that any method but ``newest_logout`` waits for other writers: its
        place in the line is kept so long, and a transaction that the database refused for a lock is tried again.
    :raises ConfigurationError: an argument is wrong, or a driver is missing; ``faults`` has the sentences.
    """

    def __init__(
        self,
        url: str | Engine,
        *,
        table_prefix: str = "clef_",
        connect_timeout_seconds: float = 0.5,
        read_timeout_seconds: float = 0.5,
        write_timeout_seconds: float = 5.0,
    ) -> None:
        faults = Faults()
        limits = (
            faults.seconds("connect_timeout_seconds", connect_timeout_seconds),
            faults.seconds("read_timeout_seconds", read_timeout_seconds),
        )
        self._read_seconds = limits[1]
        self._write_seconds = faults.seconds("write_timeout_seconds", write_timeout_seconds)
        if not isinstance(table_prefix, str) or not re.fullmatch("[a-z_][a-z0-9_]{0,31}", table_prefix):
            faults.add("table_prefix must be 1 to 32 lowercase letters, digits and underscores.")
        try:
            engines = engines_of(url, *limits)
        except ConfigurationError as error:
            faults.add(error.message)
        faults.raise_all()
        # Public, like the prefix, for who looks after the tables.
        self.engine = engines.read
        self.table_prefix = table_prefix
        self._engines = engines
        self._line = Line()
        self._sql = Sentences(self.engine.dialect.name, table_prefix)
        self._is_file = self.engine.dialect.name == "sqlite"
        # What happens while a connection is taken from the pool, SQLAlchemy lets through as it is.
        self._faults = (SQLAlchemyError, ConfigurationError, _NotBornError, errors_of_driver(self.engine))
        self._pid = os.getpid()
        self._is_born = False
        self._seen = 0

    def __repr__(self) -> str:
        # A query may hold a password too.
        return f"SQLAlchemyLogoutStore({self.engine.url.set(query={}).render_as_string(hide_password=True)!r})"

    def tick(self) -> int:
        """A new stamp in microseconds, greater than all that anybody got from this database."""
        stamp = self._write(self._tick)
        self._saw(stamp)
        return stamp

    def record_logout(self, keys: Iterable[str], *, once: str | None = None) -> bool:
        """Stamps all ``keys`` with one new stamp, in one transaction.

        :param keys: any text, however long; a single ``str`` in place of a list is refused.
        :param once: a digest; when the database knows it already, nothing is done.
        :returns: True when recorded, False when ``once`` was known.
        :raises TypeError: ``keys`` is a ``str``, or holds something else than ``str``.
        """
        wanted = dict.fromkeys(digests(keys))
        notice = None if once is None else digest(once)
        return self._write(lambda connection: self._record(connection, wanted, notice))

    def newest_logout(self, keys: Iterable[str]) -> int:
        """The newest stamp, in microseconds, among ``keys`` and ``everyone``.

        :raises TypeError: ``keys`` is a ``str``, or holds something else than ``str``.
        """
        wanted = digests(keys)
        return self._read(lambda connection: self._look_up(connection, wanted))

    def prune(self, older_than: float) -> int:
        """Drops records and notices older than ``older_than`` seconds, and raises ``everyone`` to that moment.

        It goes in steps, each a transaction, so that no other call waits long.

        :returns: the number of logout records dropped.
        :raises ConfigurationError: ``older_than`` is negative or not a finite number.
        """
        age = microseconds(older_than)
        total, is_more = 0, True
        while is_more:
            dropped, is_more = self._write(lambda connection: self._drop_old(connection, age))
            total += dropped
        return total

    def close(self) -> None:
        """Closes this process's idle connections. The next call of any method opens new ones."""
        self._dispose(close=self._pid == os.getpid())

    # -- the verbs, with a connection --------------------------------------------------------------------------

    def _tick(self, connection: Connection) -> int:
        if not self._is_file:
            return self._new_stamp(connection)  # one statement, hence one transaction
        with self._transaction(connection):
            return self._new_stamp(connection)

    def _new_stamp(self, connection: Connection) -> int:
        found = connection.execute(self._sql.stamp, {"seen": self._seen, "everyone": _EVERYONE})
        stamp = found.scalar() if found.returns_rows else found.rowcount and found.lastrowid
        if not stamp:
            raise _NotBornError
        return int(stamp)

    def _record(self, connection: Connection, wanted: Iterable[bytes], notice: bytes | None) -> bool:
        with self._transaction(connection):
            stamp = self._new_stamp(connection)
            if notice is not None:
                added = connection.execute(self._sql.add_notice, {"digest": notice, "stamp": stamp})
                if not added.rowcount:
                    return False
            for key in wanted:
                connection.execute(self._sql.add_logout, {"digest": key, "stamp": stamp})
        self._saw(stamp)
        return True

    def _look_up(self, connection: Connection, wanted: list[bytes]) -> int:
        # Read before the snapshot is taken: so the snapshot's mark is lower only when records were lost.
        seen = self._seen
        parameters: dict[str, Any] = {f"key{number}": key for number, key in enumerate(wanted)}
        found = connection.execute(self._sql.look_up(len(wanted)), {**parameters, "everyone": _EVERYONE})
        mark, everyone, newest = found.one()
        if mark is None or everyone is None or mark < seen:
            raise _NotBornError
        self._saw(mark)
        return int(max(everyone, newest or 0))

    def _drop_old(self, connection: Connection, age: int) -> tuple[int, bool]:
        """One step: how many logouts it dropped, and whether there may be more."""
        with self._transaction(connection):
            stamp = self._new_stamp(connection)
            cut = connection.execute(self._sql.cut, {"age": age}).scalar_one()
            # The mark goes along: a stamp below everyone's would be a login that is dead at birth.
            connection.execute(self._sql.raise_mark, {"cut": cut})
            connection.execute(self._sql.raise_everyone, {"cut": cut, "everyone": _EVERYONE})
            logouts, notices = (connection.execute(sql, {"cut": cut}).rowcount for sql in self._sql.drops)
        self._saw(stamp)
        return logouts, PRUNED_AT_ONCE in (logouts, notices)

    def _be_born(self, connection: Connection) -> None:
        """Makes what is missing: tables, the mark, the record of everyone.

        Lost is also what a database forgot whose mark is below a stamp that this process saw. A new mark is 0.
        """
        self._make_tables(connection)
        with self._transaction(connection):
            connection.execute(self._sql.make_mark, {"version": _SCHEMA_VERSION})
            mark, version, everyone = connection.execute(self._sql.state, {"everyone": _EVERYONE}).one()
            if version > _SCHEMA_VERSION:
                raise ConfigurationError("SQLAlchemyLogoutStore: the tables are of a newer clef_wsgi: upgrade.")
            if everyone is None or not mark or mark < self._seen:
                newest = connection.execute(self._sql.newest).scalar_one()
                stamp = max(mark, self._seen, newest) + 1
                connection.execute(self._sql.raise_mark, {"cut": stamp})
                connection.execute(self._sql.add_logout, {"digest": _EVERYONE, "stamp": stamp})

    def _make_tables(self, connection: Connection) -> None:
        there = inspect(connection)
        missing = [sql for name, sql in self._sql.tables.items() if not there.has_table(name)]
        if missing:
            with self._transaction(connection):
                connection.execute(self._sql.lock_schema)
                for sql in missing:
                    connection.execute(sql)

    # -- connections -------------------------------------------------------------------------------------------

    def _read(self, work: Callable[[Connection], T]) -> T:
        engine, seconds = self._engines.read, self._read_seconds
        if not self._is_born:  # which is one thread's work
            self._in_line(engine, seconds, lambda _: None)
        return self._run(engine, time.monotonic() + seconds, work)

    def _write(self, work: Callable[[Connection], T]) -> T:
        return self._in_line(self._engines.write, self._write_seconds, work)

    def _in_line(self, engine: Engine, seconds: float, work: Callable[[Connection], T]) -> T:
        """Does the work when it is this thread's turn."""
        deadline = time.monotonic() + seconds
        self._notice_fork()
        line = self._line
        if not line.acquire(timeout=seconds):
            raise StoreUnavailable()
        try:
            return self._run(engine, deadline, work)
        finally:
            line.release()

    def _run(self, engine: Engine, deadline: float, work: Callable[[Connection], T]) -> T:
        """Does the work, again and again while others hold what it needs."""
        while True:
            try:
                return self._heal(engine, work)
            except self._faults as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise StoreUnavailable() from error
            time.sleep(POLL_SECONDS)

    def _heal(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        """Does the work; once more when the store had to be born first, or its connection was an old, dead one."""
        began = time.monotonic()
        try:
            return self._try(engine, work)
        except self._faults as error:
            if not _may_go_better(error, time.monotonic() - began):
                raise
        self._is_born = False
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
            if not self._is_born:
                self._be_born(connection)
                self._is_born = True
            return work(connection)
        except BaseException:
            # Whatever state it is in: closing it rolls back, and no late answer is taken for another's.
            connection.invalidate()
            raise

    def _notice_fork(self) -> None:
        # https://docs.sqlalchemy.org/en/20/core/pooling.html#using-connection-pools-with-multiprocessing-or-os-fork
        if self._pid != os.getpid():
            self._dispose(close=False)
            self._line = Line()  # a thread of the parent may have had the turn
            self._pid = os.getpid()

    def _dispose(self, *, close: bool = True) -> None:
        for engine in {self._engines.read, self._engines.write}:
            engine.dispose(close=close)

    @contextmanager
    def _transaction(self, connection: Connection) -> Iterator[None]:
        self._begin(connection)
        yield
        connection.execute(self._sql.commit)

    def _begin(self, connection: Connection) -> None:
        file = connection.connection.driver_connection
        if isinstance(file, sqlite3.Connection):
            begin_immediate(file, time.monotonic() + self._read_seconds)
            # Outside of WAL mode a commit waits for those who read, and no new ones come in meanwhile.
            file.execute(f"PRAGMA busy_timeout = {self._read_seconds * 1000:.0f}")
        else:
            connection.execute(self._sql.begin)

    def _saw(self, stamp: int) -> None:
        # Not under a lock: what another thread saw may be forgotten, which only makes the check less sharp.
        self._seen = max(self._seen, stamp)


class _NotBornError(Exception):
    """Something is missing that a store is born with."""


_EVERYONE = digest(EVERYONE)


def _may_go_better(error: Exception, seconds: float) -> bool:
    """Whether making what is missing may help, or, after so many seconds, a new connection."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, _NotBornError)
    is_table_missing = isinstance(error, ProgrammingError) or "no such table" in str(error.orig)
    # What took long was a time-out: a second one would be too long.
    return is_table_missing or (error.connection_invalidated and seconds <= _AT_ONCE_SECONDS)
