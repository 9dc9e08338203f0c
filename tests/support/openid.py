"""Shared parts of the two real OpenID providers: their contract, the people they know, and a browser without scripts.

The providers are in support/oidc_provider/ (npm's oidc-provider) and support/glewlwyd.py (Debian's). Nothing here
imports the package: what it does is judged by providers that know nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

ANN, BO = "ann", "bo"

PEOPLE: Mapping[str, Mapping[str, Any]] = {
    ANN: {
        "name": "Ann Archer",
        "given_name": "Ann",
        "family_name": "Archer",
        "email": "ann@example.org",
        "email_verified": True,
        "groups": ["sailors"],
    },
    BO: {"name": "Bo Baker", "given_name": "Bo", "email": "bo@example.org", "email_verified": False},
}
"""Claims by subject."""

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Client:
    """A site as a provider knows it (OpenID Connect Dynamic Client Registration 1.0, section 2).

    ``algorithm`` signs its ID and logout tokens. With ``public_key``, a JWK, it authenticates by ``private_key_jwt``;
    with neither that nor a secret, not at all.
    """

    base_url: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    algorithm: str = "RS256"
    public_key: Mapping[str, Any] | None = None
    auth_method: str | None = None

    @property
    def redirect_url(self) -> str:
        return f"{self.base_url}/clef/callback"

    @property
    def logout_url(self) -> str:
        """The address to which the browser returns after the provider's own logout."""
        return f"{self.base_url}/clef/logout"

    @property
    def webhook_url(self) -> str:
        """``backchannel_logout_uri`` (Back-Channel Logout 1.0, section 2.2)."""
        return f"{self.base_url}/clef/webhook"

    @property
    def method(self) -> str:
        """``token_endpoint_auth_method``."""
        if self.auth_method is not None:
            return self.auth_method
        if self.public_key is not None:
            return "private_key_jwt"
        return "client_secret_basic" if self.client_secret is not None else "none"


class OpenIDProvider(Protocol):
    """A real provider on loopback, as a context manager."""

    @property
    def issuer(self) -> str: ...

    def add(self, client: Client) -> None:
        """Register a site."""

    def approve(self, browser: Browser, authorization_url: str, person: str) -> str:
        """Log ``person`` in, where they are not yet, and return the address that the browser is sent back to."""

    def log_out(self, browser: Browser) -> None:
        """End the session of this browser, as a person does at the provider."""

    def end_session(self, browser: Browser, end_url: str) -> str:
        """Confirm RP-initiated logout at ``end_url``; return the address that the browser is sent back to."""

    def log_out_everywhere(self, person: str) -> None:
        """End all sessions of a person, as an administrator does."""

    def rotate_keys(self) -> None:
        """Sign with new keys from now on, and publish the old ones no longer."""


class Browser:
    """Somebody's browser without scripts: cookies, redirects and ``Refresh``."""

    def __init__(self) -> None:
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Accept"] = "text/html"

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_error: object) -> None:
        self.http.close()

    def ask(self, method: str, url: str, **request: Any) -> requests.Response:
        """Send one request, and follow nothing."""
        return self.http.request(method, url, allow_redirects=False, timeout=TIMEOUT_SECONDS, **request)

    def get(self, url: str, *, within: str = "") -> requests.Response:
        """Follow redirects and ``Refresh`` from ``url``, as long as they lead to addresses that begin with ``within``.

        :returns: the page, or the redirect that leads elsewhere.
        """
        return self._follow(self.ask("GET", url), within)

    def post(self, url: str, form: Mapping[str, str], *, within: str = "") -> requests.Response:
        """Send a form as a page of the same origin does, and follow on."""
        headers = {"Origin": origin_of(url), "Sec-Fetch-Site": "same-origin"}
        return self._follow(self.ask("POST", url, data=dict(form), headers=headers), within)

    def _follow(self, answer: requests.Response, within: str) -> requests.Response:
        for _ in range(10):
            next_url = leads_to(answer)
            if next_url is None or not next_url.startswith(within):
                return answer
            answer = self.ask("GET", next_url)
        raise AssertionError(f"too many redirects, the last to {answer.url}")


def leads_to(answer: requests.Response) -> str | None:
    """The absolute address of a redirect or of ``Refresh``."""
    if answer.is_redirect:
        return urljoin(answer.url, answer.headers["Location"])
    _, found, url = answer.headers.get("Refresh", "").partition("url=")
    return urljoin(answer.url, url) if found else None


def origin_of(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


def query_of(url: str) -> dict[str, str]:
    """The query of an address, in which no name stands twice."""
    found = parse_qs(urlsplit(url).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in found.values()), url
    return {name: values[0] for name, values in found.items()}


def form_of(page: requests.Response) -> tuple[str, dict[str, str]]:
    """The address and the named fields of a page's only form."""
    [(action, body)] = re.findall(r'<form[^>]* action="([^"]+)"[^>]*>(.*?)</form>', page.text, re.DOTALL)
    fields = {}
    for tag in re.findall(r"<input[^>]*>", body):
        given = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        fields[given["name"]] = given.get("value", "")
    return urljoin(page.url, action), fields
