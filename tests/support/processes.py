"""A site as several real processes, and browsers that talk to them over HTTP.

The test listens on loopback ports, and hands the sockets to waitress processes: so no port is guessed, nobody
waits for a start, and a process that was killed can be replaced behind the same address. Run as a program, this
file is such a process.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

import clef_wsgi
from support.programs import python_path

PATIENCE_SECONDS = 30.0
SECRET = "a secret that all processes share, 32 bytes"
OWN_COOKIE = "own"

Environ = dict[str, Any]


# -- the site -----------------------------------------------------------------------------------------------


def whoami(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with what the app sees. ``/keep?a=1`` writes into both sessions first, ``/slow?a=1`` after a while."""
    login, beaker = environ["clef.login"], environ["beaker.session"]
    own = own_session(environ, login.id)
    loaded = {name: value for name, value in beaker.items() if not name.startswith(("_", "clef."))}
    if environ["PATH_INFO"] == "/slow":
        threading.Event().wait(0.02)  # a page that takes its time
    if environ["PATH_INFO"] in ("/keep", "/slow"):
        written = dict(parse_qsl(environ["QUERY_STRING"]))
        beaker.update(written)
        beaker.save()
        own.update(written)
    user = environ["clef.user"]
    seen = {"user": user and user["id"], "session": {**loaded}, "own": own, "pid": os.getpid()}
    cookie = f"{OWN_COOKIE}={json.dumps(own).encode().hex()}; Path=/"
    start_response("200 OK", [("Content-Type", "application/json"), ("Set-Cookie", cookie)])
    return [json.dumps(seen).encode()]


def own_session(environ: Environ, login_id: str | None) -> dict[str, Any]:
    """An app's session of its own, after the recipe: it remembers whose it is, and is cleared when that changed."""
    cookie = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(OWN_COOKIE)
    own: dict[str, Any] = json.loads(bytes.fromhex(cookie.value)) if cookie else {}
    return own if own.get("login_id") == login_id else {"login_id": login_id}


def serve(descriptor: int, settings: Mapping[str, Any]) -> None:
    """One process of the site, until it is ended, or until the test that started it is gone."""
    import waitress

    app = clef_wsgi.wrap(
        whoami,
        provider=clef_wsgi.ClefProvider(**settings["provider"]),
        logout_store=clef_wsgi.SQLiteLogoutStore(settings["store"]),
        base_url=settings["base_url"],
        session={"secret": SECRET, "type": "file", "data_dir": settings["sessions"]},
    )

    def as_one_of_several(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        return app({**environ, "wsgi.multiprocess": True}, start_response)

    threading.Thread(target=end_with_parent, daemon=True).start()
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    listener = socket.socket(fileno=descriptor)
    waitress.create_server(as_one_of_several, sockets=[listener], threads=8).run()


def end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


class Processes:
    """The site's processes, as a context manager: one SQLite store, one directory of sessions, one public address.

    :param provider: the arguments of ``ClefProvider``.
    """

    def __init__(self, directory: Path, *, count: int = 2, provider: Callable[[str], Mapping[str, Any]]) -> None:
        self._listeners = [socket.create_server(("127.0.0.1", 0), backlog=128) for _ in range(count)]
        self.ports = [listener.getsockname()[1] for listener in self._listeners]
        self.base_url = f"http://localhost:{self.ports[0]}"
        self._settings = {
            "provider": provider(self.base_url),
            "store": str(directory / "logouts.db"),
            "sessions": str(directory / "sessions"),
            "base_url": self.base_url,
        }
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        with ExitStack() as undo:
            undo.callback(self.close)
            for number in range(len(self.ports)):
                self.start(number)
            self._wait_until_served()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for number in list(self._running):
            self.kill(number)
        for listener in self._listeners:
            listener.close()

    def start(self, number: int) -> None:
        """Start a process; requests wait at its socket until it takes them."""
        listener = self._listeners[number]
        self._running[number] = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno()), json.dumps(self._settings)],
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": python_path(),
            },
        )

    def _wait_until_served(self) -> None:
        with closing(HTTPWire(self.ports)) as wire:
            for number in range(len(self.ports)):
                assert wire.ask(number, "/", {}).status == 200

    def kill(self, number: int) -> None:
        """SIGKILL: the process gets no chance to write anything more."""
        process = self._running.pop(number)
        process.kill()
        process.communicate(timeout=PATIENCE_SECONDS)


