"""Real servers stand still, die, lose their memory and fill their disks, under a site that uses them as its store.

Nobody is let in who was logged out, no webhook is answered 200 without its record, nobody waits long, and all
heals by itself. Times are seen with ``pytest -s``.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import sqlalchemy
from support.app import Browser, FakeClock, FakeProvider, browser, make_app
from support.databases import (
    MARIADB_URL,
    PATIENCE_SECONDS,
    POSTGRESQL_URL,
    REDIS_URL,
    Forgetful,
    PrivatePostgreSQL,
    PrivateRedis,
    PrivateServer,
    engine_at,
    redis_store,
    require_at,
    sql_store,
    wait_until,
)
from support.ports import free_port

from clef_wsgi import (
    CachedLogoutStore,
    LogoutStore,
    RedisLogoutStore,
    SQLAlchemyLogoutStore,
    SQLiteLogoutStore,
    StoreUnavailable,
)
from clef_wsgi.testing.store_contract import in_threads

pytestmark = [pytest.mark.services, pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")]

TIMEOUT_SECONDS = 0.5
SLACK_SECONDS = 2.5
"""Extra time allowed to a busy machine beyond a time-out."""


ServerStore = RedisLogoutStore | SQLAlchemyLogoutStore


def store_at(server: PrivateServer) -> ServerStore:
    """With the time-outs that are the default."""
    return RedisLogoutStore(server.url) if server.name == "Redis" else SQLAlchemyLogoutStore(server.url)


@pytest.fixture(params=[PrivateRedis, PrivatePostgreSQL], ids=["Redis", "PostgreSQL"])
def server(request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    with request.param() as server:
        yield server


@pytest.fixture
def redis_server() -> Iterator[PrivateRedis]:
    with PrivateRedis() as server:
        yield server


class Site:
    """A site on a store: ann has logged out everywhere, bob and carl are signed in."""

    def __init__(self, store: LogoutStore) -> None:
        self.provider = FakeProvider()
        self.looks: list[float] = []
        self.notifications: list[float] = []
        app = make_app(provider=self.provider, store=store)
        self.ann, self.bob, self.carl = (browser(app) for _ in range(3))
        for name in ("ann", "bob", "carl"):
            getattr(self, name).sign_in(name)
        self.ann.notify(self.provider.logout_token("ann"), status=200)
        assert self.sees(self.bob) == 200
        self.carls_notification = self.provider.logout_token("carl")

    def sees(self, person: Browser) -> int:
        """The status of a page: 503, or 200 with whoever is signed in."""
        began = time.monotonic()
        status: int = person.get("/", status="*").status_int
        self.looks.append(time.monotonic() - began)
        return status

    def notification(self) -> int:
        """Send the same notification of carl's logout each time and return the status."""
        began = time.monotonic()
        status: int = self.carl.notify(self.carls_notification, status="*").status_int
        self.notifications.append(time.monotonic() - began)
        return status

    @property
    def longest(self) -> float:
        return max(self.looks + self.notifications)

    def is_down(self, write_seconds: float = TIMEOUT_SECONDS) -> None:
        """Check, several times, that all get 503 while the store is down, and that nobody waits for two time-outs.

        A busy machine may hold up one answer, and not each of three.
        """
        self.looks, self.notifications = [], []
        for _ in range(3):
            assert [self.sees(self.ann), self.sees(self.bob), self.notification()] == [503, 503, 503]
        print(f"longest answer: {self.longest:.3f} s")
        assert self.longest < TIMEOUT_SECONDS + SLACK_SECONDS
        assert min(self.looks) < 1.9 * TIMEOUT_SECONDS
        assert min(self.notifications) < 1.9 * write_seconds

    def heals(self) -> None:
        """The site heals by itself after a while, and carl's notification counts when it is sent again."""
        wait_until(lambda: self.sees(self.bob) == 200, "the site did not heal")
        assert [self.ann.user, self.bob.user["id"]] == [None, "bob"]
        assert [self.notification(), self.carl.user] == [200, None]
        self.ann.sign_in("ann")
        assert self.ann.user["id"] == "ann"


