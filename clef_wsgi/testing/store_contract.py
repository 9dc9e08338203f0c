"""Test the contract of a logout store: every store inherits these.

For a store of your own, subclass one of the classes in a test module and say how a store is made::

    from clef_wsgi.testing.store_contract import SharedLogoutStoreContract

    class TestMyStore(SharedLogoutStoreContract):
        def make_store(self, tmp_path, clock):
            return MyStore(tmp_path / "logouts")

        def make_second(self, store):
            return MyStore(store.path)

``LogoutStoreContract`` is for any store, ``SharedLogoutStoreContract`` for one whose records several instances
share, ``KeptLogoutStoreContract`` for one of these whose records may be lost under it, or put back from a backup, and
``ClockedLogoutStoreContract`` for one that takes its time from a ``clock`` it is given. A store that is both
inherits from both. Needs pytest. With ``pytest.register_assert_rewrite`` of this module in a
``conftest.py``, failures show the values.

A label in brackets, such as (row 49), is the number of a case in the project's list of cases.
"""

# ruff: noqa: S101, S311 - these are tests

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from clef_wsgi.interfaces import EVERYONE, LogoutStore

T = TypeVar("T")

DAY = 86_400.0

KEYS = (
    "",
    " ",
    "ab",
    "ab ",
    "Ab",
    "aB",
    "ab\0",
    "ab\0cd",
    "%",
    "a_",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "e\N{COMBINING ACUTE ACCENT}",
    "\N{OCTOPUS}",
    "\ud800",  # Half a surrogate pair: no Unicode text, but JSON can bring it into a str.
    "\udfff",
    "x" * 10_000,
    "x" * 10_001,
    '["clef", "app", "1"]',
    '["clef", "app", 1]',
)
"""Keys that are taken for one another when they are trimmed, cut, folded, normalised or matched by pattern."""


