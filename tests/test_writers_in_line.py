"""Writers wait in line, in the process and beyond it: nobody is turned away within the limit of a write."""

from __future__ import annotations

import multiprocessing
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from support.databases import MARIADB_URL, POSTGRESQL_URL, drop_tables, engine_at, require_at, unique_prefix, wait_until

from clef_wsgi import SQLAlchemyLogoutStore, SQLiteLogoutStore, StoreUnavailable
from clef_wsgi.base.writer_queue import WriterQueue

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

PROCESSES, THREADS, ROUNDS = 4, 16, 3
PATIENCE_SECONDS = 60.0
READ_SECONDS = 0.5
"""The limit of a read, and of one wait for a lock: a store's own default."""

Store = SQLiteLogoutStore | SQLAlchemyLogoutStore


class Records:
    """The place of a store's records, and a factory for further stores on them."""

    def __init__(self, url: str, path: Path) -> None:
        self.url, self._path = url.replace("{path}", str(path)), path
        self.prefix = unique_prefix()

    def store(
        self, write_timeout_seconds: float = PATIENCE_SECONDS, read_timeout_seconds: float = READ_SECONDS
    ) -> Store:
        if not self.url:
            return SQLiteLogoutStore(self._path, write_timeout_seconds=write_timeout_seconds)
        return SQLAlchemyLogoutStore(
            self.url,
            table_prefix=self.prefix,
            connect_timeout_seconds=10.0,
            read_timeout_seconds=read_timeout_seconds,
            write_timeout_seconds=write_timeout_seconds,
        )

    def drop(self) -> None:
        if self.url:
            drop_tables(self.url, self.prefix)


SQL = [
    pytest.param("sqlite:///{path}", id="SQLAlchemy on SQLite"),
    pytest.param(POSTGRESQL_URL, id="PostgreSQL", marks=pytest.mark.services),
    pytest.param(MARIADB_URL, id="MariaDB", marks=pytest.mark.services),
]


@pytest.fixture
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    if "127.0.0.1" in request.param:
        require_at(request.param)
    found = Records(request.param, tmp_path / "logouts.db")
    yield found
    found.drop()


def crowd(records: Records, pipe: Connection) -> None:
    """A process: all its threads write at once, again and again, and say what went wrong."""
    begin = threading.Barrier(THREADS)

    def write(store: Store, thread: int) -> list[str]:
        begin.wait(PATIENCE_SECONDS)
        verbs = [store.tick, lambda: store.record_logout([f"person {thread}"])] * ROUNDS
        return [outcome(verb) for verb in verbs]

    pipe.recv()
    with closing(records.store()) as store, ThreadPoolExecutor(THREADS) as pool:
        seen = pool.map(lambda thread: write(store, thread), range(THREADS))
        pipe.send(Counter(chain.from_iterable(seen)))


def outcome(verb: Callable[[], object]) -> str:
    try:
        verb()
    except StoreUnavailable as error:
        return f"turned away: {error.__cause__!r}"
    return "done"


@contextmanager
def process(work: Callable[[Records, Connection], None], records: Records) -> Iterator[Connection]:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=work, args=(records, there))
    child.start()
    there.close()
    try:
        yield here
        child.join(PATIENCE_SECONDS)
    finally:
        child.kill()
        child.join()


SERIALIZABLE = pytest.param(
    f"{POSTGRESQL_URL}?options=-c%20default_transaction_isolation%3Dserializable",
    id="PostgreSQL, serializable",
    marks=pytest.mark.services,
)


@pytest.mark.process
@pytest.mark.parametrize("records", [pytest.param("", id="SQLite"), *SQL, SERIALIZABLE], indirect=True)
def test_nobody_is_turned_away(records: Records) -> None:
    """Four processes of sixteen threads write at once: each write is done within its limit, however many wait."""
    with closing(records.store()) as store:
        store.tick()
    with ExitStack() as at_end:
        pipes = [at_end.enter_context(process(crowd, records)) for _ in range(PROCESSES)]
        for pipe in pipes:
            pipe.send("go")
        for pipe in pipes:
            assert pipe.poll(PATIENCE_SECONDS)
            assert pipe.recv() == {"done": THREADS * ROUNDS * 2}


def test_threads_have_their_turn_as_they_come() -> None:
    """The one that leaves hands its turn on, to those that wait in the order in which they came."""
    line, turns = WriterQueue(), list[int]()

    def wait(number: int) -> None:
        assert line.acquire(timeout=PATIENCE_SECONDS)
        turns.append(number)
        line.release()

    assert line.acquire()
    with ThreadPoolExecutor(4) as pool:
        waiting = []
        for number in range(4):
            waiting.append(pool.submit(wait, number))
            wait_until(lambda: len(vars(line)["_waiting"]) == len(waiting), "a thread does not come")
        assert not line.acquire(timeout=0.01)  # it gives up, and is nobody's obstacle
        line.release()
        for done in waiting:
            done.result(PATIENCE_SECONDS)
    assert turns == [0, 1, 2, 3]
    assert line.acquire(timeout=0)


class Interrupted(Exception):
    """Raised by the handler of a signal, as a server's time-out does it."""