@pytest.mark.process
def test_row_43_a_server_that_stands_still(server: PrivateServer) -> None:
    """It takes connections and never answers: each request waits for the time-out, once."""
    with closing(store_at(server)) as store:
        site = Site(store)
        # A write to PostgreSQL may wait for others as long as for its answer.
        write_seconds = TIMEOUT_SECONDS if server.name == "Redis" else 2 * TIMEOUT_SECONDS
        with server.stopped():
            site.is_down(write_seconds)
        site.heals()


@pytest.mark.process
def test_row_43_a_server_that_is_killed_and_comes_back(server: PrivateServer) -> None:
    """Killed without a chance to write anything, and started with its file: it has lost nothing."""
    with closing(store_at(server)) as store:
        site = Site(store)
        server.end()
        site.is_down()
        server.start()
        site.heals()


@pytest.mark.process
def test_row_43_an_immediate_shutdown() -> None:
    """PostgreSQL stopped as by ``pg_ctl stop -m immediate``: it recovers from its log, with all that was said."""
    with PrivatePostgreSQL() as server, closing(store_at(server)) as store:
        site = Site(store)
        for _ in range(2):
            server.end(signal.SIGQUIT)
            server.start()
            # The connections of before are dead, which costs nobody an answer.
            assert site.sees(site.bob) == 200
        site.heals()


@pytest.mark.process
def test_row_47_a_server_that_comes_back_empty(redis_server: PrivateRedis) -> None:
    """All earlier logins are ended, and ended ones stay so; new logins live, old notifications count again."""
    with closing(store_at(redis_server)) as store:
        site = Site(store)
        redis_server.end()
        redis_server.lose_everything()
        redis_server.start()
        wait_until(lambda: site.sees(site.bob) == 200, "the site did not heal")
        assert [person.user for person in (site.ann, site.bob, site.carl)] == [None] * 3
        for person, name in ((site.ann, "ann"), (site.bob, "bob")):
            person.sign_in(name)
            assert person.user["id"] == name


@pytest.mark.process
@pytest.mark.parametrize("is_cached", [False, True], ids=["alone", "cached"])
def test_row_46_a_server_whose_disk_is_full(server: PrivateServer, is_cached: bool) -> None:
    """No notification is answered 200 without its record, and all works again when there is room."""
    with closing(store_at(server)) as store:
        site = Site(CachedLogoutStore(store, 0.1) if is_cached else store)
        with server.full_disk():
            assert site.notification() == 503
            assert site.notification() == 503
        server.restart_if_ended()
        site.heals()


@pytest.mark.process
def test_row_43_the_cache_covers_for_its_time_and_no_longer(redis_server: PrivateRedis) -> None:
    """When the time is over, nobody is let in from memory; who logged out here is out from the start."""
    with closing(store_at(redis_server)) as store:
        site = Site(CachedLogoutStore(store, 1.0))
        redis_server.end()
        assert site.sees(site.ann) == 503
        wait_until(lambda: site.sees(site.bob) == 503, "memory covered for ever")
        site.is_down()
        redis_server.start()
        site.heals()


# -- SQLite ---------------------------------------------------------------------------------------------------


FileStore = SQLiteLogoutStore | SQLAlchemyLogoutStore
FILE_STORES: dict[str, Callable[[Path], FileStore]] = {
    "SQLite": lambda path: SQLiteLogoutStore(path, write_timeout_seconds=TIMEOUT_SECONDS),
    "SQLAlchemy": lambda path: SQLAlchemyLogoutStore(f"sqlite:///{path}", write_timeout_seconds=TIMEOUT_SECONDS),
}


