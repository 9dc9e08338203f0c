"""Shared helpers of the self-service views: current session, input validation, audit entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from clef_wsgi.server import names
from clef_wsgi.server.errors import SessionEnded
from clef_wsgi.server.records import audit, sessions
from clef_wsgi.server.records.sessions import Session
from clef_wsgi.server.web.support import cookies
from clef_wsgi.server.web.support.context import request_address, server
from clef_wsgi.server.web.support.pages import PageError

MAX_NAME = 64


def current() -> Session:
    """Return the current session.

    :raises SessionEnded: nobody is signed in.
    """
    session = server().database.look(cookies.current_session)
    if session is None:
        raise SessionEnded
    return session


def locked(connection: Connection) -> Session:
    """Return the current session, its person locked, sure to be active until this transaction ends.

    :raises SessionEnded: nobody is signed in.
    """
    return sessions.lock(connection, cookies.session_token(), now=server().clock())


@contextmanager
def changing() -> Iterator[tuple[Connection, Session]]:
    """Open a writing transaction for a change of the current session's person, who is locked; not for strangers.

    :raises SessionEnded: nobody is signed in.
    """
    current()
    with server().database.writing() as connection:
        yield connection, locked(connection)


def note(connection: Connection, session: Session, action: str, subject: str, **details: Any) -> None:
    """Write an audit entry of the session's person."""
    now, address = server().clock(), request_address()
    actor = f"person:{session.person.id}"
    audit.note(connection, actor=actor, action=action, subject=subject, now=now, address=address, **details)


def read_names(given: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Read first and last name, as their owner writes them.

    :raises PageError: they can't be names.
    """
    first, last = (_read_name(given.get(key, "")) for key in ("first_name", "last_name"))
    return first, last


def _read_name(given: object) -> str | None:
    if not isinstance(given, str):  # JSON may hold anything
        raise PageError("bad_name")
    name = names.tidied(given)
    if name and not names.is_name(name, MAX_NAME):
        raise PageError("bad_name")
    return name or None
