"""``clef-wsgi prune`` and ``sign-out``: what goes, what stays, and what is said."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import webtest
from kit import echo

import clef_wsgi
from clef_wsgi import SQLiteLogoutStore, from_settings
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


def _visit(settings: Settings) -> tuple[Path, Path]:
    """Somebody's session: its file and its lock."""
    folder = Path(settings["session.data_dir"])
    before = set(folder.rglob("*.*"))
    webtest.TestApp(from_settings(echo, settings)).get("/clef/login", status=303)
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


def test_the_module_is_the_command(environ: Settings) -> None:
    """``python -m clef_wsgi prune`` is ``clef-wsgi prune``."""
    path = os.pathsep.join([str(Path(clef_wsgi.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-W", "ignore", "-m", "clef_wsgi", "prune", "--environ"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path})
    assert "records of logouts older than 31 days were dropped." in done.stdout
