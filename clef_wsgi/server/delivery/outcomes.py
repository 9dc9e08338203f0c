"""What becomes of a row when its call has ended, or the wait for the site's exchange. Makes no call itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from clef_wsgi.server.clock import SECOND
from clef_wsgi.server.delivery import backoff, failures
from clef_wsgi.server.delivery.call import Outcome
from clef_wsgi.server.records import confirmations, outbox
from clef_wsgi.server.records.outbox import Notice

Told = tuple[str, float]
"""``confirmed``, ``busy``, ``failed`` or ``given_up``, and the seconds since the logout."""


def save(connection: Connection, notice: Notice, outcome: Outcome, *, now: int, wait_us: int) -> Told | None:
    """Write down how a call ended.

    :returns: what there is to observe, if it is news; an answer without an exchange is none yet.
    """
    if outcome.is_answered:
        became = confirmations.answered(connection, notice, status=outcome.status or 200, now=now, wait_us=wait_us)
        return _told(became, notice, now) if became == outbox.CONFIRMED else None
    if outcome.is_busy:
        next_at = backoff.next_try_of_busy(now=now, first_tried_at=notice.first_tried_at)
        if next_at is not None:
            return _told("busy", notice, now) if confirmations.busy(connection, notice, next_at=next_at) else None
    next_at = _next_try(notice, now, outcome.retry_after)
    failure, status = outcome.failure or failures.ANSWER, outcome.status
    is_news = confirmations.failed(connection, notice, failure=failure, status=status, next_at=next_at, now=now)
    return _told(_failed(next_at), notice, now) if is_news else None


def end_waits(connection: Connection, *, now: int) -> list[Told]:
    """Write down which sites answered, and never asked who logged out."""
    told = []
    for row in confirmations.unasked(connection, now=now):
        next_at = _next_try(row, now)
        confirmations.never_asked(connection, row.id, next_at=next_at, now=now)
        told.append(_told(_failed(next_at), row, now))
    return told


def _next_try(row: Notice | Row[Any], now: int, retry_after: str | None = None) -> int | None:
    """A try out of turn changes nothing: the next one comes when it would have come."""
    if row.next_at > row.tried_at:
        return row.next_at
    return backoff.next_try(row.attempts, now=now, first_tried_at=row.first_tried_at, retry_after=retry_after)


def _failed(next_at: int | None) -> str:
    return outbox.GIVEN_UP if next_at is None else "failed"


def _told(name: str, row: Notice | Row[Any], now: int) -> Told:
    return name, (now - row.created_at) / SECOND
