"""The transactional outbox: one row for each back-channel logout notification that a site has to confirm.

A row is written in the transaction of the logout itself, so that no acknowledged logout is lost. Its token stands
here in the clear until the site has confirmed, since every attempt carries the same one: it is the idempotency key.
A worker claims rows with a lease that nobody extends, so that one that was killed delays nothing for long. Answers
and exchanges are recorded by confirmations.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, exists, func, insert, select, update

from clef_wsgi.server import tokens
from clef_wsgi.server.database.schema import app_webhooks, apps, deliveries, site_logins
from clef_wsgi.server.records import clef_ids
from clef_wsgi.server.records.apps import secret_hashes
from clef_wsgi.server.records.site_logins import awaits_notification

PENDING, CONFIRMED, GIVEN_UP, TEST = "pending", "confirmed", "given_up", "test"

_TURN = func.coalesce(deliveries.c.expedited_at, deliveries.c.next_at)
"""When a row's turn came or comes. The schema has an index of it."""


@dataclass(frozen=True)
class Notification:
    """A claimed row. ``calls`` is the number of the call that it was claimed for.

    ``attempts`` counts that call too, unless it is out of turn: then the next one is due when it would have been.
    """

    id: int
    app_id: str
    webhook_url: str = field(repr=False)
    token: str = field(repr=False)
    attempts: int
    calls: int
    created_at: int
    next_at: int
    tried_at: int
    first_tried_at: int
    claimed_by: str
    failure: str | None
    allow_private: bool

    @property
    def is_out_of_turn(self) -> bool:
        return self.next_at > self.tried_at


def notify(
    connection: Connection, *, person_id: int, app_id: str, webhook_url: str | None, now: int, since: int | None = None
) -> list[int]:
    """Add a notification to the webhook of a login, or to all of its site's, and return the ids of the rows.

    The caller has locked the person.

    :param since: when the logout was, if not just now.
    """
    found = [webhook_url] if webhook_url else connection.execute(_WEBHOOKS, {"app_id": app_id}).scalars().all()
    return [add(connection, person_id=person_id, app_id=app_id, webhook_url=url, now=now, since=since) for url in found]


def add(
    connection: Connection, *, person_id: int, app_id: str, webhook_url: str, now: int, since: int | None = None
) -> int:
    """Add a notification to one webhook, and return the id of its row. The caller has locked the person.

    Reuse a pending row that has not been attempted. After the first attempt the site may already have processed its
    token, so a later logout needs a new one.
    """
    same = {"of_person": person_id, "of_app": app_id, "of_webhook": webhook_url, "now": now}
    for row_id in connection.execute(_REUSED, same).scalars().all():
        return int(row_id)
    number = clef_ids.clef_id(connection, app_id, person_id)
    row = {"person_id": person_id, "app_id": app_id, "clef_id": number, "webhook_url": webhook_url, "state": PENDING}
    untried = {"attempts": 0, "calls": 0, "created_at": now if since is None else since, "next_at": now}
    return int(connection.execute(_NEW, {**row, **new_token(connection, app_id), **untried}).scalar_one())


def new_token(connection: Connection, app_id: str) -> dict[str, str | bytes]:
    """Make a logout token for an app, signed with each of its active secrets, and return it as columns."""
    token = tokens.signed(tokens.new_token(), secret_hashes(connection, app_id))
    return {"token": token, "token_hash": tokens.digest(token)}


def due_sites(connection: Connection, *, now: int) -> list[str]:
    """Return the ids of apps that have a row due now, the longest overdue first. Looks at one row of each."""
    first = (
        select(_TURN).where(_is_due(now), deliveries.c.app_id == apps.c.id).order_by(_TURN, deliveries.c.id).limit(1)
    )
    found = select(apps.c.id, first.scalar_subquery().label("turn")).subquery()
    query = select(found.c.id).where(found.c.turn.is_not(None)).order_by(found.c.turn, found.c.id)
    return list(connection.execute(query).scalars())


def next_due(connection: Connection, *, now: int) -> int | None:
    """Return when the next row will be due, for an attempt or as overdue for its exchange; microseconds."""
    moment = func.coalesce(deliveries.c.waits_until, deliveries.c.next_at)
    later = (deliveries.c.state == PENDING, moment > now)
    return connection.execute(select(func.min(moment)).where(*later)).scalar()


def free_calls(connection: Connection, app_id: str, *, at_most: int, call_us: int, now: int) -> int:
    """Return how many more calls an app may be sent now, by all processes together. Locks the app against other claims.

    A process that was killed counts for no longer than a call takes.
    """
    app = select(apps.c.id).where(apps.c.id == app_id)
    if connection.execute(app.with_for_update(skip_locked=True, key_share=True)).scalar() is None:
        return 0  # somebody else claims rows of it right now
    under_way = (deliveries.c.claimed_until > now, deliveries.c.tried_at > now - call_us)
    query = select(func.count()).select_from(deliveries)
    count = connection.execute(query.where(deliveries.c.app_id == app_id, deliveries.c.state == PENDING, *under_way))
    return max(0, at_most - int(count.scalar_one()))


