"""What a Clef knows, in memory: apps, people, codes, access tokens, logins, and logout tokens.

The rules of the Clef wire protocol, sections 2 to 4, live here as plain calls. This file knows nothing of
HTTP, pages or deliveries.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit, urlunsplit

from clef_wsgi.base import redirect_rules
from clef_wsgi.base.urls import origin_of
from clef_wsgi.providers.clef import token_signature

CODE_LIFETIME = 60.0
"""Seconds in which a code can be exchanged."""

TOKEN_LIFETIME = 600.0
"""Seconds in which an access token can be used."""


class InvalidRedirect(ValueError):
    """The browser must not be sent there. The message is the service's own, and says no more."""

    def __init__(self) -> None:
        super().__init__("Invalid redirect URL.")


class ApiRefused(Exception):
    """An API call is refused with ``status`` and one of the exact strings that old clients know."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in; a test names them by ``first_name``. What is ``None`` is left out."""

    first_name: str
    last_name: str | None = None
    email: str | None = None
    phone_number: str | None = None


@dataclass(frozen=True)
class LocalApp:
    """A site as the Clef knows it.

    :param redirect_url: the only place browsers are sent back to; ``None`` allows every loopback address.
    :param webhook_url: where logouts are reported; ``None``: the ``webhook`` beside the ``callback``.
    """

    app_id: str
    app_secret: str = field(repr=False)
    redirect_url: str | None = None
    webhook_url: str | None = None


@dataclass(frozen=True)
class LoginRequest:
    """A login that a site asked for, checked."""

    app: LocalApp
    redirect_url: str = field(repr=False)
    state: str | None = field(repr=False)


@dataclass(frozen=True)
class Login:
    """A person is logged in at ``site`` (an origin), which hears of a logout at ``webhook_url``."""

    app_id: str
    site: str
    webhook_url: str | None


@dataclass(frozen=True)
class _Grant:
    person: Person
    app: LocalApp
    redirect_url: str
    expires_at: float


