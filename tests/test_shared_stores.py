"""The stores for several machines keep the contract, each alone and behind the cache; and what is theirs alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
import sqlalchemy
from support.databases import (
    CALM,
    MARIADB_URL,
    POSTGRESQL_URL,
    REDIS_URL,
    drop_tables,
    engine_at,
    redis_store,
    require_at,
    sql_store,
    unique_prefix,
)

import clef_wsgi
from clef_wsgi import (
    EVERYONE,
    CachedLogoutStore,
    ConfigurationError,
    LogoutStore,
    RedisLogoutStore,
    SQLAlchemyLogoutStore,
)
from clef_wsgi.stores import sql_databases
from clef_wsgi.testing.store_contract import (
    DAY,
    FakeClock,
    KeptLogoutStoreContract,
    LogoutStoreContract,
    in_threads,
)


class RealClock(FakeClock):
    """These stores have a time of their own: it is enough that some of it goes by."""

    def advance(self, seconds: float) -> None:
        threading.Event().wait(0.005)


class OwnTimeContract(KeptLogoutStoreContract):
    """A store that several instances share, and that has its own time."""

    url = ""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return RealClock()

    @pytest.fixture(autouse=True)
    def cleaning(self) -> Iterator[None]:
        if "127.0.0.1" in self.url:
            require_at(self.url)
        with ExitStack() as self.at_end:
            yield

    def test_prune_by_age_in_its_own_time(self, store: LogoutStore, clock: FakeClock) -> None:
        """``prune`` drops records, logins and notifications older than the age, and keeps the younger ones."""
        bob = store.tick()
        store.record_logout(["ann", "login:1"], idempotency_key="digest")
        threading.Event().wait(0.5)
        carl = store.tick()
        store.record_logout(["dora"])
        dora = store.newest_logout(["dora"])
        assert store.prune((store.tick() - carl) / 1_000_000 + 0.25) == 2
        assert store.newest_logout(["bob"]) > bob
        assert store.newest_logout(["carl"]) < carl
        assert store.newest_logout(["dora"]) == dora
        assert store.record_logout(["ann"], idempotency_key="digest") is True

    def put_mark_ahead(self) -> None:
        """Set the greatest stamp a day ahead of the server's time, as when its clock is set back a day."""
        raise NotImplementedError

    def set_clock_back(self, store: LogoutStore, clock: FakeClock) -> None:
        self.put_mark_ahead()

    def test_row_49_the_servers_clock_set_back_a_day(self, store: LogoutStore) -> None:
        """The order of logins and logouts goes on from the greatest stamp, at instances that never saw it too."""
        started = store.tick()
        self.put_mark_ahead()
        second = self.make_second(store)
        stamps = [second.tick(), store.tick()]
        second.record_logout(["ann"])
        stamps += [store.newest_logout(["ann"]), second.tick()]
        assert stamps == sorted(set(stamps))
        assert stamps[0] > started + int(DAY) * 1_000_000
        assert second.newest_logout(["bob"]) < started


