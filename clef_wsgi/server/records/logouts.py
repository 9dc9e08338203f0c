"""Log out of one session or one site: end logins, revoke codes and tokens, write back-channel logouts to the outbox.

All in the caller's transaction, behind the person's lock: an exchange is either before it, and its site is
notified, or after it, and refused. A logout everywhere is in global_logout.py.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, delete, select, update

from clef_wsgi.server.database.schema import access_tokens, codes, sessions, site_logins
from clef_wsgi.server.records import global_logout, outbox, people
from clef_wsgi.server.records.site_logins import is_active


def log_out_everywhere(connection: Connection, person_id: int, *, now: int) -> None:
    """End everything that a person started, in every browser and at every site.

    :raises Unknown: there is no such person.
    """
    global_logout.mark(connection, person_id, now=now)
    global_logout.first_step(connection, person_id, now=now)


def end_session(connection: Connection, person_id: int, session_id: int, *, now: int) -> None:
    """End one browser's session, with the logins at sites that began in it.

    :raises Unknown: there is no such person.
    """
    people.lock(connection, person_id)
    active = (sessions.c.id == session_id, sessions.c.person_id == person_id, sessions.c.ended_at.is_(None))
    connection.execute(update(sessions).where(*active).values(ended_at=now))
    _end_logins(connection, person_id, now, session_id=session_id)


def log_out_of_app(connection: Connection, person_id: int, app_id: str, *, now: int) -> None:
    """End a person's logins at one site, whatever browser they began in. Sessions here stay.

    :raises Unknown: there is no such person.
    """
    people.lock(connection, person_id)
    _end_logins(connection, person_id, now, app_id=app_id)


def _end_logins(connection: Connection, person_id: int, now: int, **also: int | str) -> None:
    which = {"person_id": person_id, **also}
    for table in (access_tokens, codes):
        connection.execute(delete(table).where(*_matching(table, which)))
    active = (*_matching(site_logins, which), is_active())
    webhooks = select(site_logins.c.app_id, site_logins.c.webhook_url).where(*active).distinct()
    for app_id, webhook_url in connection.execute(webhooks).all():
        outbox.notify(connection, person_id=person_id, app_id=app_id, webhook_url=webhook_url, now=now)
    connection.execute(update(site_logins).where(*active).values(ended_at=now))


def _matching(table: Table, which: dict[str, int | str]) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in which.items()]