@pytest.mark.parametrize("is_its_turn", [False, True])
def test_who_is_interrupted_leaves_the_line(is_its_turn: bool) -> None:
    """A turn is never handed to somebody who has gone: whoever comes next has it."""
    queue, me = WriterQueue(), threading.main_thread()
    assert me is threading.current_thread()
    assert queue.acquire()

    def interrupt(_signal: int, _frame: object) -> None:
        if is_its_turn:
            queue.release()
        raise Interrupted

    def disturb() -> None:
        wait_until(lambda: bool(vars(queue)["_waiting"]), "nobody waits")
        signal.pthread_kill(me.ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ThreadPoolExecutor() as pool:
            disturbed = pool.submit(disturb)
            with pytest.raises(Interrupted):
                queue.acquire(timeout=10)
            disturbed.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    if not is_its_turn:
        queue.release()
    assert queue.acquire(timeout=0)


@pytest.mark.slow
@pytest.mark.parametrize("records", [pytest.param("", id="SQLite"), SQL[0]], indirect=True)
def test_every_store_writes_in_line(records: Records, tmp_path: Path) -> None:
    """A thread that has just written does not go again before another that waits."""
    with closing(records.store()) as store, ThreadPoolExecutor(2) as pool:
        store.tick()
        with closing(sqlite3.connect(tmp_path / "logouts.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            first = pool.submit(lambda: [store.tick(), store.tick()])
            threading.Event().wait(0.3)
            second = pool.submit(store.tick)
            threading.Event().wait(0.3)
            other.execute("ROLLBACK")
        assert second.result(PATIENCE_SECONDS) < first.result(PATIENCE_SECONDS)[1]


@pytest.mark.process
def test_a_child_has_a_line_of_its_own(tmp_path: Path) -> None:
    """A process that is forked while a thread of its parent has the turn does not wait for that thread."""
    records = Records("sqlite:///{path}", tmp_path / "logouts.db")

    def hold(records: Records, pipe: Connection) -> None:
        with closing(sqlite3.connect(tmp_path / "logouts.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            pipe.send("held")
            pipe.recv()

    def write(records: Records, pipe: Connection) -> None:
        pipe.recv()
        pipe.send(outcome(store.tick))

    with closing(records.store(write_timeout_seconds=10.0)) as store, ThreadPoolExecutor(1) as pool:
        store.tick()
        # In a process of its own: SQLite's locks are counted in memory, which a child inherits.
        with process(hold, records) as holder:
            assert holder.recv() == "held"
            writing = pool.submit(store.tick)
            threading.Event().wait(0.3)
            with process(write, records) as child:
                holder.send("let go")
                writing.result(PATIENCE_SECONDS)
                child.send("go")
                assert child.poll(PATIENCE_SECONDS)
                assert child.recv() == "done"


def test_a_connection_goes_back_as_it_came(tmp_path: Path) -> None:
    """An Engine of the site's own may be used by others: SQLite waits for them as long as they wished."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/logouts.db", connect_args={"timeout": 7.0})
    with closing(SQLAlchemyLogoutStore(engine)) as store:
        store.tick()
        store.record_logout(["ann"])
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 7000


# -- what others do to the mark -----------------------------------------------------------------------------


@contextmanager
def held_mark(records: Records, store: Store) -> Iterator[Any]:
    """Another program holds the mark, in a transaction of its own."""
    with engine_at(records.url).connect() as other:
        begin = "BEGIN IMMEDIATE" if "sqlite" in records.url else "SELECT 1"
        other.execute(sqlalchemy.text(begin))
        other.execute(sqlalchemy.text(f"UPDATE {records.prefix}mark SET version = version"))
        yield other
        other.rollback()


@pytest.mark.slow
@pytest.mark.parametrize("records", SQL, indirect=True)
def test_a_write_outlasts_a_lock_that_is_held_long(records: Records) -> None:
    """Longer than one wait for a lock takes: the transaction is tried again within the limit, and reads go on."""
    with closing(records.store()) as store, ThreadPoolExecutor(1) as pool:
        started = store.tick()
        with held_mark(records, store):
            writing = pool.submit(store.record_logout, ["ann"])
            until = time.monotonic() + 3 * READ_SECONDS
            while time.monotonic() < until:
                assert store.newest_logout(["ann"]) < started
                assert not writing.done()
                threading.Event().wait(0.05)
        assert writing.result(PATIENCE_SECONDS) is True
        assert store.newest_logout(["ann"]) > started


@pytest.mark.slow
@pytest.mark.parametrize("records", SQL, indirect=True)
def test_a_write_gives_up_when_its_limit_is_over(records: Records) -> None:
    """And neither does it leave a lock, nor keep those behind it in the line from their turn."""
    with closing(records.store(write_timeout_seconds=1.0)) as store, ThreadPoolExecutor(4) as pool:
        store.tick()
        with held_mark(records, store):
            began = time.monotonic()
            waiting = [pool.submit(store.record_logout, ["ann"]) for _ in range(4)]
            for future in waiting:
                with pytest.raises(StoreUnavailable):
                    future.result(PATIENCE_SECONDS)
            assert 0.9 < time.monotonic() - began < 5.0
        assert store.record_logout(["ann"]) is True


@pytest.mark.parametrize("records", SQL[1:], indirect=True)
def test_a_dead_lock_is_tried_again(records: Records) -> None:
    """Two transactions that wait for each other: the database refuses the store's, and it is tried again."""
    many = [str(number) for number in range(50)]
    with closing(records.store(read_timeout_seconds=10.0)) as store, ThreadPoolExecutor(1) as pool:
        store.record_logout(many)
        with engine_at(records.url).connect() as other:
            # It holds the records, and then wants the mark, which the store's transaction holds by then. It has
            # changed more, and waits for less long: both databases choose the other one to go.
            for key in many:
                sql = sqlalchemy.text(f"UPDATE {records.prefix}logout SET stamp = stamp + 1 WHERE digest = :digest")
                other.execute(sql, {"digest": sha256(key.encode()).digest()})
            writing = pool.submit(store.record_logout, many)
            threading.Event().wait(0.3)
            other.execute(sqlalchemy.text(f"UPDATE {records.prefix}mark SET version = version"))
            other.commit()
        assert writing.result(PATIENCE_SECONDS) is True
