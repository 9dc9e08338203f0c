"""Loopback peers that misbehave on purpose, on raw sockets: they send exact bytes, drip, hang, flood or redirect.

A peer's script is one callable for each connection, the last one for all that follow.

    with Peer(says(answer(b"{}")), hangs()) as peer:
        ...  # ask peer.url
    assert peer.requests[0].headers["host"] == peer.netloc
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Request:
    """A request to a peer: ``headers`` have lowercase names; ``query`` and ``form`` hold lists."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode("ascii"))


class Talk:
    """One connection, as a script sees it."""

    def __init__(self, sock: socket.socket, over: threading.Event) -> None:
        self.sock = sock
        self.over = over
        """Set when the test is over."""
        self.sent = 0

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)
        self.sent += len(data)

    def wait_for_end(self) -> None:
        """Read until the other side closes, in whatever way."""
        with contextlib.suppress(OSError):
            while self.sock.recv(4096):
                pass


Script = Callable[[Talk], None]


class Peer:
    """A TCP server on 127.0.0.1, one thread a connection.

    :param scripts: what to do after a request was read, one for each connection.
    :param tls: a server context; connections then start with TLS.
    :param reads: False starts a script at once, before a request is read.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, reads: bool = True) -> None:
        self.requests: list[Request] = []
        self.talks: list[Talk] = []
        self.connections = 0
        self.ended = threading.Semaphore(0)
        """Released each time a connection has ended: acquire it with a time-out to see that one did."""
        self._scripts, self._tls, self._reads = scripts, tls, reads
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port: int = self._listener.getsockname()[1]
        self.netloc = f"localhost:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.netloc}"

    def __enter__(self) -> Peer:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for talk in self.talks:
            with contextlib.suppress(OSError):
                talk.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "a peer's thread did not end"

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name="peer", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, sock, self._scripts[min(self.connections, len(self._scripts)) - 1])

    def _serve(self, sock: socket.socket, script: Script) -> None:
        # A test's assertions look at what was received and sent; a broken connection is what many of them want.
        with contextlib.suppress(OSError), self._wrapped(sock) as wrapped:
            talk = Talk(wrapped, self._over)
            self.talks.append(talk)
            if self._reads:
                self.requests.append(read_request(wrapped))
            script(talk)
        self.ended.release()

    @contextlib.contextmanager
    def _wrapped(self, sock: socket.socket) -> Iterator[socket.socket]:
        with sock:
            sock.settimeout(PATIENCE_SECONDS)
            if self._tls is None:
                yield sock
            else:
                with self._tls.wrap_socket(sock, server_side=True) as wrapped:
                    yield wrapped


def read_request(sock: socket.socket) -> Request:
    """One request with a ``Content-Length`` or without a body."""
    with sock.makefile("rb") as stream:
        first = stream.readline().decode("latin-1")
        if not first.endswith("\n"):
            raise ConnectionError("the other side left before it asked")
        method, target, _ = first.split(" ", 2)
        headers = {}
        while (line := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Request(method, target, headers, stream.read(int(headers.get("content-length", "0"))))


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """The bytes of a well-formed answer; header names are given with ``_`` for ``-``."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def json_answer(document: object, status: str = "200 OK", **headers: str) -> bytes:
    """The same, with ``document`` as JSON."""
    return answer(json.dumps(document).encode(), status, Content_Type="application/json", **headers)


def says(data: bytes) -> Script:
    """Send exactly this, then close."""
    return lambda talk: talk.send(data)


def hangs() -> Script:
    """Send nothing, and wait for the other side to close."""
    return Talk.wait_for_end


def drips(data: bytes, *, first: bytes = b"", every_seconds: float = 0.02) -> Script:
    """Send ``first`` at once, then ``data`` one byte at a time, over and over, until patience ends."""

    def script(talk: Talk) -> None:
        talk.send(first)
        until = time.monotonic() + PATIENCE_SECONDS
        for byte in itertools.cycle(data):
            talk.send(bytes([byte]))
            if talk.over.wait(every_seconds) or time.monotonic() > until:
                return

    return script


def floods(first: bytes, chunk: bytes, total_bytes: int) -> Script:
    """Send ``first``, then ``chunk`` again and again, made as it goes, until ``total_bytes`` or the end."""

    def script(talk: Talk) -> None:
        talk.send(first)
        while talk.sent < total_bytes:
            talk.send(chunk)

    return script
