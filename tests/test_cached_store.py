"""The cache in front of a store: how old an answer may be, what it never hides, and what it costs the store."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.app import FakeProvider, browser, make_app

from clef_wsgi import EVERYONE, CachedLogoutStore, ConfigurationError, MemoryLogoutStore, StoreUnavailable
from clef_wsgi.stores import cached
from clef_wsgi.stores.sqlite import SQLiteLogoutStore
from clef_wsgi.testing.store_contract import FakeClock, LogoutStoreContract, in_threads

ANN = ["login:1", "ann"]
PATIENCE_SECONDS = 20.0


class ScriptedStore(MemoryLogoutStore):
    """Counts what it is asked; ``is_down`` makes it fail, and ``during`` runs while a look-up is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.look_ups: list[tuple[str, ...]] = []
        self.ticks = 0
        self.is_down = self.fails_at_the_end = False
        self.during: Callable[[], object] = lambda: None

    def tick(self) -> int:
        self.ticks += 1
        return super().tick()

    def newest_logout(self, keys: Iterable[str]) -> int:
        wanted = tuple(keys)
        self.look_ups.append(wanted)
        if self.is_down:
            raise StoreUnavailable()
        newest = super().newest_logout(wanted)
        self.during()
        if self.fails_at_the_end:
            raise StoreUnavailable()
        return newest

    def record_logout(self, keys: Iterable[str], *, idempotency_key: str | None = None) -> bool:
        recorded = super().record_logout(keys, idempotency_key=idempotency_key)
        if getattr(self, "is_down", False):
            raise StoreUnavailable()
        return recorded


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


class CountingClock(FakeClock):
    """Knows how often it was read: a look-up begins with that."""

    readings = 0

    def __call__(self) -> float:
        self.readings += 1
        return super().__call__()


@pytest.fixture
def clock() -> CountingClock:
    return CountingClock(1000.0)


@pytest.fixture
def cache(store: ScriptedStore, clock: FakeClock) -> CachedLogoutStore:
    return CachedLogoutStore(store, 1.0, clock=clock)


class TestCachedMemoryStore(LogoutStoreContract):
    """The contract holds within the process."""

    def make_store(self, tmp_path: Path, clock: FakeClock) -> CachedLogoutStore:
        return CachedLogoutStore(MemoryLogoutStore(clock=clock), timedelta(minutes=1))


class TestCachedSQLiteStore(LogoutStoreContract):
    """And the store behind may be any."""

    def make_store(self, tmp_path: Path, clock: FakeClock) -> CachedLogoutStore:
        return CachedLogoutStore(SQLiteLogoutStore(tmp_path / "logouts.db", clock=clock), 60)


# -- how old an answer may be ---------------------------------------------------------------------------------


def test_a_second_look_up_asks_nobody(cache: CachedLogoutStore, store: ScriptedStore, clock: FakeClock) -> None:
    """Until the time is over, memory answers; then the store does."""
    first = cache.newest_logout(ANN)
    clock.advance(1.0)
    assert cache.newest_logout(ANN) == first
    assert len(store.look_ups) == 1
    clock.advance(0.001)
    cache.newest_logout(ANN)
    assert len(store.look_ups) == 2


@pytest.mark.parametrize("key", ["ann", "login:1", EVERYONE])
def test_a_logout_elsewhere_is_seen_in_time(
    cache: CachedLogoutStore, store: ScriptedStore, clock: FakeClock, key: str
) -> None:
    """A logout of the person, the login or everyone, recorded by another process, is seen after ``max_staleness``."""
    started = cache.tick()
    assert cache.newest_logout(ANN) < started
    store.record_logout([key])
    assert cache.newest_logout(ANN) < started
    clock.advance(1.001)
    assert cache.newest_logout(ANN) > started


def test_the_time_counts_from_before_the_store_is_asked(
    cache: CachedLogoutStore, store: ScriptedStore, clock: FakeClock
) -> None:
    """An answer that took long is that much older when it comes."""
    store.during = lambda: clock.advance(0.9)
    cache.newest_logout(ANN)
    clock.advance(0.2)
    cache.newest_logout(ANN)
    assert len(store.look_ups) == 2


