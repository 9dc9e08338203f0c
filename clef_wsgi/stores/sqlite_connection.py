"""Guard a connection to a SQLite file against threads, forks, replaced files and long waits."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from os import getpid, stat
from types import TracebackType
from urllib.parse import quote

from clef_wsgi.base.errors import ConfigurationError, StoreUnavailable
from clef_wsgi.base.writer_queue import WriterQueue, begin_immediate, repeat_while_busy, wait_for

VERSION = "PRAGMA data_version"
"""Its result moves when another connection has committed (https://www.sqlite.org/pragma.html#pragma_data_version)."""

FileIdentity = tuple[int, ...]
"""Inode and device."""

_FORK_WAIT_SECONDS = 5.0


class GuardedConnection:
    """Lend, as a context manager, an open ``sqlite3.Connection`` to one thread at a time.

    Autocommit is on: transactions are begun and committed in plain SQL. Any exception closes the connection,
    which rolls back; the next call opens a new one, so every fault heals by itself. ``sqlite3.Error``,
    ``OSError`` and what ``prepare`` refused come out as ``StoreUnavailable``, with the cause attached.

    :param path: absolute; the file is made with mode 0600 when missing. SQLite gives -wal and -shm the same.
    :param limit_seconds: the longest that one use waits, for other threads and other processes together.
    :param prepare: called with each new connection; raises ``ConfigurationError`` to refuse the file.
    :param lock: makes what threads wait at; a :class:`WriterQueue` where many do.
    """

    def __init__(
        self,
        path: str,
        *,
        limit_seconds: float,
        prepare: Callable[[sqlite3.Connection], None],
        lock: Callable[[], threading.Lock | WriterQueue] = threading.Lock,
    ) -> None:
        self._path = path
        self._limit_seconds = limit_seconds
        self._prepare = prepare
        self._new_lock = lock
        self._lock = lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._deadline = 0.0
        self._is_in_haste = False
        self._real_path = path
        self._file: FileIdentity | None = None
        self._wal: FileIdentity | None = None
        _guarded.add(self)

    def __enter__(self) -> sqlite3.Connection:
        deadline = wait_for(self._lock, self._limit_seconds, StoreUnavailable)
        try:
            self._deadline = deadline
            connection = self._connection
            if connection is None or self._pid != getpid() or _identity(self._path) != self._file:
                return self._open()
            if self._is_in_haste:
                connection.execute(f"PRAGMA busy_timeout = {self._limit_seconds * 1000:.0f}")
                self._is_in_haste = False
            return connection
        except BaseException as error:
            self._fail(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._lock.release()
        else:
            self._fail(error)

    def version(self) -> tuple[int] | None:
        """Return the version of the file, or None where the connection is in use, or the next use opens or adjusts one.

        Flat: every look-up passes here.
        """
        version = None
        if self._lock.acquire(False):
            try:
                if self._pid == getpid() and not self._is_in_haste and stat(self._path)[1:3] == self._file:
                    version = self._read_version(VERSION).fetchone()
            except FileNotFoundError:
                pass
            except BaseException as error:
                self._fail(error)
                raise
            self._lock.release()
        return version

    def begin(self, connection: sqlite3.Connection) -> None:
        """Begin a write transaction on the lent connection, waiting for other writers up to the limit."""
        begin_immediate(connection, self._deadline)

    def check_in_place(self) -> None:
        """Raise ``OSError`` when the path names another file by now. Call it inside the ``with`` block."""
        if _identity(self._path) != self._file:
            raise OSError("the database file was replaced meanwhile")

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        if self._lock.acquire(timeout=self._limit_seconds):
            try:
                self._drop()
            finally:
                self._lock.release()

    def _fail(self, error: BaseException) -> None:
        try:
            self._drop()
        finally:
            self._lock.release()
        if isinstance(error, (sqlite3.Error, OSError, ConfigurationError)):
            raise StoreUnavailable() from error

    def _open(self) -> sqlite3.Connection:
        if self._pid != getpid():
            self._abandon()
        # SQLite names -wal and -shm after the file that a symbolic link leads to.
        self._real_path = os.path.realpath(self._path)
        with _directory_lock(os.path.dirname(self._real_path), self._deadline):
            self._clear_the_way()
            self._drop()
            self._file, self._pid = _identity(self._path), getpid()
            # What is left of this use's limit; the next one has all of it.
            self._connection = _connect(self._real_path, max(0.0, self._deadline - time.monotonic()))
            # One cursor for all readings: to make one costs as much as Python's part of a reading.
            self._read_version = self._connection.cursor().execute
            self._is_in_haste = True
            self._prepare(self._connection)
            self.check_in_place()
            self._wal = _identity(self._real_path + "-wal")
        return self._connection

    def _clear_the_way(self) -> None:
        """Make the file when it is missing, and remove what an older file of this name left beside it.

        SQLite finds -wal and -shm by name: next to a new file the old ones bring back old pages, or errors
        (https://www.sqlite.org/howtocorrupt.html, section 1.4). They are left over when the file is new; or
        when it was replaced and the -wal is still the one of the old file. Holding the old file open until
        here keeps its inodes from being given to new files.
        """
        replaced = self._connection is not None and _identity(self._path) != self._file
        left_over = replaced and self._wal is not None and _identity(self._real_path + "-wal") == self._wal
        if _create(self._real_path) or left_over:
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(self._real_path + suffix)

    def _drop(self) -> None:
        if self._pid != getpid():
            self._abandon()
        connection, self._connection, self._pid = self._connection, None, 0
        if connection is not None:
            connection.close()

    def _abandon(self) -> None:
        """Keep another process's connection from being used or closed here: either harms its owner.

        https://www.sqlite.org/howtocorrupt.html, section 2.6
        """
        if self._connection is not None:
            _abandoned.append(self._connection)
            self._connection = None

    def _pause(self) -> bool:
        if not self._lock.acquire(timeout=_FORK_WAIT_SECONDS):
            return False
        self._drop()
        return True


def _identity(path: str) -> FileIdentity | None:
    try:
        return stat(path)[1:3]  # the fields st_ino and st_dev, in one step: this runs at each look-up
    except FileNotFoundError:
        return None


def _create(path: str) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except FileExistsError:
        return False
    # Closing any handle of a file ends all POSIX locks that this process holds on it: harmless for a file that
    # nobody can have opened yet, and the reason why no other handle of it is ever opened beside SQLite's.
    os.close(handle)
    return True


def _connect(path: str, busy_seconds: float) -> sqlite3.Connection:
    # mode=rw: SQLite itself would make a missing file with the umask's mode.
    uri = f"file:{quote(os.fsencode(path))}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False)


@contextmanager
def _directory_lock(directory: str, deadline: float) -> Iterator[None]:
    """Let one opener in at a time, of all threads and processes: of two that create or clean up, one harms the other.

    The directory is locked, not the file, for the reason given in ``_create``.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        # flock can wait, but not up to a deadline.
        lock = partial(fcntl.flock, handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        repeat_while_busy(lock, lambda error: isinstance(error, BlockingIOError), deadline)
        yield
    finally:
        os.close(handle)


# SQLite counts the locks of a file once for each process, in memory. A child that inherits the count believes
# that it holds locks which only its parent holds: the parent's last close then removes the -wal under it, and
# logouts written there are lost. So every connection is closed before a fork, and both sides open new ones.
# A fork made by foreign code without Python's hooks is met by the look at the process id.
_guarded: weakref.WeakSet[GuardedConnection] = weakref.WeakSet()
_abandoned: list[sqlite3.Connection] = []
_forking = threading.local()


def _before_fork() -> None:
    _forking.paused = [guarded for guarded in list(_guarded) if guarded._pause()]


def _after_fork_in_parent() -> None:
    for guarded in _forking.paused:
        guarded._lock.release()


def _after_fork_in_child() -> None:
    for guarded in list(_guarded):
        guarded._lock = guarded._new_lock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
