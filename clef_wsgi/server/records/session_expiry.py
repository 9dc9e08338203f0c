"""The end of sessions whose time is up: a logout like any other, so the sites are told.

Nobody needs this for the session to be over here, since an expired one counts for nothing. Knows nothing of
when it is called.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.schema import sessions
from clef_wsgi.server.records import audit, logouts, people
from clef_wsgi.server.records.sessions import is_not_ended

AT_ONCE = 100
"""How many are looked for in one step."""


def expired_sessions(connection: Connection, *, now: int) -> list[tuple[int, int]]:
    """Person and session of those whose time is up, and which nobody has ended."""
    over = (is_not_ended(), sessions.c.expires_at <= now)
    query = select(sessions.c.person_id, sessions.c.id).where(*over).order_by(sessions.c.expires_at).limit(AT_ONCE)
    return [(person_id, session_id) for person_id, session_id in connection.execute(query)]


def expire(database: Database, person_id: int, session_id: int, *, now: int) -> None:
    """Ends one of them, in a transaction of its own: no two people are ever locked together."""
    with database.writing() as connection:
        people.lock(connection, person_id)
        living = (sessions.c.id == session_id, is_not_ended())
        if connection.execute(select(sessions.c.id).where(*living)).scalar() is None:  # another process was first
            return
        logouts.end_session(connection, person_id, session_id, now=now)
        subject = f"person:{person_id}"
        audit.note(connection, actor="timer", action="session.expire", subject=subject, now=now, session=session_id)
