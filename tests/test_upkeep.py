"""``clef-wsgi prune`` and ``sign-out``: what goes, what stays, and what is said."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pickle
import re
import sqlite3
import subprocess
import sys
import time
import zlib
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import webtest
from beaker.cache import CacheManager
from support.app import echo
from support.beaker_records import REDIS_URL, redis_records

import clef_wsgi
from clef_wsgi import SQLiteLogoutStore, from_settings
from clef_wsgi.beaker.login_record import entry_name
from clef_wsgi.cli import main
from clef_wsgi.settings import load

DAY = 24 * 3600
SECRET = "u8Zr-Qx2vM7bT1yKc5Wn0pLd4Hs9Ja3E"

Settings = dict[str, str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return {
        "base_url": "https://www.example.com",
        "provider": "clef",
        "provider.server_url": "https://login.example.com",
        "provider.app_id": "0123456789abcdef0123456789abcdef",
        "provider.app_secret": "the-secret-of-the-app",
        "store": "sqlite",
        "store.path": str(tmp_path / "logouts.db"),
        "session.secret": SECRET,
        "session.type": "file",
        "session.data_dir": str(tmp_path / "sessions"),
    }


@pytest.fixture
def environ(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings, and the environment that says the same."""
    _put(settings, monkeypatch)
    return settings


