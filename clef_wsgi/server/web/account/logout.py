"""Log out everywhere, of one site, or of one browser, and lead to the receipt.

Logout, audit entry and receipt are one transaction: what the answer says has happened. A second press finds
nothing left to end, and leads to the receipt of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flask import Blueprint, Response
from sqlalchemy import Connection

from clef_wsgi.server.errors import SessionEnded
from clef_wsgi.server.records import global_logout, logouts, receipts, sessions, site_logins
from clef_wsgi.server.records.sessions import Session
from clef_wsgi.server.records.site_logins import SiteLogin
from clef_wsgi.server.web.support import cookies, self_service
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.guard import limit
from clef_wsgi.server.web.support.pages import see_other

blueprint = Blueprint("log_out", __name__)


@dataclass(frozen=True)
class Ended:
    """The result of a logout: the secret of its receipt, if anything was ended, and whether this browser is out."""

    receipt: str | None = field(repr=False)
    is_here: bool = False


Step = Callable[[Connection, Session, int], Ended]
"""End something of a session's person, at a time in microseconds."""


@blueprint.post("/log-out")
def everywhere() -> Response:
    """Log out everywhere. Never refused by a rate limit."""
    return _log_out(_everywhere)


@blueprint.post("/sites/<app_id>/log-out")
def of_site(app_id: str) -> Response:
    """Log out of one site, in all browsers. The sessions here stay."""
    limit("account")
    return _log_out(lambda connection, session, now: _of_site(connection, session, app_id, now))


@blueprint.post("/browsers/<int(max=9007199254740991):session_id>/log-out")
def in_browser(session_id: int) -> Response:
    """Log out of one browser, this one or another, with the sites that it is logged in to."""
    limit("account")
    return _log_out(lambda connection, session, now: _in_browser(connection, session, session_id, now))


def _log_out(step: Step) -> Response:
    try:
        with self_service.changing() as (connection, session):
            ended = step(connection, session, server().clock())
    except SessionEnded:  # signed out meanwhile, perhaps by the first of two presses
        ended = Ended(None, is_here=True)
    if ended.is_here:
        cookies.sign_out()
    if ended.receipt is not None:
        cookies.keep_receipt(ended.receipt)
        server().deliver_soon()
    return see_other("/receipts")


def _everywhere(connection: Connection, session: Session, now: int) -> Ended:
    person_id = session.person.id
    mark = global_logout.mark(connection, person_id, now=now)
    receipt = receipts.issue(connection, person_id, scope=receipts.EVERYWHERE, mark=mark, now=now)
    self_service.note(connection, session, "logout", f"person:{person_id}")
    global_logout.first_step(connection, person_id, now=now)
    return Ended(receipt, is_here=True)


def _of_site(connection: Connection, session: Session, app_id: str, now: int) -> Ended:
    person_id = session.person.id
    sites = site_logins.of_person(connection, person_id, app_id=app_id)
    if not sites:
        return Ended(None)
    logouts.log_out_of_app(connection, person_id, app_id, now=now)
    self_service.note(connection, session, "logout.site", f"app:{app_id}")
    return Ended(_receipt(connection, person_id, receipts.SITE, sites, now))


def _in_browser(connection: Connection, session: Session, session_id: int, now: int) -> Ended:
    person_id = session.person.id
    if session_id not in [each.id for each in sessions.of_person(connection, person_id, now=now)]:
        return Ended(None)
    sites = site_logins.of_person(connection, person_id, session_id=session_id)
    logouts.end_session(connection, person_id, session_id, now=now)
    self_service.note(connection, session, "logout.browser", f"session:{session_id}")
    receipt = _receipt(connection, person_id, receipts.BROWSER, sites, now)
    return Ended(receipt, is_here=session_id == session.id)


def _receipt(connection: Connection, person_id: int, scope: str, sites: list[SiteLogin], now: int) -> str:
    app_ids = [site.app_id for site in sites]
    return receipts.issue(connection, person_id, scope=scope, app_ids=app_ids, now=now)
