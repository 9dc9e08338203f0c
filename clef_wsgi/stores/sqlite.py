"""Keep logout records in a SQLite file, for the processes of one machine.

Threads, forks and replaced files are handled in ``sqlite_connection``, the file's format in ``sqlite_schema``.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

from clef_wsgi.base.errors import ConfigurationError, StoreUnavailable
from clef_wsgi.base.options import Faults
from clef_wsgi.base.writer_queue import WriterQueue
from clef_wsgi.interfaces import EVERYONE

from .keys import age, digest, digests, listed
from .sqlite_connection import VERSION, GuardedConnection
from .sqlite_schema import prepare

_MEMO_SIZE = 4096
_MAX_EACH = 32
_MARK = "SELECT stamp FROM mark"
_STAMP = "SELECT stamp FROM logout WHERE key = ?"
_NEWEST = "SELECT coalesce(max(stamp), 0) FROM logout"
_EVERYONE = digest(EVERYONE)
_EVERYONES = f"SELECT stamp FROM logout WHERE key = x'{_EVERYONE.hex()}'"  # noqa: S608
_KNOWN = "SELECT stamp FROM idempotency_key WHERE digest = ?"
_RECORD = "INSERT OR REPLACE INTO logout VALUES (?, ?)"


class SQLiteLogoutStore:
    """Keep stamps in a SQLite file, shared by all threads and processes of one machine.

    A logout that was acknowledged survives a power loss, a look-up that begins after it sees it, and every
    fault heals by itself at the next call. The file has to lie on a local disk: SQLite's write-ahead log does
    not work over a network (https://www.sqlite.org/wal.html). It is made with mode 0600 when missing.

    Every method raises ``StoreUnavailable`` when the file can't be read or written within its limit; the
    cause is attached. When records are lost (the file is removed, replaced by a new one, or emptied) everybody has
    to sign in again. An older file, as from a backup, is noticed by a process alone that has seen newer stamps:
    record a logout of everyone then.

    :param path: the file's path; its directory must be there.
    :param clock: gives the time in seconds; wall-clock time, since the epoch.
    :param read_timeout_seconds: the longest that ``newest_logout`` waits for others.
    :param write_timeout_seconds: the longest that any other method waits for others.
    :raises ConfigurationError: an argument is wrong, or the file can't be used; ``faults`` has the sentences.
    :raises StoreUnavailable: the file is locked, or its disk full, right now.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], float] = time.time,
        read_timeout_seconds: float = 0.5,
        write_timeout_seconds: float = 5.0,
    ) -> None:
        faults = Faults()
        for problem in _path_problems(path):
            faults.add(f"SQLiteLogoutStore: path {problem}.")
        read_seconds = faults.seconds("read_timeout_seconds", read_timeout_seconds)
        write_seconds = faults.seconds("write_timeout_seconds", write_timeout_seconds)
        self._clock = faults.function("clock", clock)
        faults.raise_all()
        # Absolute, so that a process which changes its directory later keeps its store.
        place = os.path.abspath(os.fspath(path))
        # The writer is apart from the readers, so that no look-up waits for a disk that writes, and so that
        # PRAGMA data_version tells a reader of all writes: it leaves out those of its own connection.
        self._new_reader = partial(_Connection, place, limit_seconds=read_seconds, prepare=prepare)
        self._writer = _Connection(place, limit_seconds=write_seconds, prepare=prepare, lock=WriterQueue)
        self._connections = [self._writer]
        self._idle_readers: list[_Connection] = []
        weakref.finalize(self, _close, self._connections)
        self._check_at_birth()

    def tick(self) -> int:
        """Return a new stamp in microseconds, greater than all that any process got from this file."""
        with self._writer as connection, self._transaction(self._writer, connection):
            return self._new_stamp(connection)

    def record_logout(self, keys: Iterable[str], *, idempotency_key: str | None = None) -> bool:
        """Record a logout of all ``keys`` under one new stamp, in one transaction, on the disk when this returns.

        :param keys: any text, however long; a single ``str`` in place of a list is refused.
        :param idempotency_key: a digest; when the file knows it already, nothing is done.
        :returns: True when recorded, False when ``idempotency_key`` was known.
        :raises TypeError: ``keys`` is a ``str``, or holds something else than ``str``.
        """
        wanted = digests(keys)
        known = None if idempotency_key is None else digest(idempotency_key)
        with self._writer as connection, self._transaction(self._writer, connection):
            if known is not None and _number(connection, _KNOWN, known) is not None:
                return False
            stamp = self._new_stamp(connection)
            connection.executemany(_RECORD, [(key, stamp) for key in wanted])
            if known is not None:
                connection.execute("INSERT INTO idempotency_key VALUES (?, ?)", (known, stamp))
        return True

    def newest_logout(self, keys: Iterable[str]) -> int:
        """Return the newest stamp, in microseconds, among ``keys`` and ``everyone``.

        :raises TypeError: ``keys`` is a ``str``, or holds something else than ``str``.
        """
        wanted = listed(keys)
        # As many readers as there are threads that look up at one moment: the one used last is taken first.
        try:
            reader = self._idle_readers.pop()
        except IndexError:
            reader = self._new_reader()
            self._connections.append(reader)
        try:
            newest = reader.known.get(wanted)
            if newest is not None and reader.version() == reader.known_at:
                return newest
            with reader as connection:
                reader.keep_what_counts(connection, is_outdated=newest is not None)
                newest = reader.known[wanted] = self._look_up(reader, connection, wanted)
                return newest
        finally:
            self._idle_readers.append(reader)

    def prune(self, older_than: float) -> int:
        """Drop records and idempotency keys older than ``older_than`` seconds, and raise ``everyone`` to that moment.

        :returns: the number of logout records dropped.
        :raises ConfigurationError: ``older_than`` is negative or not a finite number.
        """
        seconds = age(older_than)
        with self._writer as connection, self._transaction(self._writer, connection):
            cut = int((self._clock() - seconds) * 1_000_000)
            connection.execute("DELETE FROM idempotency_key WHERE stamp < ?", (cut,))
            dropped = connection.execute("DELETE FROM logout WHERE stamp < ? AND key <> ?", (cut, _EVERYONE)).rowcount
            connection.execute("UPDATE logout SET stamp = ? WHERE key = ? AND stamp < ?", (cut, _EVERYONE, cut))
            # The mark goes along: a stamp below everyone's would be a login that is dead at birth.
            connection.execute("UPDATE mark SET stamp = ? WHERE stamp < ?", (cut, cut))
            return dropped

    def close(self) -> None:
        """Close this process's connections. The next call of any method opens new ones."""
        _close(self._connections)

    def _check_at_birth(self) -> None:
        try:
            with self._writer as connection, self._transaction(self._writer, connection):
                pass
        except StoreUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, ConfigurationError):
                raise cause from cause.__cause__
            if isinstance(cause, (FileNotFoundError, NotADirectoryError, PermissionError)):
                sentence = "SQLiteLogoutStore: path can't be used: check its directory and its mode."
                raise ConfigurationError(sentence) from cause
            raise
        finally:
            # Servers load an app once and fork (gunicorn --preload), some without telling Python: so that
            # none of them forks an open connection, the first call opens it.
            self._writer.close()

    @contextmanager
    def _transaction(self, guarded: _Connection, connection: sqlite3.Connection) -> Iterator[None]:
        """Run one write transaction. An exception goes through: it closes the connection, which rolls back."""
        guarded.begin(connection)
        self._make_born(connection)
        yield
        mark = _number(connection, _MARK) or 0
        connection.execute("COMMIT")
        # What went into a file that was replaced meanwhile is lost: the caller must hear of it.
        guarded.check_in_place()
        guarded.seen = mark

    def _seen(self) -> int:
        """Return the greatest stamp that this process knows to be committed."""
        return max([connection.seen for connection in self._connections])

    def _make_born(self, connection: sqlite3.Connection) -> None:
        """Write the record of ``everyone`` when records were lost, or never there.

        Lost is also what a file forgot whose mark is below a stamp that this process saw committed.
        """
        mark = _number(connection, _MARK)
        if mark is None or mark < self._seen() or _number(connection, _STAMP, _EVERYONE) is None:
            # Above all that is left: the mark may have gone alone, and the clock may be behind.
            left = _number(connection, _NEWEST) or 0
            connection.execute(_RECORD, (_EVERYONE, self._new_stamp(connection, above=left)))

    def _new_stamp(self, connection: sqlite3.Connection, above: int = 0) -> int:
        greatest = max(_number(connection, _MARK) or 0, self._seen(), above)
        stamp = max(int(self._clock() * 1_000_000), greatest + 1)
        connection.execute("INSERT OR REPLACE INTO mark VALUES (1, ?)", (stamp,))
        return stamp

    def _look_up(self, reader: _Connection, connection: sqlite3.Connection, wanted: tuple[str, ...]) -> int:
        # Read before the snapshot is taken: so the snapshot's mark is lower only when records were lost.
        seen = self._seen()
        # sqlite3 looks for an adapter of each parameter, but for a bytearray: that takes longer than the search for it.
        row = connection.execute(_look_up_sql(len(wanted)), [bytearray(digest(key)) for key in wanted]).fetchone()
        if row is None or row[1] is None or row[0] < seen:
            with self._transaction(reader, connection):
                reader.known.clear()  # Born again: a write of its own moves no version.
            return self._look_up(reader, connection, wanted)
        reader.seen, newest = row
        return int(newest)


