"""The SQLite store among processes, forks, replaced files, locks and full disks."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

import clef_wsgi
from clef_wsgi.base.errors import ConfigurationError, StoreUnavailable
from clef_wsgi.interfaces import EVERYONE
from clef_wsgi.stores import sqlite_connection, sqlite_schema
from clef_wsgi.stores.sqlite import SQLiteLogoutStore
from clef_wsgi.stores.sqlite_connection import GuardedConnection
from clef_wsgi.testing.store_contract import DAY, FakeClock

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logouts.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(path: Path, clock: FakeClock) -> Iterator[SQLiteLogoutStore]:
    with closing(SQLiteLogoutStore(path, clock=clock, write_timeout_seconds=0.3)) as store:
        yield store


@contextmanager
def forked(work: Callable[[Connection], None]) -> Iterator[tuple[Connection, int]]:
    """A child process that runs ``work``, seen from here as the other end of its pipe, and its process id."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=work, args=(there,))
    child.start()
    there.close()
    try:
        yield here, child.pid or 0
    except BaseException:
        child.kill()
        raise
    finally:
        here.close()
        child.join(timeout=10)
        child.close()


def received(pipe: Connection) -> object:
    assert pipe.poll(10), "the child said nothing"
    return pipe.recv()


def handles_of(path: Path) -> int:
    """Return the number of handles that this process has on the file."""
    wanted, count = os.stat(path), 0
    for handle in range(256):
        with suppress(OSError):
            count += os.path.samestat(os.fstat(handle), wanted)
    return count


# Processes


OTHER_PROCESS = """
import sys
from clef_wsgi.stores.sqlite import SQLiteLogoutStore

def said(*words):
    print(*words, flush=True)
    sys.stdin.readline()

said("ready")
store = SQLiteLogoutStore(sys.argv[1])
said(store.newest_logout([]), *[store.tick() for _ in range(100)])
store.record_logout(["theirs"])
said(store.newest_logout(["ours"]))
store.close()
"""


