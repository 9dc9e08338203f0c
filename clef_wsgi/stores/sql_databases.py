"""Describe how databases differ: SQL dialect, driver, and how each keeps to a time-out."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from sqlalchemy import URL, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.base.writer_queue import is_locked

_STOPPED_WRITER_MS = 5000
_BUSY = frozenset({"55P03", "40P01", "40001", 1205, 1213})
"""Waited too long for a lock; or two waited for each other, and this one was chosen to go.

https://www.postgresql.org/docs/current/errcodes-appendix.html, https://mariadb.com/kb/en/mariadb-error-code-reference/
"""


@dataclass(frozen=True)
class Database:
    """A kind of database: its driver, and its dialect.

    ``now`` is its own time in whole microseconds since the epoch, whatever the session's time zone.
    """

    driver: str
    install: str
    digest_type: str
    now: str
    greatest: str = "greatest"
    # Runs first in the transaction that makes the tables.
    lock_schema: str = "SELECT 1"
    table_options: str = ""
    # An INSERT that leaves alone what is there: its beginning and its end.
    insert_new: str = "INSERT INTO"
    or_nothing: str = " ON CONFLICT DO NOTHING"
    # An INSERT that changes what is there.
    or_update: str = "ON CONFLICT ({}) DO UPDATE SET"
    inserted: str = "excluded.stamp"
    # An UPDATE that tells the new value: around the value, and at the end; without an end it is "lastrowid".
    returned: str = "{}"
    returning: str = " RETURNING stamp"


_MYSQL = Database(
    driver="pymysql",
    install="pip install pymysql",
    digest_type="BINARY(32)",
    now="TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))",
    table_options=" ENGINE=InnoDB",
    insert_new="INSERT IGNORE INTO",
    or_nothing="",
    or_update="ON DUPLICATE KEY UPDATE",
    inserted="VALUES(stamp)",
    # https://dev.mysql.com/doc/refman/8.4/en/information-functions.html#function_last-insert-id
    returned="LAST_INSERT_ID({})",
    returning="",
)
DATABASES = {
    "postgresql": Database(
        driver="psycopg",
        install='pip install ".[postgresql]" in its clone',
        digest_type="BYTEA",
        now="CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
        # CREATE TABLE IF NOT EXISTS fails when two do it at once. The number is "Clef" in ASCII.
        lock_schema=f"SELECT pg_advisory_xact_lock({0x436C6566})",
    ),
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "sqlite": Database(
        driver="pysqlite",
        install="",
        digest_type="BLOB",
        now="CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
        greatest="max",
    ),
}


@dataclass(frozen=True)
class Engines:
    """One for look-ups, and one for writes, of which one is under way in a process at a time."""

    read: Engine
    write: Engine


@dataclass(frozen=True)
class Limits:
    """Seconds. An answer takes ``answer`` beyond what the statement waits for a lock, which is ``lock`` at most."""

    connect: float
    answer: float
    lock: float = 0.0


def engines_of(url: str | Engine, connect_timeout_seconds: float, read_timeout_seconds: float) -> Engines:
    """Return the engine that was given, or two whose connections give up in time. Nothing is asked of the server yet.

    Every statement of their connections stands for itself; transactions are begun and committed in plain SQL.

    :raises ConfigurationError: an address that makes no sense, or of a driver that is not there.
    """
    if isinstance(url, Engine):
        if url.dialect.name not in DATABASES:
            raise _fault("url must be an Engine for PostgreSQL, MariaDB, MySQL or SQLite")
        own = url.execution_options(isolation_level="AUTOCOMMIT")
        return Engines(own, own)
    if not isinstance(url, str):
        raise _fault("url must be a str, or an Engine of SQLAlchemy")
    checked = _checked(url)
    make = {"sqlite": _make_sqlite, "postgresql": _make_postgresql}.get(checked.get_backend_name(), _make_mysql)
    reading = Limits(connect_timeout_seconds, read_timeout_seconds)
    return Engines(make(checked, reading), make(checked, replace(reading, lock=read_timeout_seconds), pool_size=1))


def _make_sqlite(url: URL, limits: Limits, **_: Any) -> Engine:
    # A file that is opened for each call can be replaced, and does not go along with a fork. SQLite does not wait
    # by itself: who finds it locked asks again.
    return _make(url, poolclass=NullPool, connect_args={"timeout": limits.lock})


def _make_mysql(url: URL, limits: Limits, **pool: Any) -> Engine:
    # In whole seconds: it frees the server from waits that nobody waits for any more.
    lock = max(1, math.ceil(limits.lock))
    answer = limits.answer + (lock if limits.lock else 0.0)
    arguments = {
        "connect_timeout": limits.connect,
        "read_timeout": answer,
        "write_timeout": answer,
        "init_command": f"SET SESSION innodb_lock_wait_timeout = {lock}",
    }
    return _make(url, pool_timeout=limits.connect, connect_args=arguments, **pool)


def _make_postgresql(url: URL, limits: Limits, **pool: Any) -> Engine:
    from .psycopg_timeouts import connection_class

    # The server must not wait on either: for a lock when the client is gone, or for a client that was stopped
    # while it held the mark.
    answer = limits.answer + limits.lock
    settings = (
        f"-c statement_timeout={answer * 1000:.0f} -c lock_timeout={limits.lock * 1000:.0f} "
        f"-c idle_in_transaction_session_timeout={_STOPPED_WRITER_MS}"
    )
    options = " ".join([settings, *filter(None, [_text(url.query.get("options"))])])
    engine = _make(url, pool_timeout=limits.connect, connect_args={"options": options}, **pool)
    connections = connection_class(limits.connect, answer)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        return connections.connect(*arguments, **options)

    return engine


def is_busy(error: BaseException) -> bool:
    """Return whether the database refused because of others, so that the same may go well in a moment."""
    cause = getattr(error, "orig", error)
    return is_locked(error) or not _BUSY.isdisjoint([getattr(cause, "sqlstate", None), *getattr(cause, "args", ())[:1]])


def _text(value: str | tuple[str, ...] | None) -> str | None:
    return " ".join(value) if isinstance(value, tuple) else value


def _make(url: URL, **options: Any) -> Engine:
    # Connections never come back with a transaction: whatever fails, they are closed.
    return create_engine(url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, hide_parameters=True, **options)


def errors_of_driver(engine: Engine) -> type[Exception]:
    """Return the root of the errors that its driver raises."""
    root: type[Exception] = getattr(engine.dialect.dbapi, "Error", DBAPIError)
    return root


def _checked(address: str) -> URL:
    """Return the URL with the driver that is used for its database."""
    try:
        url = make_url(address)
        name = url.get_backend_name()
        database = DATABASES[name]
    except (ArgumentError, ValueError, KeyError):
        # The text of others may hold the URL's password.
        raise _fault("url must be such as postgresql://user@host/name, mariadb://user@host/name") from None
    if "+" in url.drivername and url.get_driver_name() != database.driver:
        raise _fault(f"url names a driver whose time-outs are not known here: use {name}+{database.driver}://")
    if database.driver != "pysqlite" and find_spec(database.driver) is None:
        raise _fault(f"url needs the driver {database.driver}: {database.install}")
    if name == "sqlite":
        _check_sqlite(url)
    return url.set(drivername=f"{name}+{database.driver}")


def _check_sqlite(url: URL) -> None:
    if url.database in (None, "", ":memory:"):
        raise _fault("url must name a file; to keep nothing, use MemoryLogoutStore")
    if sqlite3.sqlite_version_info < (3, 35):
        raise _fault("needs SQLite 3.35 or newer: use SQLiteLogoutStore")


def _fault(what: str) -> ConfigurationError:
    return ConfigurationError(f"SQLAlchemyLogoutStore: {what}.")