class _Connection(GuardedConnection):
    """A connection, and what was read through it: only who holds it may write here."""

    seen = 0

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(path, **options)
        self.known: dict[tuple[str, ...], int] = {}
        self.known_at: tuple[int] | None = None
        self._known_by: sqlite3.Connection | None = None

    def keep_what_counts(self, connection: sqlite3.Connection, *, is_outdated: bool) -> None:
        """Forget the results of look-ups that are outdated, too many, or another connection's.

        A result may be newer than the version it is kept under: then the next reading of the version has moved.
        """
        if is_outdated or connection is not self._known_by or len(self.known) >= _MEMO_SIZE:
            self.known, self._known_by = {}, connection
            self.known_at = connection.execute(VERSION).fetchone()


@lru_cache
def _look_up_sql(count: int) -> str:
    """Return one statement, hence one snapshot: the mark, and the newest stamp of everyone and of ``count`` keys.

    The newest one is NULL where everyone has none.

    Each key is looked for by itself: for ``IN`` SQLite first sorts the keys into a table of its own. Many are too many
    for one expression.
    """
    looks = [_STAMP] * count
    if count > _MAX_EACH:
        looks = [f"SELECT max(stamp) FROM logout WHERE key IN ({', '.join('?' * count)})"]  # noqa: S608
    newest = ", ".join(["0", f"({_EVERYONES})", *(f"ifnull(({look}), 0)" for look in looks)])
    return f"SELECT stamp, max({newest}) FROM mark"  # noqa: S608 - nothing but constants and question marks


def _number(connection: sqlite3.Connection, statement: str, *parameters: bytes) -> int | None:
    row = connection.execute(statement, parameters).fetchone()
    return int(row[0]) if row else None


def _close(connections: list[_Connection]) -> None:
    for connection in connections:
        connection.close()


def _path_problems(path: object) -> Iterator[str]:
    place = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(place, str):
        yield "must be a str or a path object"
    elif place in ("", ":memory:"):
        yield "must name a file; to keep nothing, use MemoryLogoutStore"
    elif place.startswith("file:") or "\0" in place:
        yield "must be a plain path, not a URI"
    elif os.path.isdir(place):
        yield "names a directory: add a file name"
    elif not os.access(os.path.dirname(os.path.abspath(place)), os.R_OK | os.W_OK | os.X_OK):
        yield "must lie in a directory that exists and can be written, also for -wal and -shm"
    elif os.path.exists(place) and not os.access(place, os.R_OK | os.W_OK):
        yield "names a file that can't be written: change its mode or its owner"
