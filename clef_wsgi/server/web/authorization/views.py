"""Show the authorization pages: ask the person, approve, lead back with a code (Clef wire protocol, section 1).

The request stays in the page's address and is checked anew at each step: no step keeps anything of it here.
"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from clef_wsgi.server.records import apps
from clef_wsgi.server.records.sessions import Session
from clef_wsgi.server.web.authorization import flow
from clef_wsgi.server.web.authorization.flow import CheckedRequest
from clef_wsgi.server.web.support import cookies
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.guard import limit
from clef_wsgi.server.web.support.pages import render, see_other

blueprint = Blueprint("authorization", __name__, url_prefix="/iframes")


@blueprint.get("/qr")
@blueprint.get("/login")
def ask() -> Response:
    """Show the sign-in page, or one button to somebody who is signed in already."""
    with server().database.reading() as connection:
        login = flow.read_request(connection)
        session = cookies.current_session(connection)
        if session is not None and not apps.may_use(connection, login.app, session.person.id):
            raise flow.not_allowed(session, login)
    if session is None:
        return render("sign_in.html", login=login)
    return render("continue.html", login=login, person=session.person)


@blueprint.get("/switch")
def switch() -> Response:
    """Show the sign-in page to somebody else than who is signed in."""
    with server().database.reading() as connection:
        return render("sign_in.html", login=flow.read_request(connection))


@blueprint.post("/approve")
def approve_here() -> Response:
    """Approve the login for who is signed in; with ``late``, after the warning of a pending logout."""
    limit("sign_in")
    session = server().database.look(cookies.current_session)
    if session is None:
        return see_other(f"/iframes/qr?{server().database.look(flow.read_request).query}")
    login, url = flow.approve(session, even_late="late" in request.form)
    return see_other(url) if url == flow.late_url(login) else send_back(login, url)


@blueprint.get("/late")
def warn() -> Response:
    """Warn that the site has not confirmed an older logout, which may end the login that is about to begin."""
    login, session = _current()
    if session is None or flow.is_logout_confirmed(session, login):
        return see_other(f"/iframes/qr?{login.query}")
    return render("late.html", login=login)


@blueprint.get("/late/heard")
def ask_again() -> Response:
    """Answer the script of the warning whether the site has confirmed meanwhile. Approves nothing."""
    limit("account")
    login, session = _current()
    return jsonify(heard=session is None or flow.is_logout_confirmed(session, login))


def send_back(login: CheckedRequest, url: str) -> Response:
    """Answer a form by a page that leads on to ``url``, at the site.

    Not by a redirect: ``form-action`` covers every redirect that follows a form (CSP 3, section 6.4.1), those of the
    site's own callback included, and nobody knows where they lead.
    """
    response = render("back.html", login=login, url=url)
    response.headers["Refresh"] = f"0; url={url}"
    return response


def _current() -> tuple[CheckedRequest, Session | None]:
    with server().database.reading() as connection:
        return flow.read_request(connection), cookies.current_session(connection)