class FakeClock:
    """A clock that moves when told to. ``now`` is in seconds."""

    def __init__(self, now: float = 1_800_000_000.25) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def in_threads(*works: Callable[[], T]) -> list[T]:
    """Run all at the same moment, each in a thread of its own. Return their results, or raise their error."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        start.wait(timeout=10)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(run, work) for work in works]]


VERBS: dict[str, Callable[[LogoutStore], object]] = {
    "tick": lambda store: store.tick(),
    "newest_logout": lambda store: store.newest_logout(["carl"]),
    "record_logout": lambda store: store.record_logout(["carl"]),
    "prune": lambda store: store.prune(1000 * DAY),
}
"""Each way to ask a store, without an effect on anybody but carl."""

every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


class LogoutStoreContract:
    """Rules for every store."""

    def make_store(self, tmp_path: Path, clock: FakeClock) -> LogoutStore:
        """A new, empty store. Files go to ``tmp_path``. A store with a time of its own ignores ``clock``."""
        raise NotImplementedError

    def set_clock_back(self, store: LogoutStore, clock: FakeClock) -> None:
        """Set the store's time back by a day. Where that is another's, its greatest stamp may be raised as much."""
        clock.advance(-DAY)

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, tmp_path: Path, clock: FakeClock) -> Iterator[LogoutStore]:
        store = self.make_store(tmp_path, clock)
        yield store
        _close(store)

    def test_is_a_store(self, store: LogoutStore) -> None:
        """A store has every method of the plug."""
        assert isinstance(store, LogoutStore)

    def test_born_with_everyone(self, store: LogoutStore) -> None:
        """A new store has a record for everyone, so logins of before its birth are dead (row 47)."""
        born = store.newest_logout([])
        assert type(born) is int
        assert 0 < born < store.tick()

    def test_stamps_grow(self, store: LogoutStore) -> None:
        """Each stamp is an int above all before it."""
        stamps = [store.tick() for _ in range(20)]
        assert {type(stamp) for stamp in stamps} == {int}
        assert stamps == sorted(set(stamps))

    def test_stamps_grow_across_keys(self, store: LogoutStore) -> None:
        """Logins and logouts of all keys are on one scale."""
        stamps = [store.tick()]
        for key in ("ann", "bob", EVERYONE, "ann"):
            store.record_logout([key])
            stamps += [store.newest_logout([key]), store.tick()]
        assert stamps == sorted(set(stamps))

    def test_stamps_grow_across_threads(self, store: LogoutStore) -> None:
        """Threads that ask at once get different stamps, each of them growing ones."""
        stamps = in_threads(*[lambda: [store.tick() for _ in range(20)]] * 4)
        assert all(mine == sorted(mine) for mine in stamps)
        assert len({stamp for mine in stamps for stamp in mine}) == 80

    def test_login_of_before_a_logout_is_dead(self, store: LogoutStore) -> None:
        """A logout ends every login of its key that was stamped before (R9)."""
        browsers = [store.tick(), store.tick()]
        assert store.record_logout(["ann"]) is True
        assert all(store.newest_logout(["ann"]) > started for started in browsers)

    def test_login_after_a_logout_lives(self, store: LogoutStore) -> None:
        """A login that was stamped after the logout lives."""
        store.record_logout(["ann"])
        assert store.newest_logout(["ann"]) < store.tick()

    def test_a_logout_ends_nobody_else(self, store: LogoutStore) -> None:
        """A key without a record has the stamp of everyone, whatever happens to others."""
        born = store.newest_logout([])
        store.record_logout(["ann"])
        assert store.newest_logout(["bob"]) == store.newest_logout([]) == born

    def test_everyone_ends_every_login(self, store: LogoutStore) -> None:
        """A logout of everyone ends logins of all keys."""
        started = store.tick()
        store.record_logout([EVERYONE])
        assert store.newest_logout(["bob"]) == store.newest_logout([]) > started

    def test_keys_of_one_record_share_a_stamp(self, store: LogoutStore) -> None:
        """All keys of one logout get one stamp."""
        store.record_logout(["ann", "login:1", "sid:2", "ann"])
        stamps = {store.newest_logout([key]) for key in ("ann", "login:1", "sid:2")}
        assert len(stamps) == 1
        assert stamps != {store.newest_logout([])}

    def test_newest_of_many_keys(self, store: LogoutStore) -> None:
        """The newest stamp counts, wherever its key stands."""
        for key in ("ann", "login:1", "sid:2"):
            store.record_logout([key])
        newest = store.newest_logout(["sid:2"])
        assert store.newest_logout(["sid:2", "ann", "login:1"]) == newest
        assert store.newest_logout(["ann", "login:1", "sid:2"]) == newest
        assert store.newest_logout(["ann", "login:1"]) < newest

    def test_a_look_up_is_never_out_of_date(self, store: LogoutStore) -> None:
        """A look-up that was answered before gets the new answer after a logout."""
        for _ in range(5):
            before = store.newest_logout(["ann", "login:1"])
            assert store.newest_logout(["ann", "login:1"]) == before
            store.record_logout(["login:1"])
            assert store.newest_logout(["ann", "login:1"]) > before

    def test_keys_are_opaque(self, store: LogoutStore) -> None:
        """Any str is a key, and no two are the same one: ``Ab`` and ``aB`` are two people."""
        for key in KEYS:
            store.record_logout([key])
        stamps = [store.newest_logout([key]) for key in KEYS]
        assert stamps == sorted(set(stamps))
        assert stamps[0] > store.newest_logout(["another"])

    def test_keys_may_come_from_a_generator(self, store: LogoutStore) -> None:
        """``keys`` may be any iterable, also one that can be read only once."""
        started = store.tick()
        store.record_logout(key for key in ("ann", "bob"))
        assert store.newest_logout(key for key in ("carl", "ann")) > started
        assert store.newest_logout(key for key in ("bob",)) > started

    def test_one_str_is_not_a_list_of_keys(self, store: LogoutStore) -> None:
        """A ``str`` in place of a list is refused: it would be read as one key for each character."""
        with pytest.raises((TypeError, ValueError)):
            store.record_logout("ann")
        with pytest.raises((TypeError, ValueError)):
            store.newest_logout("ann")
        assert store.newest_logout(["a"]) == store.newest_logout([])

    def test_a_key_is_a_str(self, store: LogoutStore) -> None:
        """A key of another type is refused, and the keys beside it are not recorded."""
        with pytest.raises((TypeError, ValueError)):
            store.record_logout(["ann", 1])  # type: ignore[list-item]
        assert store.newest_logout(["ann"]) == store.newest_logout([])

    def test_no_keys(self, store: LogoutStore) -> None:
        """A logout without keys is recorded and ends nothing."""
        born = store.newest_logout([])
        assert store.record_logout([]) is True
        assert store.newest_logout([]) == store.newest_logout(["ann"]) == born

    def test_once(self, store: LogoutStore) -> None:
        """The same notification again ends no newer login (row 25, R10)."""
        assert store.record_logout(["ann"], idempotency_key="digest") is True
        started = store.tick()
        assert [store.record_logout(["ann"], idempotency_key="digest") for _ in range(3)] == [False] * 3
        assert store.newest_logout(["ann"]) < started

    def test_once_is_about_the_notification_alone(self, store: LogoutStore) -> None:
        """A known notification is known whatever its keys; another one counts, and one without a digest always."""
        assert store.record_logout([], idempotency_key="digest") is True
        assert store.record_logout(["ann"], idempotency_key="digest") is False
        assert store.record_logout(["ann"], idempotency_key="Digest") is True
        assert [store.record_logout(["ann"]) for _ in range(2)] == [True, True]

    def test_once_in_parallel(self, store: LogoutStore) -> None:
        """Of parallel deliveries of one notification exactly one counts (row 25)."""
        for number in range(5):
            answers = in_threads(*[partial(store.record_logout, ["ann"], idempotency_key=str(number))] * 4)
            assert sorted(answers) == [False, False, False, True]

    def test_prune_brings_nothing_to_life(self, store: LogoutStore, clock: FakeClock) -> None:
        """Each login that was dead before is dead after its record was dropped; a new one lives."""
        dead = store.tick()
        store.record_logout(["ann", "login:1"])
        clock.advance(60)
        assert store.prune(0) == 2
        assert store.newest_logout(["ann"]) > dead
        assert store.newest_logout(["ann"]) < store.tick()

    def test_prune_keeps_what_is_young(self, store: LogoutStore) -> None:
        """Records and notifications within the age stay as they are, and so do the logins of that time."""
        bob = store.tick()
        store.record_logout(["ann"], idempotency_key="digest")
        newest = store.newest_logout(["ann"])
        assert store.prune(3600) == 0
        assert store.newest_logout(["ann"]) == newest
        assert store.newest_logout(["bob"]) < bob
        assert store.record_logout(["ann"], idempotency_key="digest") is False

    def test_prune_leaves_everyone(self, store: LogoutStore, clock: FakeClock) -> None:
        """The record of everyone is never dropped, and not counted."""
        clock.advance(60)
        assert [store.prune(0), store.prune(0)] == [0, 0]
        assert store.newest_logout([]) > 0

    def test_prune_keeps_the_end_of_everyone(self, store: LogoutStore) -> None:
        """Whom everyone's record ended is dead after a prune that reaches back further than the record (row 47)."""
        started = store.tick()
        store.record_logout([EVERYONE])
        ended = store.newest_logout([])
        store.prune(3600)
        assert store.newest_logout([]) == ended > started

    def test_prune_of_all_lets_new_logins_in(self, store: LogoutStore) -> None:
        """The next login is newer than what a prune up to this very moment ended, however coarse the clock is."""
        for _ in range(20):
            store.prune(0)
            assert store.newest_logout([]) < store.tick()

    def test_prune_with_the_clock_set_back(self, store: LogoutStore, clock: FakeClock) -> None:
        """Under a clock that was set back, prune lowers neither everyone's record nor the next stamp (row 49)."""
        store.tick()
        self.set_clock_back(store, clock)
        store.record_logout([EVERYONE])
        ended, started = store.newest_logout([]), store.tick()
        store.prune(3600)
        assert store.newest_logout(["ann"]) == ended < started
        store.record_logout(["ann"])
        assert started < store.newest_logout(["ann"]) < store.tick()

    def test_a_notification_is_no_key(self, store: LogoutStore) -> None:
        """A notification and a person of the same text have nothing to do with each other."""
        started = store.tick()
        store.record_logout([], idempotency_key="ann")
        assert store.newest_logout(["ann"]) < started
        store.record_logout(["bob"])
        assert store.record_logout(["carl"], idempotency_key="bob") is True

    @pytest.mark.parametrize("age", [-1, -0.001, float("nan"), float("inf"), float("-inf")])
    def test_prune_refuses_what_is_no_age(self, store: LogoutStore, age: float) -> None:
        """An age that is negative or no finite number is refused, and nothing is dropped."""
        store.record_logout(["ann"])
        newest = store.newest_logout(["ann"])
        with pytest.raises(ValueError, match="older_than"):
            store.prune(age)
        assert store.newest_logout(["ann"]) == newest

    def test_history(self, store: LogoutStore) -> None:
        """No look-up that began after an acknowledged logout sees an older login alive (row 51)."""
        assert check_history([store] * 4) == []