class Book:
    """All of it, behind one lock, which is never held while anything is sent."""

    def __init__(self, people: Iterable[Person], clock: Callable[[], float]) -> None:
        self.people = {person.first_name: person for person in people}
        self.apps: dict[str, LocalApp] = {}
        self._clock = clock
        self._lock = threading.Lock()
        self._codes: dict[str, _Grant] = {}
        self._access: dict[str, _Grant] = {}
        self._logins: dict[str, dict[Login, None]] = {}
        self._notices: dict[str, tuple[str, int]] = {}
        self._browsers: dict[str, Person] = {}

    def login_request(self, raw_query: str) -> LoginRequest:
        """Checks what a site sent with the browser. App and address may be there twice: the first counts.

        :raises InvalidRedirect: the app is unknown, an address not allowed, or the state is there twice.
        """
        fields = parse_qs(raw_query, keep_blank_values=True, errors="surrogateescape")
        given = {name: fields.get(name, []) for name in ("app_id", "redirect_url", "state")}
        app = self.apps.get("".join(given["app_id"][:1]))
        if app is None or len(set(given["app_id"])) > 1 or len(given["state"]) > 1:
            raise InvalidRedirect
        redirect_urls = list(map(redirect_rules.escape_query, given["redirect_url"]))
        if not redirect_urls or not all(_may_redirect(app, url) for url in redirect_urls):
            raise InvalidRedirect
        return LoginRequest(app, redirect_urls[0], given["state"][0] if given["state"] else None)

    def issue_code(self, login: LoginRequest, person: Person) -> str:
        """A code for this person and app: single use, :data:`CODE_LIFETIME` seconds."""
        code = secrets.token_hex(16)
        with self._lock:
            self._codes[code] = _Grant(person, login.app, login.redirect_url, self._clock() + CODE_LIFETIME)
        return code

    def authorize(self, app_id: str, app_secret: str, code: str, logout_hook: str | None) -> str:
        """Exchanges a code for an access token; from here on the person is logged in at that site.

        :raises ApiRefused: nothing is consumed then, a code that expired or is another app's included.
        """
        app = self.checked_app(app_id, app_secret)
        with self._lock:
            grant = self._codes.get(code)
            if grant is None or grant.app.app_id != app.app_id or grant.expires_at <= self._clock():
                raise ApiRefused(403, "Invalid OAuth Code.")
            if logout_hook is not None and not _on_domain(logout_hook, app, grant.redirect_url):
                raise ApiRefused(400, "Invalid logout hook URL.")
            del self._codes[code]
            self._write_login(grant, logout_hook)
            token = secrets.token_hex(16)
            self._access[token] = grant
            return token

    def _write_login(self, grant: _Grant, logout_hook: str | None) -> None:
        hook = logout_hook or grant.app.webhook_url or _sibling_webhook(grant.redirect_url)
        login = Login(grant.app.app_id, origin_of(grant.redirect_url) or "", hook)
        self._logins.setdefault(grant.person.first_name, {})[login] = None

    def info(self, access_token: str) -> dict[str, str | int]:
        """The person behind an access token.

        :raises ApiRefused: unknown, or older than :data:`TOKEN_LIFETIME` seconds.
        """
        with self._lock:
            grant = self._access.get(access_token)
        if grant is None or grant.expires_at - CODE_LIFETIME + TOKEN_LIFETIME <= self._clock():
            raise ApiRefused(403, "Invalid token.")
        known = {name: value for name, value in vars(grant.person).items() if value is not None}
        return {"id": clef_id(grant.person, grant.app.app_id), **known}

    def checked_app(self, app_id: str, app_secret: str) -> LocalApp:
        """The app that proves itself with its secret.

        :raises ApiRefused: it does not.
        """
        app = self.apps.get(app_id)
        if app is None:
            raise ApiRefused(403, "Invalid App ID.")
        if not hmac.compare_digest(app.app_secret.encode(), app_secret.encode(errors="replace")):
            raise ApiRefused(403, "Invalid App Secret.")
        return app

    def logins(self, person: Person) -> list[Login]:
        """Where a person is logged in, oldest first."""
        with self._lock:
            return list(self._logins.get(person.first_name, ()))

    def end_logins(self, person: Person) -> list[Login]:
        """Ends all that a person started: browsers, codes under way, and the logins, which it returns."""
        with self._lock:
            self._codes = {code: grant for code, grant in self._codes.items() if grant.person != person}
            self._browsers = {key: owner for key, owner in self._browsers.items() if owner != person}
            return list(self._logins.pop(person.first_name, ()))

    def issue_notice(self, person: Person, app_id: str) -> str:
        """A logout token, signed; it works until :meth:`drop_notice`, as often as the app asks."""
        body = secrets.token_urlsafe(24)
        token = f"{body}.{token_signature(body, self.apps[app_id].app_secret)}"
        with self._lock:
            self._notices[token] = (app_id, clef_id(person, app_id))
        return token

    def read_notice(self, app_id: str, app_secret: str, token: str) -> int:
        """Who logged out, as the app's own id of them.

        :raises ApiRefused: the token is unknown, dropped, or of another app.
        """
        app = self.checked_app(app_id, app_secret)
        with self._lock:
            owner, user_id = self._notices.get(token, ("", 0))
        if owner != app.app_id:
            raise ApiRefused(400, "Invalid Logout Token.")
        return user_id

    def drop_notice(self, token: str) -> None:
        """The delivery is confirmed: its token ends."""
        with self._lock:
            self._notices.pop(token, None)

    def remember_browser(self, person: Person) -> str:
        """A cookie's value that stands for this person in one browser."""
        key = secrets.token_hex(16)
        with self._lock:
            self._browsers[key] = person
        return key

    def browser_of(self, key: str) -> Person | None:
        """Who signed in in the browser with this cookie, if anybody."""
        with self._lock:
            return self._browsers.get(key)


def clef_id(person: Person, app_id: str) -> int:
    """The app's own number for a person, always the same: in [2^30, 2^31), since old columns hold 32 bits."""
    digest = hashlib.sha256(f"{app_id}\0{person.first_name}".encode()).digest()
    return 2**30 + int.from_bytes(digest[:8], "big") % 2**30


def _may_redirect(app: LocalApp, url: str) -> bool:
    """Apply the wire protocol's rules; an app without a redirect URL may use every loopback address."""
    known = [url] if app.redirect_url is None and redirect_rules.is_loopback_url(url) else [app.redirect_url or ""]
    return redirect_rules.is_allowed(url, known)


def _on_domain(logout_hook: str, app: LocalApp, redirect_url: str) -> bool:
    return redirect_rules.is_on_domain(logout_hook, [app.redirect_url or redirect_url, app.webhook_url or redirect_url])


def _sibling_webhook(redirect_url: str) -> str | None:
    """Return the webhook next to a callback: the last segment of the path changed; None for other paths."""
    parts = urlsplit(redirect_url)
    folder, _, last = parts.path.rpartition("/")
    return urlunsplit((parts.scheme, parts.netloc, folder + "/webhook", "", "")) if last == "callback" else None
