"""Run one exchange with a peer under one deadline, which cuts the connections of its thread.

A socket's own time-out starts anew with every byte, and none covers the look-up of a name: a peer that drips a byte a
second would hold its caller for ever.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Generic, TypeVar

THREAD_NAME = "clef_wsgi exchange"
AFTERWARDS_SECONDS = 1.0
"""Longest wait for the worker thread to finish after the result is settled."""

T = TypeVar("T")
Resolve = Callable[..., list[Any]]

_here = threading.local()
"""``exchange``: the one that this thread was started for."""


class NoAddress(OSError):
    """The host name has no address."""


class AddressRefused(OSError):
    """The host name has addresses, and ``may_connect`` refuses all of them (SSRF)."""


class Exchange(Generic[T]):
    """Everything done for one result: name look-up, connection, TLS, request, answer.

    An exchange that is over opens no further connection, and those it has are shut down: its thread ends at once, or,
    while the system looks up a name (which can't be interrupted), as soon as that returns.

    :param seconds: for all of it together.
    :param may_connect: asked with each IP address, as text, just before it is connected to; without it all may be.
    :param resolve: instead of ``socket.getaddrinfo``.
    """

    def __init__(
        self,
        seconds: float,
        *,
        may_connect: Callable[[str], bool] = lambda address: True,
        resolve: Resolve | None = None,
    ) -> None:
        self._deadline = time.monotonic() + seconds
        self._may_connect = may_connect
        self._resolve = resolve or socket.getaddrinfo
        self._outcome: Future[T] = Future()
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self._over = False
        self.connected = False

    def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, or what it settled before.

        :raises TimeoutError: the deadline came first.
        :raises OSError: the system has no thread to give.
        :raises Exception: whatever ``work`` raised before its result was settled.
        """
        thread = threading.Thread(target=self._work, args=(work,), name=THREAD_NAME, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError("no thread") from error
        try:
            result = self._outcome.result(self._seconds_left())
            thread.join(AFTERWARDS_SECONDS)
            return result
        except FutureTimeout:
            raise TimeoutError from None  # before Python 3.11 these are two classes
        finally:
            self._end()

    def settle(self, result: T) -> None:
        """Fix the result while the work goes on: its caller waits a moment longer, and ignores what it raises."""
        self._outcome.set_result(result)

    def open_socket(self, host: str, port: int, options: Iterable[tuple[Any, ...]] = ()) -> socket.socket:
        """Connect to the first address of ``host`` that may be connected to, and answers.

        :param options: arguments of ``socket.setsockopt``.
        :raises AddressRefused: none of its addresses may be connected to.
        :raises NoAddress: it has none.
        """
        found = self._addresses(host, port)
        allowed = [entry for entry in found if self._may_connect(entry[4][0])]
        failure: OSError = AddressRefused() if found else NoAddress()
        for number, (family, kind, protocol, _, address) in enumerate(allowed):
            sock = socket.socket(family, kind, protocol)
            try:
                self._watch(sock, 1 / (len(allowed) - number))  # one that swallows everything leaves time for the next
                for option in options:
                    sock.setsockopt(*option)
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

    def _work(self, work: Callable[[], T]) -> None:
        _here.exchange = self
        try:
            result = work()
            if not self._outcome.done():
                self._outcome.set_result(result)
        except BaseException as error:  # noqa: BLE001  whatever it is, it belongs to the caller, in run()
            if not self._outcome.done():
                self._outcome.set_exception(error)

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


def current() -> Exchange[Any] | None:
    """Return the exchange that this thread was started for: an HTTP library that connects by itself finds it here."""
    return getattr(_here, "exchange", None)
