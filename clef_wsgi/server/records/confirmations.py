"""Confirm a delivery by its two halves: the answer to an attempt, and the exchange of the logout token.

A delivery is confirmed when a call was answered 2xx or 3xx **and** the app exchanged the token after that same
call had begun (Clef wire protocol, section 4): several old clients answer 200 although their exchange failed.
Either may come first, in different processes. So each is recorded with the number of the call, under the row's
lock, and the later of the two confirms. No clock is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select, update

from clef_wsgi.server import tokens
from clef_wsgi.server.clock import MINUTE, SECOND
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.schema import deliveries
from clef_wsgi.server.errors import InvalidLogoutToken
from clef_wsgi.server.records.outbox import CONFIRMED, GIVEN_UP, PENDING, TEST, Notification, is_failing

NOT_ASKED = "not_asked"
"""The failure of a site that answered and did not exchange the token."""

WAIT_US = 10 * SECOND
"""Time for a site that has answered to exchange the token; later it is a failed attempt; microseconds."""

READABLE_US = 10 * MINUTE
"""Lifetime of a token after its delivery ended: some sites exchange it in a background job; microseconds."""

_UNCLAIMED = {"claimed_by": None, "claimed_until": None}


@dataclass(frozen=True)
class LogoutExchange:
    """The pairwise id of who logged out.

    ``confirmed_after_us`` is set where the exchange confirmed the delivery; ``is_recovery`` says that it was the last
    one that had failed at its site.
    """

    clef_id: int
    confirmed_after_us: int | None = None
    is_recovery: bool = False


def exchange(database: Database, app_id: str, token: str, *, now: int) -> LogoutExchange:
    """Exchange a logout token for the pairwise id of who logged out, as often as the app asks.

    :raises InvalidLogoutToken: unknown, of another app, or over for more than ten minutes.
    """
    with database.reading() as connection:
        row = _readable(connection, app_id, token, now)
    if row.state == CONFIRMED:
        return LogoutExchange(row.clef_id)
    with database.writing() as connection:
        row = _readable(connection, app_id, token, now, lock=True)
        connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(asked_call=row.calls))
        if row.answered_call != row.calls or row.state not in (PENDING, GIVEN_UP):
            return LogoutExchange(row.clef_id)
        _confirm(connection, row.id, now)
        is_recovery = row.failure is not None and not is_failing(connection, app_id)
    return LogoutExchange(row.clef_id, now - row.created_at, is_recovery)


def record_answer(
    connection: Connection, notification: Notification, *, status: int, now: int, wait_us: int = WAIT_US
) -> str | None:
    """Record an answer of 2xx or 3xx. Without an exchange the row waits for one, with no attempt meanwhile.

    :returns: ``confirmed`` or ``pending``, if anything changed.
    """
    row = connection.execute(select(deliveries).where(_is(notification)).with_for_update()).one_or_none()
    if row is None or row.state == CONFIRMED:
        return None
    if (row.asked_call or 0) >= notification.calls:
        _confirm(connection, row.id, now, answered_call=notification.calls, status=status)
        return CONFIRMED
    waits = {"answered_call": notification.calls, "status": status, "waits_until": now + wait_us}
    held = update(deliveries).where(*_held(notification)).values(**waits, **_UNCLAIMED)
    return PENDING if connection.execute(held).rowcount else None


def record_failure(
    connection: Connection,
    notification: Notification,
    *,
    failure: str,
    status: int | None,
    next_at: int | None,
    now: int,
) -> bool:
    """Record a failed attempt; do nothing if the lease has gone to another worker.

    :param failure: a code of ``delivery.failures``.
    :param next_at: when it is due again; ``None`` gives it up.
    :returns: whether anything changed.
    """
    values = {"failure": failure, "status": status, **_later(next_at, now), **_UNCLAIMED}
    return bool(connection.execute(update(deliveries).where(*_held(notification)).values(values)).rowcount)


def record_busy(connection: Connection, notification: Notification, *, next_at: int) -> bool:
    """Record that the site is busy, which is no attempt; do nothing if the lease has gone to another worker.

    :returns: whether anything changed.
    """
    values = {} if notification.is_out_of_turn else {"attempts": deliveries.c.attempts - 1, "next_at": next_at}
    held = update(deliveries).where(*_held(notification))
    return bool(connection.execute(held.values(**values, **_UNCLAIMED)).rowcount)


def has_overdue_exchange(connection: Connection, *, now: int) -> bool:
    """Return whether :func:`overdue_exchanges` finds anything."""
    return connection.execute(select(deliveries.c.id).where(_waited(now)).limit(1)).scalar() is not None


def overdue_exchanges(connection: Connection, *, now: int, limit: int = 100) -> list[Row[Any]]:
    """Lock and return rows that were answered and not exchanged in time, but for those that others hold."""
    query = select(deliveries).where(_waited(now)).order_by(deliveries.c.id).limit(limit)
    return list(connection.execute(query.with_for_update(skip_locked=True)))


def record_no_exchange(connection: Connection, row_id: int, *, next_at: int | None, now: int) -> None:
    """Record a row of :func:`overdue_exchanges` as failed, with :data:`NOT_ASKED`."""
    values = {"failure": NOT_ASKED, "waits_until": None, **_later(next_at, now)}
    connection.execute(update(deliveries).where(deliveries.c.id == row_id).values(values))


def _readable(connection: Connection, app_id: str, token: str, now: int, *, lock: bool = False) -> Row[Any]:
    query = select(deliveries).where(deliveries.c.token_hash == tokens.digest(token), deliveries.c.app_id == app_id)
    still = deliveries.c.state.in_((PENDING, TEST)) | (deliveries.c.done_at > now - READABLE_US)
    row = connection.execute((query.with_for_update() if lock else query).where(still)).one_or_none()
    if row is None:
        raise InvalidLogoutToken
    return row


def _confirm(connection: Connection, row_id: int, now: int, **answer: int) -> None:
    """Confirm a row. Its token is deleted; the digest still finds the row."""
    done = {"state": CONFIRMED, "token": None, "failure": None, "done_at": now, "waits_until": None}
    connection.execute(update(deliveries).where(deliveries.c.id == row_id).values(**done, **answer, **_UNCLAIMED))


def _later(next_at: int | None, now: int) -> dict[str, Any]:
    return {"state": GIVEN_UP, "done_at": now} if next_at is None else {"next_at": next_at}


def _waited(now: int) -> ColumnElement[bool]:
    return (deliveries.c.state == PENDING) & (deliveries.c.waits_until <= now)


def _is(notification: Notification) -> ColumnElement[bool]:
    """Match by the token, too: another database may have been restored under a call, with other rows of that number."""
    return (deliveries.c.id == notification.id) & (deliveries.c.token_hash == tokens.digest(notification.token))


def _held(notification: Notification) -> tuple[ColumnElement[bool], ...]:
    ours = (deliveries.c.claimed_by == notification.claimed_by, deliveries.c.calls == notification.calls)
    return _is(notification), deliveries.c.state == PENDING, *ours
