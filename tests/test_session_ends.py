"""Rows 77 and 78: every record in Redis has an end, and the files that are made are their owner's alone."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from beaker.middleware import SessionMiddleware
from support.app import BASE_URL, SECRET, FakeProvider, browser, echo, make_app
from support.beaker_records import Records, redis_records, session_id
from support.cases import each

from clef_wsgi import ClefMiddleware, MemoryLogoutStore, SQLiteLogoutStore, session_options
from clef_wsgi.beaker.backends import PrivateLock

HOUR, DAY = 3600, 24 * 3600
SERVICES = pytest.mark.services


@pytest.fixture
def redis() -> Iterator[Records]:
    with redis_records() as found:
        yield found


def ttl(records: Records, cookie: str) -> int:
    return int(records.options["url"].ttl(f"beaker_cache:{session_id(cookie)}:session"))


def nearly(seconds: float) -> Any:
    """At most a few seconds less."""
    return pytest.approx(seconds - 5, abs=6)


# -- row 77: Redis ------------------------------------------------------------------------------------------


@SERVICES
def test_row_77_no_key_is_without_an_end(redis: Records) -> None:
    """Row 77: a visit, starts, a login, what the app writes, a sign-out: each key has a time to live at each step."""
    client, seen = redis.options["url"], set()

    def assert_all_end() -> None:
        seen.update(client.written)
        assert [key for key in client.written if client.ttl(key) == -1] == []

    ann = browser(make_app(session=redis.options))
    for step in ("/session?a=1", "/clef/login", "/clef/login", "/session?b=2"):
        ann.get(step)
        assert_all_end()
    ann.sign_in("ann")
    ann.get("/session?c=3")
    assert_all_end()
    ann.sign_out()
    assert_all_end()
    assert len(seen) >= 5


@SERVICES
@each(
    ("options", "session", "seconds"),
    [
        ({}, {}, 31 * DAY),
        ({"max_login_age": HOUR}, {}, HOUR + DAY),
        ({"max_login_age": HOUR}, {"cookie_expires": timedelta(days=60)}, 61 * DAY),
        ({"max_login_age": 60 * DAY}, {"cookie_expires": timedelta(days=1)}, 61 * DAY),
        ({"max_login_age": 2 * DAY}, {"cookie_expires": True}, 3 * DAY),
        ({}, {"cookie_expires": False}, 401 * DAY),
        ({}, {"cookie_expires": "in 50 days"}, 51 * DAY),
        ({}, {"timeout": 600}, 600 + 120),
    ],
)
def test_row_77_a_session_ends_with_its_login_or_its_cookie(
    options: dict[str, Any], session: dict[str, Any], seconds: float
) -> None:
    """Row 77: the longer of the two and a day, or Beaker's ``timeout`` and two minutes; set anew at each write."""
    if session.get("cookie_expires") == "in 50 days":
        session = {"cookie_expires": datetime.now() + timedelta(days=50)}  # noqa: DTZ005  as Beaker takes it
    with redis_records() as redis:
        ann = browser(make_app(session={**redis.options, **session}, **options))
        ann.sign_in("ann")
        assert ttl(redis, ann.cookie) == nearly(seconds)
        redis.options["url"].expire(f"beaker_cache:{session_id(ann.cookie)}:session", 60)
        ann.get("/session?a=1")
        assert ttl(redis, ann.cookie) == nearly(seconds)


@SERVICES
@each("lifetime", [60, HOUR, DAY])
def test_row_77_what_holds_no_login_ends_with_the_state(lifetime: int) -> None:
    """Row 77: a started login, and a session that was emptied: ``state_lifetime`` and an hour."""
    with redis_records() as redis:
        client = redis.options["url"]
        visitor = browser(make_app(session=redis.options, state_lifetime=lifetime))
        visitor.start_login("/notes")
        assert [client.ttl(key) for key in client.written] == [nearly(lifetime + HOUR)] * 2
        visitor.sign_in("ann")
        visitor.sign_out()
        assert ttl(redis, visitor.cookie) == nearly(lifetime + HOUR)


@SERVICES
def test_row_77_in_a_beaker_of_ones_own(redis: Records) -> None:
    """Row 77: session_options takes the ages, too; a login that may live longer than they say keeps its record."""

    def signed_in(login_age: int, **given: Any) -> str:
        inner = ClefMiddleware(
            echo,
            provider=FakeProvider(),
            logout_store=MemoryLogoutStore(),
            base_url=BASE_URL,
            max_login_age=login_age,
        )
        options = session_options(base_url=BASE_URL, secret=SECRET, **redis.options, **given)
        ann = browser(SessionMiddleware(inner, options))
        ann.sign_in("ann")
        return ann.cookie

    assert ttl(redis, signed_in(DAY)) == nearly(31 * DAY)
    assert ttl(redis, signed_in(DAY, max_login_age=DAY)) == nearly(2 * DAY)
    assert ttl(redis, signed_in(60 * DAY)) == nearly(61 * DAY)


