"""Decide what becomes of a row after its attempt, or after the wait for its exchange: confirmed, later, or given up."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row

from clef_wsgi.server.clock import SECOND
from clef_wsgi.server.delivery import backoff, failures
from clef_wsgi.server.delivery.call import AttemptResult
from clef_wsgi.server.records import apps, confirmations, outbox
from clef_wsgi.server.records.apps import App
from clef_wsgi.server.records.outbox import Notification
from clef_wsgi.server.texts import failure_text

_log = logging.getLogger(__name__)


class DeliveryEvent(NamedTuple):
    """``confirmed``, ``busy``, ``failed`` or ``given_up``, the seconds since the logout, and the site if it turned.

    A site turns with the first attempt that fails, and with the last confirmation of those that had failed.
    """

    outcome: str
    seconds: float
    turned: App | None = None
    failure: str = ""

    def log(self) -> None:
        """Log what an operator wants to know. Call it once the event is committed."""
        if self.outcome == outbox.GIVEN_UP:
            _log.warning("a site did not confirm a logout in three days: see server deliveries list")
        elif self.turned and self.outcome == outbox.CONFIRMED:
            log_recovery(self.turned)
        elif self.turned:
            sentence = failure_text("en", self.failure)
            _log.warning("the site %s (%s) began to fail: %s", self.turned.name, self.turned.id, sentence)


def log_recovery(app: App) -> None:
    """Log that a site has confirmed all logouts that it had failed to."""
    _log.info("the site %s (%s) recovered: it has confirmed what it had missed", app.name, app.id)


def save(
    connection: Connection, notification: Notification, result: AttemptResult, *, now: int, wait_us: int
) -> DeliveryEvent | None:
    """Record how a call ended.

    :returns: the event to observe, if anything changed; an answer without an exchange is none yet.
    """
    if result.is_answered:
        status = result.status or 200
        became = confirmations.record_answer(connection, notification, status=status, now=now, wait_us=wait_us)
        return _confirmed(connection, notification, now) if became == outbox.CONFIRMED else None
    if result.is_busy:
        next_at = backoff.next_try_of_busy(now=now, first_tried_at=notification.first_tried_at)
        if next_at is not None:
            is_news = confirmations.record_busy(connection, notification, next_at=next_at)
            return _event("busy", notification, now) if is_news else None
    next_at = _next_try(notification, now, result.retry_after)
    failure = result.failure or failures.ANSWER
    was_failing = outbox.is_failing(connection, notification.app_id)
    is_news = confirmations.record_failure(
        connection, notification, failure=failure, status=result.status, next_at=next_at, now=now
    )
    if not is_news:
        return None
    return _failed(connection, notification, failure, next_at=next_at, now=now, was_failing=was_failing)


def end_waits(connection: Connection, *, now: int) -> list[DeliveryEvent]:
    """Record the sites that answered and did not exchange the token in time."""
    events = []
    for row in confirmations.overdue_exchanges(connection, now=now):
        next_at = _next_try(row, now)
        was_failing = outbox.is_failing(connection, row.app_id)
        confirmations.record_no_exchange(connection, row.id, next_at=next_at, now=now)
        failure = confirmations.NOT_ASKED
        events.append(_failed(connection, row, failure, next_at=next_at, now=now, was_failing=was_failing))
    return events


def _next_try(row: Notification | Row[Any], now: int, retry_after: str | None = None) -> int | None:
    """Return when a row is due again. An attempt out of turn changes nothing."""
    if row.next_at > row.tried_at:
        return row.next_at
    return backoff.next_try(row.attempts, now=now, first_tried_at=row.first_tried_at, retry_after=retry_after)


def _confirmed(connection: Connection, row: Notification, now: int) -> DeliveryEvent:
    is_recovery = row.failure is not None and not outbox.is_failing(connection, row.app_id)
    event = _event(outbox.CONFIRMED, row, now)
    return event._replace(turned=apps.get(connection, row.app_id)) if is_recovery else event


def _failed(
    connection: Connection,
    row: Notification | Row[Any],
    failure: str,
    *,
    next_at: int | None,
    now: int,
    was_failing: bool,
) -> DeliveryEvent:
    if next_at is None:
        return _event(outbox.GIVEN_UP, row, now)
    turned = None if was_failing else apps.get(connection, row.app_id)
    return _event("failed", row, now)._replace(turned=turned, failure=failure)


def _event(name: str, row: Notification | Row[Any], now: int) -> DeliveryEvent:
    return DeliveryEvent(name, (now - row.created_at) / SECOND)
