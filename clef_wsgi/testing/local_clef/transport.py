"""HTTP on loopback: turns what comes in into a Request and sends the Answer. Knows nothing of Clef."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

from clef_wsgi.testing.local_clef.messages import Answer, Request

MAX_BODY = 64 * 1024
"""Bytes of a request's body that are looked at."""

_VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))


class Handler(BaseHTTPRequestHandler):
    """One request on one connection (HTTP/1.0, so that no idle connection keeps a thread)."""

    server: Server
    timeout = 10  # seconds without a byte
    server_version = "LocalClef"
    sys_version = ""

    def _serve(self) -> None:
        self._send(self.server.answer(self._read()))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815

    def _read(self) -> Request:
        target = quote(self.path.encode("latin-1"), safe=_VISIBLE_ASCII)  # raw UTF-8 becomes %C3%A9
        path, _, raw_query = target.partition("?")
        length = self.headers.get("Content-Length", "")
        # isdecimal alone would let other scripts' digits pass
        size = int(length) if length.isascii() and length.isdecimal() else 0
        body = self.rfile.read(size) if size <= MAX_BODY else b""
        return Request(self.command, path, raw_query, self.headers, body)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, *args: Any) -> None:
        """Nothing: a request's line holds codes and tokens."""


class Server(ThreadingHTTPServer):
    """A thread for each connection, all of them gone after :meth:`hang_up` and ``server_close``."""

    daemon_threads = False  # so that server_close waits for them

    def __init__(self, host: str, port: int, answer: Callable[[Request], Answer]) -> None:
        self.answer = answer
        self._connections: set[socket.socket] = set()
        self._stopping = False
        self._loop = threading.Thread(target=self._accept, name="LocalClef")
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), Handler)

    def server_bind(self) -> None:
        """Without HTTPServer's own, which asks DNS for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def start(self) -> None:
        self._loop.start()

    def hang_up(self) -> None:
        """Takes no more connections, and cuts those that are open."""
        self._stopping = True
        host, port = self.server_address[:2]
        socket.create_connection((str(host), port)).close()  # wakes _accept
        self._loop.join()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # it went away by itself
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stopping:  # serve_forever would look only now and then, and stop that much later
            self.handle_request()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a bug and is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