# -- row 78: files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o077])
@pytest.mark.parametrize("kind", ["file", "dbm"])
def test_row_78_what_is_made_is_its_owners_alone(tmp_path: Path, kind: str, umask: int) -> None:
    """Row 78: directories 0700, files 0600, whatever the umask; the logout store's file, too."""
    before = os.umask(umask)
    try:
        directory = tmp_path / "new" / "sessions"
        store = SQLiteLogoutStore(tmp_path / "logouts.db")
        ann = browser(make_app(store=store, session={"type": kind, "data_dir": str(directory)}))
        ann.get("/session?a=1")
        ann.start_login("/notes")
        ann.start_login("/other")
        ann.sign_in("ann")
    finally:
        os.umask(before)
    made = [tmp_path / "new", directory, *directory.rglob("*"), *tmp_path.glob("logouts*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in made}
    assert {path: oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    assert len([path for path in made if path.is_file()]) >= 5


def test_row_78_a_file_of_before_is_closed_at_its_next_write(tmp_path: Path) -> None:
    """A world-readable file of an older version, and the draft of a killed process, are replaced."""
    ann = browser(make_app(session={"type": "file", "data_dir": str(tmp_path)}))
    ann.get("/session?a=1")
    [file] = tmp_path.rglob("*.cache")
    draft = file.with_name(f"{file.name}.temp")
    draft.write_bytes(b"half")
    for path in (file, draft):
        path.chmod(0o644)
    assert ann.get("/session?a=2").json["session"] == {"a": "2"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not draft.exists()


def test_a_session_longer_than_one_read_comes_back_whole(tmp_path: Path) -> None:
    """Of a file everything is read, however the system hands it out."""
    ann = browser(make_app(session={"type": "file", "data_dir": str(tmp_path)}))
    values = {name: token_hex(20_000) for name in "abcdefgh"}  # which no compression makes short
    for name, value in values.items():
        ann.get(f"/session?{name}={value}")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.cache")) > 2 * 64 * 1024
    assert ann.get("/session").json["session"] == values


class _WatchedLock(PrivateLock):
    """A lock that says when a waiting thread has opened its file."""

    is_opened = threading.Event()

    def opened(self, mode: int) -> int:
        descriptor = super().opened(mode)
        self.is_opened.set()
        return descriptor


def test_a_lock_that_was_removed_with_its_record_parts_no_writers(tmp_path: Path) -> None:
    """Who waited for it locks the file that is there now: else two processes write one record, each over the other."""
    first, waiting, third = (kind("a" * 32, str(tmp_path)) for kind in (PrivateLock, _WatchedLock, PrivateLock))
    has_it, may_go = threading.Event(), threading.Event()

    def wait_for_it() -> None:
        waiting.acquire_write_lock()
        has_it.set()
        may_go.wait(10)
        waiting.release_write_lock()

    first.acquire_write_lock()
    thread = threading.Thread(target=wait_for_it)
    thread.start()
    assert _WatchedLock.is_opened.wait(10)
    os.remove(first.filename)  # as a record is removed, while its lock is held
    first.release_write_lock()
    assert has_it.wait(10)
    try:
        assert not third.acquire_write_lock(wait=False)
        assert not third.acquire_read_lock(wait=False)
    finally:
        may_go.set()
        thread.join()
    assert third.acquire_read_lock(wait=False)
    third.release_read_lock()


class _LockOnAFaultyDisk(PrivateLock):
    """A lock whose file can't be looked up, once."""

    faults = 1

    def is_in_place(self) -> bool:
        if self.faults:
            self.faults -= 1
            raise OSError("Input/output error")
        return super().is_in_place()


def test_a_lock_that_failed_is_had_at_the_next_try(tmp_path: Path) -> None:
    """It is taken through the file that is still open, and afterwards nobody has it."""
    lock, other = _LockOnAFaultyDisk("b" * 32, str(tmp_path)), PrivateLock("b" * 32, str(tmp_path))
    with pytest.raises(OSError, match="Input/output"):
        lock.acquire_write_lock()
    assert lock.acquire_write_lock(wait=False)
    assert not other.acquire_write_lock(wait=False)
    lock.release_write_lock()
    assert other.acquire_write_lock(wait=False)
    other.release_write_lock()


class _LockElsewhere(PrivateLock):
    """A lock on a file system that numbers an open file in another way than one that is looked up."""

    def is_in_place(self) -> bool:
        return False


def test_a_lock_is_not_looked_for_without_end(tmp_path: Path) -> None:
    """After a hundred tries it counts as it is."""
    lock = _LockElsewhere("a" * 32, str(tmp_path))
    assert lock.acquire_write_lock(wait=False)
    lock.release_write_lock()
