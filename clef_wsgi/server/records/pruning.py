"""Drop rows that mean nothing any more: expired codes and tokens, old sessions, confirmed deliveries.

Nothing that a login or an unconfirmed logout still needs is touched. It goes in short steps, so that no writer
waits long.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, select

from clef_wsgi.server.clock import DAY, HOUR
from clef_wsgi.server.database import schema
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.records.outbox import CONFIRMED, TEST

SEEN_AFTERWARDS = 30 * DAY
"""Retention of ended rows; microseconds."""

AT_ONCE = 500
"""Largest number of rows dropped in one step."""


def prune(database: Database, *, now: int, steps: int) -> bool:
    """Drop rows in at most ``steps`` transactions.

    :returns: whether there may be more.
    """
    return all(_step(database, now) for _ in range(steps))


def drop(connection: Connection, *, now: int, limit: int = AT_ONCE) -> int:
    """Drop one step's rows, and return how many. Codes stay an hour longer: a second use is still known as one."""
    dropped = 0
    for table, is_over in _over(now):
        old = select(table.c.id).where(*is_over).limit(limit - dropped)
        ids = connection.execute(old).scalars().all()
        if ids:
            connection.execute(delete(table).where(table.c.id.in_(ids)))
            dropped += len(ids)
        if dropped >= limit:
            break
    return dropped


def _step(database: Database, now: int) -> bool:
    """Drop one step's rows, and return whether there may be more. Takes no lock if there are none."""
    with database.reading() as connection:
        if not any(connection.execute(select(table.c.id).where(*over).limit(1)).first() for table, over in _over(now)):
            return False
    with database.writing() as connection:
        return drop(connection, now=now) >= AT_ONCE


def _over(now: int) -> list[tuple[Table, tuple[ColumnElement[bool], ...]]]:
    past = now - SEEN_AFTERWARDS
    awaiting = exists().where(
        schema.site_logins.c.session_id == schema.sessions.c.id, schema.site_logins.c.ended_at.is_(None)
    )
    return [
        (schema.challenges, (schema.challenges.c.expires_at < now,)),
        (schema.access_tokens, (schema.access_tokens.c.expires_at < now,)),
        (schema.codes, (schema.codes.c.expires_at < now - HOUR,)),
        (schema.receipts, (schema.receipts.c.expires_at < now,)),
        (schema.enrolments, (schema.enrolments.c.expires_at < past,)),
        (schema.deliveries, (schema.deliveries.c.state == CONFIRMED, schema.deliveries.c.done_at < past)),
        (schema.deliveries, (schema.deliveries.c.state == TEST, schema.deliveries.c.created_at < now - HOUR)),
        (schema.site_logins, (schema.site_logins.c.ended_at < past,)),
        (schema.sessions, (schema.sessions.c.ended_at < past, ~awaiting)),
    ]
