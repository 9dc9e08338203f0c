"""The server's database: made once, changed step by step, copied before, refused when newer, and down for a while."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import resource
import socket
import sqlite3
import stat
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sized
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from support import login_server, on_both
from support.cases import each
from support.delivery import QUICK, eventually, working
from support.login_server import NOON, SAME_ORIGIN, FakeClock, Server, postgresql, sent_back_to, token_of

from clef_wsgi.server import ConfigurationError
from clef_wsgi.server.clock import DAY, HOUR
from clef_wsgi.server.database import connecting, engine, schema, settings, steps
from clef_wsgi.server.database.append_only import AUDIT_KEPT_FROM
from clef_wsgi.server.database.backup import copy_sqlite
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.migrations import migrate, open_database
from clef_wsgi.server.errors import DatabaseTooNew, DatabaseUnavailable
from clef_wsgi.server.records import audit, pruning

make_server = partial(login_server.make_server, copied=False)
"""Here the server makes its database itself."""

ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
ON_BOTH = pytest.mark.parametrize("url", on_both.ON_BOTH, indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an empty database."""
    with on_both.empty_database(request.param, tmp_path) as found:
        yield found


@contextlib.contextmanager
def switching_at_waits_alone() -> Iterator[None]:
    """Threads take turns where they wait. Python 3.11 miscounts when two that compile code take turns in the midst."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def version_of(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(select(schema.schema_version.c.version)).scalar_one())


def table_made(name: str) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(text(f"CREATE TABLE {name} (x INTEGER)"))


def has_table(database: Database, name: str) -> bool:
    with database.reading() as connection:
        return connection.dialect.has_table(connection, name)


# --- the first start


@ON_BOTH
def test_the_first_start_makes_the_tables_and_the_second_keeps_them(url: str) -> None:
    """The version is written; what was stored is there at the next start."""
    first = make_server(url)
    assert version_of(first.database) == schema.VERSION
    first.add_person("Ann")
    first.close()
    second = make_server(url)
    assert second.count(schema.people) == 1
    second.close()


def test_the_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    """Mode 0600 from the first moment, whatever the umask; the journal beside it likewise."""
    before = os.umask(0)
    try:
        server = make_server(tmp_path / "clef.db")
        server.add_person()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("clef.db*")}
    finally:
        os.umask(before)
    assert modes == {"clef.db": 0o600, "clef.db-wal": 0o600, "clef.db-shm": 0o600}
    server.close()


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_file_may_be_written_as_a_url(tmp_path: Path, form: str) -> None:
    """A name, or sqlite:/// and a name."""
    server = make_server(form.format(tmp_path / "clef.db"))
    assert (tmp_path / "clef.db").exists()
    server.close()


