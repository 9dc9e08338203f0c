"""Disable, recover and remove people. Each logs the person out everywhere."""

from __future__ import annotations

from sqlalchemy import Connection, delete

from clef_wsgi.server.database import schema
from clef_wsgi.server.database.schema import app_members, challenges, passkeys
from clef_wsgi.server.records import enrolments, logouts, people


def disable(connection: Connection, person_id: int, *, now: int) -> None:
    """Log a person out and let nobody sign in as them until :func:`enable`. Passkeys stay.

    :raises Unknown: there is no such person.
    """
    logouts.log_out_everywhere(connection, person_id, now=now)
    people.change(connection, person_id, disabled_at=now)


def enable(connection: Connection, person_id: int) -> None:
    """Let a disabled person sign in again.

    :raises Unknown: there is no such person.
    """
    people.change(connection, person_id, disabled_at=None)


def revoke_credentials(connection: Connection, person_id: int, *, now: int) -> None:
    """Log a person out, and delete their passkeys and open links, for a recovery.

    :raises Unknown: there is no such person.
    """
    logouts.log_out_everywhere(connection, person_id, now=now)
    connection.execute(delete(passkeys).where(passkeys.c.person_id == person_id))
    connection.execute(delete(challenges).where(challenges.c.person_id == person_id))
    enrolments.void(connection, schema.enrolments.c.person_id == person_id, now=now)


def remove(connection: Connection, person_id: int, *, now: int) -> None:
    """Delete a person. Pairwise ids stay, so that nobody else is ever given one.

    :raises Unknown: there is no such person.
    """
    revoke_credentials(connection, person_id, now=now)
    connection.execute(delete(app_members).where(app_members.c.person_id == person_id))
    nobody = dict.fromkeys(("first_name", "last_name", "email", "phone_number"))
    people.change(connection, person_id, **nobody, removed_at=now)
