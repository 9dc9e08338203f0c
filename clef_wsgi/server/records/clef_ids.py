"""Pairwise identifiers: the number by which one app knows one person, unique per app, never reused.

New ones fit old 32-bit columns (wire protocol, section 5); imported ones may be as long as every JSON parser
reads them (RFC 8259, section 6).
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, insert, select

from clef_wsgi.server import tokens
from clef_wsgi.server.database.schema import clef_ids
from clef_wsgi.server.errors import Refused

MAX_ID = 2**53 - 1


def clef_id(connection: Connection, app_id: str, person_id: int) -> int:
    """Return a person's pairwise id at an app, made at the first call. The caller has locked the person."""
    known = _known(connection, app_id, person_id)
    return known if known is not None else _write(connection, app_id, person_id, _free_id(connection, app_id))


def import_id(connection: Connection, app_id: str, person_id: int, old_id: int) -> None:
    """Give a person the number by which the app has known them so far.

    :raises Refused: it is another person's, or the person has another one already, or no column can hold it.
    """
    if not 0 < old_id <= MAX_ID:
        raise Refused(f"An id at a site is a number from 1 to {MAX_ID}.")
    if _known(connection, app_id, person_id) not in (None, old_id):
        raise Refused("This person has another id at that site already.")
    if _owner(connection, app_id, old_id) not in (None, person_id):
        raise Refused("That id at that site belongs to somebody else.")
    if _known(connection, app_id, person_id) is None:
        _write(connection, app_id, person_id, old_id)


def _free_id(connection: Connection, app_id: str) -> int:
    while _owner(connection, app_id, number := tokens.new_clef_id()) is not None:
        pass
    return number


def _known(connection: Connection, app_id: str, person_id: int) -> int | None:
    return connection.execute(_KNOWN, {"app_id": app_id, "person_id": person_id}).scalar()


def _owner(connection: Connection, app_id: str, number: int) -> int | None:
    which = (clef_ids.c.app_id == app_id, clef_ids.c.clef_id == number)
    return connection.execute(select(clef_ids.c.person_id).where(*which)).scalar()


def _write(connection: Connection, app_id: str, person_id: int, number: int) -> int:
    connection.execute(insert(clef_ids).values(app_id=app_id, person_id=person_id, clef_id=number))
    return number


_KNOWN = select(clef_ids.c.clef_id).where(
    clef_ids.c.app_id == bindparam("app_id"), clef_ids.c.person_id == bindparam("person_id")
)
