"""The account page: a person's sites, passkeys and browsers, their names, and their session lifetime."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, request, send_file

from clef_wsgi.server.clock import DAY, HOUR, MINUTE
from clef_wsgi.server.options import LOGO_TYPES
from clef_wsgi.server.records import passkeys, people, receipts, sessions, site_logins
from clef_wsgi.server.web.receipts.lines import ReceiptLine
from clef_wsgi.server.web.support import cookies, self_service, user_agents
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.guard import limit
from clef_wsgi.server.web.support.pages import PageError, render, see_other, texts

blueprint = Blueprint("account", __name__)

SESSION_LIFETIMES = {"hour": HOUR, "day": DAY, "month": 30 * DAY, "logout": None}
"""Microseconds, by the word that the page sends; ``None``: until the person logs out."""


@blueprint.get("/")
def overview() -> Response:
    """Show the account page, or the sign-in page where nobody is signed in."""
    now = server().clock()
    with server().database.reading() as connection:
        session = cookies.current_session(connection)
        if session is None:
            return render("sign_in.html", login=None)
        person_id = session.person.id
        statuses = receipts.unconfirmed(connection, person_id)
        return render(
            "account.html",
            session=session,
            person=session.person,
            sites=site_logins.of_person(connection, person_id),
            passkeys=passkeys.of_person(connection, person_id),
            browsers=sessions.of_person(connection, person_id, now=now),
            unheard=[ReceiptLine.of(status, tapped_at=now, now=now, t=texts()) for status in statuses],
            device_of=user_agents.device,
            browser_of=user_agents.browser,
            session_lifetimes=SESSION_LIFETIMES,
        )


@blueprint.post("/names")
def change_names() -> Response:
    """Change first and last name. E-mail and telephone number are the administrator's to change."""
    limit("account")
    first, last = self_service.read_names(request.form)
    with self_service.changing() as (connection, session):
        people.change(connection, session.person.id, first_name=first, last_name=last)
        self_service.note(connection, session, "names", f"person:{session.person.id}")
    return see_other("/?saved=names#saved")


@blueprint.post("/stay")
def change_stay() -> Response:
    """Change the session lifetime. A shorter one holds at once, a longer one from the next authentication on.

    Otherwise a browser that was left signed in somewhere could prolong itself for ever.
    """
    limit("account")
    word = request.form.get("stay", "")
    if word not in SESSION_LIFETIMES:
        raise PageError("bad_request")
    stay, now = SESSION_LIFETIMES[word], server().clock()
    with self_service.changing() as (connection, session):
        people.change(connection, session.person.id, session_lifetime_us=stay)
        if stay is not None:
            sessions.end_by(connection, session.person.id, latest=now + stay)
        minutes = None if stay is None else stay // MINUTE
        self_service.note(connection, session, "stay", f"person:{session.person.id}", minutes=minutes)
    return see_other("/?saved=stay#saved")


@blueprint.get("/logo")
def logo() -> Response:
    """Serve the administrator's picture."""
    path = server().options.logo
    if path is None:
        raise PageError("not_found", 404)
    response = send_file(Path(path).absolute(), mimetype=LOGO_TYPES[Path(path).suffix])
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response
