"""Browser sessions at this server: who signed in, and until when. Ending one is a logout: see logouts.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Row, Table, bindparam, exists, insert, select, update

from clef_wsgi.server import tokens
from clef_wsgi.server.database.schema import people as people_table
from clef_wsgi.server.database.schema import sessions
from clef_wsgi.server.errors import Refused, SessionEnded, Unknown
from clef_wsgi.server.records import people
from clef_wsgi.server.records.people import Person

MOST = 100
"""Active sessions of one person. With one more, the one unused longest is ended: see session_expiry.py."""

MAX_USER_AGENT = 200
"""Characters that are kept of a ``User-Agent``."""


@dataclass(frozen=True)
class Session:
    """An active session. ``expires_at`` is ``None`` where it lasts until the person logs out."""

    id: int
    person: Person
    passkey_id: int | None
    expires_at: int | None


def start(
    connection: Connection,
    *,
    person_id: int,
    passkey_id: int | None,
    now: int,
    address: str = "",
    user_agent: str = "",
) -> str:
    """Start a session for a person who has just authenticated.

    :returns: its token, for the browser alone.
    :raises Refused: the person is disabled.
    """
    person = people.lock(connection, person_id)
    if not person.may_sign_in:
        raise Refused
    token = tokens.new_token()
    row = {
        "person_id": person_id,
        "token_hash": tokens.digest(token),
        "passkey_id": passkey_id,
        "created_at": now,
        "seen_at": now,
        "expires_at": person.session_expiry(now),
        "logouts": person.logouts,
        "address": address,
        "user_agent": "".join(sign for sign in user_agent if sign.isprintable())[:MAX_USER_AGENT],
    }
    connection.execute(_NEW, row)
    return token


def find(connection: Connection, token: str, *, now: int) -> Session:
    """Return the active session of a token, with its person.

    One statement without a lock: a logout may come right after it.

    :raises SessionEnded: there is none.
    """
    row = connection.execute(_FOUND, {"token_hash": tokens.digest(token), "now": now}).one_or_none()
    if row is None:
        raise SessionEnded
    values = row._asdict()
    own = {name: values.pop(f"session_{name}") for name in _OF_SESSION}
    return Session(person=Person(**values), **own)


def lock(connection: Connection, token: str, *, now: int) -> Session:
    """Lock the person of a token, and return its session, sure to be active until the transaction ends.

    :raises SessionEnded: there is none.
    """
    try:
        people.lock_by_session(connection, tokens.digest(token))
    except Unknown:
        raise SessionEnded from None
    return find(connection, token, now=now)


def renew(connection: Connection, session_id: int, *, passkey_id: int | None, now: int) -> str:
    """Give a session a new token after its person authenticated again; the old one is void (no session fixation).

    :returns: the new token.
    :raises SessionEnded: it ended meanwhile.
    """
    person_id = connection.execute(select(sessions.c.person_id).where(sessions.c.id == session_id)).scalar_one()
    person = people.lock(connection, person_id)
    token = tokens.new_token()
    values = {"passkey_id": passkey_id, "seen_at": now, "expires_at": person.session_expiry(now)}
    active = update(sessions).where(*_ACTIVE).values(**values, token_hash=tokens.digest(token))
    if connection.execute(active, {"session_id": session_id, "now": now}).rowcount == 0:
        raise SessionEnded
    return token


def lives(connection: Connection, session_id: int, *, now: int) -> bool:
    """Return whether a session is active: sure only after ``people.lock``."""
    return connection.execute(_CHECKED, {"session_id": session_id, "now": now}).first() is not None


def touch(connection: Connection, session_id: int, *, now: int) -> None:
    """Record that a session was used just now, and check that it is active: sure only after ``people.lock``.

    :raises SessionEnded: it ended meanwhile.
    """
    if connection.execute(_TOUCHED, {"session_id": session_id, "now": now}).rowcount == 0:
        raise SessionEnded


def of_person(connection: Connection, person_id: int, *, now: int) -> Sequence[Row[Any]]:
    """Return a person's active sessions as they are shown, the newest first; no more than ``MOST``.

    ``user_agent`` is whatever the browser sent.
    """
    columns = [sessions.c[name] for name in ("id", "created_at", "seen_at", "expires_at", "address", "user_agent")]
    query = select(*columns).where(sessions.c.person_id == person_id, is_active(now))
    return connection.execute(query.order_by(sessions.c.id.desc()).limit(MOST)).all()


def end_by(connection: Connection, person_id: int, *, latest: int) -> None:
    """Shorten the sessions of a person that would last longer than ``latest``. The caller has locked the person."""
    longer = sessions.c.expires_at.is_(None) | (sessions.c.expires_at > latest)
    which = (sessions.c.person_id == person_id, is_not_ended(), longer)
    connection.execute(update(sessions).where(*which).values(expires_at=latest))


def is_active(now: int | ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition for a session that counts."""
    unlimited = sessions.c.expires_at.is_(None)
    return is_not_ended() & (unlimited | (sessions.c.expires_at > now))


def is_not_ended() -> ColumnElement[bool]:
    """Return the condition for a session that nobody has ended, expired or not: neither by itself nor by a mark."""
    return sessions.c.ended_at.is_(None) & ~is_marked()


def is_marked() -> ColumnElement[bool]:
    """Return the condition for a session that began before its person's last logout everywhere (global_logout.py)."""
    number = select(people_table.c.logouts).where(people_table.c.id == sessions.c.person_id)
    return sessions.c.logouts < number.correlate(sessions).scalar_subquery()


def began_before_the_mark(table: Table) -> ColumnElement[bool]:
    """Return the same condition, for rows of ``table`` that belong to such a session."""
    session = select(sessions.c.id).where(sessions.c.id == table.c.session_id, is_marked())
    return exists(session.correlate(table))


_NOW = bindparam("now", type_=BigInteger)
_ACTIVE = (sessions.c.id == bindparam("session_id"), is_active(_NOW))
_OF_SESSION = ("id", "passkey_id", "expires_at")
_FOUND = (
    select(people_table, *(sessions.c[name].label(f"session_{name}") for name in _OF_SESSION))
    .select_from(sessions)
    .join(people_table, people_table.c.id == sessions.c.person_id)
    .where(sessions.c.token_hash == bindparam("token_hash"), people_table.c.removed_at.is_(None), is_active(_NOW))
)
_CHECKED = select(sessions.c.id).where(*_ACTIVE)
_TOUCHED = update(sessions).where(*_ACTIVE).values(seen_at=_NOW)
_NEW = insert(sessions)
