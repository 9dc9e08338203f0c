"""Three Clef servers behind one interface for tests: requests and answers are plain text, as on the wire.

A Wire asks each of them for a page and approves a login there. The tests judge the answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import webtest

from clef_wsgi.server import Limits
from clef_wsgi.server.database.schema import deliveries
from clef_wsgi.testing import LocalClef
from clef_wsgi.testing.local_clef import Person
from support.login_server import CALLBACK, SAME_ORIGIN, WEBHOOK, FakeClock, Site, make_server

FORM = "application/x-www-form-urlencoded"
LOCAL_CALLBACK = "http://localhost:8499/clef/callback"
LOCAL_WEBHOOK = "http://localhost:8499/clef/webhook"
PROFILE = {
    "first_name": "Ann",
    "last_name": "Archer",
    "email": "ann@example.com",
    "phone_number": "+44 20 7946 0101",
}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer. The names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def location(self) -> str:
        """The address that the browser is led to: by a redirect, or by a page."""
        assert self.status in (200, 303), (self.status, self.text)
        return self.headers["location"] if self.status == 303 else self.headers["refresh"].removeprefix("0; url=")


class Wire(Protocol):
    """A Clef with two sites, and Ann, who is about to say yes. ``Cleo`` has a first name and nothing else."""

    site: Site
    other: Site

    def call(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Any request, without cookies."""

    def page(self, query: str, path: str = "/iframes/qr") -> Answer:
        """Return the page shown to a browser that a site sent here."""

    def say_yes(self, query: str, *, person: str = "Ann") -> Answer:
        """The POST of that page's form, whether or not the page would be shown."""

    def log_out(self) -> None:
        """Ann logs out everywhere."""

    def logout_token(self) -> str:
        """A logout token for ``site``, about Ann, after she logged out."""

    def advance(self, seconds: float) -> None:
        """Time passes."""


class ServerWire:
    """The self-hosted server, by WSGI."""

    def __init__(self, database: str | Path, callback: str, webhook: str) -> None:
        limits = Limits(sign_in=10_000, refused_calls=10_000, refused_calls_of_an_app=10_000)
        self._server = make_server(database, limits=limits)
        self._webhook = webhook
        self.site = self._server.add_site("Photos", callback=callback, webhooks=[webhook])
        self.other = self._server.add_site("Wiki")
        self._people = {"Ann": self._server.add_person(**PROFILE), "Cleo": self._server.add_person("Cleo")}
        self._browsers = {name: self._server.browser(signed_in=person) for name, person in self._people.items()}

    def call(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        asked = self._server.browser().web.request(
            target,
            method=method,
            body=body,
            headers={"Host": "login.example.com", "Content-Type": FORM, **(headers or {})},
            expect_errors=True,
        )
        return _answer(asked)

    def page(self, query: str, path: str = "/iframes/qr") -> Answer:
        return _answer(self._browsers["Ann"].get(f"{path}?{query}"))

    def say_yes(self, query: str, *, person: str = "Ann") -> Answer:
        browser = self._browsers[person]
        token = re.search(r'name="token" value="([^"]*)"', browser.get("/").text)
        assert token is not None
        return _answer(browser.post(f"/iframes/approve?{query}", {"token": token[1]}, headers=SAME_ORIGIN))

    def log_out(self) -> None:
        browser = self._browsers["Ann"]
        assert browser.submit(browser.get("/")).status_int == 303
        self._browsers["Ann"] = self._server.browser(signed_in=self._people["Ann"])

    def logout_token(self) -> str:
        self.log_out()
        ours = (deliveries.c.app_id == self.site.app_id, deliveries.c.webhook_url == self._webhook)
        (row,) = self._server.rows(deliveries, *ours)
        return str(row.token)

    def advance(self, seconds: float) -> None:
        self._server.clock.advance(seconds)

    def close(self) -> None:
        self._server.close()


class LocalWire:
    """The Clef of the test kit, by WSGI."""

    def __init__(self, clef: LocalClef, clock: FakeClock) -> None:
        self._clef = clef
        self._clock = clock
        self._web = webtest.TestApp(clef)
        self.site = Site(clef.app_id, clef.app_secret, LOCAL_CALLBACK)
        other = clef.add_app("http://localhost:8498")
        self.other = Site(other.app_id, other.app_secret, "http://localhost:8498/clef/callback")

    def call(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        given = {"Host": "localhost", "Content-Type": FORM, **(headers or {})}
        return _answer(self._web.request(target, method=method, body=body, headers=given, expect_errors=True))

    def page(self, query: str, path: str = "/iframes/qr") -> Answer:
        return self.call("GET", f"{path}?{query}")

    def say_yes(self, query: str, *, person: str = "Ann") -> Answer:
        return self.call("POST", f"/approve?{query}", urlencode({"person": person}).encode(), SAME_ORIGIN)

    def log_out(self) -> None:
        self._clef.log_out_everywhere("Ann")

    def logout_token(self) -> str:
        return self._clef.logout_token("Ann")

    def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)


@contextmanager
def server_wire(database: str | Path, callback: str = CALLBACK, webhook: str = WEBHOOK) -> Iterator[Wire]:
    """The server on a database of one's own; ``callback`` and ``webhook`` are those of its first site."""
    wire = ServerWire(database, callback, webhook)
    try:
        yield wire
    finally:
        wire.close()


@contextmanager
def local_wire() -> Iterator[Wire]:
    """``LocalClef`` without a socket. Its sites are not there: no notification arrives."""
    clock = FakeClock()
    people = [Person(**PROFILE), Person("Cleo")]
    clef = LocalClef(site_url="http://localhost:8499", people=people, clock=lambda: clock.now / 1_000_000)
    yield LocalWire(clef, clock)


def form_of(page: Answer) -> str:
    """The address to which the page's one form is sent."""
    found = re.search(r'<form method="post" action="([^"]*)"', page.text)
    assert found is not None, page.text
    return unescape(found[1])


def _answer(found: webtest.TestResponse) -> Answer:
    return Answer(found.status_int, {name.lower(): value for name, value in found.headers.items()}, found.body)
