"""Check how durable a database is, by the settings of PostgreSQL, MariaDB and MySQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from clef_wsgi.check import sqlite_file
from clef_wsgi.check.findings import STORE, Finding

if TYPE_CHECKING:
    from sqlalchemy import Connection

TIMEOUT_SECONDS = 2.0
REMEDY = "Turn it on for this database; until then, after a crash run clef-wsgi sign-out --everyone."


def findings(url: str) -> Iterator[Finding]:
    """Yield the findings about the database behind a URL, through a connection of its own."""
    from sqlalchemy.exc import SQLAlchemyError  # an extra, which the store needs too

    from clef_wsgi.stores.sql_databases import engines_of

    engine = engines_of(url, TIMEOUT_SECONDS, TIMEOUT_SECONDS).read
    kind = engine.dialect.name
    if kind == "sqlite":
        yield from sqlite_file.findings(engine.url.database or "", journal_mode="")
        return
    look: Callable[[Connection], Iterator[Finding]] = _postgresql if kind == "postgresql" else _mysql
    try:
        with engine.connect() as connection:
            yield from look(connection)
    except SQLAlchemyError as error:
        yield STORE.warning(
            f"The database does not tell how it is set up ({type(error).__name__}): what it may lose is not known.",
            "Look at it yourself: it has to write each commit to the disk.",
        )
    finally:
        engine.dispose()


def _postgresql(connection: Connection) -> Iterator[Finding]:
    if _asked(connection, "SELECT pg_is_in_recovery()::text") == "true":
        yield STORE.error("This PostgreSQL is a replica: it refuses every logout.", "Let store.url name the primary.")
    if _asked(connection, "SHOW fsync") != "on":
        yield STORE.error("PostgreSQL may lose all it has when its machine fails (fsync is off).", "Set fsync = on.")
    commit = _asked(connection, "SHOW synchronous_commit")
    if commit == "off":
        yield STORE.warning("PostgreSQL may lose a second of logouts in a crash (synchronous_commit is off).", REMEDY)
    else:
        yield STORE.ok(f"PostgreSQL writes each logout to its disk before it answers (synchronous_commit {commit}).")
    if _asked(connection, "SELECT count(*)::text FROM pg_stat_replication") != "0":
        yield STORE.warning(
            "PostgreSQL has replicas: a failover to one that lags behind may lose the last logouts.",
            "Replicate synchronously; or after a failover run clef-wsgi sign-out --everyone.",
        )


def _mysql(connection: Connection) -> Iterator[Finding]:
    if _asked(connection, "SELECT @@global.read_only") not in ("0", "OFF"):
        yield STORE.error("This database is read-only: it refuses every logout.", "Let store.url name the primary.")
    flush = _asked(connection, "SELECT @@global.innodb_flush_log_at_trx_commit")
    if flush == "1":
        yield STORE.ok("The database writes each logout to its disk before it answers.")
    else:
        yield STORE.warning(
            f"The database may lose a second of logouts in a crash (innodb_flush_log_at_trx_commit is {flush}).", REMEDY
        )


def _asked(connection: Connection, question: str) -> str:
    from sqlalchemy import text

    return str(connection.execute(text(question)).scalar())