# -- browsers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """``status`` is 0 when the process died meanwhile; ``place`` names the process, where that is known."""

    status: int
    location: str | None
    body: bytes
    cookies: Mapping[str, str]
    place: int | None = None

    @property
    def json(self) -> Any:
        assert self.status == 200, f"{self.status}: {self.body.decode(errors='replace')[:300]}"
        return json.loads(self.body)


class Approves(Protocol):
    """The part of a provider that a browser needs."""

    def approve(self, login_url: str, person: str) -> str: ...


class Wire:
    """One thread's way to the processes."""

    def close(self) -> None:
        raise NotImplementedError

    def ask(self, number: int, path: str, cookies: Mapping[str, str], form: Mapping[str, str] | None = None) -> Answer:
        self.send(number, path, cookies, form)
        return self.receive(number)

    def send(self, number: int, path: str, cookies: Mapping[str, str], form: Mapping[str, str] | None = None) -> None:
        """Send a request without waiting: another process may be asked before :meth:`receive`."""
        raise NotImplementedError

    def receive(self, number: int) -> Answer:
        raise NotImplementedError


class HTTPWire(Wire):
    """Keeps one connection to each process."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._connections: dict[int, HTTPConnection] = {}

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def send(self, number: int, path: str, cookies: Mapping[str, str], form: Mapping[str, str] | None = None) -> None:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), "Accept": "text/html"}
        body = None
        if form is not None:
            body = urlencode(form)
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        if number not in self._connections:
            self._connections[number] = HTTPConnection("127.0.0.1", self._ports[number], timeout=PATIENCE_SECONDS)
        self._connections[number].request("GET" if form is None else "POST", path, body, headers)

    def receive(self, number: int) -> Answer:
        response = self._connections[number].getresponse()
        found = cookies_of(response.headers.get_all("Set-Cookie") or ())
        return Answer(response.status, response.headers["Location"], response.read(), found)


def cookies_of(headers: Iterable[str]) -> dict[str, str]:
    """Return the cookies that ``Set-Cookie`` headers set, ready to be sent back."""
    return {name: morsel.coded_value for header in headers for name, morsel in SimpleCookie(header).items()}


class Browser:
    """One browser with its cookies. Each request says which process takes it."""

    def __init__(self, wire: Wire, cookies: Mapping[str, str] | None = None) -> None:
        self.wire = wire
        self.cookies = dict(cookies or {})

    def get(self, number: int, path: str) -> Answer:
        return self._keep(self.wire.ask(number, path, self.cookies))

    def post(self, number: int, path: str, **form: str) -> Answer:
        return self._keep(self.wire.ask(number, path, self.cookies, form))

    def user(self, number: int) -> Any:
        return self.get(number, "/").json["user"]

    def sign_in(self, clef: Approves, person: str, *, start_at: int = 0, finish_at: int = 0) -> Answer:
        """The whole way of a login; the answer is the callback's."""
        return self.come_back(self.approve(clef, person, start_at), finish_at)

    def approve(self, clef: Approves, person: str, start_at: int) -> str:
        """Start a login, approve it and return the address to which the provider sends the browser back."""
        started = self.get(start_at, "/clef/login?next=/")
        assert started.status == 303, started
        return clef.approve(str(started.location), person)

    def come_back(self, callback_url: str, finish_at: int) -> Answer:
        parts = urlsplit(callback_url)
        return self.get(finish_at, f"{parts.path}?{parts.query}")

    def _keep(self, answer: Answer) -> Answer:
        self.cookies.update(answer.cookies)
        return answer


if __name__ == "__main__":
    serve(int(sys.argv[1]), json.loads(sys.argv[2]))