def test_what_can_not_be_a_database_is_a_sentence(tmp_path: Path) -> None:
    """No such folder, a folder, another file, a database of something else: refused, and left as it was."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "note.txt").write_text("not a database, but quite a long text " * 50)
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE people (name)")
    for name in ("missing/clef.db", "folder", "note.txt", "other.db"):
        with pytest.raises(ConfigurationError) as refused:
            open_database(tmp_path / name)
        assert str(refused.value).startswith("database"), name
        assert str(refused.value).endswith("."), name
    assert (tmp_path / "note.txt").read_text().startswith("not a database")


@each("address", ["clef:pa@ss:hunter2@host/clef", "clef:hu/nt@host:hunter2/clef", "c@host:hunter2/c"])
def test_an_address_that_can_not_be_read_shows_no_password(address: str) -> None:
    """A malformed port may be part of a password: neither the message nor a chained exception quotes it."""
    with pytest.raises(ConfigurationError, match="can't be read") as refused:
        make_server(f"postgresql://{address}")
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))
    assert refused.value.__cause__ is None


def test_a_postgresql_that_is_not_there_is_told_apart_from_wrong_settings(tmp_path: Path) -> None:
    """Nobody listens: DatabaseUnavailable, without the password."""
    with pytest.raises(DatabaseUnavailable) as refused:
        make_server("postgresql://clef:hunter2@127.0.0.1:1/clef")
    assert "hunter2" not in str(refused.value)


def test_an_app_that_was_just_made_holds_no_file_open(tmp_path: Path) -> None:
    """A server that forks or spawns workers after that shares no connection with them."""
    server = make_server(tmp_path / "clef.db")
    links = [Path(link) for link in Path("/proc/self/fd").iterdir()]
    names = [os.readlink(link) for link in links if link.is_symlink()]
    assert names
    assert not [name for name in names if name.startswith(str(tmp_path))]
    server.close()


# --- rp_id


@ON_SQLITE
def test_the_passkeys_domain_is_fixed_at_the_first_start(url: str) -> None:
    """Another rp_id, or another host without one, would make every passkey useless: refused, naming the stored one."""
    make_server(url, rp_id="example.com").close()
    make_server(url, rp_id="example.com").close()
    make_server(url, origin="https://clef.example.com", rp_id="example.com").close()
    others: list[dict[str, Any]] = [{}, {"rp_id": "login.example.com"}, {"origin": "https://login.example.net"}]
    for other in others:
        with pytest.raises(ConfigurationError, match=r"--rp-id example\.com") as refused:
            make_server(url, **other)
        assert len(refused.value.faults) == 1
    make_server(url, rp_id="example.com").close()


# --- migrations

NEXT, AFTER = schema.VERSION + 1, schema.VERSION + 2


@ON_SQLITE
def test_steps_run_once_each_in_order(url: str) -> None:
    """From today's version over two steps, one after the other; at the next start neither."""
    database, done = open_database(url), list[int]()
    steps = {number: lambda _, number=number: done.append(number) for number in (NEXT, AFTER)}
    migrate(database, version=AFTER, steps=steps)
    migrate(database, version=AFTER, steps=steps)
    assert (done, version_of(database)) == ([NEXT, AFTER], AFTER)
    database.close()


@ON_SQLITE
def test_a_new_database_runs_no_step(url: str) -> None:
    """It is made whole."""
    database = Database(url)
    migrate(database, version=7, steps={})
    assert version_of(database) == 7
    database.close()


@ON_BOTH
def test_a_step_that_fails_leaves_the_version_before(url: str) -> None:
    """All steps or none: the tables are of one version, never between two."""
    database = open_database(url)

    def fails(connection: Connection) -> None:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        migrate(database, version=AFTER, steps={NEXT: table_made("half"), AFTER: fails})
    assert version_of(database) == schema.VERSION
    assert not has_table(database, "half")
    migrate(database, version=NEXT, steps={NEXT: table_made("half")})
    assert has_table(database, "half")
    database.close()