def test_a_store_that_is_down_is_covered_for_no_longer(
    cache: CachedLogoutStore, store: ScriptedStore, clock: FakeClock
) -> None:
    """Nobody lives on from memory; when the store is back, all is as before."""
    first = cache.newest_logout(ANN)
    store.is_down = True
    assert cache.newest_logout(ANN) == first
    clock.advance(1.001)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            cache.newest_logout(ANN)
    store.is_down = False
    assert cache.newest_logout(ANN) == first


# -- what it never hides --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["ann", "login:1", EVERYONE])
def test_own_logouts_are_seen_at_once(cache: CachedLogoutStore, store: ScriptedStore, key: str) -> None:
    """Whatever memory holds, a logout through this object ends the login at the next look-up."""
    started = cache.tick()
    cache.newest_logout(ANN)
    cache.newest_logout(["bob"])
    cache.record_logout([key])
    assert cache.newest_logout(ANN) > started
    store.look_ups.clear()
    cache.newest_logout(["bob"])
    assert len(store.look_ups) == (key == EVERYONE)


def test_own_logouts_slow_nobody_for_long(cache: CachedLogoutStore, store: ScriptedStore, clock: FakeClock) -> None:
    """When the time is over, nothing is left of an own logout to look after."""
    cache.record_logout(["bob"])
    clock.advance(1.001)
    cache.record_logout(["carl"])
    assert list(cache._ended) == ["carl"]


def test_a_logout_whose_outcome_is_not_known_is_looked_up(cache: CachedLogoutStore, store: ScriptedStore) -> None:
    """A record that failed may have been written all the same: memory is not believed any more."""
    started = cache.tick()
    cache.newest_logout(ANN)
    store.is_down = True
    with pytest.raises(StoreUnavailable):
        cache.record_logout(["ann"])
    store.is_down = False
    assert cache.newest_logout(ANN) > started


def test_pruning_is_seen_at_once(cache: CachedLogoutStore) -> None:
    """Everyone's record is raised by a prune: what memory knew of it is gone."""
    started = cache.tick()
    cache.newest_logout(ANN)
    cache.prune(0)
    cache.tick()
    assert cache.newest_logout(ANN) >= started


def test_a_logout_while_the_store_is_asked(cache: CachedLogoutStore, store: ScriptedStore) -> None:
    """An answer that was on its way when the logout came in is kept for nobody."""
    started = cache.tick()
    store.during = lambda: in_threads(lambda: cache.record_logout(["ann"]))
    cache.newest_logout(ANN)
    store.during = lambda: None
    assert cache.newest_logout(ANN) > started


def test_a_login_is_checked_against_the_store(store: ScriptedStore, clock: FakeClock) -> None:
    """A person who logged out elsewhere while logging in here is refused, however much memory knows of them."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider, store=CachedLogoutStore(store, 60)))
    ann.sign_in("ann")
    assert ann.user["id"] == "ann"
    again = ann.start_login()
    provider.during_finish = lambda: store.record_logout([provider.user_key("ann")])
    ann.come_back(again, status=400)
    assert store.ticks == 2


# -- what it costs the store ----------------------------------------------------------------------------------


def look_up_at_once(cache: CachedLogoutStore, store: ScriptedStore, clock: CountingClock, count: int) -> list[Any]:
    """Let so many threads ask for one login, and end the first one's look-up when all others wait for it."""
    before = clock.readings

    def hold() -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while clock.readings < before + count + 1:  # each look-up, and the one that asks
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)
        threading.Event().wait(0.1)

    def look_up() -> Any:
        try:
            return cache.newest_logout(ANN)
        except StoreUnavailable as error:
            return type(error)

    store.during = hold
    return in_threads(*[look_up] * count)


def test_one_question_for_all_who_ask_at_one_moment(
    cache: CachedLogoutStore, store: ScriptedStore, clock: CountingClock
) -> None:
    """Many requests of one login at one moment are one look-up in the store."""
    answers = look_up_at_once(cache, store, clock, 6)
    assert len(store.look_ups) == 1
    store.during = lambda: None
    assert answers == [store.newest_logout(ANN)] * 6