def test_row_45_files_that_are_locked(tmp_path: Path) -> None:
    """Locked for 10 s by another program: 503 in time for what has to be written, all through, and it heals."""
    with ExitStack() as at_end:
        sites, others = [], []
        for name, make in FILE_STORES.items():
            sites.append(Site(at_end.enter_context(closing(make(tmp_path / name)))))
            others.append(at_end.enter_context(closing(sqlite3.connect(tmp_path / name, isolation_level=None))))
            others[-1].execute("BEGIN EXCLUSIVE")
        locked_until = time.monotonic() + 10
        while time.monotonic() < locked_until:
            for site in sites:
                assert site.notification() == 503
                assert site.sees(site.ann) in (200, 503)
                assert '"ann"' not in site.ann.get("/", status="*").text
            threading.Event().wait(1.0)
        for other in others:
            other.execute("ROLLBACK")
        print(f"longest answers: {[site.longest for site in sites]}")
        assert max(site.longest for site in sites) < TIMEOUT_SECONDS + SLACK_SECONDS
        for site in sites:
            site.heals()


@pytest.mark.process
@pytest.mark.parametrize("name", FILE_STORES)
def test_row_46_a_full_disk(tmp_path: Path, name: str) -> None:
    """No notification is answered 200 without its record, no ended login lives again, and the site heals."""

    def child(pipe: Connection) -> None:
        site = Site(FILE_STORES[name](tmp_path / name))
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, unlimited[1]))
        seen = [site.notification(), site.notification(), site.ann.get("/", status="*").text.count('"ann"')]
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        site.heals()
        pipe.send(seen)

    with in_child(child) as pipe:
        assert pipe.poll(PATIENCE_SECONDS)
        assert pipe.recv() == [503, 503, 0]


@contextmanager
def in_child(work: Callable[[Connection], None]) -> Iterator[Connection]:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=work, args=(there,))
    child.start()
    there.close()
    try:
        yield here
        child.join(PATIENCE_SECONDS)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()


# -- forks and clocks -----------------------------------------------------------------------------------------


@pytest.fixture(params=[REDIS_URL, POSTGRESQL_URL, MARIADB_URL, ""], ids=["Redis", "PostgreSQL", "MariaDB", "SQLite"])
def shared_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogoutStore]:
    with ExitStack() as at_end:
        if request.param:
            require_at(request.param)
        url = request.param or f"sqlite:///{tmp_path}/logouts.db"
        store: LogoutStore = (
            at_end.enter_context(redis_store()) if url == REDIS_URL else at_end.enter_context(sql_store(url))
        )
        yield store


@pytest.mark.process
def test_a_store_that_is_forked(shared_store: LogoutStore) -> None:
    """A child uses connections of its own: parent and child may ask at one time, and the parent's live on."""
    before = shared_store.tick()

    def child(pipe: Connection) -> None:
        stamps = [shared_store.tick() for _ in range(50)]
        shared_store.record_logout(["ann"])
        pipe.send((stamps, shared_store.newest_logout(["ann"])))

    with in_child(child) as pipe:
        mine = [shared_store.tick() for _ in range(50)]
        assert pipe.poll(PATIENCE_SECONDS)
        stamps, of_ann = pipe.recv()
    assert min(stamps) > before
    assert len({*mine, *stamps}) == 100
    assert stamps == sorted(stamps)
    assert shared_store.newest_logout(["ann"]) == of_ann < shared_store.tick()


