"""Show what is left of the outbox: the figures of ``/healthz`` and ``/metrics``, and ``deliveries list`` row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, or_, select

from clef_wsgi.server.database.schema import apps, deliveries, people, site_logins
from clef_wsgi.server.records.outbox import GIVEN_UP, PENDING
from clef_wsgi.server.records.site_logins import awaits_notification

_SHOWN = (
    *("id", "state", "app_id", "site", "person_id", "person", "attempts", "created_at", "next_at"),
    *("first_tried_at", "tried_at", "waits_until", "status", "failure", "done_at"),
)


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


def rows(connection: Connection) -> list[dict[str, Any]]:
    """Return all notifications that no site has confirmed, oldest first, each with the names of site and person.

    Times are in microseconds; ``failure`` is a code of ``delivery.failures``, ``status`` HTTP.
    """
    own = [deliveries.c[name] for name in _SHOWN if name in deliveries.c]
    names = (people.c.first_name, people.c.last_name, people.c.email)
    query = select(*own, apps.c.name.label("site"), *names).select_from(deliveries).join(apps).join(people)
    unheard = deliveries.c.state.in_((PENDING, GIVEN_UP))
    found = connection.execute(query.where(unheard).order_by(deliveries.c.id))
    return [_shown(dict(row._mapping)) for row in found]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    name = " ".join(filter(None, (row["first_name"], row["last_name"])))
    row["person"] = name or row["email"] or f"#{row['person_id']}"  # removed: a number is left
    return {name: row[name] for name in _SHOWN}


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
