"""Restore a backup. All that it says about logins is out of date, so all of them end.

The backup is prepared beside the database, and takes its place in one step, also under a server that runs:
at no moment are the old logins active.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, delete, select

from clef_wsgi.server.database import settings
from clef_wsgi.server.database.backup import copy_beside, copy_sqlite
from clef_wsgi.server.database.schema import challenges, clef_ids
from clef_wsgi.server.errors import Refused, ServerError
from clef_wsgi.server.records import enrolments, logouts, outbox, people

_RP_ID = "SELECT value FROM settings WHERE name = 'rp_id'"


def end_all(connection: Connection, *, now: int) -> None:
    """End every login and every link, and notify all sites.

    A site is notified of everybody it knows, signed in or not: who signed in there since the backup was made is
    not known any more.
    """
    for person in people.all_people(connection):
        logouts.log_out_everywhere(connection, person.id, now=now)
        _notify_all_sites(connection, person.id, now)
    connection.execute(delete(challenges))
    enrolments.void(connection, now=now)
    settings.write(connection, "restored_at", str(now))


def draft(file: Path, folder: Path) -> Path:
    """Return a copy of a backup in ``folder``.

    :raises Refused: the file is no backup.
    """
    if not file.is_file():
        raise Refused(f"{file} is not there.")
    copy = folder / "restored.db"
    try:
        copy_sqlite(file, copy)
        with closing(sqlite3.connect(copy)) as connection:
            is_whole = connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
            connection.execute("SELECT version FROM schema_version").fetchone()
    except sqlite3.DatabaseError:
        is_whole = False
    if not is_whole:
        raise Refused(f"{file} is no backup of a server, or it is damaged.")
    return copy


def put_in_place(draft: Path, path: Path) -> None:
    """Replace the database at ``path`` by ``draft``, and keep the old one beside it.

    :raises Refused: it is another server's, or damaged.
    """
    if not path.exists():
        copy_sqlite(draft, path)
        return
    try:
        if _rp_id(draft) != _rp_id(path):
            raise Refused("The backup is of a server with another --rp-id.")
        copy_beside(path, "before-restore")
        with closing(sqlite3.connect(draft)) as new, closing(sqlite3.connect(path)) as old:
            new.backup(old)
    except sqlite3.DatabaseError as error:
        raise ServerError(f"{path} can't be written: end the server, move the file away, and try again.") from error


def _notify_all_sites(connection: Connection, person_id: int, now: int) -> None:
    """Write the notifications of one person, whom the caller has locked."""
    known = select(clef_ids.c.app_id).where(clef_ids.c.person_id == person_id).order_by(clef_ids.c.app_id)
    for app_id in connection.execute(known).scalars().all():
        outbox.notify(connection, person_id=person_id, app_id=app_id, webhook_url=None, now=now)


def _rp_id(path: Path) -> str | None:
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute(_RP_ID).fetchone()
    return row[0] if row else None