class ClockedLogoutStoreContract(LogoutStoreContract):
    """Further rules for a store that takes its time from a ``clock``."""

    def test_stamps_are_microseconds_of_the_clock(self, store: LogoutStore, clock: FakeClock) -> None:
        """A stamp is the time in microseconds, where that is newer than all stamps before."""
        clock.advance(1.5)
        assert store.tick() == 1_800_000_001_750_000

    def test_clock_that_stands_still(self, store: LogoutStore) -> None:
        """A login and a logout of one moment never tie: the later one is newer (row 49)."""
        started = store.tick()
        store.record_logout(["ann"])
        assert started < store.newest_logout(["ann"]) < store.tick()

    def test_logout_within_the_second_of_the_login(self, store: LogoutStore, clock: FakeClock) -> None:
        """Parts of a second count."""
        clock.advance(0.125)
        started = store.tick()
        clock.advance(0.5)
        store.record_logout(["ann"])
        assert store.newest_logout(["ann"]) == started + 500_000

    def test_clock_set_back(self, store: LogoutStore, clock: FakeClock) -> None:
        """With the clock set back a day a logout still ends the login before it, and no later one (row 49)."""
        started = store.tick()
        clock.advance(-DAY)
        store.record_logout(["ann"])
        assert started < store.newest_logout(["ann"]) < store.tick()

    def test_prune_by_age(self, store: LogoutStore, clock: FakeClock) -> None:
        """All records older than the age go, and with it all logins of that time; younger ones stay."""
        bob = store.tick()
        store.record_logout(["ann", "login:1"])
        clock.advance(DAY)
        carl = store.tick()
        store.record_logout(["dora"])
        dora = store.newest_logout(["dora"])
        assert store.prune(DAY / 2) == 2
        assert store.newest_logout(["bob"]) > bob
        assert store.newest_logout(["carl"]) < carl
        assert store.newest_logout(["dora"]) == dora

    def test_prune_forgets_old_notifications(self, store: LogoutStore, clock: FakeClock) -> None:
        """A notification older than the age is forgotten, so that the store does not grow for ever."""
        store.record_logout(["ann"], idempotency_key="digest")
        clock.advance(DAY)
        store.prune(DAY / 2)
        assert store.record_logout(["ann"], idempotency_key="digest") is True

    def test_clock_set_back_after_prune(self, store: LogoutStore, clock: FakeClock) -> None:
        """Pruning under a clock that was wrong keeps nobody from signing in when it is right again."""
        clock.advance(DAY)
        store.prune(0)
        clock.advance(-DAY)
        assert store.newest_logout(["ann"]) < store.tick()


