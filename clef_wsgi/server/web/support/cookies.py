"""Read and write the browser's cookies, and sign people in and out by them.

``browser`` identifies the browser and nothing else: form tokens and challenges are bound to it, and it stays through
a sign-in, so that tabs don't disturb each other. ``session`` is the token of a session, new at each sign-in (no
session fixation). ``receipt`` shows the receipt of the last logout, for an hour. Views ask for a cookie;
:func:`write_cookies` sets it at the end of the request.
"""

from __future__ import annotations

import hmac
import re
from urllib.parse import urlsplit

from flask import Response, g, request
from sqlalchemy import Connection

from clef_wsgi.server import tokens
from clef_wsgi.server.clock import DAY, SECOND
from clef_wsgi.server.errors import SessionEnded
from clef_wsgi.server.records import logouts, receipts, session_expiry, sessions
from clef_wsgi.server.records.sessions import Session
from clef_wsgi.server.web.support.context import request_address, server

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_LONGEST = 400 * DAY  # browsers cut longer lives to this (RFC 6265bis, section 5.6.2)


def browser_hash() -> bytes:
    """Return the digest of this browser's token, to which a challenge is bound."""
    return tokens.digest(_browser_token())


def form_token() -> str:
    """Return the CSRF token that every POST of this browser's pages carries."""
    return tokens.derived(_browser_token(), "form")


def is_form_token(given: str) -> bool:
    """Return whether ``given`` is the CSRF token of a page of this browser's."""
    known = _read("browser")
    expected = tokens.derived(known, "form")
    return bool(known) and hmac.compare_digest(expected.encode(), given.encode(errors="replace"))


def current_session(connection: Connection) -> Session | None:
    """Return the session of this browser, if anybody is signed in."""
    token = session_token()
    try:
        return sessions.find(connection, token, now=server().clock()) if token else None
    except SessionEnded:
        return None


def session_token() -> str:
    """Return the token in this browser's session cookie, be there such a session or not; empty where there is none."""
    return _read("session")


def sign_in(connection: Connection, *, person_id: int, passkey_id: int | None) -> Session:
    """Sign a person in who has just authenticated; the answer will set the cookie.

    The session of before goes on under a new token if it is the same person's, and ends if it is not.

    :raises Refused: the person is disabled.
    """
    now, before = server().clock(), current_session(connection)
    if before and before.person.id == person_id:
        token = sessions.renew(connection, before.id, passkey_id=passkey_id, now=now)
    else:
        if before:
            logouts.end_session(connection, before.person.id, before.id, now=now)
        address, agent = request_address(), request.user_agent.string
        token = sessions.start(
            connection, person_id=person_id, passkey_id=passkey_id, now=now, address=address, user_agent=agent
        )
        session_expiry.trim(connection, person_id, now=now)
    session = sessions.find(connection, token, now=now)
    lifetime = _LONGEST if session.expires_at is None else min(session.expires_at - now, _LONGEST)
    _keep("session", token, lifetime // SECOND)
    return session


def sign_out() -> None:
    """Drop the session's cookie with the answer. The session itself is ended by ``records.logouts``."""
    _keep("session", "", 0)


def receipt_token() -> str:
    """Return the secret of this browser's last receipt; empty where there is none."""
    return _read("receipt")


def keep_receipt(token: str) -> None:
    """Set the cookie of a receipt with the answer."""
    _keep("receipt", token, receipts.LIFETIME // SECOND)


def cookie_name(purpose: str) -> str:
    """Return a cookie's name: ``__Host-`` binds it to this host; on plain http the port does (cookies ignore ports)."""
    options = server().options
    if options.is_https:
        return f"__Host-clef-{purpose}"
    return f"clef-{purpose}-{urlsplit(options.origin).port or 80}"


def write_cookies(response: Response) -> Response:
    """Set the cookies that the views of this request asked for."""
    for purpose, (value, lifetime) in _kept().items():
        _set(response, purpose, value, lifetime)
    return response


def _read(purpose: str) -> str:
    """Return the token in a cookie of this browser; empty where there is none."""
    token = request.cookies.get(cookie_name(purpose), "")
    return token if _TOKEN.fullmatch(token) else ""


def _browser_token() -> str:
    if known := _read("browser"):
        return known
    if "browser" not in _kept():
        _keep("browser", tokens.new_token(), None)
    return _kept()["browser"][0]


def _keep(purpose: str, value: str, lifetime: int | None) -> None:
    _kept()[purpose] = (value, lifetime)


def _kept() -> dict[str, tuple[str, int | None]]:
    """Return the cookies that the answer will set: value and seconds, by their purpose."""
    found: dict[str, tuple[str, int | None]] = g.setdefault("cookies", {})
    return found


def _set(response: Response, purpose: str, value: str, lifetime: int | None) -> None:
    response.set_cookie(
        cookie_name(purpose),
        value,
        max_age=lifetime,
        path="/",
        secure=server().options.is_https,
        httponly=True,
        samesite="Lax",  # Strict would keep it back when a site sends the browser here
    )
