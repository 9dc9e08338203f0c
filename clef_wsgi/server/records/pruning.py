"""Drops what can't mean anything any more: expired codes and tokens, old sessions, confirmed deliveries.

Nothing that a login or an unheard logout still needs is touched. Knows nothing of when it is called.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, exists

from clef_wsgi.server.clock import DAY, HOUR
from clef_wsgi.server.database.schema import (
    access_tokens,
    challenges,
    codes,
    deliveries,
    enrolments,
    sessions,
    site_logins,
)
from clef_wsgi.server.records.outbox import CONFIRMED, TEST

SEEN_AFTERWARDS = 30 * DAY
"""How long what has ended can still be looked at."""


def prune(connection: Connection, *, now: int) -> None:
    """Drops what is over. Codes stay an hour longer: a second use is still known as one."""
    past = now - SEEN_AFTERWARDS
    connection.execute(delete(challenges).where(challenges.c.expires_at < now))
    connection.execute(delete(access_tokens).where(access_tokens.c.expires_at < now))
    connection.execute(delete(codes).where(codes.c.expires_at < now - HOUR))
    connection.execute(delete(enrolments).where(enrolments.c.expires_at < past))
    connection.execute(delete(deliveries).where(deliveries.c.state == CONFIRMED, deliveries.c.done_at < past))
    connection.execute(delete(deliveries).where(deliveries.c.state == TEST, deliveries.c.made_at < now - HOUR))
    connection.execute(delete(site_logins).where(site_logins.c.ended_at < past))
    untold = exists().where(site_logins.c.session_id == sessions.c.id, site_logins.c.ended_at.is_(None))
    connection.execute(delete(sessions).where(sessions.c.ended_at < past, ~untold))
