"""Describe the status of one site's notification, in the visitor's language."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from clef_wsgi.base import redirect_rules
from clef_wsgi.server.clock import SECOND, rfc3339
from clef_wsgi.server.delivery import failures
from clef_wsgi.server.records.outbox import CONFIRMED, GIVEN_UP
from clef_wsgi.server.records.receipts import NotificationStatus
from clef_wsgi.server.web.support import time_format
from clef_wsgi.server.web.support.time_format import Texts


@dataclass(frozen=True)
class ReceiptLine:
    """One site's line. ``mark`` is ``done``, ``busy`` or ``bad``; ``why`` is followed by the time ``since``."""

    site: str
    name: str
    host: str
    front_page: str | None
    mark: str
    words: str
    why: str = ""
    since: int | None = None

    @classmethod
    def of(cls, status: NotificationStatus, *, tapped_at: int, now: int, t: Texts) -> ReceiptLine:
        """Describe a site at the moment ``now``; the logout was at ``tapped_at`` (microseconds)."""
        about = (status.app_id, status.name, status.host, redirect_rules.front_page(status.url or ""))
        if status.state is None:
            return cls(*about, "bad", t("receipts.no_webhook"))
        if status.state == CONFIRMED:
            took = (status.done_at or now) - tapped_at
            return cls(*about, "done", t("receipts.confirmed", span=time_format.span(took, t)))
        if status.state == GIVEN_UP:
            return cls(*about, "bad", t("receipts.given_up"), *_why(status, t))
        if status.waits_until is not None:
            return cls(*about, "busy", t("receipts.asking"))
        if status.failure is None:  # no attempt yet, or the first is in flight
            return cls(*about, "busy", t("receipts.telling"))
        return cls(*about, "busy", _next_try(status, now, t), *_why(status, t))

    def as_json(self) -> dict[str, Any]:
        """Return the line for the page's script, with ``since`` in RFC 3339."""
        found = {**asdict(self), "since": None if self.since is None else rfc3339(self.since)}
        del found["front_page"]  # a link of the page, which stays
        return found


def _next_try(status: NotificationStatus, now: int, t: Texts) -> str:
    is_claimed = status.claimed_until is not None and status.claimed_until > now
    wait = (status.next_at or 0) - now
    if is_claimed or wait <= 0:
        return t("receipts.again_now")
    return t("receipts.again_in", span=time_format.span(-(-wait // SECOND) * SECOND, t))


def _why(status: NotificationStatus, t: Texts) -> tuple[str, int | None]:
    """Say what failed, and since when: not known for a while after an administrator's retry."""
    failure = status.failure or ""
    if failure == failures.REFUSED_ADDRESS:
        return t("receipts.refused_address"), None
    if failure == failures.NOT_ASKED:
        return t("receipts.not_asked"), None
    if status.first_tried_at is None:
        return "", None
    if failure == failures.ANSWER or failure.startswith(failures.HTTP):
        return t("receipts.answers_badly"), status.first_tried_at
    return t("receipts.unreachable"), status.first_tried_at
