"""A site built like Clef's own sample for Flask, over HTTP: its button, its callback, its kinds of webhook.

What ``data-custom`` does in a browser is in test_server_browser_pages.py; published clients, in test_server_clients.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

import pytest
import webtest
from bs4 import BeautifulSoup
from support.delivery import QUICK, eventually, log_out, serving
from support.login_server import Browser, Server, Site
from support.services import served

from clef_wsgi.server.database.schema import deliveries

PACE = replace(QUICK, ask_seconds=0.5)
PAGE = """<!DOCTYPE html><title>Sample</title>
<button class="clef-button" data-app-id="{app_id}" data-redirect-url="{url}/login" data-state="{state}"
data-custom="true">Log in</button>
<script src="{server}/v3/clef.js"></script>"""
STATE = "a-state-of-this-session"

Environ = dict[str, Any]


class Sample:
    """Users by their Clef id, sessions with the moment of their login, and the moment of each user's logout.

    ``webhook`` handles a notification: it returns a status line and headers, and calls ``ask`` when it likes.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._moments = iter(range(1, 1_000))
        self.sessions: dict[str, tuple[int, int]] = {}
        self.logged_out_at: dict[int, int] = {}
        self.secret_at_webhook = ""
        self.notifications: list[str] = []
        self.webhook: Callable[[Sample, str], str] = asks_and_answers

    def make(self, url: str) -> Any:
        self.url = url
        self.site: Site = self._server.add_site(
            "Sample", callback=f"{url}/login", webhooks=[f"{url}/logout"], allow_private=True
        )
        self.secret_at_webhook = self.site.secret
        return self

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        views = {"/": self._page, "/login": self._login, "/logout": self._logout, "/me": self._me}
        status, headers, body = views[environ["PATH_INFO"]](environ)
        start_response(status, [("Content-Type", "text/html"), *headers])
        return [body.encode()]

    def _page(self, _: Environ) -> tuple[str, list[tuple[str, str]], str]:
        known = {"app_id": self.site.app_id, "url": self.url, "state": STATE, "server": self._server.origin}
        return "200 OK", [], PAGE.format(**known)

    def _login(self, environ: Environ) -> tuple[str, list[tuple[str, str]], str]:
        given = parse_qs(environ["QUERY_STRING"])
        assert given["state"] == [STATE]
        code = {"code": given["code"][0], **self.site.credentials}
        token = self._call("authorize", code)["access_token"]
        with urlopen(f"{self._server.origin}/api/v1/info?access_token={token}") as answer:
            clef_id = json.load(answer)["info"]["id"]
        name = f"s{len(self.sessions)}"
        self.sessions[name] = (clef_id, next(self._moments))
        return "302 Found", [("Location", f"{self.url}/me"), ("Set-Cookie", f"session={name}")], ""

    def _logout(self, environ: Environ) -> tuple[str, list[tuple[str, str]], str]:
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        self.notifications.append(form["logout_token"][0])
        status = self.webhook(self, form["logout_token"][0])
        return status, [("Location", f"{self.url}/")] if status.startswith("302") else [], "bye"

    def _me(self, environ: Environ) -> tuple[str, list[tuple[str, str]], str]:
        session = self.sessions.get(environ.get("HTTP_COOKIE", "").partition("session=")[2])
        if session is None or session[1] <= self.logged_out_at.get(session[0], 0):
            return "200 OK", [], "nobody"
        return "200 OK", [], f"user {session[0]}"

    def ask(self, token: str) -> None:
        """Whom to log out; nothing happens if that fails, as in the sample."""
        fields = {"logout_token": token, "app_id": self.site.app_id, "app_secret": self.secret_at_webhook}
        answer = self._call("logout", fields)
        if answer["success"]:
            self.logged_out_at[answer["clef_id"]] = next(self._moments)

    def _call(self, name: str, fields: dict[str, str]) -> dict[str, Any]:
        try:
            with urlopen(f"{self._server.origin}/api/v1/{name}", urlencode(fields).encode()) as answer:
                return dict(json.load(answer))
        except HTTPError as error:
            with error:
                return dict(json.load(error))


def asks_and_answers(sample: Sample, token: str) -> str:
    sample.ask(token)
    return "200 OK"


