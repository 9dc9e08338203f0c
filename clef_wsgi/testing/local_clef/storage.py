"""Keep apps, people, codes, access tokens, logins and logout tokens in memory, by the Clef wire protocol's rules."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from clef_wsgi.base import authorization_request
from clef_wsgi.base.urls import origin_of
from clef_wsgi.providers.clef import token_signature
from clef_wsgi.testing.local_clef.records import (
    ApiRefused,
    InvalidRedirect,
    LocalApp,
    Login,
    LoginRequest,
    LogoutToken,
    Person,
)

CODE_LIFETIME = 60.0
"""Seconds in which a code can be exchanged."""

TOKEN_LIFETIME = 600.0
"""Seconds in which an access token can be used, and a logout token still be exchanged once it is confirmed."""


@dataclass
class _Grant:
    person: Person
    login: LoginRequest
    expires_at: float
    access_token: str | None = None


class Storage:
    """All records, behind one lock, which is never held while anything is sent."""

    def __init__(self, people: Iterable[Person], clock: Callable[[], float]) -> None:
        self.people = {person.first_name: person for person in people}
        self.apps: dict[str, LocalApp] = {}
        self._clock = clock
        self._lock = threading.Lock()
        self._codes: dict[str, _Grant] = {}
        self._access: dict[str, _Grant] = {}
        self._logins: dict[str, dict[Login, None]] = {}
        self._logout_tokens: dict[str, LogoutToken] = {}
        self._browsers: dict[str, Person] = {}

    def login_request(self, query: bytes) -> LoginRequest:
        """Check the authorization request in a raw query.

        :raises InvalidRedirect: the request is malformed, its app unknown, or a URL not allowed.
        :raises InvalidChallenge: PKCE is not S256.
        """
        try:
            asked = authorization_request.parse(query)
        except authorization_request.InvalidRequest:
            raise InvalidRedirect from None
        app = self.apps.get(asked.app_id)
        if app is None or not all(map(app.allows, asked.redirect_urls)):
            raise InvalidRedirect
        return LoginRequest(app, asked.redirect_urls[0], asked.state, asked.code_challenge)

    def issue_code(self, login: LoginRequest, person: Person) -> str:
        """Return a code for this person and app: single use, :data:`CODE_LIFETIME` seconds."""
        code = secrets.token_hex(16)
        with self._lock:
            self._codes[code] = _Grant(person, login, self._clock() + CODE_LIFETIME)
        return code

    def authorize(self, app: LocalApp, code: str, webhook: str | None, code_verifier: str | None) -> str:
        """Exchange a code for an access token; from here on the person is logged in at that site.

        A wrong webhook consumes nothing. A second use ends the access token of the first (RFC 6749, section 4.1.2).

        :param webhook: where this login alone is notified of its logout.
        :raises ApiRefused: the webhook is not where the app is, or the code is no good.
        """
        if webhook is not None and not app.allows_webhook(webhook):
            raise ApiRefused(400, "Invalid logout hook URL.")
        with self._lock:
            grant = self._codes.get(code)
            if grant is None or grant.login.app.app_id != app.app_id:
                raise ApiRefused(403, "Invalid OAuth Code.")
            if webhook is not None and not app.allows_webhook(webhook, grant.login.redirect_url):
                raise ApiRefused(400, "Invalid logout hook URL.")
            is_used, token = grant.access_token is not None, secrets.token_hex(16)
            self._access.pop(grant.access_token or "", None)
            grant.access_token = token
            proven = authorization_request.is_proven(grant.login.code_challenge, code_verifier)
            if is_used or grant.expires_at <= self._clock() or not proven:
                raise ApiRefused(403, "Invalid OAuth Code.")
            self._access[token] = _Grant(grant.person, grant.login, self._clock() + TOKEN_LIFETIME)
            webhook = webhook or app.webhook_url or _sibling_webhook(grant.login.redirect_url)
            login = Login(app.app_id, origin_of(grant.login.redirect_url) or "", webhook)
            self._logins.setdefault(grant.person.first_name, {})[login] = None
            return token

    def info(self, access_token: str) -> dict[str, str | int]:
        """Return the person behind an access token.

        :raises ApiRefused: unknown, older than :data:`TOKEN_LIFETIME` seconds, or its person has logged out.
        """
        with self._lock:
            grant = self._access.get(access_token)
        if grant is None or grant.expires_at <= self._clock():
            raise ApiRefused(403, "Invalid token.")
        known = {name: value for name, value in vars(grant.person).items() if value is not None}
        return {"id": clef_id(grant.person, grant.login.app.app_id), **known}

    def authenticate_app(self, app_id: str, app_secret: str) -> LocalApp:
        """Return the app that proves itself by its secret.

        :raises ApiRefused: it does not.
        """
        app = self.apps.get(app_id)
        if app is None:
            raise ApiRefused(403, "Invalid App ID.")
        if not hmac.compare_digest(app.app_secret.encode(), app_secret.encode(errors="replace")):
            raise ApiRefused(403, "Invalid App Secret.")
        return app

    def logins(self, person: Person) -> list[Login]:
        """Return where a person is logged in, oldest first."""
        with self._lock:
            return list(self._logins.get(person.first_name, ()))

    def end_logins(self, person: Person) -> list[Login]:
        """End a person's browsers, codes, access tokens and logins. Return the logins."""
        with self._lock:
            for grants in (self._codes, self._access):
                for key in [key for key, grant in grants.items() if grant.person == person]:
                    del grants[key]
            self._browsers = {key: owner for key, owner in self._browsers.items() if owner != person}
            return list(self._logins.pop(person.first_name, ()))

    def issue_logout_token(self, person: Person, app_id: str) -> LogoutToken:
        """Return a signed logout token; it can be exchanged until ten minutes after it was confirmed."""
        body = secrets.token_urlsafe(24)
        text = f"{body}.{token_signature(body, self.apps[app_id].app_secret)}"
        token = LogoutToken(text, app_id, clef_id(person, app_id))
        with self._lock:
            self._logout_tokens[text] = token
        return token

    def exchange_logout_token(self, app: LocalApp, text: str) -> int:
        """Return who logged out, as the app's own id of them.

        :raises ApiRefused: the token is unknown, of another app, or was confirmed ten minutes ago.
        """
        with self._lock:
            token, now = self._logout_tokens.get(text), self._clock()
            if token is None or token.app_id != app.app_id:
                raise ApiRefused(400, "Invalid Logout Token.")
            if token.confirmed_at is not None and token.confirmed_at <= now - TOKEN_LIFETIME:
                raise ApiRefused(400, "Invalid Logout Token.")
            token.exchanged_attempt = token.attempts
            self._confirm(token)
            return token.user_id

    def begin_attempt(self, token: LogoutToken) -> int:
        """Count an attempt to notify the site, and return its number."""
        with self._lock:
            token.attempts += 1
            return token.attempts

    def note_answer(self, token: LogoutToken, attempt: int, status: int) -> None:
        """Record the HTTP status with which a site answered an attempt."""
        with self._lock:
            token.answered_attempt = attempt if 200 <= status < 400 else None
            self._confirm(token)

    def _confirm(self, token: LogoutToken) -> None:
        both = token.attempts > 0 and token.answered_attempt == token.attempts == token.exchanged_attempt
        if both and token.confirmed_at is None:
            token.confirmed_at = self._clock()

    def remember_browser(self, person: Person) -> str:
        """Return a cookie's value that stands for this person in one browser."""
        key = secrets.token_hex(16)
        with self._lock:
            self._browsers[key] = person
        return key

    def person_of_browser(self, key: str) -> Person | None:
        """Return who signed in in the browser with this cookie, if anybody."""
        with self._lock:
            return self._browsers.get(key)


def clef_id(person: Person, app_id: str) -> int:
    """Return the app's own number for a person, always the same: in [2^30, 2^31), since old columns hold 32 bits."""
    digest = hashlib.sha256(f"{app_id}\0{person.first_name}".encode()).digest()
    return 2**30 + int.from_bytes(digest[:8], "big") % 2**30


def _sibling_webhook(redirect_url: str) -> str | None:
    """Return the webhook next to a callback: the last segment of the path changed; None for other paths."""
    parts = urlsplit(redirect_url)
    folder, _, last = parts.path.rpartition("/")
    return urlunsplit((parts.scheme, parts.netloc, folder + "/webhook", "", "")) if last == "callback" else None
