"""Keep logout records in a SQL database: PostgreSQL, MariaDB, MySQL or SQLite, for several machines.

Connections are in ``sql_connection``, what differs between databases in ``sql_databases``, statements in
``sql_statements``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Engine, inspect

from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.base.options import Faults
from clef_wsgi.events import log
from clef_wsgi.interfaces import EVERYONE

from .keys import OTHER_FORMAT, digest, digests, microseconds
from .sql_connection import Connections, NotPreparedError
from .sql_databases import engines_of
from .sql_statements import PRUNED_AT_ONCE, Statements

_SCHEMA_VERSION = 2


class SQLAlchemyLogoutStore:
    """Keep stamps in three tables of a database, shared by all machines that reach it.

    Stamps are the database's time. Each change is one transaction that locks the mark, the row of the greatest
    stamp, first; a look-up is one statement. Writers wait in line, those of one process in the order in which they
    came. The tables are made when they are missing. When records are lost, because a table was emptied or dropped,
    everybody has to sign in again. Older records, as after a failover or from a backup, are noticed by a process
    alone that has seen newer ones: record a logout of everyone then.

    Nothing is asked of the database before the first call. Every method raises ``StoreUnavailable`` when the
    database can't be asked in time; the cause is attached, and the next call tries again. All methods may be
    called by many threads at once, and after a fork.

    :param url: ``postgresql://``, ``mariadb://``, ``mysql://`` or ``sqlite:///``, of the database that is written
        to, never of a replica; or an Engine, which brings its own driver, pool and time-outs.
    :param table_prefix: begins the tables' names.
    :param connect_timeout_seconds: the longest that connecting takes, and waiting for a free connection. For a
        URL only.
    :param read_timeout_seconds: the longest that an answer takes, and that a statement waits for others. For a URL
        only; an Engine's own limits hold there.
    :param write_timeout_seconds: the longest that any method but ``newest_logout`` waits for other writers: its
        place in the line is kept so long, and a transaction that the database refused for a lock is tried again.
    :raises ConfigurationError: an argument is wrong, or a driver is missing; ``faults`` has the sentences.
    """

    def __init__(
        self,
        url: str | Engine,
        *,
        table_prefix: str = "clef_",
        connect_timeout_seconds: float = 0.5,
        read_timeout_seconds: float = 0.5,
        write_timeout_seconds: float = 5.0,
    ) -> None:
        faults = Faults()
        limits = (
            faults.seconds("connect_timeout_seconds", connect_timeout_seconds),
            faults.seconds("read_timeout_seconds", read_timeout_seconds),
        )
        write_seconds = faults.seconds("write_timeout_seconds", write_timeout_seconds)
        if not isinstance(table_prefix, str) or not re.fullmatch("[a-z_][a-z0-9_]{0,31}", table_prefix):
            faults.add("table_prefix must be 1 to 32 lowercase letters, digits and underscores.")
        try:
            engines = engines_of(url, *limits)
        except ConfigurationError as error:
            faults.add(error.message)
        faults.raise_all()
        # Public, like the prefix, for who looks after the tables.
        self.engine = engines.read
        self.table_prefix = table_prefix
        self._sql = Statements(self.engine.dialect.name, table_prefix)
        self._connections = Connections(
            engines, read_seconds=limits[1], write_seconds=write_seconds, prepare=self._be_born
        )
        self._is_file = self.engine.dialect.name == "sqlite"
        self._seen = 0

    def __repr__(self) -> str:
        # A query may hold a password too.
        return f"SQLAlchemyLogoutStore({self.engine.url.set(query={}).render_as_string(hide_password=True)!r})"

    def tick(self) -> int:
        """Return a new stamp in microseconds, greater than all that anybody got from this database."""
        stamp = self._connections.write(self._tick)
        self._saw(stamp)
        return stamp

    def record_logout(self, keys: Iterable[str], *, idempotency_key: str | None = None) -> bool:
        """Record a logout of all ``keys`` under one new stamp, in one transaction.

        :param keys: any text, however long; a single ``str`` in place of a list is refused.
        :param idempotency_key: a digest; when the database knows it already, nothing is done.
        :returns: True when recorded, False when ``idempotency_key`` was known.
        :raises TypeError: ``keys`` is a ``str``, or holds something else than ``str``.
        """
        wanted = dict.fromkeys(digests(keys))
        known = None if idempotency_key is None else digest(idempotency_key)
        return self._connections.write(lambda connection: self._record(connection, wanted, known))

    def newest_logout(self, keys: Iterable[str]) -> int:
        """Return the newest stamp, in microseconds, among ``keys`` and ``everyone``.

        :raises TypeError: ``keys`` is a ``str``, or holds something else than ``str``.
        """
        wanted = digests(keys)
        return self._connections.read(lambda connection: self._look_up(connection, wanted))

    def prune(self, older_than: float) -> int:
        """Drop records and idempotency keys older than ``older_than`` seconds, and raise ``everyone`` to that moment.

        It goes in steps, each a transaction, so that no other call waits long.

        :returns: the number of logout records dropped.
        :raises ConfigurationError: ``older_than`` is negative or not a finite number.
        """
        age = microseconds(older_than)
        total, is_more = 0, True
        while is_more:
            dropped, is_more = self._connections.write(lambda connection: self._drop_old(connection, age))
            total += dropped
        return total

    def close(self) -> None:
        """Close this process's idle connections. The next call of any method opens new ones."""
        self._connections.close()

    # -- the verbs, with a connection --------------------------------------------------------------------------

    def _tick(self, connection: Connection) -> int:
        if not self._is_file:
            return self._new_stamp(connection)  # one statement, hence one transaction
        with self._connections.transaction(connection):
            return self._new_stamp(connection)

    def _new_stamp(self, connection: Connection) -> int:
        found = connection.execute(self._sql.stamp, {"seen": self._seen, "everyone": _EVERYONE})
        stamp = found.scalar() if found.returns_rows else found.rowcount and found.lastrowid
        if not stamp:
            raise NotPreparedError
        return int(stamp)

    def _record(self, connection: Connection, wanted: Iterable[bytes], known: bytes | None) -> bool:
        with self._connections.transaction(connection):
            stamp = self._new_stamp(connection)
            if known is not None:
                added = connection.execute(self._sql.add_known, {"digest": known, "stamp": stamp})
                if not added.rowcount:
                    return False
            for key in wanted:
                connection.execute(self._sql.add_logout, {"digest": key, "stamp": stamp})
        self._saw(stamp)
        return True

    def _look_up(self, connection: Connection, wanted: list[bytes]) -> int:
        # Read before the snapshot is taken: so the snapshot's mark is lower only when records were lost.
        seen = self._seen
        parameters: dict[str, Any] = {f"key{number}": key for number, key in enumerate(wanted)}
        found = connection.execute(self._sql.look_up(len(wanted)), {**parameters, "everyone": _EVERYONE})
        mark, everyone, newest = found.one()
        if mark is None or everyone is None or mark < seen:
            raise NotPreparedError
        self._saw(mark)
        return int(max(everyone, newest or 0))

    def _drop_old(self, connection: Connection, age: int) -> tuple[int, bool]:
        """Prune one step; return how many logouts it dropped, and whether there may be more."""
        with self._connections.transaction(connection):
            stamp = self._new_stamp(connection)
            cut = connection.execute(self._sql.cut, {"age": age}).scalar_one()
            # The mark goes along: a stamp below everyone's would be a login that is dead at birth.
            connection.execute(self._sql.raise_mark, {"cut": cut})
            connection.execute(self._sql.raise_everyone, {"cut": cut, "everyone": _EVERYONE})
            logouts, keys = (connection.execute(sql, {"cut": cut}).rowcount for sql in self._sql.drops)
        self._saw(stamp)
        return logouts, PRUNED_AT_ONCE in (logouts, keys)

    def _be_born(self, connection: Connection) -> None:
        """Make what is missing: tables, the mark, the record of everyone.

        Lost is also what a database forgot whose mark is below a stamp that this process saw. A new mark is 0.
        """
        self._make_tables(connection)
        with self._connections.transaction(connection):
            connection.execute(self._sql.make_mark, {"version": _SCHEMA_VERSION})
            mark, version, everyone = connection.execute(self._sql.state, {"everyone": _EVERYONE}).one()
            if version > _SCHEMA_VERSION:
                raise ConfigurationError("SQLAlchemyLogoutStore: the tables are of a newer clef_wsgi: upgrade.")
            is_older = version < _SCHEMA_VERSION
            if is_older or everyone is None or not mark or mark < self._seen:
                newest = connection.execute(self._sql.newest).scalar_one()
                stamp = max(mark, self._seen, newest) + 1
                connection.execute(self._sql.raise_mark, {"cut": stamp})
                connection.execute(self._sql.add_logout, {"digest": _EVERYONE, "stamp": stamp})
            if is_older:
                connection.execute(self._sql.set_version, {"version": _SCHEMA_VERSION})
                log.warning(OTHER_FORMAT, "SQLAlchemyLogoutStore")

    def _make_tables(self, connection: Connection) -> None:
        there = inspect(connection)
        missing = [sql for name, sql in self._sql.tables.items() if not there.has_table(name)]
        if missing:
            with self._connections.transaction(connection):
                connection.execute(self._sql.lock_schema)
                for sql in missing:
                    connection.execute(sql)

    def _saw(self, stamp: int) -> None:
        # Not under a lock: what another thread saw may be forgotten, which only makes the check less sharp.
        self._seen = max(self._seen, stamp)


_EVERYONE = digest(EVERYONE)
