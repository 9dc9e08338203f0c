"""What became of a logout, site by site, as it becomes known; and the same as JSON, for the page's script.

The browser that logged out sees it by a cookie of its own, without being signed in, for an hour (see
``records.receipts``). Knows nothing of how a logout is made or told.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from flask import Blueprint, Response, jsonify

from clef_wsgi.server.clock import SECOND
from clef_wsgi.server.delivery import failures
from clef_wsgi.server.errors import Unknown
from clef_wsgi.server.records import receipts
from clef_wsgi.server.records.outbox import CONFIRMED, GIVEN_UP
from clef_wsgi.server.records.receipts import Notice, Receipt
from clef_wsgi.server.web.support import cookies, time_format
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.guard import limit
from clef_wsgi.server.web.support.pages import PageError, render, texts
from clef_wsgi.server.web.support.time_format import Texts

blueprint = Blueprint("receipts", __name__, url_prefix="/receipts")


@dataclass(frozen=True)
class Line:
    """One site's line. ``mark`` is ``done``, ``busy`` or ``bad``; ``why`` is followed by the moment ``since``."""

    site: str
    name: str
    host: str
    mark: str
    words: str
    why: str = ""
    since: int | None = None

    @classmethod
    def of(cls, notice: Notice, *, tapped_at: int, now: int, t: Texts) -> Line:
        """What to say of a notice at the moment ``now``."""
        about = (notice.app_id, notice.name, notice.host)
        if notice.state is None:
            return cls(*about, "bad", t("receipts.no_webhook"))
        if notice.state == CONFIRMED:
            took = (notice.done_at or now) - tapped_at
            return cls(*about, "done", t("receipts.confirmed", span=time_format.span(took, t)))
        if notice.state == GIVEN_UP:
            return cls(*about, "bad", t("receipts.given_up"), *_why(notice, t))
        if notice.waits_until is not None:
            return cls(*about, "busy", t("receipts.asking"))
        if notice.failure is None:  # nobody has tried, or the first try is under way
            return cls(*about, "busy", t("receipts.telling"))
        return cls(*about, "busy", _next_try(notice, now, t), *_why(notice, t))

    def as_json(self) -> dict[str, Any]:
        """For the script: ``since`` as machines write it."""
        return {**asdict(self), "since": None if self.since is None else time_format.iso(self.since)}


@blueprint.get("")
def page() -> Response:
    """The page of the last logout. Without one it says so, and is no error: an hour passes."""
    found, now = _own(), server().clock()
    if found is None:
        return render("receipts.html", lines=None, scope=None)
    lines, t = _lines(found, now), texts()
    return render("receipts.html", lines=lines, scope=found.scope, done=_is_done(lines), **_headings(found, lines, t))


@blueprint.get("/states")
def states() -> Response:
    """The same, for the script.

    :raises PageError: there is nothing to see, or not any more.
    """
    limit("account")
    found, now = _own(), server().clock()
    if found is None:
        raise PageError("not_found", 404)
    lines, t = _lines(found, now), texts()
    answer = {**_headings(found, lines, t), "done": _is_done(lines)}
    return jsonify(**answer, lines=[line.as_json() for line in lines])


def _own() -> Receipt | None:
    """This browser's receipt. Who signs in here as somebody else does not see it."""
    token = cookies.receipt_token()
    if not token:
        return None
    with server().database.reading() as connection:
        session = cookies.current_session(connection)
        try:
            found = receipts.find(connection, token, now=server().clock())
        except Unknown:
            return None
    return found if session is None or session.person.id == found.person_id else None


def _lines(receipt: Receipt, now: int) -> list[Line]:
    t = texts()
    return [Line.of(notice, tapped_at=receipt.created_at, now=now, t=t) for notice in receipt.notices]


def _is_done(lines: list[Line]) -> bool:
    return all(line.mark != "busy" for line in lines)


def _headings(receipt: Receipt, lines: list[Line], t: Texts) -> dict[str, Any]:
    """Title and summary. Neither says more than the sites have."""
    heard = sum(line.mark == "done" for line in lines)
    if not _is_done(lines):
        return {"title": t("receipts.title_busy"), "summary": t("receipts.heard", heard=heard, all=len(lines))}
    if heard < len(lines):
        return {"title": t("receipts.title_bad"), "summary": t("receipts.heard", heard=heard, all=len(lines))}
    title = t("receipts.title_everywhere") if receipt.scope == receipts.EVERYWHERE else t("receipts.title_done")
    return {"title": title, "summary": t("receipts.all_heard") if lines else t("receipts.no_sites")}


def _next_try(notice: Notice, now: int, t: Texts) -> str:
    is_claimed = notice.claimed_until is not None and notice.claimed_until > now
    wait = (notice.next_at or 0) - now
    if is_claimed or wait <= 0:
        return t("receipts.again_now")
    return t("receipts.again_in", span=time_format.span(-(-wait // SECOND) * SECOND, t))


def _why(notice: Notice, t: Texts) -> tuple[str, int | None]:
    """What went wrong, and since when; the moment is not known for a while after an administrator's retry."""
    failure = notice.failure or ""
    if failure == failures.REFUSED_ADDRESS:
        return t("receipts.refused_address"), None
    if failure == failures.NOT_ASKED:
        return t("receipts.not_asked"), None
    if notice.first_tried_at is None:
        return "", None
    if failure == failures.ANSWER or failure.startswith(failures.HTTP):
        return t("receipts.answers_badly"), notice.first_tried_at
    return t("receipts.unreachable"), notice.first_tried_at
