"""Log out everywhere, however much there is to end: mark the person, then end rows in short steps.

The mark is a counter in the person's row. A session keeps its value at sign-in, and has ended once the person's is
higher; codes, access tokens and logins at sites end with their session. That is one row of one short transaction,
behind the person's lock: no clock is compared, and whatever comes later begins with the new value.

The rows follow: a notification in the outbox for each site, and ``ended_at`` in each row that has ended. A few in
the transaction of the mark, all others by the delivery worker, in steps of a transaction each: a worker that is
killed between two of them leaves the rest to the next. Until then a login stands for its site's notification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, delete, func, select, update

from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.schema import access_tokens, codes, sessions, site_logins
from clef_wsgi.server.database.schema import people as people_table
from clef_wsgi.server.records import outbox, people, receipts
from clef_wsgi.server.records.sessions import began_before_the_mark, is_marked
from clef_wsgi.server.records.site_logins import awaits_notification

ROWS_AT_ONCE = 500
NOTIFICATIONS_AT_ONCE = 20

_OVER: dict[Table, ColumnElement[bool]] = {
    site_logins: awaits_notification(),
    access_tokens: began_before_the_mark(access_tokens),
    codes: began_before_the_mark(codes),
    sessions: sessions.c.ended_at.is_(None) & is_marked(),
}
"""Rows that a mark has ended and no step has written yet."""

Webhook = tuple[str, str | None]
"""An app, and the webhook of a login there; ``None``: all that the app has."""


@dataclass(frozen=True)
class _Found:
    """Rows that a step may write, by their ids. Found without a lock: they only ever get fewer.

    ``webhooks`` are those whose logins are all among ``logins``. Of any other some stay for a later step, and keep
    its notification due.
    """

    logins: list[int]
    webhooks: set[Webhook]
    rest: dict[Table, list[int]]


def mark(connection: Connection, person_id: int, *, now: int) -> int:
    """End everything that a person started so far. They stay locked.

    :returns: the mark, for a receipt.
    :raises Unknown: there is no such person.
    """
    person = people.lock(connection, person_id)
    since = now if person.notifying_since is None else person.notifying_since
    values = {"logouts": person.logouts + 1, "notifying_since": since}
    connection.execute(update(people_table).where(people_table.c.id == person_id).values(values))
    return person.logouts + 1


def first_step(connection: Connection, person_id: int, *, now: int) -> None:
    """Write the first rows, in the transaction of the mark, after its receipt; mostly these are all.

    Where there are many logins it is left to the delivery worker, which looks for them without a lock.
    """
    awaiting = select(site_logins.c.id).where(site_logins.c.person_id == person_id, awaits_notification())
    if len(connection.execute(awaiting.limit(ROWS_AT_ONCE + 1)).all()) <= ROWS_AT_ONCE:
        _do(connection, person_id, _find(connection, person_id), now)


def next_step(database: Database, *, now: int) -> bool:
    """Write some rows of somebody, and return whether there may be more. Takes no lock if there are none."""
    waiting = select(people_table.c.id).where(people_table.c.notifying_since.is_not(None))
    anybody = waiting.order_by(func.random()).limit(1)  # random: one with much to end delays none of the others
    with database.reading() as connection:
        person_id = connection.execute(anybody).scalar()
        if person_id is None:
            return False
        found = _find(connection, person_id)
    with database.writing() as connection:
        _do(connection, person_id, found, now)
    return True


def _find(connection: Connection, person_id: int) -> _Found:
    """Find rows by turns of the sites, so that one with many webhooks delays none of the others."""
    turn = func.dense_rank().over(partition_by=site_logins.c.app_id, order_by=site_logins.c.webhook_url)
    order = (turn, site_logins.c.app_id, site_logins.c.id)
    rows = connection.execute(_awaiting(person_id).order_by(*order).limit(ROWS_AT_ONCE + 1)).all()
    webhooks = list(dict.fromkeys(map(_webhook, rows)))
    whole = webhooks if len(rows) <= ROWS_AT_ONCE else webhooks[:-1]  # of the last one there may be more
    webhooks = whole[:NOTIFICATIONS_AT_ONCE] or webhooks
    logins = [row.id for row in rows[:ROWS_AT_ONCE] if _webhook(row) in webhooks]
    return _Found(logins, set(whole).intersection(webhooks), _rest(connection, person_id))


def _do(connection: Connection, person_id: int, found: _Found, now: int) -> None:
    locked = select(people_table.c.notifying_since).where(people_table.c.id == person_id).with_for_update()
    since = connection.execute(locked).scalar()  # removed or not
    if since is None:
        return
    still = _awaiting(person_id).where(site_logins.c.id.in_(found.logins)).order_by(site_logins.c.id)
    logins = connection.execute(still).all()
    for webhook in dict.fromkeys(map(_webhook, logins)):
        if webhook in found.webhooks:
            mark = min(row.logouts for row in logins if _webhook(row) == webhook)
            _notify(connection, person_id, webhook, mark, since=since, now=now)
    ended = {site_logins: [row.id for row in logins], **found.rest}
    for table, ids in ended.items():
        _end(connection, table, ids, now)
    if not _is_left(connection, person_id):
        values = {"notifying_since": None}
        connection.execute(update(people_table).where(people_table.c.id == person_id).values(values))


def _notify(connection: Connection, person_id: int, webhook: Webhook, mark: int, *, since: int, now: int) -> None:
    app_id, url = webhook
    rows = outbox.notify(connection, person_id=person_id, app_id=app_id, webhook_url=url, since=since, now=now)
    receipts.add_site(connection, person_id, app_id, rows, after=mark)


def _end(connection: Connection, table: Table, ids: list[int], now: int) -> None:
    """End rows that still are what they were: SQLite gives the id of a dropped row to a new one."""
    which = (table.c.id.in_(ids), _OVER[table])
    if "ended_at" in table.c:
        connection.execute(update(table).where(*which).values(ended_at=now))
    else:
        connection.execute(delete(table).where(*which))


def _is_left(connection: Connection, person_id: int) -> bool:
    awaiting = connection.execute(_awaiting(person_id).limit(1)).first()
    return awaiting is not None or any(_rest(connection, person_id, limit=1).values())


def _rest(connection: Connection, person_id: int, limit: int = ROWS_AT_ONCE) -> dict[Table, list[int]]:
    found = {}
    for table in (access_tokens, codes, sessions):
        own = select(table.c.id).where(table.c.person_id == person_id, _OVER[table])
        found[table] = list(connection.execute(own.limit(limit)).scalars())
    return found


def _awaiting(person_id: int) -> Select[Any]:
    columns = [site_logins.c[name] for name in ("id", "app_id", "webhook_url")]
    query = select(*columns, sessions.c.logouts).join(sessions, sessions.c.id == site_logins.c.session_id)
    return query.where(site_logins.c.person_id == person_id, site_logins.c.ended_at.is_(None), is_marked())


def _webhook(login: Row[Any]) -> Webhook:
    return login.app_id, login.webhook_url
