"""Make and recognise the SQLite logout store's file."""

from __future__ import annotations

import os
import sqlite3

from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.events import log

from .keys import OTHER_FORMAT

_APPLICATION_ID = 0x436C6566  # "Clef" in ASCII
_SCHEMA_VERSION = 2
_CACHE_KIB = 8000
"""The page cache of a connection: room for some 100,000 records, in place of SQLite's 2,000 KiB."""
_SCHEMA = (
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
    "CREATE TABLE IF NOT EXISTS logout (key BLOB PRIMARY KEY, stamp INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS idempotency_key (digest BLOB PRIMARY KEY, stamp INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS mark (one INTEGER PRIMARY KEY CHECK (one = 1), stamp INTEGER NOT NULL)",
)
_NO_DATABASE = "SQLiteLogoutStore: path names a file that is not a SQLite database: name another."


def prepare(connection: sqlite3.Connection) -> None:
    """Make a new connection durable and the file ours. Write nothing to a file of somebody else's.

    :raises ConfigurationError: the file can't be a logout store of this version.
    """
    try:
        is_ours = _is_ours(connection)
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise
        raise ConfigurationError(_NO_DATABASE) from error
    # FULL: the write-ahead log is synced at each commit (https://www.sqlite.org/pragma.html#pragma_synchronous).
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise ConfigurationError(
            "SQLiteLogoutStore: path lies where SQLite's WAL mode does not work: use a local disk."
        )
    if not is_ours:
        _create_schema(connection)


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Return whether the tables are there; False for an empty file."""
    # The tables first: they are committed together with the id, so who sees them sees the id too.
    tables = _tables(connection)
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application_id != _APPLICATION_ID and (tables or application_id or version):
        raise ConfigurationError(
            "SQLiteLogoutStore: path names the database of another application: name another file."
        )
    if version > _SCHEMA_VERSION:
        raise ConfigurationError(
            "SQLiteLogoutStore: path names a file of a newer clef_wsgi: upgrade, or name another file."
        )
    if _has_bytes_but_no_page(connection):
        raise ConfigurationError(_NO_DATABASE)
    return version == _SCHEMA_VERSION and tables >= {"logout", "idempotency_key", "mark"}


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _has_bytes_but_no_page(connection: sqlite3.Connection) -> bool:
    """Recognise a file shorter than a page: SQLite takes it for an empty database, and would write over it."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return not pages and os.path.getsize(connection.execute("PRAGMA database_list").fetchone()[2]) > 0


def _create_schema(connection: sqlite3.Connection) -> None:
    """Make the tables, in place of an older format's. Its greatest stamp stays: all later ones are above it."""
    connection.execute("BEGIN IMMEDIATE")
    is_older = connection.execute("PRAGMA user_version").fetchone()[0] < _SCHEMA_VERSION
    stamps = _dropped(connection, sorted(_tables(connection))) if is_older else []
    for statement in _SCHEMA:
        connection.execute(statement)
    if stamps:
        connection.execute("INSERT INTO mark VALUES (1, ?)", (max(stamps),))
        log.warning(OTHER_FORMAT, "SQLiteLogoutStore")
    connection.execute("COMMIT")


def _dropped(connection: sqlite3.Connection, tables: list[str]) -> list[int]:
    """Drop an older format's tables, and return the greatest stamp of each."""
    found = [connection.execute(f"SELECT max(stamp) FROM {table}").fetchone()[0] for table in tables]  # noqa: S608
    for table in tables:
        connection.execute(f"DROP TABLE {table}")
    return [stamp for stamp in found if stamp is not None]