@pytest.mark.process
def test_two_processes(path: Path) -> None:
    """Two processes that create one file at once agree on its birth, and see each other's ticks and logouts (R9)."""
    root = str(Path(clef_wsgi.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", OTHER_PROCESS, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
    ) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        print(file=other.stdin, flush=True)
        with closing(SQLiteLogoutStore(path)) as store:
            born, *ours = [store.newest_logout([]), *[store.tick() for _ in range(100)]]
            their_born, *theirs = map(int, other.stdout.readline().split())
            store.record_logout(["ours"])
            print(file=other.stdin, flush=True)
            assert int(other.stdout.readline()) == store.newest_logout(["ours"])
            assert store.newest_logout(["theirs"]) > store.newest_logout(["ours"]) > max(*ours, *theirs)
        print(file=other.stdin, flush=True)
    assert born == their_born
    assert (ours, theirs) == (sorted(ours), sorted(theirs))
    assert len({*ours, *theirs}) == 200


@pytest.mark.parametrize("offset", [10.0, -10.0, 300.0, -DAY])
def test_hosts_with_different_clocks(store: SQLiteLogoutStore, path: Path, clock: FakeClock, offset: float) -> None:
    """Clocks that differ lose no logout and keep nobody from signing in (row 48, row 49)."""
    with closing(SQLiteLogoutStore(path, clock=FakeClock(clock.now + offset))) as other:
        for here, there in [(store, other), (other, store)]:
            started = here.tick()
            there.record_logout(["ann"])
            assert here.newest_logout(["ann"]) > started
            assert there.newest_logout(["ann"]) < here.tick()


@pytest.mark.process
def test_killed_after_an_acknowledged_logout(store: SQLiteLogoutStore, path: Path) -> None:
    """A logout that was acknowledged is there when its process is killed right after."""

    def record_and_wait(pipe: Connection) -> None:
        pipe.send(store.record_logout(["ann"]))
        pipe.recv()

    started = store.tick()
    with forked(record_and_wait) as (child, pid):
        assert received(child) is True
        os.kill(pid, signal.SIGKILL)
    with closing(SQLiteLogoutStore(path)) as fresh:
        assert fresh.newest_logout(["ann"]) > started


@pytest.mark.process
def test_busy_processes_take_turns(path: Path) -> None:
    """A process that writes without a pause keeps no other from writing."""

    def write_on(pipe: Connection) -> None:
        busy.tick()
        pipe.send("busy")
        while not pipe.poll():
            busy.tick()

    with closing(SQLiteLogoutStore(path)) as busy, forked(write_on) as (child, _):
        received(child)
        begun = time.monotonic()
        for _ in range(5):
            busy.tick()
        assert time.monotonic() - begun < 2.5
        child.send("enough")


def test_every_commit_is_synced(path: Path) -> None:
    """Each connection syncs the write-ahead log at each commit: an acknowledged logout survives a power loss."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        sqlite_schema.prepare(connection)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# Forks


@pytest.mark.process
def test_fork_of_a_store_in_use(store: SQLiteLogoutStore, path: Path) -> None:
    """A child of a process whose store is in use writes where all see it, also when its parent closes first."""

    def record(pipe: Connection) -> None:
        pipe.send(store.tick())
        pipe.recv()
        pipe.send(store.record_logout(["ann"]))

    started = store.tick()
    assert store.newest_logout(["ann"]) < started
    with forked(record) as (child, _):
        assert received(child) == started + 1
        assert store.newest_logout(["ann"]) < started
        store.close()
        child.send("closed")
        assert received(child) is True
    assert store.newest_logout(["ann"]) > started


@pytest.mark.process
def test_fork_beside_a_thread_that_writes(path: Path) -> None:
    """A child forked while another thread is in the store finds its lock free, and its parent goes on."""

    def record(pipe: Connection) -> None:
        pipe.send(busy.record_logout(["ann"]))

    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        while not stop.is_set():
            written.append(busy.tick())

    with closing(SQLiteLogoutStore(path)) as busy:
        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(5):
                before = len(written)
                begun = time.monotonic()
                with forked(record) as (child, _pid):
                    assert time.monotonic() - begun < 2
                    assert received(child) is True
                assert len(written) > before
        finally:
            stop.set()
            thread.join(timeout=10)
    assert written == sorted(set(written))


@pytest.mark.process
def test_fork_beside_a_thread_that_hangs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork waits for a connection that is in use, but not for ever: the child opens its own, the parent goes on."""
    monkeypatch.setattr(sqlite_connection, "_FORK_WAIT_SECONDS", 0.05)
    guarded = GuardedConnection(str(path), limit_seconds=1.0, prepare=lambda connection: None)

    def ask(pipe: Connection) -> None:
        with guarded as own:
            pipe.send((own is not connection, own.execute("SELECT 1").fetchone()))

    with guarded as connection, forked(ask) as (child, _):
        assert received(child) == (True, (1,))
        assert connection.execute("SELECT 2").fetchone() == (2,)
    guarded.close()


def test_fork_behind_the_back_of_python(store: SQLiteLogoutStore, path: Path) -> None:
    """A child forked by foreign code opens connections of its own, and leaves its parent's open."""
    started = store.tick()
    before = handles_of(path)
    reading, writing = os.pipe()
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        try:
            recorded = store.record_logout(["ann"])
            in_use = handles_of(path) > before
            store.close()
            os.write(writing, bytes([recorded, in_use, handles_of(path) >= before]))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with open(reading, "rb") as answer:
        assert answer.read() == bytes([True, True, True])
    assert store.newest_logout(["ann"]) > started


def test_nothing_is_open_after_birth(store: SQLiteLogoutStore, path: Path) -> None:
    """A store that was only made has no connection that a fork could take along; the first call opens one."""
    assert handles_of(path) == 0
    store.tick()
    assert handles_of(path) == 1


# Files


def test_mode(path: Path) -> None:
    """The file and what SQLite keeps beside it are readable by their owner alone, whatever the umask."""
    umask = os.umask(0)
    try:
        with closing(SQLiteLogoutStore(path)) as store:
            store.record_logout(["ann"])
            store.newest_logout(["ann"])
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    finally:
        os.umask(umask)
    assert modes == {"logouts.db": 0o600, "logouts.db-wal": 0o600, "logouts.db-shm": 0o600}


def test_keys_are_not_in_the_file(store: SQLiteLogoutStore, path: Path) -> None:
    """The file holds digests, no names and no tokens."""
    store.record_logout(["person-in-clear"], idempotency_key="notification-in-clear")
    store.close()
    assert b"in-clear" not in path.read_bytes()


def test_relative_path_outlives_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that changes its directory after start, as daemons do, keeps its store."""
    monkeypatch.chdir(tmp_path)
    with closing(SQLiteLogoutStore("logouts.db")) as store:
        started = store.tick()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir("elsewhere")
        store.record_logout(["ann"])
        assert store.newest_logout(["ann"]) > started
        assert os.listdir() == []


def test_symbolic_link(tmp_path: Path, clock: FakeClock) -> None:
    """A link may name the file; one that is turned to another file is noticed."""
    link = tmp_path / "current.db"
    link.symlink_to(tmp_path / "old.db")
    with closing(SQLiteLogoutStore(link, clock=clock)) as store:
        started = store.tick()
        assert store.newest_logout([]) < started
        link.unlink()
        link.symlink_to(tmp_path / "new.db")
        assert store.newest_logout([]) > started
        assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("set_back", [0.0, DAY])
def test_file_deleted(store: SQLiteLogoutStore, path: Path, clock: FakeClock, set_back: float) -> None:
    """A store whose file is gone is born again: every login it knew is dead, and new ones live (row 47)."""
    logins = [store.tick() for _ in range(3)]
    assert store.newest_logout(["ann"]) < logins[0]
    clock.advance(-set_back)
    path.unlink()
    assert store.newest_logout(["ann"]) > logins[-1]
    assert store.newest_logout(["ann"]) < store.tick()


def test_file_deleted_under_a_process_that_only_reads(store: SQLiteLogoutStore, path: Path, clock: FakeClock) -> None:
    """A store that is born again is newer than what this process read, its clock set back or not (row 47)."""
    with closing(SQLiteLogoutStore(path, clock=FakeClock(clock.now - DAY))) as reader:
        started = store.tick()
        assert reader.newest_logout([]) < started
        path.unlink()
        assert reader.newest_logout([]) > started


def test_file_deleted_under_a_look_up_that_is_remembered(store: SQLiteLogoutStore, path: Path) -> None:
    """What is kept of a look-up counts no longer when the file is gone (row 47)."""
    started = store.tick()
    for _ in range(3):
        assert store.newest_logout(["ann"]) < started
    path.unlink()
    assert store.newest_logout(["ann"]) > started


def test_file_deleted_before_a_write(store: SQLiteLogoutStore, path: Path) -> None:
    """A write that finds the file gone makes it again, with the record of everyone (row 47)."""
    started = store.tick()
    path.unlink()
    assert store.record_logout(["bob"]) is True
    assert store.newest_logout(["ann"]) > started


@pytest.mark.process
@pytest.mark.parametrize("restarted", [False, True])
def test_file_deleted_while_another_process_holds_it(
    store: SQLiteLogoutStore, path: Path, clock: FakeClock, restarted: bool
) -> None:
    """Files left beside a deleted database do not block the new one, in this process or a new one."""

    def hold(pipe: Connection) -> None:
        pipe.send(store.newest_logout([]))
        pipe.recv()
        pipe.send(store.newest_logout([]))

    with forked(hold) as (child, _):
        received(child)
        started = store.tick()
        path.unlink()
        if restarted:
            store.close()
            clock.advance(60)
        with closing(SQLiteLogoutStore(path, clock=clock)) if restarted else nullcontext(store) as survivor:
            assert survivor.newest_logout([]) > started
            assert survivor.record_logout(["ann"]) is True
            child.send("go on")
            assert received(child) == survivor.newest_logout([])


@pytest.mark.process
@pytest.mark.parametrize("held", [False, True])
def test_file_replaced(store: SQLiteLogoutStore, path: Path, tmp_path: Path, clock: FakeClock, held: bool) -> None:
    """A file put in place of the old one counts from the next call on, and nothing of the old comes back."""

    def hold(pipe: Connection) -> None:
        pipe.send(store.newest_logout([]))
        pipe.recv()

    clock.advance(60)
    with closing(SQLiteLogoutStore(tmp_path / "other.db", clock=clock)) as other:
        other.record_logout(["bob"])
        newest = other.newest_logout(["bob"])
    clock.advance(-60)
    with forked(hold) as (child, _):
        received(child)
        if not held:
            child.send("go")
        store.record_logout(["ann"])
        started = store.tick()
        assert store.newest_logout(["bob"]) < started
        os.replace(tmp_path / "other.db", path)
        assert store.newest_logout(["bob"]) == newest
        assert store.newest_logout(["ann"]) == store.newest_logout([]) > started
        assert store.record_logout(["ann"]) is True
        with suppress(OSError):
            child.send("go")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM logout").fetchone() == (3,)


def test_file_replaced_in_the_middle_of_a_write(path: Path, tmp_path: Path) -> None:
    """A logout that went into a file which was replaced meanwhile is not acknowledged; said again, it counts."""
    clock = FakeClock()
    work: list[Callable[[], object]] = []

    def busy_clock() -> float:
        while work:
            work.pop()()
        return clock.now

    with closing(SQLiteLogoutStore(path, clock=busy_clock)) as store:
        started = store.tick()
        work.append(path.unlink)
        with pytest.raises(StoreUnavailable):
            store.record_logout(["ann"], idempotency_key="digest")
        assert store.record_logout(["ann"], idempotency_key="digest") is True
        assert store.newest_logout(["ann"]) > started


def test_file_replaced_while_it_is_opened(path: Path) -> None:
    """A connection that may be to another file than the path names by now is not used."""
    replacing: list[Callable[[], None]] = [path.unlink, path.touch]

    def prepare(connection: sqlite3.Connection) -> None:
        while replacing:
            replacing.pop(0)()

    guarded = GuardedConnection(str(path), limit_seconds=1, prepare=prepare)
    with pytest.raises(StoreUnavailable), guarded:
        pytest.fail("the connection to the old file was lent")
    with guarded as connection:
        connection.execute("CREATE TABLE t (x)")
    guarded.close()
    assert path.stat().st_size > 0


def test_directory_gone_and_back(tmp_path: Path, clock: FakeClock) -> None:
    """Without its directory the store can't be asked; when it is back, everybody signs in again (row 47)."""
    home = tmp_path / "home"
    home.mkdir()
    with closing(SQLiteLogoutStore(home / "logouts.db", clock=clock)) as store:
        started = store.tick()
        shutil.rmtree(home)
        with pytest.raises(StoreUnavailable):
            store.newest_logout([])
        with pytest.raises(StoreUnavailable):
            store.record_logout(["ann"])
        home.mkdir()
        assert store.newest_logout([]) > started


@pytest.mark.parametrize("table", ["logout", "mark"])
@pytest.mark.parametrize("how", ["DELETE FROM {}", "DROP TABLE {}"])
def test_records_emptied(store: SQLiteLogoutStore, path: Path, table: str, how: str) -> None:
    """A store whose records were removed inside the file is born again (row 47)."""
    started = store.tick()
    assert store.newest_logout([]) < started
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(how.format(table))
    with suppress(StoreUnavailable):  # A table that is missing heals at the call after.
        store.newest_logout([])
    assert store.newest_logout([]) > started
    assert store.newest_logout([]) < store.tick()


def test_older_state_restored(store: SQLiteLogoutStore, path: Path) -> None:
    """A file put back to an older state than the process saw ends every login (row 47)."""
    started = store.tick()
    with closing(sqlite3.connect(":memory:")) as backup, closing(sqlite3.connect(path)) as file:
        file.backup(backup)
        store.record_logout(["ann"])
        backup.backup(file)
    assert store.newest_logout(["ann"]) > started


def test_damaged_file(store: SQLiteLogoutStore, path: Path) -> None:
    """A file that became unreadable can't be asked; when it is taken away the store goes on."""
    started = store.tick()
    (path.parent / "damaged").write_bytes(b"this is no database " * 100)
    os.replace(path.parent / "damaged", path)
    with pytest.raises(StoreUnavailable) as caught:
        store.newest_logout(["ann"])
    assert str(path) not in str(caught.value)
    path.unlink()
    assert store.newest_logout(["ann"]) > started


def test_file_damaged_under_a_look_up_that_is_remembered(store: SQLiteLogoutStore, path: Path) -> None:
    """What is kept of a look-up counts no longer when the file can't be read; taken away, it is born again."""
    started = store.tick()
    for _ in range(3):
        assert store.newest_logout(["ann"]) < started
    with closing(SQLiteLogoutStore(path)) as other:
        other.record_logout(["bob"])
    with closing(sqlite3.connect(path)) as checkpoint:
        checkpoint.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with path.open("r+b") as file:
        file.write(b"this is no database " * 100)
    with pytest.raises(StoreUnavailable):
        store.newest_logout(["ann"])
    path.unlink()
    assert store.newest_logout(["ann"]) > started


# What is refused at birth


def test_newer_schema(store: SQLiteLogoutStore, path: Path) -> None:
    """A file of a newer version is refused in one sentence, also when it comes later."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="newer clef_wsgi: upgrade") as caught:
        SQLiteLogoutStore(path)
    assert len(caught.value.faults) == 1
    with pytest.raises(StoreUnavailable):
        store.newest_logout([])


@pytest.mark.parametrize("content", [b"x", b"x" * 600, b"not a database " * 1000])
def test_not_a_database(path: Path, content: bytes) -> None:
    """A file that is no SQLite database is refused, and left as it is."""
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a SQLite database"):
        SQLiteLogoutStore(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE theirs (x)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"]
)
def test_database_of_another_application(path: Path, statement: str) -> None:
    """Another application's database is refused, and left as it is."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
    content = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another application"):
        SQLiteLogoutStore(path)
    assert path.read_bytes() == content


def test_empty_file_is_taken(path: Path) -> None:
    """An empty file, made beforehand to give it an owner and a mode, becomes the store."""
    path.touch()
    with closing(SQLiteLogoutStore(path)) as store:
        assert store.newest_logout([]) < store.tick()


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("", "MemoryLogoutStore"),
        (":memory:", "MemoryLogoutStore"),
        ("file:logouts.db", "plain path"),
        ("logouts\0.db", "plain path"),
        (b"logouts.db", "str or a path object"),
        (7, "str or a path object"),
        ("/", "add a file name"),
        ("missing/logouts.db", "directory that exists"),
        ("/proc/logouts.db", "director"),
    ],
)
def test_path_that_can_not_be(wrong: str, advice: str) -> None:
    """A path that can't hold a store is refused at birth, with what to write instead."""
    with pytest.raises(ConfigurationError, match=advice):
        SQLiteLogoutStore(wrong)


