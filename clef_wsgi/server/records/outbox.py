"""The outbox: one row for each notice of a logout that a site has to hear.

A row is written in the transaction of the logout itself, so that no acknowledged logout is forgotten. Its
token stands here in the clear until the site has confirmed, since every retry carries the same one. Whoever
sends it claims it first, for a while: a lease that nobody extends, so that a sender that was killed holds up
nothing for long. Sending is not done here; what can be seen of it all is in backlog.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from clef_wsgi.server import tokens
from clef_wsgi.server.database.schema import apps, deliveries
from clef_wsgi.server.errors import InvalidLogoutToken
from clef_wsgi.server.records import clef_ids

PENDING, CONFIRMED, GIVEN_UP = "pending", "confirmed", "given_up"


@dataclass(frozen=True)
class Notice:
    """A row that was claimed. ``attempts`` counts the one that it was claimed for."""

    id: int
    app_id: str
    hook_url: str = field(repr=False)
    token: str = field(repr=False)
    attempts: int
    made_at: int
    first_tried_at: int
    claimed_by: str
    allow_private: bool


def add(connection: Connection, *, person_id: int, app_id: str, hook_url: str, now: int) -> None:
    """A notice to one hook. The caller has locked the person.

    It joins a row that nobody has tried to send yet. One that was tried may be known to the site already: the
    site counts a token once, so a newer logout needs a new one.
    """
    same = (
        deliveries.c.person_id == person_id,
        deliveries.c.app_id == app_id,
        deliveries.c.hook_url == hook_url,
        deliveries.c.state == PENDING,
        deliveries.c.attempts == 0,
        deliveries.c.claimed_until.is_(None),
    )
    if connection.execute(update(deliveries).where(*same).values(next_at=now)).rowcount:
        return
    token = tokens.new_token()
    row = {
        "person_id": person_id,
        "app_id": app_id,
        "clef_id": clef_ids.clef_id(connection, app_id, person_id),
        "hook_url": hook_url,
        "token": token,
        "token_hash": tokens.digest(token),
        "state": PENDING,
        "attempts": 0,
        "made_at": now,
        "next_at": now,
    }
    connection.execute(insert(deliveries).values(row))


def read_token(connection: Connection, app_id: str, token: str) -> int:
    """Who logged out, as the app's own number. It can be asked as often as the app likes.

    :raises InvalidLogoutToken: unknown, of another app, or its delivery was confirmed or given up.
    """
    which = (
        deliveries.c.token_hash == tokens.digest(token),
        deliveries.c.app_id == app_id,
        deliveries.c.state == PENDING,
    )
    clef_id: int | None = connection.execute(select(deliveries.c.clef_id).where(*which)).scalar()
    if clef_id is None:
        raise InvalidLogoutToken
    return clef_id


def due_sites(connection: Connection, *, now: int) -> list[str]:
    """The ids of apps that have a row to be tried now, the longest overdue first."""
    query = select(deliveries.c.app_id).where(_is_due(now)).group_by(deliveries.c.app_id)
    return list(connection.execute(query.order_by(func.min(deliveries.c.next_at))).scalars())


def next_due(connection: Connection, *, now: int) -> int | None:
    """When the next row is due that is not due yet."""
    later = (deliveries.c.state == PENDING, deliveries.c.next_at > now)
    return connection.execute(select(func.min(deliveries.c.next_at)).where(*later)).scalar()


def claim(connection: Connection, *, app_id: str, worker: str, now: int, lease_us: int, limit: int) -> list[Notice]:
    """Takes rows of one app that are due. Nobody else can, while the lease lasts.

    :param worker: who takes them; no two may go by the same name.
    """
    due = select(deliveries.c.id).where(_is_due(now), deliveries.c.app_id == app_id)
    first = due.order_by(deliveries.c.next_at, deliveries.c.id).limit(limit)
    ids = connection.execute(first.with_for_update(skip_locked=True)).scalars().all()
    if not ids:
        return []
    claimed = {
        "claimed_by": worker,
        "claimed_until": now + lease_us,
        "attempts": deliveries.c.attempts + 1,
        "tried_at": now,
        "first_tried_at": func.coalesce(deliveries.c.first_tried_at, now),
    }
    connection.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(claimed))
    columns = [deliveries.c[name] for name in Notice.__dataclass_fields__ if name in deliveries.c]
    found = select(*columns, apps.c.allow_private).join(apps, apps.c.id == deliveries.c.app_id)
    rows = connection.execute(found.where(deliveries.c.id.in_(ids)).order_by(deliveries.c.id))
    return [Notice(**row._mapping) for row in rows]


def confirm(connection: Connection, notice: Notice, *, status: int, now: int) -> bool:
    """The site has heard, whoever else claimed the row meanwhile. The token is forgotten.

    :returns: whether that is news.
    """
    open_ = (_is(notice), deliveries.c.state != CONFIRMED)
    done = {"state": CONFIRMED, "token": None, "status": status, "failure": None, "done_at": now}
    return bool(connection.execute(update(deliveries).where(*open_).values(**done, **_UNCLAIMED)).rowcount)


def fail(
    connection: Connection, notice: Notice, *, failure: str, status: int | None, next_at: int | None, now: int
) -> bool:
    """The site has not heard; does nothing if the lease has gone to somebody else.

    :param failure: a code of ``delivery.failures``.
    :param next_at: when it is due again; ``None`` gives it up, and its token stops working until :func:`retry`.
    :returns: whether that is news.
    """
    held = (
        _is(notice),
        deliveries.c.state == PENDING,
        deliveries.c.claimed_by == notice.claimed_by,
        deliveries.c.attempts == notice.attempts,
    )
    over = {"state": GIVEN_UP, "done_at": now} if next_at is None else {"next_at": next_at}
    values = {"failure": failure, "status": status, **over, **_UNCLAIMED}
    return bool(connection.execute(update(deliveries).where(*held).values(values)).rowcount)


def retry(connection: Connection, *which: ColumnElement[bool], now: int) -> int:
    """Makes rows due now that were not heard, given up or not, with the tokens they have; they get as long again.

    :param which: conditions on ``deliveries``; none means all.
    :returns: how many.
    """
    values = {"state": PENDING, "next_at": now, "first_tried_at": None, "done_at": None}
    unheard = (deliveries.c.state != CONFIRMED, *which)
    return connection.execute(update(deliveries).where(*unheard).values(values)).rowcount


def hurry(connection: Connection, person_id: int, app_id: str, *, now: int) -> None:
    """Makes what a site has not heard of a person due now, unless it is being sent already."""
    waiting = (*_unheard(person_id, app_id), deliveries.c.next_at > now)
    connection.execute(update(deliveries).where(*waiting).values(next_at=now))


def is_unheard(connection: Connection, person_id: int, app_id: str) -> bool:
    """Whether a site has yet to hear of a logout of this person."""
    query = select(deliveries.c.id).where(*_unheard(person_id, app_id)).limit(1)
    return connection.execute(query).scalar() is not None


_UNCLAIMED = {"claimed_by": None, "claimed_until": None}


def _is(notice: Notice) -> ColumnElement[bool]:
    """By its token too: another database may have been restored under a call, with other rows of that number."""
    return (deliveries.c.id == notice.id) & (deliveries.c.token_hash == tokens.digest(notice.token))


def _is_due(now: int) -> ColumnElement[bool]:
    free = deliveries.c.claimed_until.is_(None) | (deliveries.c.claimed_until <= now)
    return (deliveries.c.state == PENDING) & (deliveries.c.next_at <= now) & free


def _unheard(person_id: int, app_id: str) -> tuple[ColumnElement[bool], ...]:
    return deliveries.c.person_id == person_id, deliveries.c.app_id == app_id, deliveries.c.state == PENDING
