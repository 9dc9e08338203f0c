"""A site behind OIDCProvider over real HTTP, in this process or in gunicorn's, and people who log in there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

import clef_wsgi
from clef_wsgi.demo.processes import find_example
from support.openid import ANN, Browser, Client, OpenIDProvider, form_of, leads_to
from support.ports import await_listening, free_port
from support.programs import python_path
from support.services import served, waiting_until

SECRET = "a secret for tests alone, 32 bytes or more"
CLIENT_SECRET = "client-secret-for-tests-of-32-bytes"
CSP = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"
IN_TIME_SECONDS = 10.0
"""Time limit for a site to receive a logout."""


def pages(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """``/whoami`` as JSON with the process that answers; every other page greets, and has the fitting button."""
    user, login = environ["clef.user"], environ["clef.login"]
    if environ["PATH_INFO"] == "/whoami":
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"user": user, "pid": os.getpid()}).encode()]
    button = login.sign_out_button("/bye") if user else login.button("/account")
    name = user.get("first_name") or "member" if user else "visitor"
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", CSP)]
    start_response("200 OK", headers)
    return [f"<!doctype html><title>Site</title><h1>Hello, {name}.</h1>{button}".encode()]


@dataclass(frozen=True)
class Site:
    """The site at ``url``, which ``provider`` knows."""

    url: str
    provider: OpenIDProvider

    def start_login(self, browser: Browser, path: str = "/account") -> str:
        """The provider's address that a page for members leads to."""
        url = leads_to(browser.get(self.url + path, within=self.url))
        assert url is not None
        return url

    def log_in(self, browser: Browser, person: str = ANN, path: str = "/account") -> requests.Response:
        """From a page for members over the provider to where the site sends the browser then."""
        back = self.provider.approve(browser, self.start_login(browser, path), person)
        assert back.startswith(f"{self.url}/clef/callback?"), back
        return browser.get(back, within=self.url)

    def whoami(self, browser: Browser) -> dict[str, Any]:
        answer = browser.ask("GET", f"{self.url}/whoami")
        assert answer.status_code == 200, answer.text
        seen: dict[str, Any] = answer.json()
        return seen

    def user(self, browser: Browser) -> dict[str, Any] | None:
        """``clef.user`` of this browser."""
        user: dict[str, Any] | None = self.whoami(browser)["user"]
        return user

    def is_in(self, browser: Browser) -> bool:
        """Tell whether the page for members opens."""
        return browser.ask("GET", f"{self.url}/account").status_code == 200

    def sign_out(self, browser: Browser) -> requests.Response:
        """Press the button of the front page; return the answer, or the address outside the site that it leads to."""
        address, fields = form_of(browser.get(self.url + "/", within=self.url))
        return browser.post(address, fields, within=self.url)

    def await_logout(self, browser: Browser) -> None:
        """:raises TimeoutError: the browser is still logged in after :data:`IN_TIME_SECONDS`."""
        waiting_until(lambda: self.user(browser) is None, lambda: f"{self.url} has not heard", IN_TIME_SECONDS)


def options_of(provider: OpenIDProvider, client: Client, **more: Any) -> dict[str, Any]:
    """The arguments of ``OIDCProvider`` for a site that the provider knows as ``client``."""
    return {
        "issuer": provider.issuer,
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "timeout_seconds": 10.0,  # a busy machine is not what is tested
        **more,
    }


@contextmanager
def site(
    provider: OpenIDProvider,
    *,
    secret: str | None = CLIENT_SECRET,
    algorithm: str = "RS256",
    public_key: Mapping[str, Any] | None = None,
    app: Callable[..., Iterable[bytes]] = pages,
    logout_store: clef_wsgi.LogoutStore | None = None,
    **options: Any,
) -> Iterator[Site]:
    """Yield a site with a store of its own, registered at the provider.

    :param options: those of ``OIDCProvider``, beside the client's own.
    """

    def make(url: str) -> Any:
        client = Client(url, f"site-{url.rpartition(':')[2]}", secret, algorithm, public_key)
        provider.add(client)
        return clef_wsgi.wrap(
            app,
            provider=clef_wsgi.OIDCProvider(**options_of(provider, client, **options)),
            logout_store=logout_store or clef_wsgi.MemoryLogoutStore(),
            base_url=url,
            session={"secret": SECRET, "type": "memory"},
            protect=["/account"],
        )

    with served(make) as url:
        yield Site(url, provider)


# -- processes of their own ---------------------------------------------------------------------------------


def settings_of(provider: OpenIDProvider, port: int) -> dict[str, str]:
    """Register a site on this port, and return its settings as environment variables."""
    url = f"http://localhost:{port}"
    client = Client(url, f"site-{port}", CLIENT_SECRET)
    provider.add(client)
    return {
        "CLEF_WSGI_BASE_URL": url,
        "CLEF_WSGI_PROVIDER": "oidc",
        "CLEF_WSGI_PROVIDER__ISSUER": provider.issuer,
        "CLEF_WSGI_PROVIDER__CLIENT_ID": client.client_id,
        "CLEF_WSGI_PROVIDER__CLIENT_SECRET": CLIENT_SECRET,
        "CLEF_WSGI_SESSION__SECRET": SECRET,
    }


@contextmanager
def example(provider: OpenIDProvider, name: str, folder: Path) -> Iterator[Site]:
    """An example as ``python EXAMPLE.py`` runs it, with settings alone."""
    port = free_port()
    program = find_example().with_name(f"{name}.py")
    with _running([str(program)], port, settings_of(provider, port) | {"DATA_DIR": str(folder)}, folder):
        yield Site(f"http://localhost:{port}", provider)


def app_from_environ() -> Any:
    """The site as settings in the environment describe it."""
    return clef_wsgi.from_settings(pages, clef_wsgi.settings_from_environ(os.environ))


@contextmanager
def workers(provider: OpenIDProvider, folder: Path, redis_url: str, *, count: int) -> Iterator[Site]:
    """The site under gunicorn, with ``count`` workers that were forked after the app was made; all is in Redis."""
    port = free_port()
    settings = {
        **settings_of(provider, port),
        "CLEF_WSGI_STORE": "redis",
        "CLEF_WSGI_STORE__URL": redis_url,
        "CLEF_WSGI_PROTECT": "/account",
        "CLEF_WSGI_SESSION__TYPE": "ext:redis",
        "CLEF_WSGI_SESSION__URL": redis_url,
    }
    options = ["--preload", f"--workers={count}", f"--bind=127.0.0.1:{port}", "--log-level=warning"]
    with _running(["-m", "gunicorn", *options, "support.oidc_site:app_from_environ()"], port, settings, folder):
        yield Site(f"http://localhost:{port}", provider)


@contextmanager
def _running(command: list[str], port: int, settings: Mapping[str, str], folder: Path) -> Iterator[None]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLEF_WSGI_")}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", *command],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        env={**inherited, **settings, "PYTHONPATH": python_path()},
    )
    try:
        await_listening(port, is_alive=lambda: process.poll() is None)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)
