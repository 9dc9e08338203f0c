"""End sessions that expired, and those beyond the limit of one person: a logout, so relying parties are notified.

An expired session counts for nothing already; ending it writes the notifications. Each is ended in a transaction of
one person, so that no two people are ever locked together.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, func, select

from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.schema import sessions
from clef_wsgi.server.errors import Unknown
from clef_wsgi.server.records import audit, logouts, people
from clef_wsgi.server.records.sessions import MOST, is_active, is_not_ended

EXPIRED_AT_ONCE = 100
"""Largest number of expired sessions that one query returns."""

SURPLUS_AT_ONCE = 10
"""Largest number of sessions beyond the limit that one transaction ends."""


def expired_sessions(connection: Connection, *, now: int) -> list[tuple[int, int]]:
    """Return person and session of those that expired and that nobody has ended."""
    over = (is_not_ended(), sessions.c.expires_at <= now)
    query = select(sessions.c.person_id, sessions.c.id).where(*over).order_by(sessions.c.expires_at)
    return [(person_id, session_id) for person_id, session_id in connection.execute(query.limit(EXPIRED_AT_ONCE))]


def expire(database: Database, person_id: int, session_id: int, *, now: int) -> None:
    """End one of :func:`expired_sessions`, unless another process was first."""
    with database.writing() as connection:
        people.lock(connection, person_id)
        own = select(sessions.c.id).where(sessions.c.id == session_id, is_not_ended())
        if connection.execute(own).scalar() is not None:
            _end(connection, person_id, session_id, "timer", "session.expire", now)


def end_surplus(database: Database, *, now: int) -> bool:
    """End some sessions of one person who has too many, and return whether there may be more."""
    crowded = select(sessions.c.person_id).where(is_active(now)).group_by(sessions.c.person_id)
    with database.reading() as connection:
        person_id = connection.execute(crowded.having(func.count() > MOST).limit(1)).scalar()
    if person_id is None:
        return False
    with database.writing() as connection, suppress(Unknown):  # removed just now
        people.lock(connection, person_id)
        trim(connection, person_id, now=now)
    return True


def trim(connection: Connection, person_id: int, *, now: int) -> None:
    """End sessions beyond :data:`MOST`, those unused longest first. The caller has locked the person."""
    own = (sessions.c.person_id == person_id, is_active(now))
    number = connection.execute(select(func.count()).select_from(sessions).where(*own)).scalar_one()
    if number > MOST:
        oldest = select(sessions.c.id).where(*own).order_by(sessions.c.seen_at, sessions.c.id)
        surplus = oldest.limit(min(SURPLUS_AT_ONCE, number - MOST))
        for session_id in connection.execute(surplus).scalars().all():
            _end(connection, person_id, session_id, "limit", "session.surplus", now)


def _end(connection: Connection, person_id: int, session_id: int, actor: str, action: str, now: int) -> None:
    logouts.end_session(connection, person_id, session_id, now=now)
    subject = f"person:{person_id}"
    audit.note(connection, actor=actor, action=action, subject=subject, now=now, session=session_id)
