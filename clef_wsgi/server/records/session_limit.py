"""The end of sessions beyond what one person may have: those unused longest, a logout like any other.

A few at a time, each person in a transaction of its own. Knows nothing of when it is called.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, func, select

from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.schema import sessions
from clef_wsgi.server.errors import Unknown
from clef_wsgi.server.records import audit, logouts, people
from clef_wsgi.server.records.sessions import MOST, is_active

AT_ONCE = 10


def end_surplus(database: Database, *, now: int) -> bool:
    """End some sessions of one person who has too many, and return whether there may be more."""
    with database.reading() as connection:
        person_id = _who_has_too_many(connection, now)
    if person_id is None:
        return False
    with database.writing() as connection, suppress(Unknown):  # removed just now
        people.lock(connection, person_id)
        trim(connection, person_id, now=now)
    return True


def trim(connection: Connection, person_id: int, *, now: int) -> None:
    """End sessions beyond :data:`MOST`, in the transaction that began one. The caller has locked the person."""
    for session_id in _unused_longest(connection, person_id, now):
        logouts.end_session(connection, person_id, session_id, now=now)
        subject = f"person:{person_id}"
        audit.note(connection, actor="limit", action="session.surplus", subject=subject, now=now, session=session_id)


def _who_has_too_many(connection: Connection, now: int) -> int | None:
    crowded = select(sessions.c.person_id).where(is_active(now)).group_by(sessions.c.person_id)
    return connection.execute(crowded.having(func.count() > MOST).limit(1)).scalar()


def _unused_longest(connection: Connection, person_id: int, now: int) -> list[int]:
    own = (sessions.c.person_id == person_id, is_active(now))
    number = connection.execute(select(func.count()).select_from(sessions).where(*own)).scalar_one()
    surplus = min(AT_ONCE, max(0, number - MOST))
    oldest = select(sessions.c.id).where(*own).order_by(sessions.c.seen_at, sessions.c.id).limit(surplus)
    return list(connection.execute(oldest).scalars()) if surplus else []
