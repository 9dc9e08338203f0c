"""Count what is left of the outbox: the figures of ``/healthz``, ``/metrics`` and ``deliveries list``."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, or_, select

from clef_wsgi.server.database.schema import deliveries, people, site_logins
from clef_wsgi.server.records.outbox import GIVEN_UP, PENDING
from clef_wsgi.server.records.site_logins import awaits_notification


@dataclass(frozen=True)
class Backlog:
    """The rows left to deliver, and their age in seconds.

    :param pending: notifications that no site has confirmed and that are still attempted.
    :param given_up: notifications that are attempted no more.
    :param oldest_seconds: age of the oldest pending one's logout; 0 where there is none.
    :param overdue_seconds: how long a pending one has been due without an attempt: more than a moment means that no
        delivery worker runs.
    """

    pending: int
    given_up: int
    oldest_seconds: float
    overdue_seconds: float


def read(connection: Connection, *, now: int) -> Backlog:
    """Return the figures at ``now``, in microseconds."""
    row = deliveries.c
    oldest = select(func.min(row.created_at)).where(row.state == PENDING)
    is_unclaimed = or_(row.claimed_until.is_(None), row.claimed_until < now)
    due = select(func.min(func.coalesce(row.waits_until, row.next_at))).where(row.state == PENDING, is_unclaimed)
    since, awaiting = _awaiting(connection)
    return Backlog(
        pending=_count(connection, PENDING) + awaiting,
        given_up=_count(connection, GIVEN_UP),
        oldest_seconds=_seconds_since(_first(since, connection.execute(oldest).scalar()), now),
        overdue_seconds=_seconds_since(_first(since, connection.execute(due).scalar()), now),
    )


def _awaiting(connection: Connection) -> tuple[int | None, int]:
    """Count logins that a logout everywhere ended and the outbox does not hold yet: since when, and how many."""
    waits = people.c.notifying_since.is_not(None)
    since = connection.execute(select(func.min(people.c.notifying_since)).where(waits)).scalar()
    if since is None:
        return None, 0
    sites = select(site_logins.c.person_id, site_logins.c.app_id).join(people, people.c.id == site_logins.c.person_id)
    each = sites.where(waits, awaits_notification()).distinct().subquery()
    number = int(connection.execute(select(func.count()).select_from(each)).scalar_one())
    return (since if number else None), number


def _first(*moments: int | None) -> int | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _count(connection: Connection, state: str) -> int:
    which = select(func.count()).select_from(deliveries).where(deliveries.c.state == state)
    return int(connection.execute(which).scalar_one())


def _seconds_since(moment: int | None, now: int) -> float:
    return 0.0 if moment is None else max(0.0, (now - moment) / 1_000_000)
