"""One-time enrolment links: to register a first passkey, or a new one after a loss.

A link works for a day by default; a newer one voids it; registering the passkey consumes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, bindparam, insert, select, update

from clef_wsgi.server import tokens
from clef_wsgi.server.clock import DAY
from clef_wsgi.server.database.schema import enrolments
from clef_wsgi.server.errors import LinkInvalid, Unknown
from clef_wsgi.server.records import people
from clef_wsgi.server.records.people import Person

LIFETIME = DAY
INVITE, RECOVER = "invite", "recover"


@dataclass(frozen=True)
class Enrolment:
    """A link that works."""

    id: int
    person: Person
    purpose: str


def issue(connection: Connection, person_id: int, *, purpose: str, now: int, lifetime: int = LIFETIME) -> str:
    """Issue a link, void the person's older ones, and return its secret.

    :param purpose: ``invite`` or ``recover``.
    :param lifetime: in microseconds.
    :raises Unknown: there is no such person.
    """
    people.lock(connection, person_id)
    return issue_many(connection, [person_id], purpose=purpose, now=now, lifetime=lifetime)[person_id]


def issue_many(
    connection: Connection, person_ids: Iterable[int], *, purpose: str, now: int, lifetime: int = LIFETIME
) -> dict[int, str]:
    """Issue links for many, whom the caller has locked. Return the secret of each by the person's number."""
    secrets = {person_id: tokens.new_token() for person_id in person_ids}
    if secrets:
        older = (enrolments.c.person_id == bindparam("whose"), _open(now))
        void = update(enrolments).where(*older).values(voided_at=now)
        connection.execute(void, [{"whose": person_id} for person_id in secrets])
        new = {"purpose": purpose, "created_at": now, "expires_at": now + lifetime}
        rows = [{"person_id": whose, "token_hash": tokens.digest(token), **new} for whose, token in secrets.items()]
        connection.execute(insert(enrolments), rows)
    return secrets


def void(connection: Connection, *which: ColumnElement[bool], now: int) -> None:
    """Void the links that are neither used nor replaced: all, or those for which the conditions hold."""
    connection.execute(update(enrolments).where(_is_unspent(), *which).values(voided_at=now))


def find(connection: Connection, token: str, *, now: int) -> Enrolment:
    """Look up a link without consuming it.

    :raises LinkInvalid: it is unknown, expired, used or replaced, or the person may not sign in.
    """
    row = connection.execute(
        select(enrolments).where(enrolments.c.token_hash == tokens.digest(token), _open(now))
    ).one_or_none()
    if row is None:
        raise LinkInvalid
    try:
        person = people.get(connection, row.person_id)
    except Unknown:
        raise LinkInvalid from None
    if not person.may_sign_in:
        raise LinkInvalid
    return Enrolment(row.id, person, row.purpose)


def consume(connection: Connection, token: str, *, now: int) -> Enrolment:
    """Consume a link: exactly one call of all succeeds.

    :raises LinkInvalid: as :func:`find`.
    """
    people.lock(connection, find(connection, token, now=now).person.id)
    enrolment = find(connection, token, now=now)  # again, behind the lock
    connection.execute(update(enrolments).where(enrolments.c.id == enrolment.id).values(used_at=now))
    return enrolment


def _is_unspent() -> ColumnElement[bool]:
    return enrolments.c.used_at.is_(None) & enrolments.c.voided_at.is_(None)


def _open(now: int) -> ColumnElement[bool]:
    return _is_unspent() & (enrolments.c.expires_at > now)
