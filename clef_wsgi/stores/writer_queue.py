"""Queue writers: first the threads of this process, then those of other processes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque

POLL_SECONDS = 0.001


class WriterQueue:
    """A lock that is handed on in the order in which threads came. ``threading.Lock`` lets newcomers go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire as ``threading.Lock`` does."""
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return True
            if not blocking:
                return False
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        return turn.acquire(timeout=timeout) or self._leave(turn)

    def release(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False

    def _leave(self, turn: threading.Lock) -> bool:
        """Give up waiting. Return True when the turn came at the last moment."""
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
        return True


def begin_immediate(connection: sqlite3.Connection, deadline: float) -> None:
    """Begin a write transaction in a SQLite file, waiting for other writers until the deadline.

    SQLite waits in steps that grow to 100 ms: beside a process that writes one record after the other it hardly
    ever gets a turn. So its own waiting is turned off, and it is asked every millisecond.

    :raises sqlite3.OperationalError: others had the file all the time.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    while not _try_to_begin(connection, deadline):
        time.sleep(POLL_SECONDS)  # SQLite tells nobody when it is free


def is_locked(error: BaseException | None) -> bool:
    """Return whether another connection has the SQLite file just now (SQLITE_BUSY)."""
    # The text: Python 3.10 does not hand out the code.
    return isinstance(error, sqlite3.OperationalError) and str(error) == "database is locked"


def _try_to_begin(connection: sqlite3.Connection, deadline: float) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if not is_locked(error) or time.monotonic() > deadline:
            raise
        return False
    return True