class SharedLogoutStoreContract(LogoutStoreContract):
    """Further rules for a store whose records several instances share."""

    def make_second(self, store: LogoutStore) -> LogoutStore:
        """Another instance on the records of ``store``, connected on its own."""
        raise NotImplementedError

    @pytest.fixture
    def second(self, store: LogoutStore) -> Iterator[LogoutStore]:
        second = self.make_second(store)
        yield second
        _close(second)

    def test_one_birth(self, store: LogoutStore, second: LogoutStore) -> None:
        """Opening records that are there signs nobody out."""
        assert second.newest_logout([]) == store.newest_logout([])

    def test_one_scale(self, store: LogoutStore, second: LogoutStore) -> None:
        """Stamps of all instances are on one scale."""
        stamps = [each.tick() for _ in range(10) for each in (store, second)]
        assert stamps == sorted(set(stamps))

    def test_logout_at_the_other_is_seen_at_once(self, store: LogoutStore, second: LogoutStore) -> None:
        """A logout recorded through one instance ends the login at the next look-up through the other (R9)."""
        for here, there in [(store, second), (second, store)] * 3:
            started = here.tick()
            assert here.newest_logout(["ann", "login:1"]) < started
            there.record_logout(["ann"])
            assert here.newest_logout(["ann", "login:1"]) > started

    def test_once_for_all_instances(self, store: LogoutStore, second: LogoutStore) -> None:
        """A notification that one instance took is known to the other (row 25)."""
        assert store.record_logout(["ann"], idempotency_key="digest") is True
        assert second.record_logout(["ann"], idempotency_key="digest") is False

    def test_once_in_parallel_for_all_instances(self, store: LogoutStore, second: LogoutStore) -> None:
        """Of parallel deliveries to several instances exactly one counts (row 25)."""
        for number in range(5):
            answers = in_threads(
                partial(store.record_logout, ["ann"], idempotency_key=str(number)),
                partial(second.record_logout, ["ann"], idempotency_key=str(number)),
            )
            assert sorted(answers) == [False, True]

    def test_prune_at_the_other(self, store: LogoutStore, second: LogoutStore, clock: FakeClock) -> None:
        """A login that one instance pruned has ended at the other."""
        started = store.tick()
        assert store.newest_logout(["ann"]) < started
        clock.advance(60)
        second.prune(0)
        assert store.newest_logout(["ann"]) > started

    def test_history_of_two(self, store: LogoutStore, second: LogoutStore) -> None:
        """No look-up at either that began after an acknowledged logout sees an older login alive (row 51)."""
        assert check_history([store, second] * 2) == []