@pytest.mark.parametrize(("here", "there"), [(10.0, 0.0), (0.0, 10.0), (-86_400.0, 0.0), (0.0, -86_400.0)])
def test_row_48_two_hosts_whose_clocks_differ(
    shared_store: LogoutStore, tmp_path: Path, here: float, there: float
) -> None:
    """Clocks 10 s apart, or one of them set back a day: no logout is lost and no login refused."""
    provider = FakeProvider()
    sessions = {"type": "file", "data_dir": str(tmp_path / "sessions")}
    apps = [
        make_app(provider=provider, store=shared_store, session=sessions, clock=FakeClock(1_800_000_000.0 + offset))
        for offset in (here, there)
    ]
    at_first, at_second = browser(apps[0]), browser(apps[1])
    for login, other in ((at_first, at_second), (at_second, at_first)):
        for _ in range(2):
            login.sign_in("ann")
            assert login.user["id"] == "ann"
            seen_at_other = other.get("/", headers={"Cookie": login.cookie}).json["user"]
            assert seen_at_other["id"] == "ann"
            other.notify(provider.logout_token("ann"), status=200)
            assert other.get("/", headers={"Cookie": login.cookie}).json["user"] is None
            assert login.user is None


@pytest.mark.process
def test_a_replica_is_refused(redis_server: PrivateRedis) -> None:
    """A replica may be behind, and answers all the same: it is no store, until it is made the primary."""
    with PrivateRedis() as replica, closing(store_at(redis_server)) as store, closing(store_at(replica)) as there:
        started = store.tick()
        store.record_logout(["ann"])
        admin: Any = redis.Redis(port=replica.port)
        with closing(admin):
            admin.replicaof("127.0.0.1", redis_server.port)
            wait_until(lambda: bool(admin.exists("clef:logouts")), "the replica got nothing")
            verbs: list[Callable[[], object]] = [
                lambda: there.newest_logout(["ann"]),
                there.tick,
                lambda: there.record_logout(["ann"]),
            ]
            for ask in verbs:
                with pytest.raises(StoreUnavailable):
                    ask()
            admin.replicaof("NO", "ONE")
        assert there.newest_logout(["ann"]) > started


@pytest.mark.parametrize(
    ("url", "is_own_engine"),
    [(REDIS_URL, False), (POSTGRESQL_URL, False), (MARIADB_URL, False), (MARIADB_URL, True)],
    ids=["Redis", "PostgreSQL", "MariaDB", "own Engine"],
)
def test_connections_that_a_firewall_forgot(url: str, is_own_engine: bool) -> None:
    """However many connections were open, only the first call pays for it: the others are not tried one by one."""
    require_at(url)
    port = urlsplit(url).port or 0
    with Forgetful(port) as firewall, ExitStack() as at_end:
        through = url.replace(f":{port}", f":{firewall.port}")
        made: AbstractContextManager[ServerStore] = redis_store(url) if url == REDIS_URL else sql_store(url)
        store = at_end.enter_context(made)
        store = at_end.enter_context(closing(store_through(store, through, is_own_engine)))
        started = store.tick()
        with ThreadPoolExecutor(4) as pool:
            while firewall.connections < 3:
                list(pool.map(store.newest_logout, [["ann"]] * 8))
        firewall.forget()
        with pytest.raises(StoreUnavailable):
            store.newest_logout(["ann"])
        assert max(in_threads(*[lambda: store.newest_logout(["ann"])] * 4)) < started


def store_through(store: ServerStore, url: str, is_own_engine: bool) -> ServerStore:
    """The same records, at another address."""
    if isinstance(store, RedisLogoutStore):
        return RedisLogoutStore(url, prefix=store.prefix)
    address: Any = url
    if is_own_engine:
        options = {"connect_timeout": TIMEOUT_SECONDS, "read_timeout": TIMEOUT_SECONDS}
        address = sqlalchemy.create_engine(url.replace("mariadb:", "mariadb+pymysql:"), connect_args=options)
    return SQLAlchemyLogoutStore(address, table_prefix=store.table_prefix)


def waiting_for(url: str, table_prefix: str) -> int:
    """Return the number of unfinished statements on these tables at the server."""
    counts = {
        POSTGRESQL_URL: "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE :pattern",
        MARIADB_URL: "SELECT count(*) FROM information_schema.processlist WHERE info LIKE :pattern",
    }
    with engine_at(url).connect() as connection:
        # With its backslash, this very statement is not counted.
        pattern = f"%{table_prefix[:-1]}\\_mark SET stamp%"
        return int(connection.execute(sqlalchemy.text(counts[url]), {"pattern": pattern}).scalar_one())


