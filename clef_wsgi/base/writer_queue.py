"""Queue writers, up to a deadline: first the threads of this process, then those of other processes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

POLL_SECONDS = 0.001

T = TypeVar("T")


class WriterQueue:
    """A lock that is handed on in the order in which threads came. ``threading.Lock`` lets newcomers go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self, timeout: float = -1) -> bool:
        """Acquire as ``threading.Lock`` does; at once with a timeout of 0, or not at all."""
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            return turn.acquire(timeout=timeout) or self._leave(turn)
        except BaseException:  # the handler of a signal raised it: nobody else would pass this turn on
            if self._leave(turn):
                self.release()
            raise

    def release(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False

    @contextmanager
    def turn(self, seconds: float, refusal: type[Exception]) -> Iterator[float]:
        """Wait for this thread's turn, and give the deadline of :func:`wait_for`."""
        deadline = wait_for(self, seconds, refusal)
        try:
            yield deadline
        finally:
            self.release()

    def _leave(self, turn: threading.Lock) -> bool:
        """Give up waiting. Return True when the turn came at the last moment."""
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
        return True


def wait_for(lock: threading.Lock | WriterQueue, seconds: float, refusal: type[Exception]) -> float:
    """Acquire a lock, and return the deadline: what waits for other processes next has what is left of the time.

    :raises refusal: other threads had it all the time.
    """
    deadline = time.monotonic() + seconds
    if not lock.acquire(timeout=seconds):
        raise refusal
    return deadline


def repeat_while_busy(attempt: Callable[[], T], is_busy: Callable[[Exception], bool], deadline: float) -> T:
    """Return what an attempt returns; until the deadline, repeat one that others keep from succeeding.

    :param is_busy: returns whether an error says so; any other one is raised at once.
    """
    while True:
        try:
            return attempt()
        except Exception as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)  # neither a database nor a file tells anybody that a lock is free


def begin_immediate(connection: sqlite3.Connection, deadline: float) -> None:
    """Begin a write transaction in a SQLite file, waiting for other writers until the deadline.

    SQLite waits in steps that grow to 100 ms: beside a process that writes one record after the other it hardly
    ever gets a turn. So its own waiting is turned off meanwhile, and it is asked every millisecond.

    :raises sqlite3.OperationalError: others had the file all the time.
    """
    # After it SQLite waits again: outside of WAL mode a commit does so for those who read, while no new ones come in.
    with busy_timeout(connection, 0):
        repeat_while_busy(partial(connection.execute, "BEGIN IMMEDIATE"), is_locked, deadline)


@contextmanager
def busy_timeout(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Let SQLite itself wait so long for others, until the end of the ``with`` block."""
    (milliseconds,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {milliseconds}")


def is_locked(error: BaseException) -> bool:
    """Return whether another connection has the SQLite file just now (SQLITE_BUSY)."""
    cause = getattr(error, "orig", error)  # under an error of SQLAlchemy
    # The text: Python 3.10 does not hand out the code.
    return isinstance(cause, sqlite3.OperationalError) and str(cause) == "database is locked"
