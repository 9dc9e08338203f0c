"""Create the tables, or migrate those of an older version, step by numbered step.

Runs at every start, one process at a time, in one transaction: the database is of one version or of the next,
never between. An older SQLite database is copied first.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy
from sqlalchemy import Connection, insert, select, text, update

from clef_wsgi.server.database import schema
from clef_wsgi.server.database.append_only import APPEND_ONLY
from clef_wsgi.server.database.backup import copy_beside
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.steps import STEPS, Step
from clef_wsgi.server.errors import ConfigurationError, DatabaseTooNew

PATIENCE_SECONDS = 60
"""Longest wait of a starting process for another one that is migrating."""

_LOCK = 0x636C6566  # any number of ours: PostgreSQL's advisory locks go by number
_log = logging.getLogger(__name__)


def open_database(where: str | Path) -> Database:
    """Open a database and bring it up to date.

    :raises ConfigurationError: it can't be used; :class:`DatabaseTooNew` if a newer version wrote it.
    :raises DatabaseUnavailable: it can't be reached.
    """
    database = Database(where)
    try:
        migrate(database)
    except BaseException:
        database.close()
        raise
    return database


def migrate(database: Database, *, version: int = schema.VERSION, steps: Mapping[int, Step] = STEPS) -> None:
    """Bring the tables to ``version``.

    :raises DatabaseTooNew: they are of a newer one; nothing is changed.
    :raises ConfigurationError: there are tables of something else.
    """
    try:
        with database.writing(wait_seconds=PATIENCE_SECONDS) as connection:
            _lock(connection)
            found = _version(connection)
            if found is None:
                _create(connection, version)
            elif found > version:
                raise DatabaseTooNew(_too_new(found, version))
            elif found < version:
                _save_copy(database, found)
                _climb(connection, found, version, steps)
    except sqlalchemy.exc.DatabaseError as error:
        raise ConfigurationError("database: that file is no database, or it is damaged.") from error


def _lock(connection: Connection) -> None:
    """Let one process at a time through; the others then find nothing to do. SQLite has waited already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})


def _version(connection: Connection) -> int | None:
    names = set(sqlalchemy.inspect(connection).get_table_names())
    if schema.schema_version.name in names:
        return int(connection.execute(select(schema.schema_version.c.version)).scalar_one())
    if names & set(schema.metadata.tables):
        raise ConfigurationError("database: it holds tables of something else. Give Clef a database of its own.")
    return None


def _create(connection: Connection, version: int) -> None:
    schema.metadata.create_all(connection)
    for statement in APPEND_ONLY[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    connection.execute(insert(schema.schema_version).values(version=version))
    _log.info("The database is new, of version %d.", version)


def _climb(connection: Connection, found: int, version: int, steps: Mapping[int, Step]) -> None:
    for number in range(found + 1, version + 1):
        steps[number](connection)
        connection.execute(update(schema.schema_version).values(version=number))
        _log.info("The database is now of version %d.", number)


def _save_copy(database: Database, found: int) -> None:
    """Copy a SQLite file beside itself. The lock is held by now, so that what is copied is the version before."""
    if database.path is None:
        _log.warning("The database changes from version %d; PostgreSQL is not copied first, use pg_dump.", found)
        return
    target = copy_beside(database.path, f"version-{found}")
    _log.info("The database was copied to %s before it changes.", target)


def _too_new(found: int, version: int) -> str:
    return (
        f"database: it was written by a newer version (schema {found}, this one knows {version}). "
        "Install that version again, or restore the copy from before it."
    )