class SQLContract(OwnTimeContract):
    def make_store(self, tmp_path: Path, clock: FakeClock) -> SQLAlchemyLogoutStore:
        if not self.url:
            self.url, self.prefix = f"sqlite:///{tmp_path}/logouts.db", unique_prefix()
            return self.another()
        store = self.at_end.enter_context(sql_store(self.url))
        self.prefix = store.table_prefix
        return store

    def make_second(self, store: LogoutStore) -> SQLAlchemyLogoutStore:
        return self.another()

    def another(self) -> SQLAlchemyLogoutStore:
        store = SQLAlchemyLogoutStore(self.url, table_prefix=self.prefix, **CALM)
        return self.at_end.enter_context(closing(store))

    def put_mark_ahead(self) -> None:
        self.execute("UPDATE {}mark SET stamp = stamp + :day", day=int(DAY) * 1_000_000)

    def execute(self, *statements: str, **values: object) -> None:
        """``{}`` stands for the tables' prefix."""
        with engine_at(self.url).begin() as connection:
            for statement in statements:
                connection.execute(sqlalchemy.text(statement.format(self.prefix)), values)

    def lose(self, store: LogoutStore) -> None:
        drop_tables(self.url, self.prefix)

    def save(self, store: LogoutStore) -> Callable[[], None]:
        with engine_at(self.url).connect() as connection:
            kept = {
                table: connection.execute(sqlalchemy.text(f"SELECT * FROM {self.prefix}{table}")).mappings().all()
                for table in ("mark", "logout", "idempotency_key")
            }

        def put_back() -> None:
            with engine_at(self.url).begin() as connection:
                for table, rows in kept.items():
                    connection.execute(sqlalchemy.text(f"DELETE FROM {self.prefix}{table}"))
                    for row in map(dict, rows):
                        values = ", ".join(f":{name}" for name in row)
                        sql = f"INSERT INTO {self.prefix}{table} ({', '.join(row)}) VALUES ({values})"
                        connection.execute(sqlalchemy.text(sql), row)

        return put_back

    def parts(self, store: LogoutStore) -> dict[str, Callable[[], None]]:
        everyone = sha256(EVERYONE.encode()).digest()
        statements = [f"{how} {{}}{table}" for how in ("DROP TABLE", "DELETE FROM") for table in ("mark", "logout")]
        parts = {statement: partial(self.execute, statement) for statement in statements}
        one = "DELETE FROM {}logout WHERE digest = :everyone"
        return {**parts, "everyone": partial(self.execute, one, everyone=everyone)}

    def test_a_logout_is_recorded_whole_or_not_at_all(self, store: LogoutStore) -> None:
        """A failure to write one key leaves neither the other keys nor the notification's idempotency key (row 44)."""
        started = store.tick()
        digest = sha256(b"bob").hexdigest()
        if self.url.startswith("sqlite"):
            self.execute(
                f"CREATE TRIGGER refuses BEFORE INSERT ON {{}}logout WHEN NEW.digest = x'{digest}' "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        else:
            literal = f"x'{digest}'" if self.url.startswith("mariadb") else rf"'\x{digest}'"
            self.execute(f"ALTER TABLE {{}}logout ADD CONSTRAINT refuses CHECK (digest <> {literal})")
        with pytest.raises(clef_wsgi.StoreUnavailable):
            store.record_logout(["ann", "bob"], idempotency_key="digest")
        assert store.newest_logout(["ann", "bob"]) < started
        assert store.record_logout(["ann"], idempotency_key="digest") is True

    def test_lost_notifications(self, store: LogoutStore) -> None:
        """Without the table of idempotency keys, notifications count again, and no earlier login lives again."""
        started = store.tick()
        store.record_logout(["ann"], idempotency_key="digest")
        self.execute("DROP TABLE {}idempotency_key")
        assert store.newest_logout(["ann"]) > started
        assert [store.record_logout(["ann"], idempotency_key="digest") for _ in range(2)] == [True, False]

    def test_prune_goes_on_until_all_is_done(self, store: LogoutStore) -> None:
        """Records and idempotency keys are dropped in steps, more than one for either."""
        for table in ("logout", "idempotency_key"):
            store.tick()
            with engine_at(self.url).begin() as connection:
                sql = sqlalchemy.text(f"INSERT INTO {self.prefix}{table} (digest, stamp) VALUES (:digest, 1)")
                connection.execute(sql, [{"digest": sha256(b"%d" % number).digest()} for number in range(1001)])
            assert store.prune(60) == (1001 if table == "logout" else 0)
            with engine_at(self.url).connect() as connection:
                left = connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {self.prefix}{table} WHERE stamp = 1"))
                assert left.scalar_one() == 0

    def test_several_processes_start_at_once(self, store: LogoutStore) -> None:
        """Of several that find no tables, all get a stamp: none fails because another was quicker."""
        stores = [self.another() for _ in range(4)]
        stamps = in_threads(*[each.tick for each in stores])
        assert len(set(stamps)) == 4
        assert all(each.newest_logout([]) < min(stamps) for each in stores)

    def test_tables_of_a_newer_version(self, store: LogoutStore) -> None:
        """Tables of a version that this one does not know are left alone."""
        store.tick()
        other = self.another()
        self.execute("UPDATE {}mark SET version = 99")
        with pytest.raises(clef_wsgi.StoreUnavailable) as caught:
            other.tick()
        assert "upgrade" in str(caught.value.__cause__)


class TestSQLAlchemyOnSQLite(SQLContract):
    pass


@pytest.mark.services
class TestSQLAlchemyOnPostgreSQL(SQLContract):
    url = POSTGRESQL_URL


@pytest.mark.services
class TestSQLAlchemyOnMariaDB(SQLContract):
    url = MARIADB_URL


class RedisContract(OwnTimeContract):
    key = ""

    def client(self) -> Any:
        raise NotImplementedError

    def put_mark_ahead(self) -> None:
        self.client().zincrby(self.key, int(DAY) * 1_000_000, "m")

    def lose(self, store: LogoutStore) -> None:
        self.client().delete(self.key)

    def save(self, store: LogoutStore) -> Callable[[], None]:
        kept = dict(self.client().zrange(self.key, 0, -1, withscores=True))

        def put_back() -> None:
            self.client().delete(self.key)
            self.client().zadd(self.key, kept)

        return put_back

    def parts(self, store: LogoutStore) -> dict[str, Callable[[], None]]:
        members = {"mark": b"m", "everyone": b"k" + sha256(EVERYONE.encode()).digest()}
        return {name: partial(self.client().zrem, self.key, member) for name, member in members.items()}

    def test_prune_goes_on_until_all_is_done(self, store: LogoutStore) -> None:
        """Records are dropped in steps, and more than one step is made."""
        store.tick()
        self.client().zadd(self.key, {b"k" + sha256(b"%d" % number).digest(): 1 for number in range(5001)})
        assert store.prune(60) == 5001
        assert self.client().zcount(self.key, 0, 1) == 0

    def test_prune_raises_the_mark_too(self, store: LogoutStore) -> None:
        """No later stamp is below everyone's record, whatever the clock does next (row 49)."""
        store.tick()
        threading.Event().wait(0.005)
        store.prune(0)
        mark, everyone = self.client().zmscore(self.key, [b"m", b"k" + sha256(EVERYONE.encode()).digest()])
        assert mark >= everyone

    def test_records_have_no_end(self, store: LogoutStore) -> None:
        """Nothing expires by itself: a record that went away by its time would be a login that lives again."""
        store.record_logout(["ann"], idempotency_key="digest")
        assert self.client().ttl(self.key) == -1

    def test_forgotten_scripts(self, store: LogoutStore) -> None:
        """Scripts are sent again to a server that has lost them."""
        store.tick()
        self.client().script_flush()
        assert store.newest_logout([]) < store.tick()


def fake_server() -> fakeredis.FakeServer:
    """With its database made: two threads that come first together would each make one, and miss the other's."""
    server = fakeredis.FakeServer()
    fakeredis.FakeRedis(server=server).ping()
    return server


class TestRedisFake(RedisContract):
    def make_store(self, tmp_path: Path, clock: FakeClock) -> RedisLogoutStore:
        self.server = fake_server()
        store = self.make_second(None)
        self.key = "clef:logouts"
        return store

    def make_second(self, store: LogoutStore | None) -> RedisLogoutStore:
        options: dict[str, Any] = {} if store is None else {"decode_responses": True}
        return RedisLogoutStore(fakeredis.FakeRedis(server=self.server, socket_timeout=5, **options))

    def client(self) -> Any:
        return fakeredis.FakeRedis(server=self.server)


@pytest.mark.services
class TestRedis(RedisContract):
    url = REDIS_URL

    def make_store(self, tmp_path: Path, clock: FakeClock) -> RedisLogoutStore:
        store = self.at_end.enter_context(redis_store())
        self.prefix = store.prefix
        self.key = f"{self.prefix}logouts"
        return store

    def make_second(self, store: LogoutStore) -> RedisLogoutStore:
        return RedisLogoutStore(REDIS_URL, prefix=self.prefix, **CALM)

    def client(self) -> Any:
        return self.at_end.enter_context(redis.Redis.from_url(REDIS_URL))

    @pytest.mark.filterwarnings("ignore:.*get_connection:DeprecationWarning")  # older versions need the argument
    def test_a_failure_cuts_nobody_off(self, store: RedisLogoutStore) -> None:
        """A call that fails drops idle connections; one that another thread waits on goes on."""
        pool = store._client.connection_pool
        idle, in_use = [pool.get_connection("_") for _ in range(2)]
        for each in (idle, in_use):
            each.connect()
        pool.release(idle)
        in_use.send_command("PING")
        self.client().set(self.key, "not what it should be")
        with pytest.raises(clef_wsgi.StoreUnavailable):
            store.tick()
        assert in_use.read_response() == b"PONG"
        assert idle._sock is None
        pool.release(in_use)

    @pytest.mark.filterwarnings("ignore:.*get_connection:DeprecationWarning")
    def test_a_failure_leaves_the_connections_of_a_client_of_ones_own(self, store: RedisLogoutStore) -> None:
        """A call that fails closes none that the client's owner keeps for other things."""
        client = self.at_end.enter_context(redis.Redis.from_url(REDIS_URL, socket_timeout=5, socket_connect_timeout=5))
        kept = client.connection_pool.get_connection("_")
        kept.connect()
        client.connection_pool.release(kept)
        client.set(self.key, "not what it should be")
        with pytest.raises(clef_wsgi.StoreUnavailable):
            RedisLogoutStore(client, prefix=self.prefix).tick()
        assert kept._sock is not None


class CachedContract(LogoutStoreContract):
    """Behind the cache, one process sees what it recorded itself at once."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return RealClock()

    @pytest.fixture(autouse=True)
    def cleaning(self) -> Iterator[None]:
        with ExitStack() as self.at_end:
            yield

    def make_store(self, tmp_path: Path, clock: FakeClock) -> CachedLogoutStore:
        return CachedLogoutStore(self.at_end.enter_context(self.behind(tmp_path)), 60)

    def behind(self, tmp_path: Path) -> AbstractContextManager[LogoutStore]:
        raise NotImplementedError


class TestCachedSQLite(CachedContract):
    def behind(self, tmp_path: Path) -> AbstractContextManager[LogoutStore]:
        return sql_store(f"sqlite:///{tmp_path}/logouts.db")


class TestCachedFakeRedis(CachedContract):
    def make_store(self, tmp_path: Path, clock: FakeClock) -> CachedLogoutStore:
        client = fakeredis.FakeRedis(server=fake_server(), socket_timeout=5)
        return CachedLogoutStore(RedisLogoutStore(client), 60)


@pytest.mark.services
class TestCachedPostgreSQL(CachedContract):
    def behind(self, tmp_path: Path) -> AbstractContextManager[LogoutStore]:
        require_at(POSTGRESQL_URL)
        return sql_store(POSTGRESQL_URL)


@pytest.mark.services
class TestCachedMariaDB(CachedContract):
    def behind(self, tmp_path: Path) -> AbstractContextManager[LogoutStore]:
        require_at(MARIADB_URL)
        return sql_store(MARIADB_URL)


@pytest.mark.services
class TestCachedRedis(CachedContract):
    def behind(self, tmp_path: Path) -> AbstractContextManager[LogoutStore]:
        require_at(REDIS_URL)
        return redis_store()


# -- arguments ------------------------------------------------------------------------------------------------

PASSWORD = "hunter2"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"url": f"postgresql+psycopg2://u:{PASSWORD}@h/d"}, "use postgresql+psycopg://"),
        ({"url": f"oracle://u:{PASSWORD}@h/d"}, "postgresql://"),
        ({"url": f"nonsense {PASSWORD}"}, "postgresql://"),
        ({"url": f"postgresql://u:{PASSWORD}@h:port/d"}, "postgresql://"),
        ({"url": "sqlite://"}, "MemoryLogoutStore"),
        ({"url": 5}, "must be a str, or an Engine"),
        ({"table_prefix": "clef; DROP TABLE"}, "table_prefix"),
        ({"table_prefix": ""}, "table_prefix"),
        ({"read_timeout_seconds": 0}, "read_timeout_seconds"),
        ({"connect_timeout_seconds": float("inf")}, "connect_timeout_seconds"),
    ],
)
def test_sql_store_checks_its_arguments(arguments: dict[str, Any], sentence: str) -> None:
    """Unusable arguments are refused by the constructor, in one sentence that shows no password."""
    with pytest.raises(ConfigurationError) as caught:
        SQLAlchemyLogoutStore(**{"url": "postgresql://h/d", **arguments})
    assert sentence in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


SENTINEL: Any = redis.Sentinel([("h", 1)], socket_timeout=1)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"url": f"http://:{PASSWORD}@h"}, "redis://10.0.0.5"),
        ({"url": f"redis://:{PASSWORD}@h:port"}, "redis://10.0.0.5"),
        ({"url": 5}, "must be a str, or a client"),
        ({"url": redis.Redis}, "must be a str, or a client"),
        ({"url": redis.Redis(socket_timeout=None)}, "socket_timeout=0.5"),
        ({"url": SENTINEL.slave_for("x", socket_timeout=1)}, "replicas"),
        ({"prefix": "a\nb"}, "prefix"),
        ({"read_timeout_seconds": "0.5"}, "read_timeout_seconds"),
    ],
)
def test_redis_store_checks_its_arguments(arguments: dict[str, Any], sentence: str) -> None:
    """Unusable arguments are refused by the constructor, in one sentence that shows no password."""
    with pytest.raises(ConfigurationError) as caught:
        RedisLogoutStore(**{"url": "redis://h", **arguments})
    assert sentence in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_all_faults_at_once() -> None:
    """All faults are reported in one error."""
    with pytest.raises(ConfigurationError) as sql:
        SQLAlchemyLogoutStore("", table_prefix="-", connect_timeout_seconds=0, read_timeout_seconds=0)
    with pytest.raises(ConfigurationError) as of_redis:
        RedisLogoutStore("", prefix="\0", connect_timeout_seconds=0, read_timeout_seconds=0)
    assert [len(caught.value.faults) for caught in (sql, of_redis)] == [4, 4]


def test_no_text_shows_a_password() -> None:
    """Neither a store nor the cache in front of it shows the password of its address."""
    stores: list[LogoutStore] = [
        SQLAlchemyLogoutStore(f"postgresql://u:{PASSWORD}@h/d?password={PASSWORD}"),
        RedisLogoutStore(f"redis://u:{PASSWORD}@h"),
    ]
    texts = [text for store in stores for text in (repr(store), repr(CachedLogoutStore(store, 1)))]
    assert [text for text in texts if PASSWORD in text] == []


def test_nothing_is_asked_before_the_first_call() -> None:
    """An app starts while its store is down; the first call says so."""
    for store in (SQLAlchemyLogoutStore("postgresql://u@127.0.0.1:1/d"), RedisLogoutStore("redis://127.0.0.1:1")):
        with pytest.raises(clef_wsgi.StoreUnavailable):
            store.tick()


def test_an_engine_of_ones_own(tmp_path: Path) -> None:
    """An Engine is used with its own pool; one for another kind of database is refused."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/logouts.db")
    store = SQLAlchemyLogoutStore(engine, table_prefix="own_")
    started = store.tick()
    store.record_logout(["ann"])
    with closing(SQLAlchemyLogoutStore(f"sqlite:///{tmp_path}/logouts.db", table_prefix="own_")) as second:
        assert second.newest_logout(["ann"]) > started
    with engine.begin() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM own_logout")).scalar_one() == 2
    store.close()
    engine.dialect.name = "oracle"
    with pytest.raises(ConfigurationError, match="an Engine for PostgreSQL"):
        SQLAlchemyLogoutStore(engine)