def _put(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CLEF_WSGI_")]:
        monkeypatch.delenv(name)
    for name, text in settings.items():
        monkeypatch.setenv("CLEF_WSGI_" + name.upper().replace(".", "__"), text)


def _keys_of_people(settings: Settings, *user_ids: str) -> list[str]:
    return [load(settings).provider.user_key(user_id) for user_id in user_ids]


# -- sign-out ---------------------------------------------------------------------------------------------


def test_one_person(environ: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Her logins end, and nobody else's."""
    store, (ann, bo) = SQLiteLogoutStore(environ["store.path"]), _keys_of_people(environ, "12345", "12346")
    started = store.tick()
    assert main(["sign-out", "--environ", "--user", "12345"]) == 0
    assert capsys.readouterr().out == "Every login of this person is over at its next request.\n"
    assert store.newest_logout([bo]) < started < store.newest_logout([ann])


def test_everyone_with_a_cache(
    environ: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every login ends; with a cache in front of the store it is said how long that may take."""
    _put({**environ, "store.max_staleness": "2s"}, monkeypatch)
    store, (ann,) = SQLiteLogoutStore(environ["store.path"]), _keys_of_people(environ, "12345")
    started = store.tick()
    assert main(["sign-out", "--environ", "--everyone"]) == 0
    assert capsys.readouterr().out == "Every login is over at its next request, at most 2 s from now.\n"
    assert store.newest_logout([ann]) > started


@pytest.mark.parametrize("user_id", ["", "x" * 513, "12\n345", "\x1b[2J"])
def test_ids_that_are_none(environ: Settings, user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused with exit 2, and never taken for everyone."""
    store, (ann,) = SQLiteLogoutStore(environ["store.path"]), _keys_of_people(environ, "12345")
    started = store.tick()
    assert main(["sign-out", "--environ", "--user", user_id]) == 2
    assert capsys.readouterr().err.startswith("clef-wsgi: --user takes an id")
    assert store.newest_logout([ann]) < started


@pytest.mark.parametrize("words", [[], ["--user", "1", "--everyone"], ["--every"]])
def test_who_must_be_said(environ: Settings, words: list[str]) -> None:
    """Neither nobody, nor both, nor a guess."""
    store = SQLiteLogoutStore(environ["store.path"])
    started = store.tick()
    assert main(["sign-out", "--environ", *words]) == 2
    assert store.newest_logout([]) < started


def test_a_store_in_another_process(
    environ: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is claimed that can't be done: exit 2, and what to do instead."""
    _put({**{name: text for name, text in environ.items() if name != "store.path"}, "store": "memory"}, monkeypatch)
    assert main(["sign-out", "--environ", "--everyone"]) == 2
    assert "out of reach: restart the site" in capsys.readouterr().err
    assert main(["prune", "--environ"]) == 0
    told = capsys.readouterr().out
    assert "The store lives in the site's own process: nothing of it can be pruned from here." in told
    assert "records of logouts" not in told


def test_a_store_that_cant_be_asked(
    environ: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, one sentence, no address."""
    redis = {"store": "redis", "store.url": "redis://:a-secret@127.0.0.1:1/0"}
    _put({**{name: text for name, text in environ.items() if name != "store.path"}, **redis}, monkeypatch)
    for words in (["sign-out", "--environ", "--everyone"], ["prune", "--environ"]):
        assert main(words) == 1
        told = capsys.readouterr()
        assert told.err == "clef-wsgi: Logins can't be checked right now.\n"
        assert told.out == ""


# -- prune ------------------------------------------------------------------------------------------------


def _age(path: Path, days: float) -> None:
    moment = time.time() - days * DAY
    os.utime(path, (moment, moment))


def _visit(settings: Settings, path: str = "/session?a=1") -> tuple[Path, Path]:
    """Somebody's session, or with ``/clef/login`` a started login: its file and its lock."""
    folder = Path(settings["session.data_dir"])
    before = set(folder.rglob("*.*"))
    webtest.TestApp(from_settings(echo, settings)).get(path)
    made = set(folder.rglob("*.*")) - before
    (file,) = [path for path in made if path.suffix == ".cache"]
    (lock,) = [path for path in made if path.suffix == ".lock"]
    return file, lock


def test_records_of_logouts(environ: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Those older than any login may live, and a day: they go. A younger one stays, and still ends its login."""
    ann, bo = _keys_of_people(environ, "1", "2")
    path = environ["store.path"]
    os.remove(path)  # born today, when the keys were asked for
    SQLiteLogoutStore(path, clock=lambda: time.time() - 40 * DAY).record_logout([ann])
    young = SQLiteLogoutStore(path, clock=lambda: time.time() - 30.5 * DAY)
    young.record_logout([bo])
    ended = young.newest_logout([bo])
    assert main(["prune", "--environ"]) == 0
    assert "1 records of logouts older than 31 days were dropped." in capsys.readouterr().out
    assert SQLiteLogoutStore(path).newest_logout([bo]) == ended


def test_session_files(environ: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """An old session goes with its lock; a young one stays, with its lock, however old that is."""
    old, young = _visit(environ), _visit(environ)
    _age(old[0], 32)
    _age(old[1], 32)
    _age(young[0], 30.5)
    _age(young[1], 400)
    orphan = young[1].with_name("0" * 40 + ".lock")
    orphan.touch()
    _age(orphan, 32)
    assert main(["prune", "--environ"]) == 0
    assert "1 session files older than 31 days were removed." in capsys.readouterr().out
    assert [path.exists() for path in (*old, *young, orphan)] == [False, False, True, True, False]


def test_row_76_what_holds_no_login_goes_sooner(environ: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Row 76: started logins, their lists, emptied sessions: ``state_lifetime``, an hour, and a day for the clocks."""
    old, young, kept = _visit(environ, "/clef/login"), _visit(environ, "/clef/login"), _visit(environ)
    site = webtest.TestApp(from_settings(echo, environ), extra_environ={"wsgi.url_scheme": "https"})
    before = set(Path(environ["session.data_dir"]).rglob("*.cache"))
    for _ in range(3):
        site.get("/clef/login", status=303)
    several = set(Path(environ["session.data_dir"]).rglob("*.cache")) - before
    for path in (*old, *kept, *several):
        _age(path, 26.1 / 24)
    for path in young:
        _age(path, 25.9 / 24)
    assert main(["prune", "--environ"]) == 0
    assert "5 that hold no login, older than 1.083 days, were removed." in capsys.readouterr().out
    assert [path.exists() for path in (*old, *young, *kept)] == [False, False, True, True, True, True]
    assert [path for path in several if path.exists()] == []


def test_row_76_a_session_whose_login_ended_goes_sooner(environ: Settings) -> None:
    """Row 76: a session that was emptied at a sign-out, and one whose content is another's kind of garbage."""
    file, _ = _visit(environ)
    content = pickle.loads(file.read_bytes())
    empty = base64.b64encode(zlib.compress(json.dumps({"_accessed_time": 1.0, "clef.earlier": []}).encode()))
    file.write_bytes(pickle.dumps({**content, "session": empty.decode()}))
    cut, _ = _visit(environ)
    cut.write_bytes(cut.read_bytes()[:20])
    for path in (file, cut):
        _age(path, 2)
    assert main(["prune", "--environ"]) == 0
    assert (file.exists(), cut.exists()) == (False, True)
    _age(cut, 32)
    assert main(["prune", "--environ"]) == 0
    assert not cut.exists()


def test_a_login_of_another_site_that_may_live_longer_stays(environ: Settings) -> None:
    """Two sites in one directory: a login that has time left by its own record goes with nobody's prune."""
    file, _ = _visit(environ)
    for days, stays in ((10, True), (-10, False)):
        session = {"a": 1, "clef.login.other": {"expires_at": time.time() + days * DAY}}
        packed = base64.b64encode(zlib.compress(json.dumps(session).encode())).decode()
        file.write_bytes(pickle.dumps({"session": packed}))
        _age(file, 50)
        assert main(["prune", "--environ"]) == 0
        assert file.exists() is stays


def test_row_76_an_idle_login_of_this_site_goes_with_beakers_timeout(
    environ: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 76: what its record says counts for other sites' logins alone; its own end by these settings."""
    _put({**environ, "session.timeout": "1h"}, monkeypatch)
    own = entry_name(environ["base_url"], load(environ).provider)
    for entry, stays in (("clef.login.other", True), (own, False)):
        file, _ = _visit(environ)
        session = {"a": 1, entry: {"expires_at": time.time() + 20 * DAY}}
        packed = base64.b64encode(zlib.compress(json.dumps(session).encode())).decode()
        file.write_bytes(pickle.dumps({"session": packed}))
        _age(file, 2)
        assert main(["prune", "--environ"]) == 0
        assert file.exists() is stays


def test_drafts_of_killed_processes(environ: Settings) -> None:
    """A ``.temp`` file goes after a day, while its session's lock is held; a younger one may be written right now."""
    file, _ = _visit(environ)
    old, young = file.with_name(f"{file.name}.temp"), file.with_name(f"{'0' * 32}.cache.temp")
    for path, days in ((old, 1.1), (young, 0.9)):
        path.write_bytes(b"half")
        _age(path, days)
    assert main(["prune", "--environ"]) == 0
    assert (old.exists(), young.exists(), file.exists()) == (False, True, True)


class Poison:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return self.trace.touch, ()


def test_records_of_a_cache_stay(environ: Settings, tmp_path: Path) -> None:
    """A ``beaker.cache`` in the same directory: neither its records nor any lock go, and nothing is unpickled."""
    directory = environ["session.data_dir"]
    cache = CacheManager(type="file", data_dir=directory).get_cache("templates")
    cache.put("page", "content")
    trace = tmp_path / "executed"
    session, lock = _visit(environ)
    for name, content in (
        (f"{'a' * 32}.cache", {"session": Poison(trace)}),
        (f"{'b' * 32}.cache", {"x": (1, None, 2)}),
    ):
        (session.parent / name).write_bytes(pickle.dumps(content))
    before = set(Path(directory).rglob("*.*"))
    orphan = lock.with_name("0" * 40 + ".lock")
    orphan.touch()
    for path in (*before, orphan):
        _age(path, 400)
    assert main(["prune", "--environ"]) == 0
    assert before - set(Path(directory).rglob("*.*")) == {session, lock}
    assert orphan.exists()
    assert not trace.exists()
    assert cache.get("page") == "content"
    pickle.loads(pickle.dumps(Poison(trace)))
    assert trace.exists(), "the poison itself is no good"


@pytest.fixture
def database(environ: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same deployment with its sessions in a database that it shares with a cache."""
    changed = {name: text for name, text in environ.items() if name != "session.data_dir"}
    changed |= {"session.type": "ext:database", "session.url": f"sqlite:///{tmp_path / 'sessions.db'}"}
    _put(changed, monkeypatch)
    return changed


def test_row_76_sessions_in_a_database(database: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Row 76: rows of ended sessions and started logins go; young ones, a cache's and other tables stay, in steps."""
    assert main(["prune", "--environ"]) == 0  # nobody has been here: there is no table
    site = from_settings(echo, database)
    trace = tmp_path / "executed"
    for path in ("/session?a=1", "/session?a=2", "/clef/login", "/clef/login"):
        webtest.TestApp(site).get(path)
    options = {"type": "ext:database", "url": database["session.url"], "data_dir": str(tmp_path / "cache")}
    for name in ("templates", "d" * 32):
        CacheManager(**options).get_cache(name).put("session", "content")
    long_ago, rows = "2026-01-01 00:00:00.000000", []
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection, connection:
        for name in ("e" * 32, "f" * 32):
            content = pickle.dumps({"session": Poison(trace)} if name[0] == "e" else {"session": "%"})
            rows.append((name, long_ago, long_ago, content))
        rows += [(f"{number:032x}", long_ago, long_ago, pickle.dumps({"login": b"x"})) for number in range(500)]
        connection.executemany(
            "INSERT INTO beaker_cache (namespace, accessed, created, data) VALUES (?, ?, ?, ?)", rows
        )
        ages = {1: 32, 2: 30.5, 3: 1.1, 4: 1.0, 5: 400, 6: 400}
        for number, days in ages.items():
            moment = datetime.now() - timedelta(days=days)  # noqa: DTZ005  as Beaker writes it
            written = f"{moment:%Y-%m-%d %H:%M:%S.%f}"
            connection.execute("UPDATE beaker_cache SET accessed = ? WHERE id = ?", (written, number))
    capsys.readouterr()
    assert main(["prune", "--environ"]) == 0
    said = capsys.readouterr().out
    assert "2 sessions in the database older than 31 days were removed." in said
    assert "501 that hold no login, older than 1.083 days, were removed." in said
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection, connection:
        left = [row[0] for row in connection.execute("SELECT id FROM beaker_cache ORDER BY id")]
        assert left == [2, 4, 5, 6, 7]
    assert not trace.exists()


def test_a_database_that_cant_be_asked(
    database: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, one sentence, no address."""
    _put({**database, "session.url": "postgresql+psycopg://user:a-secret@127.0.0.1:1/none"}, monkeypatch)
    assert main(["prune", "--environ"]) == 1
    assert capsys.readouterr().err == "clef-wsgi: The session can't be read or written right now.\n"


@pytest.mark.services
def test_row_77_sessions_in_redis_of_before(
    environ: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 77: those that were written without an end get one; a cache's keys and others are left alone."""
    with redis_records() as records:
        client = records.options["url"]
        mine = f"beaker_cache:{'a' * 32}:session"
        others = ["beaker_cache:templates:session", f"beaker_cache:{'a' * 32}:page", "session"]
        for key in (mine, *others):
            client.set(key, b"x")
        changed = {name: text for name, text in environ.items() if name != "session.data_dir"}
        _put({**changed, "session.type": "ext:redis", "session.url": REDIS_URL}, monkeypatch)
        assert main(["prune", "--environ"]) == 0
        assert "sessions in Redis had no end, and have one now." in capsys.readouterr().out
        assert 30 * DAY < client.ttl(mine) <= 31 * DAY
        assert [client.ttl(key) for key in others] == [-1, -1, -1]


def test_row_76_a_type_that_is_not_pruned_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``prune`` says that sessions of this type are not removed by it."""
    _put({**settings, "session.type": "dbm"}, monkeypatch)
    assert main(["prune", "--environ"]) == 0
    assert "Sessions of type dbm are not removed from here" in capsys.readouterr().out


def test_sessions_of_somebody_else_stay(
    environ: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without session settings ``prune`` drops records of logouts alone."""
    file, _ = _visit(environ)
    _age(file, 400)
    _put({name: text for name, text in environ.items() if not name.startswith("session.")}, monkeypatch)
    assert main(["prune", "--environ"]) == 0
    assert re.fullmatch(r"\d+ records of logouts older than [\d.]+ days were dropped\.\n", capsys.readouterr().out)
    assert file.exists()


def test_longer_lives(environ: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings say how long a login and a cookie live, and so what is old."""
    file, _ = _visit(environ)
    _age(file, 50)
    _put({**environ, "max_login_age": "60d"}, monkeypatch)
    main(["prune", "--environ"])
    assert file.exists()
    _put({**environ, "session.cookie_expires": "60d"}, monkeypatch)
    main(["prune", "--environ"])
    assert file.exists()
    _put({**environ, "max_login_age": "40d"}, monkeypatch)
    main(["prune", "--environ"])
    assert not file.exists()


def test_nothing_else_is_touched(environ: Settings, tmp_path: Path) -> None:
    """Old files of other names, in other places, behind links, and a session that a request holds: all stay."""
    file, lock = _visit(environ)
    held, held_lock = _visit(environ)
    folder = file.parent
    stay = [
        folder / "notes.txt",
        folder / f"{'a' * 32}.cache.bak",
        folder / "README.cache",
        folder.parent / f"{'a' * 32}.cache",
        Path(environ["session.data_dir"]) / f"{'a' * 32}.cache",
        tmp_path / f"{'a' * 32}.cache",
        held,
    ]
    for path in stay[:-1]:
        path.write_text("mine")
    elsewhere = tmp_path / "elsewhere" / "xy"
    elsewhere.mkdir(parents=True)
    stay += [elsewhere / f"{'b' * 32}.cache"]
    stay[-1].write_text("mine")
    (folder.parent.parent / "z").symlink_to(elsewhere.parent)
    (folder / f"{'c' * 32}.cache").symlink_to(stay[0])
    for path in (*stay, file, lock):
        _age(path, 400)
    os.utime(folder / f"{'c' * 32}.cache", (0, 0), follow_symlinks=False)
    with held_lock.open("rb") as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        assert main(["prune", "--environ"]) == 0
    assert [path for path in stay if not path.exists()] == []
    assert (folder / f"{'c' * 32}.cache").is_symlink()
    assert not file.exists()


def test_a_session_that_is_used_while_it_is_pruned(environ: Settings) -> None:
    """After a prune a browser with a pruned session simply starts afresh."""
    site = webtest.TestApp(from_settings(echo, environ), extra_environ={"wsgi.url_scheme": "https"})
    site.get("/clef/login", status=303)
    for path in Path(environ["session.data_dir"]).rglob("*.*"):
        _age(path, 400)
    assert main(["prune", "--environ"]) == 0
    assert site.get("/").json["user"] is None
    assert site.get("/clef/login", status=303)


@pytest.mark.process
def test_the_module_is_the_command(environ: Settings) -> None:
    """``python -m clef_wsgi prune`` is ``clef-wsgi prune``."""
    path = os.pathsep.join([str(Path(clef_wsgi.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-W", "ignore", "-m", "clef_wsgi", "prune", "--environ"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path})
    assert "records of logouts older than 31 days were dropped." in done.stdout
