"""One exchange under one deadline: it runs in a thread of its own, and the deadline cuts its connections.

A socket's own time-out starts anew with every byte, and none covers the look-up of a name: a peer that drips
a byte a second would hold such a caller for ever. This file knows nothing of JSON, of logins, or of which
addresses may be asked.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

THREAD_NAME = "clef_wsgi exchange"

T = TypeVar("T")

_here = threading.local()
"""``exchange``: the one that this thread was started for. urllib3 makes its connections itself, and so has
to find it from inside."""


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


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _open(self)


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _open(self)


def _open(connection: HTTPConnection) -> socket.socket:
    exchange: Exchange = _here.exchange
    host, port = connection._dns_host, connection.port or 0
    return exchange.open_socket(_resolvable(host), port, connection.socket_options or ())


def _resolvable(host: str) -> str:
    # RFC 6761, section 6.3: these names are this machine. No name server may say where they are: plain http
    # is allowed to them.
    name = host.lower().rstrip(".")
    return "localhost" if name.endswith(".localhost") else host.strip("[]")


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class DeadlineAdapter(HTTPAdapter):
    """A requests adapter whose connections end with their exchange. It works inside ``Exchange.run`` only."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _is_not_ours(_record: logging.LogRecord) -> bool:
    return not hasattr(_here, "exchange")


# urllib3 logs each URL at DEBUG, and at WARNING together with what a peer sent in bad headers: in our
# threads the one may hold a token, and the other is foreign text.
for _name in ("connection", "connectionpool", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_is_not_ours)
