"""Serve a WSGI application on loopback with the standard library's server: a thread for each connection."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


class _Handler(WSGIRequestHandler):
    """One request on one connection (HTTP/1.0, so that no idle connection keeps a thread)."""

    timeout = 10  # seconds without a byte

    def log_message(self, *args: Any) -> None:
        """Log nothing: a request's line holds codes and tokens."""


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """A threaded server; none of its threads is left after :meth:`hang_up` and ``server_close``."""

    daemon_threads = False  # so that server_close waits for them

    def __init__(self, host: str, port: int, app: Any) -> None:
        self._connections: set[socket.socket] = set()
        self._stopping = False
        self._loop = threading.Thread(target=self._accept, name="LocalClef")
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Bind without HTTPServer's own, which asks DNS for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def start(self) -> None:
        self._loop.start()

    def hang_up(self) -> None:
        """Take no more connections, and cut those that are open."""
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
        """Show bugs alone: a client that went away is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
