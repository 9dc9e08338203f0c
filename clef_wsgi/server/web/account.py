"""The server's own front page: who is signed in here, and "log out everywhere".

Knows nothing of how a person signs in or how sites are told.
"""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, send_file

from clef_wsgi.server.options import LOGO_TYPES
from clef_wsgi.server.records import audit, logouts
from clef_wsgi.server.web import browser
from clef_wsgi.server.web.context import server
from clef_wsgi.server.web.pages import PageError, render, see_other

room = Blueprint("account", __name__)


@room.get("/")
def overview() -> Response:
    with server().database.reading() as connection:
        session = browser.current_session(connection)
    if session is None:
        return render("sign_in.html", login=None)
    return render("account.html", person=session.person)


@room.post("/log-out")
def log_out_everywhere() -> Response:
    """One transaction: what the answer says has happened."""
    now = server().clock()
    with server().database.writing() as connection:
        session = browser.current_session(connection)
        if session is not None:
            logouts.log_out_everywhere(connection, session.person.id, now=now)
            person, address = f"person:{session.person.id}", browser.request_address()
            audit.note(connection, actor=person, action="logout", subject=person, now=now, address=address)
    browser.sign_out()
    return see_other("/")


@room.get("/logo")
def logo() -> Response:
    """The administrator's picture."""
    path = server().options.logo
    if path is None:
        raise PageError("not_found", 404)
    response = send_file(Path(path).absolute(), mimetype=LOGO_TYPES[Path(path).suffix])
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response