class KeptLogoutStoreContract(SharedLogoutStoreContract):
    """Rules that hold besides for a store whose records may be lost under it, or put back to an older state."""

    def lose(self, store: LogoutStore) -> None:
        """Remove all that the store has kept, behind its back."""
        raise NotImplementedError

    def save(self, store: LogoutStore) -> Callable[[], None]:
        """Copy all that the store has kept. Return what puts the copy back, behind the store's back."""
        raise NotImplementedError

    def parts(self, store: LogoutStore) -> dict[str, Callable[[], None]]:
        """Return what removes one thing alone that a store is born with, such as a table, by its name."""
        return {}

    @pytest.mark.parametrize("is_new", [False, True], ids=["", "new process"])
    @every_verb
    def test_lost_records(
        self, store: LogoutStore, clock: FakeClock, verb: Callable[[LogoutStore], object], is_new: bool
    ) -> None:
        """Whichever verb comes first, the store is born again: logins of before are dead, new ones live (row 47)."""
        started = store.tick()
        clock.advance(1)
        self.lose(store)
        of = self.make_second(store) if is_new else store
        self.check_new_birth(of, verb, started)
        _close(of)

    @every_verb
    def test_lost_records_with_the_clock_set_back(
        self, store: LogoutStore, clock: FakeClock, verb: Callable[[LogoutStore], object]
    ) -> None:
        """Lost records were ahead of the clock: born again is newer than all that this process saw (rows 47, 49)."""
        store.tick()
        self.set_clock_back(store, clock)
        started = store.tick()
        self.lose(store)
        self.check_new_birth(store, verb, started)

    @every_verb
    def test_older_state(self, store: LogoutStore, verb: Callable[[LogoutStore], object]) -> None:
        """Records that were put back, behind what this process saw, are noticed by whichever verb comes first."""
        store.tick()
        put_back = self.save(store)
        store.record_logout(["ann"])
        started = store.tick()
        put_back()
        self.check_new_birth(store, verb, started)

    @every_verb
    def test_each_verb_sees(
        self, store: LogoutStore, second: LogoutStore, verb: Callable[[LogoutStore], object]
    ) -> None:
        """Records that are older than what any verb has seen last were put back."""
        store.tick()
        put_back = self.save(store)
        started = second.tick()
        verb(store)
        put_back()
        assert store.newest_logout(["ann"]) > started

    def test_a_prune_that_was_put_back(self, store: LogoutStore, clock: FakeClock) -> None:
        """A login that a prune had ended does not live again where the state of before it was put back."""
        started = store.tick()
        put_back = self.save(store)
        clock.advance(60)
        store.prune(0)
        put_back()
        assert store.newest_logout(["ann"]) > started

    @pytest.mark.parametrize("is_set_back", [False, True], ids=["", "clock set back"])
    @pytest.mark.parametrize("is_new", [False, True], ids=["", "new process"])
    @every_verb
    def test_one_lost_part(
        self,
        store: LogoutStore,
        clock: FakeClock,
        verb: Callable[[LogoutStore], object],
        is_new: bool,
        is_set_back: bool,
    ) -> None:
        """One thing lost is enough to be born again, for a process too that never saw it (row 47)."""
        store.tick()
        if is_set_back:
            self.set_clock_back(store, clock)
        for lose in self.parts(store).values():
            started = store.tick()
            store.record_logout(["ann", EVERYONE])
            lose()
            of = self.make_second(store) if is_new else store
            self.check_new_birth(of, verb, started)
            assert of.newest_logout(["ann"]) < of.tick()
            _close(of)

    def check_new_birth(self, store: LogoutStore, verb: Callable[[LogoutStore], object], started: int) -> None:
        found = verb(store)
        newest = store.newest_logout(["bob"])
        assert newest > started
        living = found if verb is VERBS["tick"] else store.tick()
        assert isinstance(living, int)
        assert newest < living


