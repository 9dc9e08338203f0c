"""Decide what becomes of a row after its attempt, or after the wait for its exchange: confirmed, later, or given up."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from clef_wsgi.server.clock import SECOND
from clef_wsgi.server.delivery import backoff, failures
from clef_wsgi.server.delivery.call import AttemptResult
from clef_wsgi.server.records import confirmations, outbox
from clef_wsgi.server.records.outbox import Notification

DeliveryEvent = tuple[str, float]
"""``confirmed``, ``busy``, ``failed`` or ``given_up``, and the seconds since the logout."""


def save(
    connection: Connection, notification: Notification, result: AttemptResult, *, now: int, wait_us: int
) -> DeliveryEvent | None:
    """Record how a call ended.

    :returns: the event to observe, if anything changed; an answer without an exchange is none yet.
    """
    if result.is_answered:
        status = result.status or 200
        became = confirmations.record_answer(connection, notification, status=status, now=now, wait_us=wait_us)
        return _event(became, notification, now) if became == outbox.CONFIRMED else None
    if result.is_busy:
        next_at = backoff.next_try_of_busy(now=now, first_tried_at=notification.first_tried_at)
        if next_at is not None:
            is_news = confirmations.record_busy(connection, notification, next_at=next_at)
            return _event("busy", notification, now) if is_news else None
    next_at = _next_try(notification, now, result.retry_after)
    failure = result.failure or failures.ANSWER
    is_news = confirmations.record_failure(
        connection, notification, failure=failure, status=result.status, next_at=next_at, now=now
    )
    return _event(_failed(next_at), notification, now) if is_news else None


def end_waits(connection: Connection, *, now: int) -> list[DeliveryEvent]:
    """Record the sites that answered and did not exchange the token in time."""
    events = []
    for row in confirmations.overdue_exchanges(connection, now=now):
        next_at = _next_try(row, now)
        confirmations.record_no_exchange(connection, row.id, next_at=next_at, now=now)
        events.append(_event(_failed(next_at), row, now))
    return events


def _next_try(row: Notification | Row[Any], now: int, retry_after: str | None = None) -> int | None:
    """Return when a row is due again. An attempt out of turn changes nothing."""
    if row.next_at > row.tried_at:
        return row.next_at
    return backoff.next_try(row.attempts, now=now, first_tried_at=row.first_tried_at, retry_after=retry_after)


def _failed(next_at: int | None) -> str:
    return outbox.GIVEN_UP if next_at is None else "failed"


def _event(name: str, row: Notification | Row[Any], now: int) -> DeliveryEvent:
    return name, (now - row.created_at) / SECOND
