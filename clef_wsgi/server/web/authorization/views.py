"""A site sends a browser: the page that asks, and the way back with a code (Clef wire protocol, section 1).

What the site asked for stays in the page's address, and is checked anew at each step: nothing of it is kept
here. A browser is never sent anywhere for an app or address that was not registered. Knows nothing of how a
person signs in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote_from_bytes

from flask import Blueprint, Response, jsonify, request
from sqlalchemy import Connection

from clef_wsgi.base import authorization_request, redirect_rules
from clef_wsgi.server.delivery import expedite
from clef_wsgi.server.errors import InvalidApp, InvalidRedirect, NotAllowed, SessionEnded, Unknown
from clef_wsgi.server.records import apps, audit, codes
from clef_wsgi.server.records.apps import App
from clef_wsgi.server.records.sessions import Session
from clef_wsgi.server.web.support import cookies
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.guard import limit
from clef_wsgi.server.web.support.pages import PageError, render, see_other

blueprint = Blueprint("login", __name__, url_prefix="/iframes")

_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(frozen=True)
class AuthorizationRequest:
    """A login that a site asked for, checked. ``query`` is for the addresses of the next step."""

    app: App
    redirect_url: str = field(repr=False)
    state: str | None = field(repr=False)
    code_challenge: str | None = field(repr=False)
    query: str = field(repr=False)

    @property
    def site(self) -> str:
        """Where the browser goes back to, for people."""
        return redirect_rules.host_of(self.redirect_url)


@blueprint.get("/qr")
@blueprint.get("/login")
def ask() -> Response:
    """Who is signed in already goes on with one click."""
    with server().database.reading() as connection:
        login = read_authorization_request(connection)
        session = cookies.current_session(connection)
        if session is not None:
            _check_allowed(connection, session, login)
    if session is None:
        return _sign_in_page(login)
    return render("continue.html", login=login, person=session.person)


@blueprint.get("/switch")
def switch() -> Response:
    """Somebody else wants to sign in in this browser."""
    with server().database.reading() as connection:
        return _sign_in_page(read_authorization_request(connection))


@blueprint.post("/approve")
def approve_here() -> Response:
    """The one click; with ``late``, after the warning."""
    limit("sign_in")
    with server().database.reading() as connection:
        login = read_authorization_request(connection)
        session = cookies.current_session(connection)
    if session and "late" not in request.form and is_late(session, login):
        return see_other(late_url(login))
    with server().database.writing() as connection:
        login = read_authorization_request(connection)
        session = cookies.current_session(connection)
        url = session and approve(connection, session, login)
    return send_back(login, url) if url else see_other(f"/iframes/qr?{login.query}")


@blueprint.get("/late")
def warn() -> Response:
    """The site has yet to hear of an older logout, which may end the login that is about to begin."""
    with server().database.reading() as connection:
        login = read_authorization_request(connection)
        session = cookies.current_session(connection)
    if session is None or has_heard(session, login):
        return see_other(f"/iframes/qr?{login.query}")
    return render("late.html", login=login)


@blueprint.get("/late/heard")
def ask_again() -> Response:
    """Answer the late page, which asks whether the site has heard meanwhile. Nothing is approved by it."""
    limit("account")
    with server().database.reading() as connection:
        login = read_authorization_request(connection)
        session = cookies.current_session(connection)
    return jsonify(heard=session is None or has_heard(session, login))


def is_late(session: Session, login: AuthorizationRequest) -> bool:
    """Whether the site has yet to hear that this person logged out, even after it was tried once more."""
    shared = server()
    if shared.deliver is False:
        return False
    return not expedite.heard(
        shared.database,
        session.person.id,
        login.app.id,
        clock=shared.clock,
        wake=shared.deliver_soon,
        places=shared.places,
    )


def has_heard(session: Session, login: AuthorizationRequest) -> bool:
    """Return the same without waiting."""
    shared = server()
    person_id, app_id = session.person.id, login.app.id
    return expedite.has_heard(shared.database, person_id, app_id, clock=shared.clock, wake=shared.deliver_soon)


def late_url(login: AuthorizationRequest) -> str:
    """The page that says so."""
    return f"/iframes/late?{login.query}"


def read_authorization_request(connection: Connection) -> AuthorizationRequest:
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
    query = quote_from_bytes(raw, safe=_PRINTABLE)
    return AuthorizationRequest(app, asked.redirect_urls[0], asked.state, asked.code_challenge, query)


def approve(connection: Connection, session: Session, login: AuthorizationRequest) -> str:
    """Approve a login for the person of ``session``. Return where the browser goes: back to the site, with a code.

    :raises PageError: they may not use that site, or were logged out meanwhile.
    """
    now = server().clock()
    try:
        code = codes.issue(connection, session=session, app=login.app, now=now, code_challenge=login.code_challenge)
    except NotAllowed:
        raise PageError("not_allowed", 403) from None
    except (SessionEnded, Unknown):
        raise PageError("logged_out", 403) from None
    audit.note(
        connection,
        actor=f"person:{session.person.id}",
        action="login",
        subject=f"app:{login.app.id}",
        now=now,
        address=cookies.request_address(),
    )
    return redirect_rules.with_answer(login.redirect_url, code, login.state)


def way_on(session: Session, login: AuthorizationRequest) -> str:
    """Return where somebody goes who has just signed in: back to the site, or to the page that warns of a logout.

    A step of its own: who may not use that one site is signed in here all the same.
    """
    if is_late(session, login):
        return late_url(login)
    with server().database.writing() as connection:
        return approve(connection, session, login)


def send_back(login: AuthorizationRequest, url: str) -> Response:
    """Answer a form by a page that leads on to ``url``, at the site.

    Not by a redirect: ``form-action`` covers every redirect that follows a form (CSP 3, section 6.4.1), those of the
    site's own callback included, and nobody knows where they lead.
    """
    response = render("back.html", login=login, url=url)
    response.headers["Refresh"] = f"0; url={url}"
    return response


def _sign_in_page(login: AuthorizationRequest) -> Response:
    return render("sign_in.html", login=login)


def _check_allowed(connection: Connection, session: Session, login: AuthorizationRequest) -> None:
    if not apps.may_use(connection, login.app, session.person.id):
        raise PageError("not_allowed", 403)
