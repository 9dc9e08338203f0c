"""WebAuthn challenges: issued to one browser for one purpose, valid for minutes, consumed by the first response."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, insert

from clef_wsgi.server.clock import MINUTE
from clef_wsgi.server.database.schema import challenges
from clef_wsgi.server.errors import Refused

LIFETIME = 5 * MINUTE
LENGTH = 32
"""Bytes (WebAuthn 3, section 13.4.3, asks for 16 or more)."""


class ChallengeRefused(Refused):
    """Never issued, consumed, expired, for another purpose, or of another browser: a replay."""


@dataclass(frozen=True)
class Challenge:
    """A challenge that was just consumed, with the person and the enrolment it was issued for, if any."""

    challenge: bytes = field(repr=False)
    person_id: int | None
    enrolment_id: int | None


def issue(
    connection: Connection,
    *,
    purpose: str,
    browser_hash: bytes,
    now: int,
    person_id: int | None = None,
    enrolment_id: int | None = None,
) -> bytes:
    """Issue a challenge to one browser.

    :param purpose: what its response will be good for, at most 32 characters.
    """
    connection.execute(delete(challenges).where(challenges.c.expires_at <= now))
    challenge = secrets.token_bytes(LENGTH)
    row = {"challenge": challenge, "purpose": purpose, "browser_hash": browser_hash}
    owner = {"person_id": person_id, "enrolment_id": enrolment_id}
    connection.execute(insert(challenges).values(**row, **owner, created_at=now, expires_at=now + LIFETIME))
    return challenge


def consume(connection: Connection, challenge: bytes, *, purpose: str, browser_hash: bytes, now: int) -> Challenge:
    """Consume a challenge, for good: commit this, whatever the response is worth.

    :raises ChallengeRefused: there is none for this browser and purpose.
    """
    which = (
        challenges.c.challenge == challenge,
        challenges.c.purpose == purpose,
        challenges.c.browser_hash == browser_hash,
        challenges.c.expires_at > now,
    )
    taken = delete(challenges).where(*which)
    returned = taken.returning(challenges.c.challenge, challenges.c.person_id, challenges.c.enrolment_id)
    row = connection.execute(returned).one_or_none()
    if row is None:
        raise ChallengeRefused
    return Challenge(**row._mapping)
