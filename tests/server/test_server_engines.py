"""The main user journeys in Chromium, Firefox and WebKit: log in, log out everywhere, press Back.

Row 108: what holds in one engine holds in all. Sites behind the real middleware, and the real server, over loopback.
WebKitGTK has no passkeys: there a session that exists already is put into the browser.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from support.browser_engines import ENGINES, Engine, engine
from support.certificates import self_signed
from support.chromium import Place, running_server, site
from support.login_server import Server
from support.passkeys import link
from support.services import served

from clef_wsgi.server.records import sessions
from clef_wsgi.server.records.enrolments import INVITE
from clef_wsgi.server.records.people import Person

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:setting remote_server_addr:DeprecationWarning"),  # selenium's own, for WebKitGTK
]

SECRET_PAGE = "the album of Ann"
PROBLEM = "return document.querySelector('#problem').textContent"
FOREIGN_COOKIES = (
    'prefs={"theme":"dark","list":[1,2]}',
    "cart[items][0]=7",
    "a word without a value",
    "caf\u00e9=cr\u00e8me \U0001f370",
    'stray="quote',
    "=nameless",
)


def album(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """A protected page, a page that looks itself who asks, a front page, and a page that anybody may see."""
    login, user = environ["clef.login"], environ["clef.user"]
    if environ["PATH_INFO"] == "/album" or (environ["PATH_INFO"] == "/own" and user):
        body = f"<h1>{SECRET_PAGE}</h1>{login.sign_out_button('/free')}"
    elif environ["PATH_INFO"] == "/free":
        body = "<h1>A free page</h1>"
    elif environ["PATH_INFO"] == "/own":
        body = "<p>Please log in"
    else:
        body = f"<p>Hello, {user['first_name']}</p>" if user else login.button("/album")
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [f"<!doctype html><html lang=en><title>Photos</title><body>{body}".encode()]


class WithoutFetchMetadata:
    """An app as browsers of 2022 ask it: no ``Sec-Fetch-*``. It counts the forms that said ``Origin: null``."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.null_origins = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        for name in [name for name in environ if name.startswith("HTTP_SEC_FETCH_")]:
            del environ[name]
        self.null_origins += environ.get("HTTP_ORIGIN") == "null"
        return self.app(environ, start_response)