def asks_and_redirects(sample: Sample, token: str) -> str:
    sample.ask(token)
    return "302 Found"


def answers_and_asks_later(sample: Sample, token: str) -> str:
    threading.Timer(0.1, sample.ask, [token]).start()
    return "200 OK"


def answers_alone(sample: Sample, token: str) -> str:
    return "200 OK"


class Visit:
    """Ann at the sample, and at the server in the same browser."""

    def __init__(self, server: Server, sample: Sample) -> None:
        parts = urlsplit(sample.url)
        self.web = webtest.TestApp(sample, extra_environ={"HTTP_HOST": parts.netloc}, lint=False)
        self.at_server: Browser = server.browser(signed_in=server.add_person("Ann"))

    def log_in(self) -> None:
        """By the page's button, whose attributes say where it leads; then back to the callback."""
        button = BeautifulSoup(self.web.get("/").text, "html.parser").button
        assert button is not None
        names = {"app_id": "data-app-id", "redirect_url": "data-redirect-url", "state": "data-state"}
        query = urlencode({name: str(button[attribute]) for name, attribute in names.items()})
        back = urlsplit(self.at_server.location_of_approval(query))
        answer = self.web.get(f"{back.path}?{back.query}", status=302)
        assert urlsplit(answer.headers["Location"]).path == "/me"

    def who(self) -> str:
        return str(self.web.get("/me").text)

    def receipt(self) -> tuple[str, str]:
        """The words and the summary of what became of the logout."""
        found = self.at_server.get("/receipts/states").json
        (line,) = found["lines"]
        return line["words"], found["summary"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Server, Sample]]:
    with serving(tmp_path / "clef.db", pace=PACE) as server, sampled(server) as sample:
        yield server, sample


@contextmanager
def sampled(server: Server) -> Iterator[Sample]:
    sample = Sample(server)
    with served(sample.make):
        yield sample


@pytest.mark.slow
@pytest.mark.parametrize("webhook", [asks_and_answers, asks_and_redirects, answers_and_asks_later])
def test_it_hears(place: tuple[Server, Sample], webhook: Callable[[Sample, str], str]) -> None:
    """One notification ends the login at the site and is confirmed on the receipt; a new login lives on."""
    server, sample = place
    sample.webhook = webhook
    ann = Visit(server, sample)
    ann.log_in()
    assert ann.who().startswith("user ")
    log_out(ann.at_server)
    eventually(lambda: ann.receipt()[1] == "Every site has confirmed it.")
    eventually(lambda: ann.who() == "nobody")
    assert len(sample.notifications) == 1
    again = Visit(server, sample)
    again.log_in()
    assert again.who().startswith("user ")


@pytest.mark.slow
@pytest.mark.parametrize("webhook", [asks_and_answers, asks_and_redirects, answers_and_asks_later])
def test_its_question_fails(place: tuple[Server, Sample], webhook: Callable[[Sample, str], str]) -> None:
    """It answers, but logs nobody out: never confirmed, sent again, and confirmed once the secret is mended."""
    server, sample = place
    sample.webhook, sample.secret_at_webhook = webhook, "of another app"
    ann = Visit(server, sample)
    ann.log_in()
    log_out(ann.at_server)
    eventually(lambda: [row.failure for row in server.rows(deliveries)] == ["not_asked"])
    assert ann.who().startswith("user ")
    assert ann.receipt()[1] == "0 of 1 confirmed"
    sample.secret_at_webhook = sample.site.secret
    eventually(lambda: ann.receipt()[1] == "Every site has confirmed it.")
    eventually(lambda: ann.who() == "nobody")
    assert len(sample.notifications) > 1
    assert len(set(sample.notifications)) == 1, "each try carries the same token"


@pytest.mark.slow
def test_it_never_asks(place: tuple[Server, Sample]) -> None:
    """A page that answers 200 to everything is no webhook: the receipt does not count it as confirmed."""
    server, sample = place
    sample.webhook = answers_alone
    ann = Visit(server, sample)
    ann.log_in()
    log_out(ann.at_server)
    eventually(lambda: len(sample.notifications) > 1)
    assert ann.receipt()[1] == "0 of 1 confirmed"
    assert ann.who().startswith("user ")
