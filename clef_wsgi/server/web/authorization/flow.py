"""Check an authorization request and approve it: from the query of a page to the redirect URL with a code.

No open redirect: a browser is never sent anywhere for an app or a redirect URL that is not registered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote_from_bytes

from flask import request
from sqlalchemy import Connection

from clef_wsgi.base import authorization_request, redirect_rules
from clef_wsgi.server.errors import InvalidApp, InvalidRedirect, NotAllowed, SessionEnded, Unknown
from clef_wsgi.server.records import apps, codes, outbox
from clef_wsgi.server.records.apps import App
from clef_wsgi.server.records.sessions import Session
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.pages import PageError, offer_way_back
from clef_wsgi.server.web.support.self_service import note

_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(frozen=True)
class CheckedRequest:
    """An authorization request whose app and redirect URL are registered. ``query`` is for the next step's address."""

    app: App
    redirect_url: str = field(repr=False)
    state: str | None = field(repr=False)
    code_challenge: str | None = field(repr=False)
    query: str = field(repr=False)

    @property
    def site(self) -> str:
        """Return the host that the browser goes back to, for people."""
        return redirect_rules.host_of(self.redirect_url)


def read_request(connection: Connection) -> CheckedRequest:
    """Parse and check the authorization request in the query of the request at hand.

    :raises PageError: the app is unknown, an address not allowed, a field is there twice, or PKCE is not S256.
    """
    raw = request.query_string
    try:
        asked = authorization_request.parse(raw)
        app = apps.get(connection, asked.app_id)
        for url in asked.redirect_urls:
            app.check_redirect(url)
    except authorization_request.InvalidChallenge:
        raise PageError("invalid_login") from None
    except (authorization_request.InvalidRequest, InvalidApp, InvalidRedirect):
        raise PageError("invalid_redirect") from None
    offer_way_back(app.name, asked.redirect_urls[0])
    query = quote_from_bytes(raw, safe=_PRINTABLE)
    return CheckedRequest(app, asked.redirect_urls[0], asked.state, asked.code_challenge, query)


class _LogoutPending(Exception):
    """A logout of this person is unconfirmed at the site."""


def approve(session: Session, *, even_late: bool = False) -> tuple[CheckedRequest, str]:
    """Approve the login in the query of the request at hand, and return it with the address that comes next.

    That is the redirect URL with a code; or, where a logout of this person is unconfirmed at the site even after it was
    sent once more, the warning. Nobody waits for that within a transaction: it is left, and begun again.

    :param even_late: the person has read the warning.
    :raises PageError: the request is wrong, they may not use that site, or were logged out meanwhile.
    """
    login, url = _approve(session, even_late)
    if url is None and server().expediter.wait_until_confirmed(session.person.id, login.app.id):
        login, url = _approve(session, even_late)
    return login, late_url(login) if url is None else url


def next_url(session: Session) -> str:
    """Return where somebody goes who has just signed in: see :func:`approve`.

    A transaction of its own: who may not use that one site is signed in here all the same.
    """
    return approve(session)[1]


def _approve(session: Session, even_late: bool) -> tuple[CheckedRequest, str | None]:
    """Approve in one transaction; without a URL if a logout is pending: asked behind the person's lock."""
    try:
        with server().database.writing() as connection:
            login = read_request(connection)
            url = _issue(connection, session, login)
            if not even_late and server().deliver is not False:
                _check_confirmed(connection, session, login)
    except _LogoutPending:
        return login, None
    return login, url


def _check_confirmed(connection: Connection, session: Session, login: CheckedRequest) -> None:
    if outbox.has_unconfirmed(connection, session.person.id, login.app.id):
        raise _LogoutPending


def _issue(connection: Connection, session: Session, login: CheckedRequest) -> str:
    now = server().clock()
    try:
        code = codes.issue(connection, session=session, app=login.app, now=now, code_challenge=login.code_challenge)
    except NotAllowed:
        raise not_allowed(session, login) from None
    except (SessionEnded, Unknown):
        raise PageError("logged_out", 403, way=f"/iframes/qr?{login.query}") from None
    note(connection, session, "login", f"app:{login.app.id}")
    return redirect_rules.with_answer(login.redirect_url, code, login.state)


def not_allowed(session: Session, login: CheckedRequest) -> PageError:
    """Return the refusal of somebody who may not use the site, which names both and offers another passkey."""
    way, person = f"/iframes/switch?{login.query}", session.person.display_name
    return PageError("not_allowed", 403, way=way, site=login.app.name, person=person)


def is_logout_confirmed(session: Session, login: CheckedRequest) -> bool:
    """Return whether the site has confirmed all logouts of this person, without waiting for it."""
    return server().expediter.is_confirmed(session.person.id, login.app.id)


def late_url(login: CheckedRequest) -> str:
    """Return the address of the warning of a pending logout."""
    return f"/iframes/late?{login.query}"