@ON_BOTH
def test_of_processes_that_start_at_once_one_migrates(url: str) -> None:
    """Four at once: each finds the next version afterwards, and the step ran once."""
    open_database(url).close()
    databases, start, done = [Database(url) for _ in range(4)], threading.Barrier(4), list[int]()

    def step(connection: Connection) -> None:
        table_made("once")(connection)
        done.append(NEXT)

    def start_one(database: Database) -> None:
        start.wait(30)
        migrate(database, version=NEXT, steps={NEXT: step})

    threads = [threading.Thread(target=start_one, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [NEXT]
    for database in databases:
        assert version_of(database) == NEXT
        database.close()


@ON_BOTH
def test_of_processes_that_start_on_an_empty_database_one_makes_the_tables(url: str) -> None:
    """Four at once on nothing: all of them start, and remember one address and one domain."""
    start, opened = threading.Barrier(4), list[Database]()

    def start_one() -> None:
        start.wait(30)
        opened.append(make_server(url).database)

    threads = [threading.Thread(target=start_one) for _ in range(4)]
    with switching_at_waits_alone():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [version_of(database) for database in opened] == [schema.VERSION] * 4
    with opened[0].reading() as connection:
        rows = connection.execute(select(schema.settings).order_by(schema.settings.c.name)).all()
    assert [*map(tuple, rows)] == [("origin", "https://login.example.com"), ("rp_id", "login.example.com")]
    for database in opened:
        database.close()


def test_a_start_waits_longer_than_a_visitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process is migrating a large file: the start waits for it, where a page would give up."""
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.02)
    open_database(tmp_path / "clef.db").close()
    opened: list[Database] = []
    starting = threading.Thread(target=lambda: opened.append(open_database(tmp_path / "clef.db")))
    with contextlib.closing(sqlite3.connect(tmp_path / "clef.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        starting.start()
        starting.join(0.2)
        assert starting.is_alive()
        other.execute("COMMIT")
        starting.join(30)
        (database,) = opened
    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == connecting.BUSY_SECONDS * 1000
    database.close()


@ON_SQLITE
def test_a_newer_database_is_refused_and_left_alone(url: str) -> None:
    """Says which versions, and what to do."""
    server = make_server(url)
    with server.database.writing() as connection:
        connection.execute(update(schema.schema_version).values(version=99))
    server.close()
    with pytest.raises(DatabaseTooNew, match=rf"schema 99, this one knows {schema.VERSION}") as refused:
        make_server(url)
    assert "restore" in str(refused.value)
    database = Database(url)
    assert version_of(database) == 99
    database.close()


def test_an_older_file_is_copied_before_it_changes(tmp_path: Path) -> None:
    """The copy is of the version before, complete, 0600; a second one does not replace the first."""
    database = open_database(tmp_path / "clef.db")
    for _ in range(2):
        migrate(database, version=NEXT, steps={NEXT: lambda _: None})
        with database.writing() as connection:
            connection.execute(update(schema.schema_version).values(version=schema.VERSION))
    database.close()
    copies = sorted(path.name for path in tmp_path.glob("clef.db.*"))
    assert copies == [f"clef.db.version-{schema.VERSION}.{number}" for number in (1, 2)]
    copy = tmp_path / copies[0]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with contextlib.closing(sqlite3.connect(copy)) as old:
        assert old.execute("SELECT version FROM schema_version").fetchall() == [(schema.VERSION,)]
        assert old.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_without_room_for_the_copy_nothing_changes(tmp_path: Path) -> None:
    """No backup, no migration."""
    folder = tmp_path / "data"
    folder.mkdir()
    database = open_database(folder / "clef.db")
    done: list[int] = []
    (folder / f"clef.db.version-{schema.VERSION}.1").symlink_to(tmp_path / "nowhere" / "file")  # can't be made
    with pytest.raises(OSError, match=r"version-\d\.1|exists|No such"):
        migrate(database, version=NEXT, steps={NEXT: lambda _: done.append(NEXT)})
    assert (done, version_of(database)) == ([], schema.VERSION)
    database.close()


@pytest.mark.services
def test_on_postgresql_the_log_says_that_nothing_was_copied(caplog: pytest.LogCaptureFixture) -> None:
    """A server's backup is the administrator's."""
    with postgresql() as url:
        database = open_database(url)
        migrate(database, version=NEXT, steps={NEXT: lambda _: None})
        assert "pg_dump" in caplog.text
        database.close()


# --- copies


def test_a_copy_is_made_while_somebody_writes(tmp_path: Path) -> None:
    """A backup contains all committed rows and no uncommitted ones."""
    server = make_server(tmp_path / "clef.db")
    server.add_person("Ann")
    with server.database.writing() as connection:
        connection.execute(delete(schema.people))
        copy_sqlite(tmp_path / "clef.db", tmp_path / "copy.db")
        raised = connection.execute(select(schema.people)).all()
    assert raised == []
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT first_name FROM people").fetchall() == [("Ann",)]
    assert sorted(path.name for path in tmp_path.glob("copy.db*")) == ["copy.db"]
    server.close()


def test_a_copy_replaces_nothing_and_leaves_nothing_half(tmp_path: Path) -> None:
    """A file that is there stays; what could not be copied is gone again."""
    make_server(tmp_path / "clef.db").close()
    (tmp_path / "there").write_text("mine")
    with pytest.raises(FileExistsError):
        copy_sqlite(tmp_path / "clef.db", tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"
    (tmp_path / "note.txt").write_text("no database " * 500)
    with pytest.raises(sqlite3.DatabaseError):
        copy_sqlite(tmp_path / "note.txt", tmp_path / "half")
    assert not (tmp_path / "half").exists()


# --- transactions


@ON_SQLITE
def test_a_transaction_that_raises_leaves_nothing(url: str) -> None:
    """Rolled back, and the next one works."""
    server = make_server(url)

    def fails() -> None:
        with server.database.writing() as connection:
            connection.execute(insert(schema.settings).values(name="x", value="y"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert server.count(schema.settings, schema.settings.c.name == "x") == 0
    server.add_person()
    server.close()


@ON_SQLITE
def test_reading_waits_for_no_writer(url: str) -> None:
    """Pages are shown while somebody logs in."""
    server = make_server(url)
    with server.database.writing() as connection:
        connection.execute(insert(schema.settings).values(name="x", value="y"))
        assert server.count(schema.settings, schema.settings.c.name == "x") == 0
    assert server.count(schema.settings, schema.settings.c.name == "x") == 1
    server.close()


@ON_BOTH
def test_the_audit_only_grows(url: str) -> None:
    """The database itself refuses to change or to drop a line."""
    server = make_server(url)
    with server.database.writing() as connection:
        audit.note(connection, actor="admin", action="test", subject="x", now=NOON, why="so")
    for statement in (update(schema.audit).values(actor="me"), delete(schema.audit)):
        with pytest.raises(Exception, match="append-only"), server.database.writing() as connection:
            connection.execute(statement)
    with server.database.reading() as connection:
        (line,) = audit.read(connection)
    assert (line.actor, line.action, line.details) == ("admin", "test", {"why": "so"})
    server.close()


def change_audit(server: Server, statement: Any, kept_from: int) -> None:
    """While lines of before that moment may go."""
    with server.database.writing() as connection:
        settings.write(connection, AUDIT_KEPT_FROM, str(kept_from))
        connection.execute(statement)


@ON_BOTH
def test_the_audit_is_kept_as_long_as_somebody_said(url: str) -> None:
    """Older lines go while the server runs, in steps; the database refuses to drop any other, during that too."""
    server = make_server(url)
    with server.database.writing() as connection:
        for age in (*([401] * 600), 399, 1):
            audit.note(connection, actor="admin", action=str(age), subject="x", now=NOON - age * DAY)
    kept_from = NOON - 400 * DAY
    assert audit.prune(server.database, kept_from=kept_from) is True
    assert server.count(schema.audit) == 102
    with working(server, pace=replace(QUICK, prune_seconds=0.05), keep_audit_us=400 * DAY):
        eventually(lambda: server.count(schema.audit) == 2)
    assert [row.action for row in server.rows(schema.audit)] == ["399", "1"]
    for statement, until in ((delete(schema.audit), kept_from), (update(schema.audit).values(actor="me"), NOON + DAY)):
        with pytest.raises(Exception, match="append-only"):
            change_audit(server, statement, until)
    for statement in (update(schema.audit).values(actor="me"), delete(schema.audit)):
        with pytest.raises(Exception, match="append-only"), server.database.writing() as connection:
            connection.execute(statement)
    assert server.count(schema.audit) == 2
    server.close()


@pytest.mark.parametrize("wrong", ["400", "0d", "a year", "", 400])
def test_how_long_the_audit_is_kept_is_said_in_days(tmp_path: Path, wrong: Any) -> None:
    """Anything else is refused at the start, with what to write."""
    with pytest.raises(ConfigurationError, match=r"^keep_audit must be some days, such as 400d"):
        make_server(tmp_path / "clef.db", keep_audit=wrong)


def test_a_power_cut_loses_no_acknowledged_logout(tmp_path: Path) -> None:
    """SQLite syncs at each commit, and checks foreign keys."""
    database = open_database(tmp_path / "clef.db")
    with database.reading() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("synchronous", "foreign_keys", "journal_mode")
        }
    assert found == {"synchronous": 2, "foreign_keys": 1, "journal_mode": "wal"}
    database.close()


# --- the database is down


class Relay:
    """Stands between a client and PostgreSQL, and can be cut."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self._listener = self._listen(0)
        self.port = self._listener.getsockname()[1]

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def heal(self) -> None:
        self._listener = self._listen(self.port)


@pytest.mark.services
def test_a_restart_that_nobody_noticed_costs_no_visitor_an_error() -> None:
    """Connections that died while they lay in the pool are replaced, not handed out."""
    with behind_a_relay() as (relay, server):
        browser = server.browser(signed_in=server.add_person())
        assert browser.get("/").status_int == 200
        relay.cut()
        relay.heal()
        assert browser.get("/").status_int == 200


@pytest.mark.services
def test_a_database_that_is_down_is_a_503_and_heals(caplog: pytest.LogCaptureFixture) -> None:
    """Pages and API calls answer 503 with Retry-After and no details; when it is back, all works again."""
    with behind_a_relay() as (relay, server):
        site, browser = server.add_site(), server.browser(signed_in=server.add_person())
        code = browser.approve(site.ask())["code"]
        page = browser.get(f"/iframes/qr?{site.ask()}")
        relay.cut()
        down = [
            browser.get(f"/iframes/qr?{site.ask()}"),
            browser.submit(page),
            browser.post("/log-out", {"token": token_of(page)}, headers=SAME_ORIGIN),
            browser.post("/api/v1/authorize", {**site.credentials, "code": code}),
            browser.get("/api/v1/info?access_token=x"),
            browser.post("/api/v1/logout", {**site.credentials, "logout_token": "x"}),
        ]
        for answer in down:
            assert answer.status_int == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert "Set-Cookie" not in answer.headers
            assert "psycopg" not in answer.text
        assert [answer.content_type for answer in down] == ["text/html"] * 3 + ["application/json"] * 3
        assert {answer.json["error"] for answer in down[3:]} == {"Unavailable."}
        reference = re.search(r"\b[0-9a-f]{8}\b", down[0].text)
        assert reference is not None
        assert f"{reference[0]}: the database can't be asked" in caplog.text
        assert code not in caplog.text
        relay.heal()
        assert "code=" in sent_back_to(browser.submit(page))
        assert browser.post("/api/v1/authorize", {**site.credentials, "code": code}).status_int == 200


@contextlib.contextmanager
def behind_a_relay() -> Iterator[tuple[Relay, Server]]:
    """A server on PostgreSQL whose way there can be cut."""
    with postgresql() as url:
        parts = urlsplit(url)
        relay = Relay((parts.hostname or "", parts.port or 5432))
        account = parts.netloc.rpartition("@")[0]
        server = make_server(urlunsplit(parts._replace(netloc=f"{account}@127.0.0.1:{relay.port}")))
        try:
            yield relay, server
        finally:
            relay.cut()
            server.close()


def test_writers_of_one_process_wait_for_their_turn(tmp_path: Path) -> None:
    """SQLite has one writer at a time: a second thread waits, as long as it may, and goes on at once."""
    database = open_database(tmp_path / "clef.db")
    done: list[bool] = []
    with database.writing():
        with pytest.raises(DatabaseUnavailable), database.writing(wait_seconds=0.02):
            raise AssertionError
        second = threading.Thread(target=lambda: done.append(_write(database)))
        second.start()
        assert not done
    second.join(30)
    assert done == [True]
    database.close()


def test_writers_have_their_turn_as_they_come(tmp_path: Path) -> None:
    """Many threads wait while one writes: each is next in its turn, and who has just written comes last."""
    database, turns = open_database(tmp_path / "clef.db"), list[int]()
    waiting = vars(vars(database)["_queue"])["_waiting"]

    def write(number: int) -> None:
        with database.writing():
            turns.append(number)

    threads = [threading.Thread(target=write, args=[number]) for number in range(60)]
    with database.writing():
        for thread, length in zip(threads, range(1, 61), strict=True):
            thread.start()
            eventually(partial(_is_long, waiting, length))
        assert not turns
    write(60)
    for thread in threads:
        thread.join()
    assert turns == [*range(61)]
    database.close()


def _is_long(waiting: Sized, length: int) -> bool:
    return len(waiting) == length


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_waits_for_no_thread_of_its_parent(tmp_path: Path) -> None:
    """A process that is forked while a thread of its parent has its turn has a queue of its own."""
    database = open_database(tmp_path / "clef.db")
    database.close()
    child = multiprocessing.get_context("fork").Process(target=_write, args=[database])
    with vars(database)["_queue"].turn(1, DatabaseUnavailable):
        child.start()
        child.join(30)
    assert child.exitcode == 0
    database.close()


def _write(database: Database) -> bool:
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE made_by_another (x INTEGER)"))
    return True


@pytest.mark.slow
def test_row_45_a_locked_file_is_a_503_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 45: somebody else holds the lock for too long: 503, the code is not used up, later it works."""
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    server = make_server(tmp_path / "clef.db")
    site, browser = server.add_site(), server.browser(signed_in=server.add_person())
    code = browser.approve(site.ask())["code"]
    form = {**site.credentials, "code": code}
    with contextlib.closing(sqlite3.connect(tmp_path / "clef.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answers = [browser.post("/api/v1/authorize", form), browser.submit(browser.get("/"))]
        other.execute("ROLLBACK")
    assert [answer.status_int for answer in answers] == [503, 503]
    assert browser.post("/api/v1/authorize", form).status_int == 200
    server.close()


def test_row_46_a_full_disk_is_a_503_and_no_logout(tmp_path: Path) -> None:
    """Row 46: nothing more can be written: 503, nobody is signed out, the file is whole; with room again it works."""
    server = make_server(tmp_path / "clef.db")
    browser = server.browser(signed_in=server.add_person())
    page = browser.get("/")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "clef.db-wal").stat().st_size, before[1]))
    try:
        answer = browser.submit(page)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert answer.status_int == 503
    assert "Set-Cookie" not in answer.headers
    assert server.count(schema.sessions, schema.sessions.c.ended_at.is_(None)) == 1
    with server.database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    assert browser.submit(page).status_int == 303
    server.close()


def test_an_error_of_the_database_tells_nothing_that_people_sent(tmp_path: Path) -> None:
    """Its text goes to logs: statements yes, values no."""
    database = open_database(tmp_path / "clef.db")
    row = {"name": "secret-name", "value": "secret-value"}
    with pytest.raises(IntegrityError, match="UNIQUE") as failed, database.writing() as connection:
        connection.execute(insert(schema.settings), [row, row])
    assert "secret" not in str(failed.value)
    database.close()


# --- pruning


def test_a_start_drops_what_is_over_and_nothing_else(tmp_path: Path) -> None:
    """Old codes and tokens are dropped; a session whose site was not notified stays, as does an unsent notification."""
    clock = FakeClock()
    server = make_server(tmp_path / "clef.db", clock=clock)
    site, ann = server.add_site(), server.add_person()
    early = server.browser(signed_in=ann)
    server.log_in(site, early)
    early.submit(early.get("/"))
    late = server.browser(signed_in=ann)
    server.log_in(site, late)
    server.close()
    clock.advance((2 * HOUR) / 1e6)
    server = make_server(tmp_path / "clef.db", clock=clock)
    assert server.count(schema.codes) == server.count(schema.access_tokens) == 0
    assert server.count(schema.sessions) == 2
    server.close()
    clock.advance((40 * DAY) / 1e6)
    server = make_server(tmp_path / "clef.db", clock=clock)
    assert server.count(schema.deliveries) == 1
    assert server.count(schema.site_logins, schema.site_logins.c.ended_at.is_(None)) == 1
    assert server.count(schema.sessions) == 1
    with server.database.writing() as connection:
        pruning.drop(connection, now=clock())
    assert server.count(schema.deliveries) == 1
    server.close()


def test_each_version_has_its_step() -> None:
    """Each version of the schema has a migration step."""
    assert steps.STEPS.keys() == set(range(2, schema.VERSION + 1))
