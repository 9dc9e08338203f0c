"""One exchange under one deadline: it runs in a thread of its own, and the deadline cuts its connections.

A socket's own time-out starts anew with every byte, and none covers the look-up of a name: a peer that drips
a byte a second would hold such a caller for ever. This file knows nothing of JSON, of logins, or of which
addresses may be asked.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

THREAD_NAME = "clef_wsgi exchange"

T = TypeVar("T")

_here = threading.local()
"""``exchange``: the one that this thread was started for."""


class Exchange:
    """Everything that is done for one answer: name look-up, connection, TLS, request, headers, body.

    An exchange that is over opens no further connection, and those it has are shut down: its thread ends at
    once, or, while the system looks up a name (which can't be interrupted), as soon as that returns.
    """

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self._over = False

    def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises.

        :raises TimeoutError: the deadline came first.
        :raises OSError: the system has no thread to give.
        """
        outcome: Future[T] = Future()
        self._start(work, outcome)
        try:
            return outcome.result(self._seconds_left())
        except FutureTimeout:
            raise TimeoutError from None  # before Python 3.11 these are two classes
        finally:
            self._end()

    def open_socket(self, host: str, port: int, options: Iterable[tuple[Any, ...]]) -> socket.socket:
        """The first connection to ``host`` that succeeds, however many addresses the name has."""
        failure = OSError("the name has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            try:
                self._watch(sock)
                for option in options:
                    sock.setsockopt(*option)
                sock.connect(address)
                return sock
            except OSError as error:
                sock.close()
                failure = error
        raise failure

    def _start(self, work: Callable[[], T], outcome: Future[T]) -> None:
        thread = threading.Thread(target=self._run, args=(work, outcome), name=THREAD_NAME, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError("no thread") from error

    def _run(self, work: Callable[[], T], outcome: Future[T]) -> None:
        _here.exchange = self
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001  whatever it is, it belongs to the caller, in run()
            outcome.set_exception(error)

    def _seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _watch(self, sock: socket.socket) -> None:
        with self._lock:
            if self._over or not self._seconds_left():
                raise TimeoutError
            sock.settimeout(self._seconds_left())
            # A second handle: TLS takes the descriptor away from the socket it wraps.
            self._handles.append(sock.dup())

    def _end(self) -> None:
        with self._lock:
            self._over = True
            handles, self._handles = self._handles, []
        for handle in handles:
            with contextlib.suppress(OSError):  # it never connected, or the peer was first
                handle.shutdown(socket.SHUT_RDWR)
            handle.close()


def current() -> Exchange | None:
    """Return the exchange that this thread was started for. An HTTP library that connects by itself finds it here."""
    return getattr(_here, "exchange", None)
