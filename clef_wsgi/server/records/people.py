"""People: names, addresses, and the lock that serializes what happens to one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from clef_wsgi.server import tokens
from clef_wsgi.server.clock import DAY
from clef_wsgi.server.database.schema import people
from clef_wsgi.server.errors import Unknown

DEFAULT_SESSION_LIFETIME = 30 * DAY


@dataclass(frozen=True)
class Person:
    """A person. What is not known is ``None``; times are in microseconds.

    ``handle`` is the WebAuthn user handle. ``session_lifetime_us`` of ``None`` lasts until logout. ``logouts`` and
    ``notifying_since`` belong to global_logout.py.
    """

    id: int
    handle: bytes = field(repr=False)
    first_name: str | None = field(repr=False)
    last_name: str | None = field(repr=False)
    email: str | None = field(repr=False)
    phone_number: str | None = field(repr=False)
    session_lifetime_us: int | None
    created_at: int
    disabled_at: int | None
    removed_at: int | None
    logouts: int
    notifying_since: int | None

    @property
    def may_sign_in(self) -> bool:
        return self.disabled_at is None and self.removed_at is None

    def session_expiry(self, now: int) -> int | None:
        """Return when a session ends that begins now; ``None``: with the logout."""
        return None if self.session_lifetime_us is None else now + self.session_lifetime_us

    @property
    def display_name(self) -> str:
        """Return what pages call them."""
        return " ".join(filter(None, (self.first_name, self.last_name))) or self.email or f"#{self.id}"


def add(
    connection: Connection,
    *,
    now: int,
    first_name: str | None = None,
    last_name: str | None = None,
    email: str | None = None,
    phone_number: str | None = None,
) -> Person:
    """Add a person, who has no passkey yet."""
    names = {"first_name": first_name, "last_name": last_name, "email": email, "phone_number": phone_number}
    row = {**names, "handle": tokens.new_handle(), "session_lifetime_us": DEFAULT_SESSION_LIFETIME, "created_at": now}
    return get(connection, connection.execute(insert(people).values(row).returning(people.c.id)).scalar_one())


def get(connection: Connection, person_id: int) -> Person:
    """Return a person.

    :raises Unknown: there is no such person, or there was one.
    """
    return _one(connection, people.c.id == person_id)


def lock(connection: Connection, person_id: int) -> Person:
    """Lock a person until the transaction ends, and return them.

    Whatever touches a person's sessions, codes, tokens, site logins or deliveries comes here first: so a
    logout is either before or after an exchange, never between its steps.

    :raises Unknown: there is no such person.
    """
    return _one(connection, people.c.id == person_id, lock=True)


def all_people(connection: Connection, *, lock: bool = False) -> list[Person]:
    """Return everybody, oldest first, disabled ones included.

    :param lock: as :func:`lock`, of all of them in this order.
    """
    query = select(people).where(people.c.removed_at.is_(None)).order_by(people.c.id)
    rows = connection.execute(query.with_for_update() if lock else query)
    return [Person(**row._mapping) for row in rows]


def change(connection: Connection, person_id: int, **values: Any) -> None:
    """Set columns: names, ``email``, ``phone_number``, ``session_lifetime_us``.

    :raises Unknown: there is no such person.
    """
    get(connection, person_id)
    connection.execute(update(people).where(people.c.id == person_id).values(**values))


def _one(connection: Connection, which: ColumnElement[bool], *, lock: bool = False) -> Person:
    query = select(people).where(which, people.c.removed_at.is_(None))
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise Unknown
    return Person(**row._mapping)
