"""Receipts: the status of one logout at each site, for the browser in which it was done, for one hour.

That browser is signed out by then, so it shows a secret of its own, of which the digest is stored. A receipt
names sites and the status of each notification; nothing of the person.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, exists, insert, select

from clef_wsgi.server import tokens
from clef_wsgi.server.clock import HOUR
from clef_wsgi.server.database.schema import apps, deliveries, receipt_sites, receipts, sessions, site_logins
from clef_wsgi.server.errors import Unknown
from clef_wsgi.server.records.app_rows import NAMED, NamedApp
from clef_wsgi.server.records.outbox import CONFIRMED, GIVEN_UP, PENDING
from clef_wsgi.server.records.site_logins import awaits_notification

LIFETIME = HOUR
EVERYWHERE, SITE, BROWSER = "everywhere", "site", "browser"

_OF_DELIVERY = ("state", "next_at", "claimed_until", "waits_until", "first_tried_at", "failure", "done_at")
_OPEN_FIRST = (PENDING, GIVEN_UP, None, CONFIRMED)


@dataclass(frozen=True)
class NotificationStatus(NamedApp):
    """The least advanced notification of one site. Without a ``state`` the site has no webhook."""

    state: str | None
    next_at: int | None
    claimed_until: int | None
    waits_until: int | None
    first_tried_at: int | None
    failure: str | None
    done_at: int | None


@dataclass(frozen=True)
class Receipt:
    """A logout. ``created_at`` is when the button was pressed, in microseconds; ``scope`` is what was ended."""

    person_id: int
    scope: str
    created_at: int
    statuses: list[NotificationStatus]


def issue(
    connection: Connection,
    person_id: int,
    *,
    scope: str,
    now: int,
    app_ids: Iterable[str] = (),
    mark: int | None = None,
) -> str:
    """Issue a receipt in the transaction of its logout, after it, and return its secret.

    :param app_ids: where the person was logged in before it.
    :param mark: of a logout everywhere, in the place of ``app_ids``: sites are listed as it ends them.
    """
    connection.execute(delete(receipts).where(receipts.c.expires_at <= now))
    token = tokens.new_token()
    row = {"person_id": person_id, "token_hash": tokens.digest(token), "scope": scope, "logouts": mark}
    new = insert(receipts).values(**row, created_at=now, expires_at=now + LIFETIME).returning(receipts.c.id)
    receipt_id = connection.execute(new).scalar_one()
    for app_id in app_ids:
        _add(connection, receipt_id, app_id, _due(connection, person_id, app_id, now))
    return token


def add_site(connection: Connection, person_id: int, app_id: str, delivery_ids: list[int], *, after: int) -> None:
    """List a site, whose notifications were just written, in the receipts of logouts everywhere that await it.

    :param after: the person's mark when the login began.
    """
    for receipt_id in connection.execute(_WAITING, {"person_id": person_id, "after": after}).scalars().all():
        _add(connection, receipt_id, app_id, delivery_ids)


def find(connection: Connection, token: str, *, now: int) -> Receipt:
    """Return the receipt of a secret.

    :raises Unknown: there is none, or it expired.
    """
    which = (receipts.c.token_hash == tokens.digest(token), receipts.c.expires_at > now)
    row = connection.execute(select(receipts).where(*which)).one_or_none()
    if row is None:
        raise Unknown
    awaiting = [] if row.logouts is None else _awaiting(connection, row.person_id, sessions.c.logouts < row.logouts)
    query = _statuses().select_from(receipt_sites).join(apps, apps.c.id == receipt_sites.c.app_id)
    query = query.outerjoin(deliveries, deliveries.c.id == receipt_sites.c.delivery_id)
    found = connection.execute(query.where(receipt_sites.c.receipt_id == row.id))
    statuses = [*awaiting, *(NotificationStatus(**each._mapping) for each in found)]
    return Receipt(row.person_id, row.scope, row.created_at, _least_far(statuses))


def unconfirmed(connection: Connection, person_id: int) -> list[NotificationStatus]:
    """Return the sites that have confirmed neither a logout of this person, whenever that was, nor a later one."""
    awaiting = _awaiting(connection, person_id)
    query = _statuses().select_from(deliveries).join(apps, apps.c.id == deliveries.c.app_id)
    later = deliveries.alias()
    same = [later.c[name] == deliveries.c[name] for name in ("person_id", "app_id", "webhook_url")]
    confirmed = exists().where(*same, later.c.id > deliveries.c.id, later.c.state == CONFIRMED)
    which = (deliveries.c.person_id == person_id, deliveries.c.state.in_((PENDING, GIVEN_UP)), ~confirmed)
    return _least_far(
        [*awaiting, *(NotificationStatus(**row._mapping) for row in connection.execute(query.where(*which)))]
    )


def _awaiting(connection: Connection, person_id: int, *which: ColumnElement[bool]) -> list[NotificationStatus]:
    """Return the sites whose notifications are not in the outbox yet.

    Asked before the outbox is: a site may be found in both, and is in one of them at any moment.
    """
    query = select(*NAMED).select_from(site_logins).join(apps, apps.c.id == site_logins.c.app_id)
    query = query.join(sessions, sessions.c.id == site_logins.c.session_id)
    query = query.where(site_logins.c.person_id == person_id, awaits_notification(), *which)
    found = query.group_by(apps.c.id, apps.c.name)
    unknown = dict.fromkeys(_OF_DELIVERY)
    return [NotificationStatus(**{**unknown, **row._mapping, "state": PENDING}) for row in connection.execute(found)]


def _add(connection: Connection, receipt_id: int, app_id: str, delivery_ids: list[int]) -> None:
    known: list[int | None] = [*delivery_ids]
    for delivery_id in known or [None]:
        site = {"receipt_id": receipt_id, "app_id": app_id, "delivery_id": delivery_id}
        connection.execute(_NEW_SITE, site)


def _statuses() -> Select[Any]:
    return select(*NAMED, *(deliveries.c[name] for name in _OF_DELIVERY))


def _due(connection: Connection, person_id: int, app_id: str, now: int) -> list[int]:
    """Return the rows that a logout has just written or reused: they are due from this moment on."""
    which = (deliveries.c.person_id == person_id, deliveries.c.app_id == app_id, deliveries.c.next_at == now)
    return list(connection.execute(select(deliveries.c.id).where(*which, deliveries.c.state == PENDING)).scalars())


def _least_far(statuses: Iterable[NotificationStatus]) -> list[NotificationStatus]:
    """Keep the least advanced status of each site, by name."""
    found: dict[str, NotificationStatus] = {}
    for status in statuses:
        before = found.get(status.app_id)
        found[status.app_id] = status if before is None else max(before, status, key=_distance)
    return sorted(found.values(), key=lambda status: status.name)


def _distance(status: NotificationStatus) -> tuple[int, bool, int]:
    return -_OPEN_FIRST.index(status.state), status.failure is not None, status.done_at or 0


_WAITING = select(receipts.c.id).where(
    receipts.c.person_id == bindparam("person_id"), receipts.c.logouts > bindparam("after")
)
_NEW_SITE = insert(receipt_sites)