def test_one_failure_for_all_who_ask_at_one_moment(
    cache: CachedLogoutStore, store: ScriptedStore, clock: CountingClock
) -> None:
    """When the store fails, those who waited do not ask again, each with a time-out of its own."""
    store.fails_at_the_end = True
    assert look_up_at_once(cache, store, clock, 6) == [StoreUnavailable] * 6
    assert len(store.look_ups) == 1


def test_who_comes_too_late_for_an_answer_asks_again(
    cache: CachedLogoutStore, store: ScriptedStore, clock: FakeClock
) -> None:
    """An answer that was asked for too long before a look-up began is not its answer, though it is new."""
    started = cache.tick()
    is_asked, may_answer = threading.Event(), threading.Event()

    def hold() -> None:
        store.during = lambda: None
        is_asked.set()
        assert may_answer.wait(PATIENCE_SECONDS)

    def come_late() -> int:
        assert is_asked.wait(PATIENCE_SECONDS)
        store.record_logout(["ann"])  # by another process
        clock.advance(5)
        threading.Timer(0.1, may_answer.set).start()
        return cache.newest_logout(ANN)

    store.during = hold
    early, late = in_threads(lambda: cache.newest_logout(ANN), come_late)
    assert early < started < late


def test_who_waits_does_not_wait_for_ever(
    cache: CachedLogoutStore, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a store that hangs without a time-out of its own, only the thread that asked it hangs."""
    monkeypatch.setattr(cached, "_PATIENCE_SECONDS", 0.05)
    is_asked, may_answer = threading.Event(), threading.Event()

    def hold() -> None:
        is_asked.set()
        assert may_answer.wait(PATIENCE_SECONDS)

    def wait_for_it() -> None:
        assert is_asked.wait(PATIENCE_SECONDS)
        with pytest.raises(StoreUnavailable):
            cache.newest_logout(ANN)
        may_answer.set()

    store.during = hold
    in_threads(lambda: cache.newest_logout(ANN), wait_for_it)


def test_memory_is_bounded(store: ScriptedStore, clock: FakeClock) -> None:
    """However many people come, no more than so many answers are kept; and those of who comes often stay."""
    cache = CachedLogoutStore(store, 1.0, max_logins=50, clock=clock)
    for number in range(500):
        cache.newest_logout([f"login:{number}"])
        assert len(cache._answers) <= 50
    clock.advance(2)
    for number in range(40):
        cache.newest_logout([f"login:{number}"])
    store.look_ups.clear()
    cache.newest_logout(["login:39"])
    assert store.look_ups == []


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_question(cache: CachedLogoutStore, store: ScriptedStore) -> None:
    """In the child, nobody is asking what the parent's threads were asking: it asks for itself, and in time."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def ask() -> None:
        store.during = lambda: None
        there.send(cache.newest_logout(ANN))

    def fork() -> None:
        child = context.Process(target=ask)
        child.start()
        assert here.poll(PATIENCE_SECONDS)
        child.join(PATIENCE_SECONDS)
        assert child.exitcode == 0

    store.during = fork
    assert cache.newest_logout(ANN) == here.recv()


# -- the object -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"store": MemoryLogoutStore}, "store must be an instance of a LogoutStore"),
        ({"max_staleness": 0}, "max_staleness must be a positive"),
        ({"max_staleness": "1s"}, "max_staleness must be a positive"),
        ({"max_logins": 0}, "max_logins must be a whole number"),
        ({"clock": 1.0}, "clock must be a function"),
    ],
)
def test_arguments_are_checked_at_birth(arguments: dict[str, Any], sentence: str) -> None:
    """Unusable arguments are refused by the constructor, with a remedy."""
    with pytest.raises(ConfigurationError, match=sentence):
        CachedLogoutStore(**{"store": MemoryLogoutStore(), "max_staleness": 1, **arguments})


def test_it_says_of_itself_what_the_store_says(tmp_path: Path) -> None:
    """A store for one process stays one behind the cache, and one that can be closed is closed."""
    shared = CachedLogoutStore(SQLiteLogoutStore(tmp_path / "logouts.db"), 1)
    assert CachedLogoutStore(MemoryLogoutStore(), 1).single_process is True
    assert shared.single_process is False
    shared.close()
    CachedLogoutStore(MemoryLogoutStore(), 1).close()
