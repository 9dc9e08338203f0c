"""Every store keeps the contract, and the algebra of logins and logouts holds for any order of events."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.interfaces import EVERYONE, LogoutStore
from clef_wsgi.stores.memory import MemoryLogoutStore
from clef_wsgi.stores.sqlite import SQLiteLogoutStore
from clef_wsgi.testing.store_contract import (
    ClockedLogoutStoreContract,
    FakeClock,
    KeptLogoutStoreContract,
    check_history,
)


class TestMemoryLogoutStore(ClockedLogoutStoreContract):
    def make_store(self, tmp_path: Path, clock: FakeClock) -> MemoryLogoutStore:
        return MemoryLogoutStore(clock=clock)


class TestSQLiteLogoutStore(ClockedLogoutStoreContract, KeptLogoutStoreContract):
    @pytest.fixture(autouse=True)
    def remember(self, tmp_path: Path, clock: FakeClock) -> None:
        self.path, self.clock_of_both = tmp_path / "logouts.db", clock

    def make_store(self, tmp_path: Path, clock: FakeClock) -> SQLiteLogoutStore:
        return SQLiteLogoutStore(tmp_path / "logouts.db", clock=clock)

    def make_second(self, store: LogoutStore) -> SQLiteLogoutStore:
        return SQLiteLogoutStore(self.path, clock=self.clock_of_both)

    def lose(self, store: LogoutStore) -> None:
        self.path.unlink()

    def save(self, store: LogoutStore) -> Callable[[], None]:
        copy = sqlite3.connect(":memory:")
        with closing(sqlite3.connect(self.path)) as file:
            file.backup(copy)

        def put_back() -> None:
            with closing(copy), closing(sqlite3.connect(self.path)) as file:
                copy.backup(file)

        return put_back

    def parts(self, store: LogoutStore) -> dict[str, Callable[[], None]]:
        statements = ("DELETE FROM mark", "DELETE FROM logout", "DELETE FROM logout WHERE key = x'{everyone}'")
        return {statement: partial(self.execute, statement) for statement in statements}

    def execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as file:
            file.execute(statement.format(everyone=sha256(EVERYONE.encode()).hexdigest()))


def test_memory_store_is_for_one_process() -> None:
    """The memory store says of itself that it lives in one process; the SQLite store does not."""
    assert MemoryLogoutStore.single_process is True
    assert getattr(SQLiteLogoutStore, "single_process", False) is False


def test_memory_store_checks_its_clock_at_birth() -> None:
    """A clock that can't be called is refused at once, with what to write instead."""
    with pytest.raises(ConfigurationError, match=r"such as time\.time"):
        MemoryLogoutStore(clock=1.0)  # type: ignore[arg-type]


def test_memory_store_prunes_beside_look_ups() -> None:
    """No look-up that runs beside a prune misses both the dropped record and everyone's newer stamp."""
    clock = FakeClock()
    store = MemoryLogoutStore(clock=clock)
    started = store.tick()
    store.record_logout(["ann"])

    def keys_while_pruned() -> list[str]:
        clock.advance(60)
        store.prune(0)
        return ["ann"]

    assert store.newest_logout(key for _ in range(1) for key in keys_while_pruned()) > started


def test_memory_store_takes_a_notification_once_at_a_time() -> None:
    """A repeated notification that arrives during the first one's delivery waits for its end (row 25)."""
    answers: list[bool] = []
    deliveries: list[threading.Thread] = []

    def busy_clock() -> float:
        if deliveries and not deliveries[0].ident:
            deliveries[0].start()
            deliveries[0].join(timeout=0.05)
        return 1.0

    store = MemoryLogoutStore(clock=busy_clock)

    def deliver() -> None:
        answers.append(store.record_logout(["ann"], idempotency_key="digest"))

    deliveries.append(threading.Thread(target=deliver))
    deliver()
    deliveries[0].join()
    assert answers == [True, False]


