"""A site as one server with several worker processes, each of which says in every answer which one it is.

gunicorn imports this file as its app. The store is made, and used, before gunicorn forks its workers.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPMessage
from pathlib import Path
from typing import Any

import clef_wsgi
from clef_wsgi import (
    CachedLogoutStore,
    LogoutStore,
    MemoryLogoutStore,
    RedisLogoutStore,
    SQLAlchemyLogoutStore,
    SQLiteLogoutStore,
)
from support.programs import python_path

PATIENCE_SECONDS = 30.0
SETTINGS = "CLEF_TEST_WORKERS"
PID_HEADER = "X-Process"


def make_app() -> Callable[..., Iterable[bytes]]:
    from support.app import SECRET, FakeProvider

    settings = json.loads(os.environ[SETTINGS])
    store = make_store(**settings["store"])
    store.newest_logout([])
    app = clef_wsgi.wrap(
        whoami,
        provider=FakeProvider(),
        logout_store=store,
        base_url=settings["base_url"],
        session={"secret": SECRET, "type": "file", "data_dir": settings["sessions"]},
    )

    def signed(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, (PID_HEADER, str(os.getpid()))], *more)

        return app(environ, start)

    return signed


def make_store(
    url: str, prefix: str, max_staleness: float | None, clock: Callable[[], float] = time.time
) -> LogoutStore:
    """The store at an address; ``memory:`` and ``file:PATH`` are those that take a clock."""
    store: LogoutStore
    limits = {"connect_timeout_seconds": 5.0, "read_timeout_seconds": 5.0}
    if url == "memory:":
        store = MemoryLogoutStore(clock=clock)
    elif url.startswith("file:"):
        store = SQLiteLogoutStore(url.removeprefix("file:"), clock=clock)
    elif url.startswith("redis:"):
        store = RedisLogoutStore(url, prefix=prefix, **limits)
    else:
        store = SQLAlchemyLogoutStore(url, table_prefix=prefix, **limits)
    return store if max_staleness is None else CachedLogoutStore(store, max_staleness)


def whoami(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [(environ["clef.user"] or {"id": "nobody"})["id"].encode()]


class Workers:
    """The server as seen from outside. Each request is a connection of its own, so any worker may take it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cookie = ""

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str, HTTPMessage]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        headers = {"Cookie": self.cookie, "Accept": "text/html"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            if response.headers["Set-Cookie"]:
                self.cookie = response.headers["Set-Cookie"].partition(";")[0]
            return response.status, response.read().decode(), response.headers
        finally:
            connection.close()

    def look(self) -> tuple[int, str]:
        """The process that answered, and whom it saw."""
        status, seen, headers = self.ask("GET", "/")
        assert status == 200, seen
        return int(headers[PID_HEADER]), seen


@contextmanager
def workers(directory: Path, count: int, **store: Any) -> Iterator[Workers]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        settings = {"store": store, "base_url": f"http://localhost:{port}", "sessions": str(directory)}
        options = ["--preload", f"--workers={count}", f"--bind=fd://{listener.fileno()}", "--log-level=warning"]
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "support.gunicorn_workers:make_app()"],
            pass_fds=[listener.fileno()],
            cwd=directory,
            env={**os.environ, SETTINGS: json.dumps(settings), "PYTHONPATH": python_path()},
        )
        try:
            site = Workers(port)
            _wait(site, process)
            yield site
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_SECONDS)


def _wait(site: Workers, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "gunicorn ended"
        with suppress(OSError, HTTPException):
            site.look()
            return
    raise AssertionError("gunicorn did not answer")
