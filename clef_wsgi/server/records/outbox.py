"""The outbox: one row for each notice of a logout that a site has to hear.

A row is written in the transaction of the logout itself, so that no acknowledged logout is forgotten. Its
token stands here in the clear until the site has confirmed, since every retry carries the same one. Sending
is not done here.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from clef_wsgi.server import tokens
from clef_wsgi.server.database.schema import deliveries
from clef_wsgi.server.errors import InvalidLogoutToken
from clef_wsgi.server.records import clef_ids

PENDING, CONFIRMED, GIVEN_UP = "pending", "confirmed", "given_up"


def add(connection: Connection, *, person_id: int, app_id: str, hook_url: str, now: int) -> None:
    """A notice to one hook. The caller has locked the person.

    It joins a row that nobody has tried to send yet. One that was tried may be known to the site already: the
    site counts a token once, so a newer logout needs a new one.
    """
    same = (
        deliveries.c.person_id == person_id,
        deliveries.c.app_id == app_id,
        deliveries.c.hook_url == hook_url,
        deliveries.c.state == PENDING,
        deliveries.c.attempts == 0,
        deliveries.c.claimed_until.is_(None),
    )
    if connection.execute(update(deliveries).where(*same).values(next_at=now)).rowcount:
        return
    token = tokens.new_token()
    row = {
        "person_id": person_id,
        "app_id": app_id,
        "clef_id": clef_ids.clef_id(connection, app_id, person_id),
        "hook_url": hook_url,
        "token": token,
        "token_hash": tokens.digest(token),
        "state": PENDING,
        "attempts": 0,
        "made_at": now,
        "next_at": now,
    }
    connection.execute(insert(deliveries).values(row))


def read_token(connection: Connection, app_id: str, token: str) -> int:
    """Who logged out, as the app's own number. It can be asked as often as the app likes.

    :raises InvalidLogoutToken: unknown, of another app, or its delivery was confirmed or given up.
    """
    which = (
        deliveries.c.token_hash == tokens.digest(token),
        deliveries.c.app_id == app_id,
        deliveries.c.state == PENDING,
    )
    clef_id: int | None = connection.execute(select(deliveries.c.clef_id).where(*which)).scalar()
    if clef_id is None:
        raise InvalidLogoutToken
    return clef_id