class ForgetfulStore(MemoryLogoutStore):
    """A store that answers a look-up from what it knew at the first one."""

    def newest_logout(self, keys: object) -> int:
        self.first = getattr(self, "first", super().newest_logout([]))
        return self.first


def test_history_check_can_fail() -> None:
    """The history check finds a store whose look-ups are out of date (row 51)."""
    assert check_history([ForgetfulStore()] * 2) != []


@dataclass
class Model:
    """The rule in its plainest form: a logout ends the logins before it, by the order of events alone."""

    store: LogoutStore
    clock: FakeClock
    living: dict[int, tuple[str, ...]] = field(default_factory=dict)
    dead: dict[int, tuple[str, ...]] = field(default_factory=dict)
    notifications: dict[str, int] = field(default_factory=dict)

    def sign_in(self, keys: tuple[str, ...]) -> None:
        self.living[self.store.tick()] = keys

    def sign_out(self, event: tuple[tuple[str, ...], str | None]) -> None:
        keys, idempotency_key = event
        is_new = idempotency_key is None or idempotency_key not in self.notifications
        assert self.store.record_logout(keys, idempotency_key=idempotency_key) is is_new
        if is_new:
            self._end(lambda _, login_keys: EVERYONE in keys or not {*keys}.isdisjoint(login_keys))
            if idempotency_key is not None:
                self.notifications[idempotency_key] = self.store.newest_logout(keys)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def prune(self, age: float) -> None:
        self.store.prune(age)
        cut = int((self.clock.now - age) * 1_000_000)
        self._end(lambda started, _: started <= cut)
        self.notifications = {
            idempotency_key: stamp for idempotency_key, stamp in self.notifications.items() if stamp >= cut
        }

    def _end(self, ends: Callable[[int, tuple[str, ...]], bool]) -> None:
        ended = {started: keys for started, keys in self.living.items() if ends(started, keys)}
        self.dead |= ended
        self.living = {started: keys for started, keys in self.living.items() if started not in ended}

    def check(self) -> None:
        assert all(self.store.newest_logout(keys) < started for started, keys in self.living.items())
        assert all(self.store.newest_logout(keys) >= started for started, keys in self.dead.items())


PEOPLE = st.sampled_from(["ann", "Ann", "bob", "login:1", "login:2"])
LOGOUT_KEYS = st.lists(st.one_of(PEOPLE, st.just(EVERYONE)), min_size=1, max_size=3).map(tuple)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just(Model.sign_in), st.lists(PEOPLE, min_size=1, max_size=3).map(tuple)),
        st.tuples(st.just(Model.sign_out), st.tuples(LOGOUT_KEYS, st.sampled_from([None, "x", "y"]))),
        st.tuples(st.just(Model.pass_time), st.sampled_from([-86_400.0, -1e-6, 1e-6, 0.5, 60.0, 86_400.0])),
        st.tuples(st.just(Model.prune), st.sampled_from([0.0, 1e-6, 30.0, 86_400.0])),
    ),
    min_size=4,
    max_size=25,
)
Events = list[tuple[Callable[[Model, object], None], object]]


def play(model: Model, events: Events) -> None:
    for event, detail in events:
        event(model, detail)
        model.check()


@settings(max_examples=50)
@given(EVENTS)
def test_algebra_in_memory(events: Events) -> None:
    """Whatever the order of logins, logouts, clock changes and prunes: the order of events decides (row 49)."""
    clock = FakeClock()
    play(Model(MemoryLogoutStore(clock=clock), clock), events)


@settings(max_examples=12)
@given(EVENTS)
def test_algebra_in_sqlite(events: Events) -> None:
    """The same in a file (row 49)."""
    clock = FakeClock()
    with tempfile.TemporaryDirectory() as directory:
        store = SQLiteLogoutStore(Path(directory, "logouts.db"), clock=clock)
        play(Model(store, clock), events)
        store.close()