@pytest.mark.parametrize("url", [POSTGRESQL_URL, MARIADB_URL], ids=["PostgreSQL", "MariaDB"])
def test_a_process_that_stands_still_while_it_holds_the_mark(url: str) -> None:
    """Writers wait for no longer than their time-out, look-ups go on, and it heals."""
    require_at(url)
    limits = {"read_timeout_seconds": TIMEOUT_SECONDS, "write_timeout_seconds": TIMEOUT_SECONDS}
    with sql_store(url, **limits) as store, engine_at(url).connect() as other:
        store.tick()
        other.execute(sqlalchemy.text(f"UPDATE {store.table_prefix}mark SET version = version"))
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.record_logout(["ann"])
        assert time.monotonic() - began < TIMEOUT_SECONDS + SLACK_SECONDS
        assert store.newest_logout(["ann"]) == store.newest_logout([])
        wait_until(lambda: not waiting_for(url, store.table_prefix), "the server waits on")
        other.rollback()
        assert store.record_logout(["ann"]) is True


def test_a_look_up_that_nobody_waits_for_ends() -> None:
    """PostgreSQL gives up a statement, for whatever it waits, when the one who asked is gone."""
    require_at(POSTGRESQL_URL)
    with sql_store(POSTGRESQL_URL, read_timeout_seconds=TIMEOUT_SECONDS) as store:
        store.tick()
        store.newest_logout(["ann"])
        table = f"{store.table_prefix}logout"
        asked = sqlalchemy.text(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE :pattern"
        )

        def is_over() -> bool:
            with engine_at(POSTGRESQL_URL).connect() as connection:
                return not connection.execute(asked, {"pattern": f"SELECT (SELECT%{table}%"}).scalar_one()

        with engine_at(POSTGRESQL_URL).connect() as other:
            other.execute(sqlalchemy.text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(StoreUnavailable):
                store.newest_logout(["ann"])
            wait_until(is_over, "the server waits on")
            other.rollback()


def test_a_writer_that_stands_still_loses_its_connection() -> None:
    """PostgreSQL ends a transaction of a store in which nothing happens, and the next in the line has its turn."""
    require_at(POSTGRESQL_URL)
    with sql_store(POSTGRESQL_URL, write_timeout_seconds=PATIENCE_SECONDS) as store:
        store.tick()
        with store.engine.connect() as stopped:
            stopped.exec_driver_sql("BEGIN")
            stopped.exec_driver_sql(f"UPDATE {store.table_prefix}mark SET version = version")
            assert store.record_logout(["ann"]) is True
            with pytest.raises(sqlalchemy.exc.DBAPIError, match="idle-in-transaction"):
                stopped.exec_driver_sql("COMMIT")


class PrivateCluster(PrivateRedis):
    """A Redis Cluster of one node, which has all slots."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "--cluster-enabled", "yes", "--cluster-port", str(free_port())]


@pytest.mark.process
def test_a_redis_cluster() -> None:
    """All records are one key, hence in one slot: no verb ever asks two nodes."""
    with PrivateCluster() as server:
        admin: Any = redis.Redis(port=server.port)
        with closing(admin):
            admin.execute_command("CLUSTER ADDSLOTSRANGE 0 16383")
            wait_until(lambda: admin.cluster("info")["cluster_state"] == "ok", "no cluster")
        client: Any = redis.RedisCluster(host="127.0.0.1", port=server.port, socket_timeout=5)
        with closing(RedisLogoutStore(client)) as store:
            started = store.tick()
            assert store.record_logout(["ann", "login:1"], idempotency_key="digest") is True
            assert store.record_logout(["ann"], idempotency_key="digest") is False
            assert store.newest_logout(["bob"]) < started < store.newest_logout(["login:1"])
            assert store.prune(0) == 2