@dataclass
class Stage:
    """A browser, a server and two sites."""

    browser: Engine
    server: Server
    photos: Place
    wiki: Place

    def enter(self, name: str = "Ann") -> Person:
        """A new person, with a session in this browser."""
        person = self.server.add_person(name)
        with self.server.database.writing() as connection:
            token = sessions.start(connection, person_id=person.id, passkey_id=None, now=self.server.clock())
        self.browser.open(self.server.origin + "/static/key.svg")
        self.browser.driver.delete_all_cookies()  # of localhost, whatever the port
        port = self.server.origin.rpartition(":")[2]
        self.browser.driver.add_cookie({"name": f"clef-session-{port}", "value": token, "path": "/", "httpOnly": True})
        return person

    def log_in(self, place: Place) -> None:
        """At a site, by its button and one click."""
        self.browser.open(place.url)
        self.browser.press("a.clef-login")
        self.approve(place.url)

    def approve(self, start: str) -> None:
        self.browser.press("form[action^='/iframes/approve'] button")
        self.browser.until(lambda: self.browser.url.startswith(start), f"arrival at {start}")

    def open_secret(self) -> None:
        """The page that Back must not show. WebKit's driver loses a page that Back leads to another origin from."""
        self.browser.open(f"{self.photos.url}/{'own' if self.browser.name == 'webkit' else 'album'}")
        assert SECRET_PAGE in self.browser.text

    def log_out_elsewhere(self, person: Person) -> None:
        """Log out everywhere in another browser; return when all sites have confirmed."""
        other = self.server.browser(signed_in=person)
        token = other.form_token("/")
        answer = other.post("/log-out", {"token": token}, headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_int == 303, answer.text

        def all_done() -> bool:
            states = other.get("/receipts/states").json
            return bool(states["lines"]) and all(line["mark"] == "done" for line in states["lines"])

        self.browser.until(all_done, "receipts")


@pytest.fixture(scope="module", params=ENGINES)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        server = stack.enter_context(running_server(tmp_path_factory.mktemp("server"), deliver=True))
        # https, as in real life: WebKit heeds no-store there alone
        tls = self_signed(tmp_path_factory.mktemp("tls")).context
        photos, wiki = (
            stack.enter_context(site(server, name, album, tls=tls, protect=["/album"], signed_in_cache="no-store"))
            for name in ("Photos", "Wiki")
        )
        browser = stack.enter_context(engine(request.param))
        yield Stage(browser, server, photos, wiki)


def test_a_passkey_signs_in(stage: Stage) -> None:
    """Row 108: an invitation, a passkey, a login with it; without passkeys the page says so before any press."""
    if stage.browser.name == "webkit":
        stage.browser.open(stage.server.origin)
        stage.browser.until(lambda: "passkey" in stage.browser.run(PROBLEM), "the sentence on passkeys")
        assert stage.browser.run("return document.querySelector('#sign-in button').disabled")
        return
    stage.browser.driver.add_authenticator()
    ann = stage.server.add_person("Ann")
    stage.browser.open(f"{stage.server.origin}/enrol#{link(stage.server, ann, INVITE)}")
    stage.browser.press("#enrol button")
    stage.browser.wait("form[action='/log-out']")
    stage.browser.press("form[action='/log-out'] button")
    stage.browser.open(stage.server.origin)
    stage.browser.press("#sign-in button")
    stage.browser.wait("form[action='/log-out']")
    assert "Ann" in stage.browser.text


def test_the_columns_of_the_account_page_begin_together(stage: Stage) -> None:
    """On a wide screen the cards stand in columns, and the first of each begins at the same height."""
    stage.enter()
    stage.browser.open(stage.server.origin)
    tops = stage.browser.run(
        "const first = {};"
        "for (const card of document.querySelectorAll('.cards > *')) {"
        "  const box = card.getBoundingClientRect();"
        "  if (!box.height) continue;"
        "  const left = Math.round(box.left);"
        "  first[left] = Math.min(first[left] ?? Infinity, Math.round(box.top));"
        "}"
        "return Object.values(first);"
    )
    assert len(tops) == 2
    assert len(set(tops)) == 1, tops


def test_log_out_everywhere_and_receipts(stage: Stage) -> None:
    """Row 108: two sites, one button: each site confirms, and each has let go."""
    stage.enter()
    for place in (stage.photos, stage.wiki):
        stage.log_in(place)
        assert SECRET_PAGE in stage.browser.text
    stage.browser.open(stage.server.origin)
    stage.browser.press("form[action='/log-out'] button")
    stage.browser.until(
        lambda: (
            stage.browser.run("return [...document.querySelectorAll('#receipts .row')].map(r => r.dataset.mark)")
            == ["done", "done"]
        ),
        "two receipts",
    )
    for place in (stage.photos, stage.wiki):
        stage.browser.open(place.url)
        assert "Log in" in stage.browser.text


def test_back_after_logging_out_here(stage: Stage) -> None:
    """Rows 81 and 108: the page is gone with the login; Back leads to the login, not to the last person's page."""
    stage.enter()
    stage.log_in(stage.photos)
    stage.open_secret()
    stage.browser.press("form.clef-logout button")
    stage.browser.until(lambda: "A free page" in stage.browser.text, "the free page")
    stage.browser.back()
    assert SECRET_PAGE not in stage.browser.text


def test_back_after_a_logout_elsewhere(stage: Stage) -> None:
    """Rows 81 and 108: the same when the logout came from another device."""
    ann = stage.enter()
    stage.log_in(stage.photos)
    stage.open_secret()
    stage.log_out_elsewhere(ann)
    stage.browser.open(f"{stage.photos.url}/free")
    stage.browser.back()
    assert SECRET_PAGE not in stage.browser.text


def test_foreign_cookies_keep_nobody_out(stage: Stage) -> None:
    """Rows 72 and 108: whatever cookies another program has put before ours, a person signs in and stays signed in."""
    stage.enter()
    stage.browser.open(f"{stage.photos.url}/free")
    for cookie in FOREIGN_COOKIES:
        stage.browser.run("document.cookie = arguments[0] + '; path=/'", cookie)
    stage.log_in(stage.photos)
    stage.browser.open(f"{stage.photos.url}/album")
    assert SECRET_PAGE in stage.browser.text


def test_forms_without_fetch_metadata(stage: Stage) -> None:
    """Rows 105 and 108: a browser that sends no ``Sec-Fetch-Site`` says with each form of ours where it comes from."""
    stage.enter()
    inner = stage.server.app.wsgi_app
    guarded, site_app = WithoutFetchMetadata(inner), stage.photos.app
    stage.server.app.wsgi_app = guarded  # type: ignore[method-assign]
    stage.photos.app = at_site = WithoutFetchMetadata(site_app)
    try:
        stage.log_in(stage.photos)
        assert SECRET_PAGE in stage.browser.text
        stage.browser.press("form.clef-logout button")
        stage.browser.until(lambda: "A free page" in stage.browser.text, "the free page")
        stage.browser.open(stage.photos.url + "/clef/logout")  # the middleware's own page, as far as it has a form
        stage.browser.open(stage.server.origin)
        stage.browser.press("form[action='/log-out'] button")
        stage.browser.wait("#receipts")
    finally:
        stage.server.app.wsgi_app = inner  # type: ignore[method-assign]
        stage.photos.app = site_app
    assert guarded.null_origins == at_site.null_origins == 0


def test_continue_to_a_site_that_redirects_on(stage: Stage) -> None:
    """Rows 106 and 108: a callback that redirects to another origin: the browser arrives."""

    def farther(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<!doctype html><p>Arrived"]

    with served(lambda url: farther) as goal:

        def callback(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("302 Found", [("Location", goal + "/"), ("Content-Length", "0")])
            return []

        with served(lambda url: callback) as url:
            old = stage.server.add_site("Old site", callback=f"{url}/cb", webhooks=[])
            stage.enter()
            stage.browser.open(f"{stage.server.origin}/iframes/qr?{old.ask(state='s')}")
            stage.approve(goal)
            stage.browser.until(lambda: "Arrived" in stage.browser.text, "the other origin's page")
