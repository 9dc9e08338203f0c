"""The server over real HTTP, and a Chromium with passkeys of its own, for tests and for pictures."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clef_wsgi import ClefProvider, MemoryLogoutStore, wrap
from clef_wsgi.server import create_app
from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.options import Limits
from clef_wsgi.server.records.enrolments import INVITE
from clef_wsgi.server.records.people import Person
from clef_wsgi.server.web.support.context import KEY
from support.login_server import FakeClock, Server
from support.passkeys import link
from support.services import chromium, served, waiting

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement


class Stage:
    """A place on the web for whatever site a test puts there. Outlives the browser, which keeps connections open."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app: Any = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self.app(environ, start_response)


@dataclass
class Page:
    """A browser page with the actions of a person."""

    driver: Chrome
    server: Server
    stage: Stage

    def open(self, path: str) -> None:
        """A page of the server; a link with another fragment is loaded anew."""
        self.driver.get("about:blank")
        self.driver.get(path if "://" in path else self.server.origin + path)

    def enrol(self, person: Person, purpose: str = INVITE) -> None:
        """Follow a new invitation, and make the passkey."""
        self.open(f"/enrol#{link(self.server, person, purpose)}")
        self.wait("#enrol:not([hidden])")
        self.press("#enrol button")
        self.wait("form[action='/log-out']")

    def press(self, selector: str) -> None:
        self.find(selector).click()

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def wait(self, selector: str) -> WebElement:
        """Until there is such an element, and it is seen."""
        found: WebElement = self.until(lambda: self._seen(selector), selector)
        return found

    def wait_for_url(self, start: str) -> str:
        return str(self.until(lambda: self.driver.current_url.startswith(start) and self.driver.current_url, start))

    def problem(self) -> str:
        """Wait for the page's error message and return it."""
        return str(self.wait("#problem:not(:empty)").text)

    def until(self, found: Any, what: str, *, seconds: float = 20) -> Any:
        wait = waiting(self.driver, seconds)
        return wait.until(lambda _: found(), f"{what} on {self.driver.current_url}: {self.driver.page_source[-1500:]}")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def set_size(self, width: int, height: int = 844, *, scale: float = 1, scheme: str = "light") -> None:
        """The screen: in CSS pixels; ``scale`` is the zoom."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def complaints(self) -> list[str]:
        """Return the console's policy violations and script errors."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        quiet = ("Failed to load resource",)  # an answer of 403 is one
        return [entry["message"] for entry in entries if not any(each in entry["message"] for each in quiet)]

    def _seen(self, selector: str) -> WebElement | None:
        found = self.driver.find_elements("css selector", selector)
        return found[0] if found and found[0].is_displayed() else None


@contextlib.contextmanager
def running_server(folder: Path, **options: Any) -> Iterator[Server]:
    """Yield a server on localhost. It delivers no notifications unless ``deliver`` says so."""
    apps = []
    options = {"deliver": False, **options}

    def make(origin: str) -> Any:
        limits = Limits(sign_in=10_000, enrolment=10_000, account=10_000)
        apps.append((create_app(origin=origin, database=folder / "clef.db", limits=limits, **options), origin))
        return apps[0][0]

    with served(make):
        server = Server(*_with_clock(*apps[0]))
        yield server
        server.app.extensions[KEY].worker.stop()
        server.close()


@contextlib.contextmanager
def open_page(folder: Path, **options: Any) -> Iterator[Page]:
    """A server, a stage, and a browser whose device verifies its owner without asking.

    :param options: the server's.
    """
    stages = []

    def set_up(url: str) -> Stage:
        stages.append(Stage(url))
        return stages[0]

    with served(set_up), running_server(folder, **options) as server, chromium() as driver:
        add_device(driver)
        yield Page(driver, server, stages[0])


def add_device(driver: Chrome) -> None:
    """Put a new virtual authenticator without passkeys into the browser."""
    from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

    options = VirtualAuthenticatorOptions(
        protocol="ctap2",
        transport="internal",
        has_resident_key=True,
        has_user_verification=True,
        is_user_verified=True,
        is_user_consenting=True,
    )
    driver.add_virtual_authenticator(options)


class Place:
    """A site on the web, which says who is signed in. While it is ``down`` its webhook answers 500."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app: Any = None
        self.down = False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if self.down and environ["PATH_INFO"] == "/clef/webhook":
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return []
        return self.app(environ, start_response)


def greeting(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    user = environ["clef.user"]
    body = f"<p>Hello, {user['first_name']}</p>" if user else environ["clef.login"].button("/")
    start_response("200 OK", [("Content-Type", "text/html")])
    return [f"<!doctype html><body>{body}".encode()]


@contextlib.contextmanager
def site(
    server: Server, name: str, app: Any = greeting, *, tls: ssl.SSLContext | None = None, **options: Any
) -> Iterator[Place]:
    """A site behind the real middleware, over loopback.

    :param tls: makes it an https site; the server calls its webhook over plain http all the same.
    :param options: the middleware's.
    """
    places: list[Place] = []

    def set_up(url: str) -> Place:
        places.append(Place(url))
        return places[0]

    with served(set_up, tls) as url, served(lambda _: places[0]) as plain_url:
        known = server.add_site(
            name, callback=f"{url}/clef/callback", webhooks=[f"{plain_url}/clef/webhook"], allow_private=True
        )
        places[0].app = wrap(
            app,
            provider=ClefProvider(app_id=known.app_id, app_secret=known.secret, server_url=server.origin),
            logout_store=MemoryLogoutStore(),
            base_url=url,
            session={"secret": "a secret for tests alone, 32 bytes or more", "type": "memory"},
            **options,
        )
        yield places[0]


def _with_clock(app: Any, origin: str) -> tuple[Any, FakeClock, str]:
    return app, FakeClock(system_clock()), origin
