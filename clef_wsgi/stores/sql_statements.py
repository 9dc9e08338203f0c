"""Build the SQL store's statements, once.

Text that goes into them is constant, but for the tables' prefix,
which has been checked; values are parameters.
"""

# ruff: noqa: S608

from __future__ import annotations

from functools import cache

from sqlalchemy import TextClause, text

from .sql_databases import DATABASES

PRUNED_AT_ONCE = 1000


class Statements:
    """The statements for one database."""

    def __init__(self, dialect_name: str, prefix: str) -> None:
        dialect = DATABASES[dialect_name]
        mark, logout, known = (f"{prefix}{name}" for name in ("mark", "logout", "idempotency_key"))
        everyone = f"SELECT stamp FROM {logout} WHERE digest = :everyone"
        next_stamp = dialect.returned.format(f"{dialect.greatest}({dialect.now}, stamp + 1)")
        self._prefix = prefix
        self.stamp = text(
            f"UPDATE {mark} SET stamp = {next_stamp} "
            f"WHERE one = 1 AND stamp >= :seen AND EXISTS ({everyone}){dialect.returning}"
        )
        self.add_known = text(
            f"{dialect.insert_new} {known} (digest, stamp) VALUES (:digest, :stamp){dialect.or_nothing}"
        )
        self.add_logout = text(
            f"INSERT INTO {logout} (digest, stamp) VALUES (:digest, :stamp) "
            f"{dialect.or_update.format('digest')} stamp = {dialect.inserted}"
        )
        self.cut = text(f"SELECT {dialect.now} - :age")
        self.raise_mark = text(f"UPDATE {mark} SET stamp = :cut WHERE one = 1 AND stamp < :cut")
        self.raise_everyone = text(f"UPDATE {logout} SET stamp = :cut WHERE digest = :everyone AND stamp < :cut")
        # It makes the mark, or locks the one that is there.
        self.make_mark = text(
            f"INSERT INTO {mark} (one, stamp, version) VALUES (1, 0, :version) "
            f"{dialect.or_update.format('one')} version = {mark}.version"
        )
        self.set_version = text(f"UPDATE {mark} SET version = :version WHERE one = 1")
        self.state = text(f"SELECT stamp, version, ({everyone}) FROM {mark} WHERE one = 1")
        # The server's time, or the newest record, whichever is newer.
        self.newest = text(f"SELECT {dialect.greatest}({dialect.now}, coalesce(max(stamp), 0)) FROM {logout}")
        self.lock_schema = text(dialect.lock_schema)
        # The inner one has a name for MariaDB: it takes no LIMIT in an IN.
        self.drops = [
            text(
                f"DELETE FROM {table} WHERE digest IN (SELECT digest FROM "
                f"(SELECT digest FROM {table} WHERE stamp < :cut LIMIT {PRUNED_AT_ONCE}) AS old)"
            )
            for table in (logout, known)
        ]
        columns = f"(digest {dialect.digest_type} PRIMARY KEY, stamp BIGINT NOT NULL)"
        self.tables = {
            name: text(f"CREATE TABLE IF NOT EXISTS {name} {definition}{dialect.table_options}")
            for name, definition in (
                (logout, columns),
                (known, columns),
                (mark, "(one INTEGER PRIMARY KEY, stamp BIGINT NOT NULL, version INTEGER NOT NULL)"),
            )
        }
        self.look_up = cache(self._look_up)

    def _look_up(self, count: int) -> TextClause:
        """Build one statement, hence one snapshot: the mark, everyone's stamp, and the newest of ``count`` keys."""
        names = ", ".join([":everyone", *(f":key{number}" for number in range(count))])
        logout = f"{self._prefix}logout"
        return text(
            f"SELECT (SELECT stamp FROM {self._prefix}mark WHERE one = 1), "
            f"(SELECT stamp FROM {logout} WHERE digest = :everyone), "
            f"(SELECT max(stamp) FROM {logout} WHERE digest IN ({names}))"
        )