def claim(
    connection: Connection, *, app_id: str, worker: str, now: int, lease_us: int, limit: int
) -> list[Notification]:
    """Claim due rows of one app. No other worker can, while the lease lasts.

    :param worker: the lease's owner; no two may have the same name.
    """
    due = select(deliveries.c.id).where(_is_due(now), deliveries.c.app_id == app_id)
    first = due.order_by(_TURN, deliveries.c.id).limit(limit)
    ids = connection.execute(first.with_for_update(skip_locked=True)).scalars().all()
    if not ids:
        return []
    claimed = {
        "claimed_by": worker,
        "claimed_until": now + lease_us,
        "calls": deliveries.c.calls + 1,
        "attempts": deliveries.c.attempts + case((deliveries.c.next_at <= now, 1), else_=0),
        "expedited_at": None,
        "tried_at": now,
        "first_tried_at": func.coalesce(deliveries.c.first_tried_at, now),
    }
    connection.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(claimed))
    columns = [deliveries.c[name] for name in Notification.__dataclass_fields__ if name in deliveries.c]
    found = select(*columns, apps.c.allow_private).join(apps, apps.c.id == deliveries.c.app_id)
    rows = connection.execute(found.where(deliveries.c.id.in_(ids)).order_by(deliveries.c.id))
    return [Notification(**row._mapping) for row in rows]


def retry(connection: Connection, *which: ColumnElement[bool], now: int) -> int:
    """Make unconfirmed rows due now, given up or not, with the tokens they have and a full period of attempts.

    :param which: conditions on ``deliveries``; none means all.
    :returns: how many.
    """
    values = {"state": PENDING, "next_at": now, "first_tried_at": None, "done_at": None, "waits_until": None}
    unheard = (deliveries.c.state.in_((PENDING, GIVEN_UP)), *which)
    return connection.execute(update(deliveries).where(*unheard).values(values)).rowcount


def expedite(connection: Connection, person_id: int, app_id: str, *, now: int, tried_before: int | None = None) -> None:
    """Make the unconfirmed notifications of a person at a site due now, out of turn.

    :param tried_before: leaves alone what was attempted later than that.
    """
    which = _can_expedite(person_id, app_id, now, tried_before)
    connection.execute(update(deliveries).where(*which).values(expedited_at=now))


def can_expedite(
    connection: Connection, person_id: int, app_id: str, *, now: int, tried_before: int | None = None
) -> bool:
    """Return whether :func:`expedite` would change anything: not what is due, in flight, or awaits its exchange."""
    query = select(deliveries.c.id).where(*_can_expedite(person_id, app_id, now, tried_before)).limit(1)
    return connection.execute(query).scalar() is not None


def is_failing(connection: Connection, app_id: str) -> bool:
    """Return whether an attempt at a site has failed, and not been made again with success."""
    which = (deliveries.c.app_id == app_id, deliveries.c.state == PENDING, deliveries.c.failure.is_not(None))
    return connection.execute(select(deliveries.c.id).where(*which).limit(1)).scalar() is not None


def has_unconfirmed(connection: Connection, person_id: int, app_id: str) -> bool:
    """Return whether a logout of this person is unconfirmed at a site, be its notification written already or not."""
    found = connection.execute(_IS_UNCONFIRMED, {"person_id": person_id, "app_id": app_id})
    return bool(found.scalar())


def _is_free(now: int) -> ColumnElement[bool]:
    unclaimed = deliveries.c.claimed_until.is_(None) | (deliveries.c.claimed_until <= now)
    return unclaimed & deliveries.c.waits_until.is_(None)


def _is_due(now: int) -> ColumnElement[bool]:
    its_turn = (deliveries.c.next_at <= now) | deliveries.c.expedited_at.is_not(None)
    return (deliveries.c.state == PENDING) & its_turn & _is_free(now)


def _can_expedite(person_id: int, app_id: str, now: int, tried_before: int | None) -> tuple[ColumnElement[bool], ...]:
    idle = (deliveries.c.next_at > now, deliveries.c.expedited_at.is_(None), _is_free(now))
    rested = deliveries.c.tried_at <= (now if tried_before is None else tried_before)
    return *_unconfirmed(person_id, app_id), *idle, rested


def _unconfirmed(person_id: Any, app_id: Any) -> tuple[ColumnElement[bool], ...]:
    return deliveries.c.person_id == person_id, deliveries.c.app_id == app_id, deliveries.c.state == PENDING


_PERSON: Any = bindparam("person_id")
_APP: Any = bindparam("app_id")
_awaiting = select(site_logins.c.id).where(
    site_logins.c.person_id == _PERSON, site_logins.c.app_id == _APP, awaits_notification()
)
_IS_UNCONFIRMED = select(exists(_awaiting) | exists(select(deliveries.c.id).where(*_unconfirmed(_PERSON, _APP))))
"""One statement, so that no step between two of them hides a notification: it ends a login as it writes the row."""

_WEBHOOKS = select(app_webhooks.c.url).where(app_webhooks.c.app_id == _APP)
_NEW = insert(deliveries).returning(deliveries.c.id)
_REUSED = (
    update(deliveries)
    .where(
        deliveries.c.person_id == bindparam("of_person"),
        deliveries.c.app_id == bindparam("of_app"),
        deliveries.c.webhook_url == bindparam("of_webhook"),
        deliveries.c.state == PENDING,
        deliveries.c.attempts == 0,
        deliveries.c.calls == 0,
    )
    .values(next_at=bindparam("now"))
    .returning(deliveries.c.id)
)