def check_history(stores: Sequence[LogoutStore], *, rounds: int = 60, seed: int = 20_170_606) -> list[str]:
    """Let one thread for each of ``stores`` sign in, sign out and look up the same few people at random.

    :returns: a line for each look-up that saw alive what was ended before it began, or dead what nobody ended.
    """
    history = _History()
    works = [partial(history.make, store, random.Random(seed + number), rounds) for number, store in enumerate(stores)]
    return [line for lines in in_threads(*works) for line in lines]


class _History:
    """Who signed in, and which of those logins an acknowledged logout ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest_login = {"ann": 0, "bob": 0}
        self._ended = {"ann": 0, "bob": 0}

    def make(self, store: LogoutStore, choice: random.Random, rounds: int) -> list[str]:
        found = []
        for _ in range(rounds):
            person = choice.choice(["ann", "bob"])
            step = choice.choice([self.sign_in, self.sign_out, self.look_up, self.look_up])
            found.append(step(store, person))
        return [line for line in found if line]

    def sign_in(self, store: LogoutStore, person: str) -> str:
        started = store.tick()
        self._raise(self._newest_login, person, started)
        return "a login that nobody ended is dead" if store.newest_logout(["carl"]) >= started else ""

    def sign_out(self, store: LogoutStore, person: str) -> str:
        before = self._newest_login[person]
        store.record_logout([person, "login:1"])
        self._raise(self._ended, person, before)
        return ""

    def look_up(self, store: LogoutStore, person: str) -> str:
        ended = self._ended[person]
        newest = store.newest_logout([person, "login:2"])
        return f"a login that was ended is alive: {newest} <= {ended}" if newest <= ended else ""

    def _raise(self, stamps: dict[str, int], person: str, stamp: int) -> None:
        with self._lock:
            stamps[person] = max(stamps[person], stamp)


def _close(store: LogoutStore) -> None:
    close: Callable[[], None] = getattr(store, "close", lambda: None)
    close()
