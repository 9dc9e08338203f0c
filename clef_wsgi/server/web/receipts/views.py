"""What became of a logout, site by site, as it becomes known; and the same as JSON, for the page's script.

The browser that logged out sees it by a cookie of its own, without being signed in, for an hour (see
``records.receipts``). Knows nothing of how a logout is made or told.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from clef_wsgi.server.errors import Unknown
from clef_wsgi.server.records import receipts
from clef_wsgi.server.records.receipts import Receipt
from clef_wsgi.server.web.receipts.lines import ReceiptLine
from clef_wsgi.server.web.support import cookies
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.guard import limit
from clef_wsgi.server.web.support.pages import PageError, render, texts
from clef_wsgi.server.web.support.time_format import Texts

blueprint = Blueprint("receipts", __name__, url_prefix="/receipts")


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


def _lines(receipt: Receipt, now: int) -> list[ReceiptLine]:
    t = texts()
    return [ReceiptLine.of(status, tapped_at=receipt.created_at, now=now, t=t) for status in receipt.statuses]


def _is_done(lines: list[ReceiptLine]) -> bool:
    return all(line.mark != "busy" for line in lines)


def _headings(receipt: Receipt, lines: list[ReceiptLine], t: Texts) -> dict[str, Any]:
    """Title and summary. Neither says more than the sites have."""
    heard = sum(line.mark == "done" for line in lines)
    if not _is_done(lines):
        return {"title": t("receipts.title_busy"), "summary": t("receipts.heard", heard=heard, all=len(lines))}
    if heard < len(lines):
        return {"title": t("receipts.title_bad"), "summary": t("receipts.heard", heard=heard, all=len(lines))}
    title = t("receipts.title_everywhere") if receipt.scope == receipts.EVERYWHERE else t("receipts.title_done")
    return {"title": title, "summary": t("receipts.all_heard") if lines else t("receipts.no_sites")}