@pytest.mark.slow
@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}", "postgresql://u@127.0.0.1:{}/d", "mariadb://u@127.0.0.1:{}/d"])
def test_row_43_a_server_that_never_answers(url: str) -> None:
    """Connections are taken, by the kernel, and then there is silence: each call ends with the default time-out.

    A write to MariaDB takes a second more: so long may it wait for others, in whole seconds.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = url.format(listener.getsockname()[1])
        store = RedisLogoutStore(address) if url.startswith("redis") else SQLAlchemyLogoutStore(address)
        verbs: list[Callable[[], object]] = [
            store.tick,
            lambda: store.record_logout(["ann"]),
            lambda: store.newest_logout(["ann"]),
        ]
        limits = [2.9, 2.9, 0.95] if url.startswith("mariadb") else [0.95] * 3  # less than two time-outs

        def seconds(verb: Callable[[], object]) -> float:
            began = time.monotonic()
            with pytest.raises(clef_wsgi.StoreUnavailable):
                verb()
            took = time.monotonic() - began
            assert took > 0.4
            return took

        for verb, limit in zip(verbs, limits, strict=True):
            # A busy machine may hold up one call, and not each of five.
            assert any(seconds(verb) < limit for _ in range(5))


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that is not installed is named, with what to install."""
    monkeypatch.setitem(
        sql_databases.DATABASES, "mariadb", sql_databases.Database("no_such_driver", "pip install x", "", "")
    )
    with pytest.raises(ConfigurationError, match=r"needs the driver no_such_driver: pip install x"):
        SQLAlchemyLogoutStore("mariadb://u@h/d")


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The statements need SQLite 3.35; a system that has an older one is told of the store that works there."""
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigurationError, match=r"needs SQLite 3\.35 or newer: use SQLiteLogoutStore"):
        SQLAlchemyLogoutStore(f"sqlite:///{tmp_path / 'logouts.db'}")


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("OIDCProvider", "joserfc", "oidc"),
        ("RedisLogoutStore", "redis", "redis"),
        ("SQLAlchemyLogoutStore", "sqlalchemy", "sql"),
    ],
)
def test_a_missing_extra_is_named(name: str, package: str, extra: str) -> None:
    """A public name whose extra is missing says what to install; a star import works without it."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from clef_wsgi import *\n"
        "import clef_wsgi\n"
        f"assert {name!r} in dir(clef_wsgi)\n"
        "try:\n"
        f"    clef_wsgi.{name}\n"
        "except clef_wsgi.ConfigurationError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f'{name} needs {package}: pip install ".[{extra}]" in its clone\n'


def test_no_other_name_is_made_up() -> None:
    """The package has no attribute that it has not."""
    with pytest.raises(AttributeError, match="no_such_name"):
        clef_wsgi.no_such_name  # noqa: B018
