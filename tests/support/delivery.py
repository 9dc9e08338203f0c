"""Shared helpers of the delivery tests: waiting, a worker at their own pace, and sites on the real middleware.

with Sites(server) as sites:
    photos = sites.add("Photos")
    browser = photos.browser()
    browser.sign_in(person)
    assert browser.user()
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import webtest

import clef_wsgi
from clef_wsgi.server import Limits
from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.delivery.slots import Pace
from clef_wsgi.server.delivery.worker import Worker
from clef_wsgi.server.web.support.context import KEY
from support.login_server import Browser, FakeClock, Server, Site, make_server
from support.services import served

PATIENCE_SECONDS = 60.0
QUICK = Pace(call_seconds=5.0, lease_seconds=8.0, poll_seconds=0.05)

Environ = dict[str, Any]


def eventually(holds: Callable[[], Any], what: str = "") -> Any:
    """Wait until ``holds`` returns something true, and return that."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (found := holds()):
        assert time.monotonic() < until, f"it never came about: {what or holds}"
        threading.Event().wait(0.01)
    return found


@contextmanager
def working(server: Server, *, pace: Pace = QUICK, database: Any = None, **options: Any) -> Iterator[Worker]:
    """A worker on a server's database, ended afterwards."""
    worker = Worker(database or server.database, server.clock, user_agent="Clef/1.0 (test)", pace=pace, **options)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(PATIENCE_SECONDS)


class RealClock(FakeClock):
    """The system's time, moved on by as much as a test says."""

    def __init__(self) -> None:
        super().__init__(0)

    def __call__(self) -> int:
        return system_clock() + self.now


@contextmanager
def serving(database: str | Path, *, pace: Pace = QUICK) -> Iterator[Server]:
    """A server over HTTP that delivers at ``pace``. Its worker starts at the first request or logout."""
    made: list[Server] = []

    def make_app(url: str) -> Any:
        server = make_server(database, origin=url, clock=RealClock(), limits=Limits(sign_in=10_000))
        shared = server.app.extensions[KEY]
        worker = Worker(server.database, server.clock, user_agent=f"Clef/1.0 ({url})", pace=pace)
        server.app.extensions[KEY] = replace(shared, worker=worker, deliver=True)
        made.append(server)
        return server.app

    with served(make_app):
        (server,) = made
        try:
            yield server
        finally:
            stop_delivering(server)
            server.close()


def stop_delivering(server: Server) -> None:
    """Until the next logout or login."""
    server.app.extensions[KEY].worker.stop(PATIENCE_SECONDS)


def whoami(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    user = environ["clef.user"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(user["id"]).encode() if user else b""]


class RealSite:
    """A site behind the real middleware, over HTTP. The test decides what happens to notifications on their way in.

    ``mood`` is asked for each notification, by number from 0: ``heard`` lets it through, ``lost`` lets it through
    and answers 500 all the same, a number is a status without the site hearing anything, an event is waited for.
    """

    def __init__(self, server: Server, name: str, store: clef_wsgi.MemoryLogoutStore, stack: ExitStack) -> None:
        self._server = server
        self.mood: Callable[[int], Any] = lambda number: "heard"
        self.tokens: list[bytes] = []
        self.arrived = threading.Semaphore(0)
        self._store, self._name = store, name
        self.url = stack.enter_context(served(self._make))

    def _make(self, url: str) -> Any:
        self.site: Site = self._server.add_site(
            self._name, callback=f"{url}/clef/callback", webhooks=[f"{url}/clef/webhook"], allow_private=True
        )
        self._app = clef_wsgi.wrap(
            whoami,
            provider=clef_wsgi.ClefProvider(
                app_id=self.site.app_id, app_secret=self.site.secret, server_url=self._server.origin
            ),
            logout_store=self._store,
            base_url=url,
            session={"secret": "a secret of the site, 32 bytes long", "type": "memory"},
        )
        return self._listen

    def _listen(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/clef/webhook":
            return self._app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        number = len(self.tokens)
        self.tokens.append(body)
        self.arrived.release()
        mood = self.mood(number)
        if isinstance(mood, threading.Event):
            mood.wait(PATIENCE_SECONDS)
        elif isinstance(mood, int):
            start_response(f"{mood} Trouble", [("Content-Length", "0")])
            return []
        heard = self._hear(environ, body)
        if mood == "lost":
            start_response("500 Lost", [("Content-Length", "0")])
            return []
        start_response(f"{heard} Heard", [("Content-Length", "0")])
        return []

    def _hear(self, environ: Environ, body: bytes) -> int:
        """Pass the notification to the middleware and return the status of its answer."""
        status: list[str] = []

        def start_response(said: str, *_: Any) -> Any:
            status.append(said)

        for _ in self._app({**environ, "wsgi.input": io.BytesIO(body)}, start_response):
            pass
        return int(status[0][:3])

    def browser(self) -> SiteBrowser:
        return SiteBrowser(self, self._app)


class SiteBrowser:
    """One browser at a site."""

    def __init__(self, site: RealSite, app: Any) -> None:
        parts = urlsplit(site.url)
        environ = {"HTTP_HOST": parts.netloc, "wsgi.url_scheme": parts.scheme}
        self._web = webtest.TestApp(app, extra_environ=environ)

    def sign_in(self, at_server: Browser) -> None:
        """The whole way, in which the person says yes."""
        self.come_back(at_server.location_of_approval(self.start()))

    def start(self) -> str:
        """The query with which the site sends the browser to the server."""
        return str(urlsplit(self._web.get("/clef/login?next=/", status=303).headers["Location"]).query)

    def come_back(self, location: str) -> webtest.TestResponse:
        parts = urlsplit(location)
        return self._web.get(f"{parts.path}?{parts.query}", expect_errors=True)

    def user(self) -> str:
        """Return the person signed in at the site; empty for nobody."""
        return str(self._web.get("/").text)


class Sites:
    """Real sites of one server, all ended together."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stack = ExitStack()

    def __enter__(self) -> Sites:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, name: str) -> RealSite:
        return RealSite(self._server, name, clef_wsgi.MemoryLogoutStore(), self._stack)


def log_out(browser: Browser) -> None:
    """The big button."""
    answer = browser.submit(browser.get("/"))
    assert answer.status_int == 303, answer.text
