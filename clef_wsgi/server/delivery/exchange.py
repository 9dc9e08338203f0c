"""One call under one deadline: it runs in a thread of its own, and the deadline cuts its connections.

A socket's own time-out starts anew with every byte, and none covers the look-up of a name. Every address is
looked at in the moment when it is connected to. Knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Generic, TypeVar

from clef_wsgi.server.delivery.address import is_public, parsed

THREAD_NAME = "clef call"
AFTERWARDS_SECONDS = 1.0
"""How long a call may go on for manners, when its result is known."""

T = TypeVar("T")
Tell = Callable[[T], None]
Resolve = Callable[..., list[Any]]


class NoAddress(OSError):
    """The name leads nowhere."""


class AddressRefused(OSError):
    """The name leads into a private network, and nowhere else."""


class Exchange(Generic[T]):
    """What is done for one result: name look-up, connection, TLS, request, answer.

    One that is over opens no further connection, and those it has are shut down: its thread ends at once, or,
    while the system looks up a name (which can't be interrupted), as soon as that returns.

    :param seconds: for all of it together.
    :param allow_private: whether it may connect to addresses that are not public.
    :param resolve: as ``socket.getaddrinfo``.
    """

    def __init__(self, seconds: float, *, allow_private: bool, resolve: Resolve = socket.getaddrinfo) -> None:
        self._deadline = time.monotonic() + seconds
        self._allow_private = allow_private
        self._resolve = resolve
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self._over = False
        self.connected = False

    def run(self, work: Callable[[Tell[T]], None]) -> T:
        """What ``work`` told, by calling what it is given; it may go on for a moment after that.

        :raises TimeoutError: the deadline came first.
        :raises OSError: the system has no thread to give.
        :raises Exception: whatever ``work`` raised before it told anything.
        """
        outcome: Future[T] = Future()
        thread = threading.Thread(target=_work, args=(work, outcome), name=THREAD_NAME, daemon=True)
        _start(thread)
        try:
            result = outcome.result(self._seconds_left())
            thread.join(AFTERWARDS_SECONDS)
            return result
        except FutureTimeout:
            raise TimeoutError from None  # before Python 3.11 these are two classes
        finally:
            self._end()

    def open_socket(self, host: str, port: int) -> socket.socket:
        """A connection to the first address of ``host`` that may be connected to, and answers.

        :raises AddressRefused: all of them are private.
        :raises NoAddress: there is none.
        """
        found = self._addresses(host, port)
        allowed = [entry for entry in found if self._allow_private or is_public(parsed(entry[4][0]))]
        if not allowed:
            raise AddressRefused if found else NoAddress
        failure = OSError()
        for number, (family, kind, protocol, _, address) in enumerate(allowed):
            sock = socket.socket(family, kind, protocol)
            try:
                self._watch(sock, 1 / (len(allowed) - number))  # one that swallows everything leaves time for the next
                sock.connect(address)
                self.connected = True
                sock.settimeout(self._seconds_left())
                return sock
            except OSError as error:
                sock.close()
                failure = error
        raise failure

    def _addresses(self, host: str, port: int) -> list[Any]:
        try:
            return self._resolve(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            raise NoAddress from error

    def _seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _watch(self, sock: socket.socket, share: float) -> None:
        with self._lock:
            seconds = self._seconds_left() * share
            if self._over or not seconds:
                raise TimeoutError
            sock.settimeout(seconds)
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


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError("no thread") from error


def _work(work: Callable[[Tell[T]], None], outcome: Future[T]) -> None:
    try:
        work(outcome.set_result)
    except BaseException as error:  # noqa: BLE001  whatever it is, it belongs to the caller, in run()
        if not outcome.done():
            outcome.set_exception(error)
