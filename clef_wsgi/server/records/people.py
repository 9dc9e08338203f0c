"""People: names, addresses, and the lock that serializes what happens to one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, insert, select, update

from clef_wsgi.server import tokens
from clef_wsgi.server.clock import DAY
from clef_wsgi.server.database.schema import codes, people, sessions
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
    return _only(connection.execute(_BY_ID, {"person_id": person_id}).one_or_none())


def lock(connection: Connection, person_id: int) -> Person:
    """Lock a person until the transaction ends, and return them.

    Whatever touches a person's sessions, codes, tokens, site logins or deliveries comes here first: so a
    logout is either before or after an exchange, never between its steps.

    :raises Unknown: there is no such person.
    """
    return _only(connection.execute(_LOCKED_BY_ID, {"person_id": person_id}).one_or_none())


def lock_by_session(connection: Connection, token_hash: bytes) -> Person:
    """Lock the person of a session's token, as :func:`lock`. Says nothing of the session: read that afterwards.

    :raises Unknown: nobody has it.
    """
    return _only(connection.execute(_LOCKED_BY_SESSION, {"token_hash": token_hash}).one_or_none())


def lock_by_code(connection: Connection, app_id: str, code_hash: bytes) -> Person:
    """Lock the person of an app's code, as :func:`lock`. Says nothing of the code: read that afterwards.

    :raises Unknown: nobody has it.
    """
    found = connection.execute(_LOCKED_BY_CODE, {"app_id": app_id, "code_hash": code_hash})
    return _only(found.one_or_none())


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


def _only(row: Row[Any] | None) -> Person:
    if row is None:
        raise Unknown
    return Person(**row._mapping)


def _where(which: ColumnElement[bool]) -> Select[Any]:
    return select(people).where(which, people.c.removed_at.is_(None))


_of_session = select(sessions.c.person_id).where(sessions.c.token_hash == bindparam("token_hash"))
_of_code = select(codes.c.person_id).where(
    codes.c.code_hash == bindparam("code_hash"), codes.c.app_id == bindparam("app_id")
)
_BY_ID = _where(people.c.id == bindparam("person_id"))
_LOCKED_BY_ID = _BY_ID.with_for_update()
_LOCKED_BY_SESSION = _where(people.c.id == _of_session.scalar_subquery()).with_for_update()
_LOCKED_BY_CODE = _where(people.c.id == _of_code.scalar_subquery()).with_for_update()
