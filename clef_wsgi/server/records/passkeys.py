"""Passkeys: credential record, owner, sign count, name (WebAuthn 3, section 4, "credential record")."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from clef_wsgi.server.credentials import AssertionResult, Credential, NewCredential
from clef_wsgi.server.database.schema import passkeys, sessions
from clef_wsgi.server.errors import Refused, Unknown
from clef_wsgi.server.records import logouts, people
from clef_wsgi.server.records.sessions import is_active

MAX_NAME_LENGTH = 64


class PasskeyTaken(Refused):
    """The credential id is registered already, by this person or another (WebAuthn 3, section 7.1)."""


class LastPasskey(Refused):
    """Without it the person could not sign in any more."""

    message = "The last passkey can't be removed."


@dataclass(frozen=True)
class Passkey(Credential):
    """A credential record with its owner and name. Times are in microseconds; ``transports`` is a JSON list.

    ``count_fell_at`` is when its sign count last did not grow: perhaps there is a copy (WebAuthn 3, section 6.1.1).
    """

    id: int
    person_id: int
    transports: str
    name: str
    created_at: int
    last_used_at: int | None
    count_fell_at: int | None


def add(connection: Connection, person_id: int, made: NewCredential, *, name: str, now: int) -> int:
    """Add a credential to a person, and return the id of its record.

    :raises PasskeyTaken: its credential id is registered already.
    """
    row = {**asdict(made), "transports": json.dumps(made.transports), "name": name}
    query = insert(passkeys).values(**row, person_id=person_id, created_at=now).returning(passkeys.c.id)
    try:
        return int(connection.execute(query).scalar_one())
    except IntegrityError:
        raise PasskeyTaken from None


def find(connection: Connection, credential_id: bytes) -> Passkey:
    """Return the passkey of a credential id.

    :raises Unknown: nobody has it.
    """
    return _one(connection, passkeys.c.credential_id == credential_id)


def get(connection: Connection, person_id: int, passkey_id: int) -> Passkey:
    """Return one passkey of a person.

    :raises Unknown: this person has no such passkey.
    """
    return _one(connection, (passkeys.c.id == passkey_id) & (passkeys.c.person_id == person_id))


def of_person(connection: Connection, person_id: int) -> list[Passkey]:
    """Return a person's passkeys, oldest first."""
    rows = connection.execute(select(passkeys).where(passkeys.c.person_id == person_id).order_by(passkeys.c.id))
    return [Passkey(**row._mapping) for row in rows]


def note_use(connection: Connection, passkey_id: int, said: AssertionResult, *, now: int) -> None:
    """Record a verified assertion."""
    values = {"sign_count": said.sign_count, "backed_up": said.backed_up, "last_used_at": now}
    connection.execute(update(passkeys).where(passkeys.c.id == passkey_id).values(values))


def note_fallen_count(connection: Connection, passkey_id: int, *, now: int) -> None:
    """Record that the sign count did not grow, for the administrator."""
    connection.execute(update(passkeys).where(passkeys.c.id == passkey_id).values(count_fell_at=now))


def rename(connection: Connection, person_id: int, passkey_id: int, name: str) -> None:
    """Rename a passkey.

    :raises Unknown: this person has no such passkey.
    """
    connection.execute(
        update(passkeys).where(passkeys.c.id == get(connection, person_id, passkey_id).id).values(name=name)
    )


def remove(connection: Connection, person_id: int, passkey_id: int, *, now: int, stays: int) -> None:
    """Delete a passkey. Sessions that began with it end, but for the session ``stays``.

    :raises Unknown: this person has no such passkey.
    :raises LastPasskey: they have no other.
    """
    people.lock(connection, person_id)
    get(connection, person_id, passkey_id)
    if len(of_person(connection, person_id)) == 1:
        raise LastPasskey
    began = (sessions.c.passkey_id == passkey_id, sessions.c.id != stays, is_active(now))
    for session_id in connection.execute(select(sessions.c.id).where(*began)).scalars().all():
        logouts.end_session(connection, person_id, session_id, now=now)
    connection.execute(delete(passkeys).where(passkeys.c.id == passkey_id))


def _one(connection: Connection, which: ColumnElement[bool]) -> Passkey:
    row = connection.execute(select(passkeys).where(which)).one_or_none()
    if row is None:
        raise Unknown
    return Passkey(**row._mapping)
