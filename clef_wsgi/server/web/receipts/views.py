"""Show the receipt of a logout, site by site, as sites confirm; and as JSON, for the page's script.

The browser that logged out sees it by a cookie of its own, without being signed in, for an hour (see
``records.receipts``).
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

blueprint = Blueprint("receipts", __name__, url_prefix="/receipts")


@blueprint.get("")
def page() -> Response:
    """Show the receipt of the last logout. Without one the page says so, and is no error: an hour passes."""
    found = _own()
    if found is None:
        return render("receipts.html", lines=None, scope=None)
    lines = _lines(found)
    return render("receipts.html", lines=lines, scope=found.scope, **_summary(found, lines))


@blueprint.get("/states")
def states() -> Response:
    """Return the same as JSON.

    :raises PageError: there is no receipt, or it expired.
    """
    limit("account")
    found = _own()
    if found is None:
        raise PageError("not_found", 404)
    lines = _lines(found)
    return jsonify(**_summary(found, lines), lines=[line.as_json() for line in lines])


def _own() -> Receipt | None:
    """Return this browser's receipt, but not to somebody else who signed in here since."""
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


def _lines(receipt: Receipt) -> list[ReceiptLine]:
    now, t = server().clock(), texts()
    return [ReceiptLine.of(status, tapped_at=receipt.created_at, now=now, t=t) for status in receipt.statuses]


def _summary(receipt: Receipt, lines: list[ReceiptLine]) -> dict[str, Any]:
    """Return title, summary, and whether nothing changes any more. None says more than the sites have confirmed."""
    t, heard = texts(), sum(line.mark == "done" for line in lines)
    is_done = all(line.mark != "busy" for line in lines)
    if heard < len(lines):
        title = t("receipts.title_bad") if is_done else t("receipts.title_busy")
        return {"title": title, "summary": t("receipts.heard", heard=heard, all=len(lines)), "done": is_done}
    title = t("receipts.title_everywhere") if receipt.scope == receipts.EVERYWHERE else t("receipts.title_done")
    summary = t("receipts.all_heard") if lines else t("receipts.no_sites")
    return {"title": title, "summary": summary, "done": is_done}