@pytest.mark.process
@pytest.mark.parametrize(
    ("directory_mode", "file_mode", "advice"), [(0o555, 0o666, "directory that exists"), (0o777, 0o444, "its owner")]
)
def test_without_permission(directory_mode: int, file_mode: int, advice: str) -> None:
    """A directory or a file that this process may not write to is refused at birth."""

    def open_as_nobody(pipe: Connection) -> None:
        is_root = os.getuid() == 0
        if is_root:
            os.setresuid(65534, 65534, 0)
        try:
            SQLiteLogoutStore(place)
        except ConfigurationError as error:
            pipe.send(str(error))
        if is_root:
            os.setresuid(0, 0, 0)  # so that it can write down which lines it ran

    # Not below tmp_path, which only its owner may enter.
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "logouts.db")
        place.touch()
        place.chmod(file_mode)
        os.chmod(directory, directory_mode)
        with forked(open_as_nobody) as (child, _):
            assert advice in str(received(child))
        os.chmod(directory, 0o700)


def test_no_write_ahead_log() -> None:
    """A file is refused when SQLite can't keep a write-ahead log there, as on some network disks."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA application_id = 0x436C6566")
        with pytest.raises(ConfigurationError, match="use a local disk"):
            sqlite_schema.prepare(connection)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", True, None])
def test_all_faults_at_once(seconds: float) -> None:
    """Every wrong argument has its sentence, in one error."""
    with pytest.raises(ConfigurationError) as caught:
        SQLiteLogoutStore(
            ":memory:",
            clock=0,  # type: ignore[arg-type]
            read_timeout_seconds=seconds,
            write_timeout_seconds=seconds,
        )
    named = [fault.removeprefix("SQLiteLogoutStore: ").split()[0] for fault in caught.value.faults]
    assert named == ["path", "read_timeout_seconds", "write_timeout_seconds", "clock"]


# Locks and disks


def locking(path: Path, *statements: str) -> Callable[[Connection], None]:
    """Work for another process: run SQL on the file, say so, and wait."""

    def run(pipe: Connection) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement).fetchall()
            pipe.send("locked")
            pipe.recv()
        pipe.send("free")

    return run


@pytest.mark.process
def test_locked_by_another_process(store: SQLiteLogoutStore, path: Path) -> None:
    """A write gives up within its limit, look-ups go on, and it all heals when the lock is gone (row 45)."""
    started = store.tick()
    with forked(locking(path, "BEGIN EXCLUSIVE")) as (child, _):
        received(child)
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            store.record_logout(["ann"])
        assert 0.25 < time.monotonic() - begun < 3
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert str(caught.value) == StoreUnavailable.message
        assert store.newest_logout(["ann"]) < started
        child.send("free it")
        received(child)
        assert store.record_logout(["ann"]) is True
    assert store.newest_logout(["ann"]) > started


@pytest.mark.process
def test_look_up_gives_up_within_its_limit(path: Path) -> None:
    """A look-up in a file that another process keeps to itself waits no longer than its limit (row 43)."""
    with closing(SQLiteLogoutStore(path, read_timeout_seconds=0.1)) as store:
        with forked(locking(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE")) as (child, _):
            received(child)
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable):
                store.newest_logout(["ann"])
            assert 0.05 < time.monotonic() - begun < 3
            with pytest.raises(StoreUnavailable):
                SQLiteLogoutStore(path, write_timeout_seconds=0.05)
            child.send("free it")
            received(child)
        assert store.newest_logout(["ann"]) < store.tick()


def test_opening_gives_up_within_its_limit(store: SQLiteLogoutStore, path: Path) -> None:
    """Opening waits no longer than the limit for a process that is stuck while opening (row 43)."""
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.tick()
        assert 0.25 < time.monotonic() - begun < 3
    finally:
        os.close(handle)
    assert store.tick() > 0


def test_a_thread_that_hangs(path: Path) -> None:
    """A write gives up within its limit when another thread does not leave the store (row 45)."""
    inside, leave = threading.Event(), threading.Event()

    def hanging_clock() -> float:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            leave.wait(timeout=10)
        return 1.0

    with closing(SQLiteLogoutStore(path, clock=hanging_clock, write_timeout_seconds=0.1)) as store:
        hanging = threading.Thread(target=store.tick)
        hanging.start()
        assert inside.wait(timeout=10)
        with pytest.raises(StoreUnavailable):
            store.record_logout(["ann"])
        assert store.newest_logout(["ann"]) == 1_000_000
        leave.set()
        hanging.join()
        assert store.record_logout(["ann"]) is True


@pytest.mark.process
def test_waits_share_the_limit(path: Path) -> None:
    """A write that waited for its turn among threads waits only what is left for other processes (row 45)."""
    with (
        closing(SQLiteLogoutStore(path, write_timeout_seconds=2.0)) as store,
        closing(SQLiteLogoutStore(path, write_timeout_seconds=1.0)) as stopwatch,
        forked(locking(path, "BEGIN EXCLUSIVE")) as (child, _),
    ):
        received(child)

        def fail_to_record(store: SQLiteLogoutStore) -> None:
            with pytest.raises(StoreUnavailable):
                store.record_logout(["ann"])

        first = threading.Thread(target=fail_to_record, args=[store])
        first.start()
        fail_to_record(stopwatch)
        begun = time.monotonic()
        fail_to_record(store)
        assert 1.9 < time.monotonic() - begun < 2.9  # 3.0 is what the two waits would take
        first.join()
        child.send("free it")
        received(child)
        assert store.record_logout(["ann"]) is True


@pytest.mark.process
def test_disk_full(store: SQLiteLogoutStore, path: Path) -> None:
    """On a full disk a logout is not acknowledged, look-ups go on, nothing breaks, and it heals (row 46).

    Python ignores SIGXFSZ, which would end the process. A server that embeds Python may not: there the process
    dies, and the logout is not acknowledged either.
    """
    many = [str(number) for number in range(2000)]

    def fill(pipe: Connection) -> None:
        store.record_logout(["ann"])
        newest = store.newest_logout(["ann"])
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(f"{path}-wal") + 4096, most))
        try:
            store.record_logout(many)
        except StoreUnavailable as error:
            pipe.send(type(error.__cause__))
        pipe.send(store.newest_logout(["ann"]) == newest)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        pipe.send(store.record_logout(["bob"]))

    started = store.tick()
    with forked(fill) as (child, _):
        assert received(child) is sqlite3.OperationalError
        assert received(child) is True
        assert received(child) is True
    assert store.newest_logout(["ann"]) > started
    assert store.newest_logout(["bob"]) > store.newest_logout(["ann"])
    assert store.newest_logout(many) == store.newest_logout([])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_error_of_the_clock_leaves_nothing_half_done(path: Path) -> None:
    """An exception in the middle of a write goes out as it is, rolls back, and frees the store."""
    clock = FakeClock()
    broken: list[bool] = []

    def fragile_clock() -> float:
        if broken:
            raise ZeroDivisionError
        return clock.now

    with closing(SQLiteLogoutStore(path, clock=fragile_clock, write_timeout_seconds=0.3)) as store:
        broken.append(True)
        with pytest.raises(ZeroDivisionError):
            store.record_logout(["ann"], idempotency_key="digest")
        broken.clear()
        assert store.record_logout(["ann"], idempotency_key="digest") is True


# Look-ups that are kept


def test_a_look_up_of_other_keys_hides_no_write(store: SQLiteLogoutStore, path: Path) -> None:
    """What is kept of a look-up is outdated by a write of another connection, whatever was looked up in between."""
    started = store.tick()
    assert store.newest_logout(["ann"]) < started
    with closing(SQLiteLogoutStore(path)) as other:
        other.record_logout(["ann"])
        assert store.newest_logout(["bob"]) < started
        assert store.newest_logout(["ann"]) > started
        other.record_logout(["bob"])
    assert store.newest_logout(["carol"]) < started
    assert store.newest_logout(["bob"]) > store.newest_logout(["ann"]) > started


def test_a_look_up_after_close_reads_anew(store: SQLiteLogoutStore, path: Path) -> None:
    """What is kept of a look-up counts no longer when its connection was closed, and the file written to."""
    started = store.tick()
    assert store.newest_logout(["ann"]) < started
    store.close()
    with closing(SQLiteLogoutStore(path)) as other:
        other.record_logout(["ann"])
    assert store.newest_logout(["ann"]) > started


# Connections


def test_error_while_opening(path: Path) -> None:
    """An exception that is no fault of the file goes out as it is, and the next use opens anew."""
    faults = [ZeroDivisionError]

    def prepare(connection: sqlite3.Connection) -> None:
        if faults:
            raise faults.pop()

    guarded = GuardedConnection(str(path), limit_seconds=0.1, prepare=prepare)
    with pytest.raises(ZeroDivisionError), guarded:
        pytest.fail("a connection that is not prepared was lent")
    with guarded as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    guarded.close()


def test_an_interrupt_in_a_look_up(path: Path) -> None:
    """It goes out as it is; the connection is closed, and the next use opens anew."""

    def interrupt(*row: object) -> None:
        raise KeyboardInterrupt

    guarded: Any = GuardedConnection(str(path), limit_seconds=0.1, prepare=lambda connection: None)
    for _ in range(2):
        with guarded:
            pass
    guarded._read_version.__self__.row_factory = interrupt
    with pytest.raises(KeyboardInterrupt):
        guarded.version()
    assert handles_of(path) == 0
    with guarded as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    guarded.close()


def test_close(store: SQLiteLogoutStore, path: Path) -> None:
    """``close`` closes every connection of the process, and the store works on."""
    started = store.tick()
    store.newest_logout([])
    store.close()
    assert handles_of(path) == 0
    store.record_logout([EVERYONE])
    assert store.newest_logout([]) > started


def test_a_connection_that_is_lent(path: Path) -> None:
    """While somebody has it, it has no version, and ``close`` gives up within its limit and leaves it open."""
    guarded = GuardedConnection(str(path), limit_seconds=0.05, prepare=lambda connection: None)
    for _ in range(2):
        with guarded as connection:
            assert guarded.version() is None
            guarded.close()
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert guarded.version() is not None
    guarded.close()
    assert handles_of(path) == 0


def test_store_that_nobody_holds_closes_itself(path: Path) -> None:
    """A store that is let go without ``close`` leaves no open file and no warning."""
    store = SQLiteLogoutStore(path)
    store.tick()
    store.newest_logout([])
    assert handles_of(path) == 2
    del store
    gc.collect()
    assert handles_of(path) == 0


def test_connections_do_not_grow_with_threads(store: SQLiteLogoutStore, path: Path) -> None:
    """Threads that come and go use the connections that are there."""
    for _ in range(5):
        thread = threading.Thread(target=store.newest_logout, args=(["ann"],))
        thread.start()
        thread.join()
    assert handles_of(path) == 1


def test_memory_of_look_ups_is_bounded(store: SQLiteLogoutStore) -> None:
    """Results are kept for a bounded number of look-ups: the oldest keys are let go."""
    key = "ann".upper()
    free = sys.getrefcount(key)
    store.newest_logout([key])
    assert sys.getrefcount(key) > free
    for number in range(4200):
        store.newest_logout([str(number)])
    assert sys.getrefcount(key) == free
