"""``clef-wsgi check``: what it finds in a store, in sessions, at the login service, and at the deployed site."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from support import https_proxy
from support.app import FakeProvider
from support.cases import each
from support.certificates import Certificate, self_signed
from support.databases import PrivateMariaDB, PrivatePostgreSQL, PrivateRedis, PrivateStandby, unique_prefix
from support.fake_oidc import CLIENT_ID, PLAIN_SECRET, FakeOIDC
from support.https_proxy import deployed, links_home, served

import clef_wsgi
from clef_wsgi import (
    Identity,
    LoginRefused,
    LoginStart,
    Logout,
    LogoutRefused,
    MemoryLogoutStore,
    ProviderUnavailable,
    StoreUnavailable,
    from_settings,
)
from clef_wsgi.base.urls import Site
from clef_wsgi.check import (
    findings,
    http_probe,
    live,
    provider,
    redis_server,
    session,
    sql_server,
    sqlite_file,
    store,
)
from clef_wsgi.check.findings import ERROR, OK, WARNING, Finding
from clef_wsgi.check.http_probe import Reply, SilenceError, Stranger
from clef_wsgi.cli import main
from clef_wsgi.settings import Deployment, load
from clef_wsgi.testing import LocalClef

WRONG_APP = "The login service does not accept this site's app_id and app_secret."
SECRET = "u8Zr-Qx2vM7bT1yKc5Wn0pLd4Hs9Ja3E"

Settings = dict[str, str]


@pytest.fixture(scope="module")
def clef() -> Iterator[LocalClef]:
    with LocalClef() as running:
        yield running


@pytest.fixture
def settings(clef: LocalClef, tmp_path: Path) -> Settings:
    """A deployment that is well: one machine, one login service."""
    (tmp_path / "sessions").mkdir(mode=0o700)
    return {
        "base_url": "https://localhost:1",
        "provider": "clef",
        "provider.server_url": clef.url,
        "provider.app_id": clef.app_id,
        "provider.app_secret": clef.app_secret,
        "store": "sqlite",
        "store.path": str(tmp_path / "logouts.db"),
        "session.secret": SECRET,
        "session.type": "file",
        "session.data_dir": str(tmp_path / "sessions"),
    }


def found(settings: Mapping[str, str], about: str) -> list[Finding]:
    return [finding for finding in findings(settings, is_live=False) if finding.about == about]


def troubles(settings: Mapping[str, str]) -> list[Finding]:
    """All but where the test's own files happen to lie."""
    told = [finding for finding in findings(settings, is_live=False) if finding.severity != OK]
    return [finding for finding in told if "lies in memory" not in finding.sentence]


def only(many: Iterable[Finding], pattern: str) -> Finding:
    (one,) = [finding for finding in many if re.search(pattern, finding.sentence)]
    assert one.remedy or one.severity == OK
    return one


# -- the whole --------------------------------------------------------------------------------------------


def test_all_well(settings: Settings) -> None:
    """A good deployment has no troubles, and findings about each of the three."""
    assert troubles(settings) == []
    told = list(findings(settings, is_live=False))
    assert {finding.about for finding in told} == {"store", "session", "provider"}


def _file(settings: Settings, folder: Path) -> str:
    lines = "\n".join(f"{name} = {text}" for name, text in settings.items())
    (folder / "site.ini").write_text(f"[filter:clef]\nuse = egg:clef_wsgi\n{lines}\n")
    return str(folder / "site.ini")


def test_command_says_it(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 where all is well or only warned of, 1 with an error; a line each, and no secret."""
    assert main(["check", _file(settings, tmp_path)]) == 0
    assert re.search(r"(?m)^\d+ well, [01] warnings?, 0 errors\.$", capsys.readouterr().out)
    os.chmod(settings["store.path"], 0o644)
    assert main(["check", _file(settings, tmp_path)]) == 0
    assert "warning  store: The store's file is open to other accounts" in capsys.readouterr().out
    wrong = {**settings, "provider.app_secret": "not-the-secret-at-all"}
    assert main(["check", _file(wrong, tmp_path) + "#clef"]) == 1
    shown = capsys.readouterr().out
    assert "error    provider: The login service does not accept this site's app_id and app_secret." in shown
    assert not {SECRET, "not-the-secret-at-all", settings["provider.app_secret"]} & set(shown.split())


def test_command_for_programs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--json`` from the environment: one object, and the same exit codes."""
    for name, text in {**settings, "store": "memory"}.items():
        if name != "store.path":
            monkeypatch.setenv("CLEF_WSGI_" + name.upper().replace(".", "__"), text)
    assert main(["check", "--environ", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["well"] is True
    assert {"about", "severity", "sentence", "remedy"} == set(shown["findings"][0])
    assert only([Finding(**one) for one in shown["findings"]], "lives in one process").severity == WARNING


def test_command_refuses_faulty_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, and each fault a line of its own; likewise wrong usage."""
    (tmp_path / "site.ini").write_text("[filter:clef]\nuse = egg:clef_wsgi\nprovider = clef\nstore = memory\n")
    assert main(["check", str(tmp_path / "site.ini")]) == 2
    told = capsys.readouterr()
    assert "clef-wsgi: base_url is missing.\nclef-wsgi: provider.app_id is missing.\n" in told.err
    assert told.out == ""
    for words in (["check"], ["check", "a.ini", "--environ"], ["check", str(tmp_path / "none.ini")], ["sign-out", "x"]):
        assert main(words) == 2


class StoreBehindAClosedDoor(MemoryLogoutStore):
    """A store that asks its server at the start, in vain."""

    def __init__(self) -> None:
        raise StoreUnavailable


def test_command_when_the_store_fails_at_the_start(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finding like any other, as text and for programs, and exit 1: no traceback."""
    del settings["store.path"]
    path = _file({**settings, "store": f"{__name__}:StoreBehindAClosedDoor"}, tmp_path)
    assert main(["check", path]) == 1
    told = capsys.readouterr().out
    assert told.startswith("error    store: The store can't be asked")
    assert told.endswith("0 well, 0 warnings, 1 error.\n")
    assert main(["check", path, "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown["well"], [one["severity"] for one in shown["findings"]]) == (False, [ERROR])


# -- the store --------------------------------------------------------------------------------------------


class Lagging(MemoryLogoutStore):
    """A replica that never catches up."""

    single_process = False

    def newest_logout(self, keys: Iterable[str]) -> int:
        return 0


class Ahead(MemoryLogoutStore):
    """A store whose clock is wrong."""

    single_process = False

    def __init__(self, seconds: float) -> None:
        super().__init__(clock=lambda: time.time() + seconds)


def test_a_store_that_forgets(settings: Settings) -> None:
    """A record that a second connection does not see is an error."""
    written = {**settings, "store": "x:Y"}
    assert only(store.findings(written, Lagging(), Lagging()), "would be lost").severity == ERROR


@pytest.mark.parametrize(("seconds", "told"), [(3600, "3600 s ahead of"), (-3600, "3600 s behind"), (0, "within 5 s")])
def test_a_stores_clock(settings: Settings, seconds: float, told: str) -> None:
    """A store's clock that differs is a warning: no logout is lost by it."""
    one = Ahead(seconds)
    assert only(store.findings({**settings, "store": "x:Y"}, one, one), told).severity == (WARNING if seconds else OK)


def test_a_store_that_cant_be_asked(settings: Settings) -> None:
    """Nobody listens: an error, with the kind of what was in the way, and what else can be looked at still is."""
    settings = {**settings, "store": "redis", "store.url": "redis://:secret-of-redis@127.0.0.1:1/0"}
    del settings["store.path"]
    told = list(findings(settings, is_live=False))
    assert only(told, r"can't be asked \(ConnectionError\)").severity == ERROR
    assert "secret-of-redis" not in str(told)
    assert {finding.about for finding in told} == {"store", "session", "provider"}


@pytest.mark.parametrize(
    ("mounts", "severity", "told"),
    [
        ("server:/x {dir} nfs4 rw 0 0", ERROR, "network file system .nfs4."),
        ("tmpfs {dir} tmpfs rw 0 0", WARNING, "lies in memory"),
        ("/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 {dir} xfs rw 0 0", OK, "local disk .xfs."),
        ("garbage\n\n", OK, "local disk"),
    ],
)
def test_a_sqlite_files_place(tmp_path: Path, mounts: str, severity: str, told: str) -> None:
    """By the table of mounts: the last and longest that holds the file counts."""
    (tmp_path / "mounts").write_text(mounts.format(dir=os.path.realpath(tmp_path)))
    clef_wsgi.SQLiteLogoutStore(tmp_path / "logouts.db")
    many = sqlite_file.findings(str(tmp_path / "logouts.db"), mounts=tmp_path / "mounts")
    assert only(many, told).severity == severity


def test_a_sqlite_files_place_without_a_table_of_mounts(tmp_path: Path) -> None:
    """Where the system has none, the file system is not told."""
    (tmp_path / "logouts.db").touch(0o600)
    many = sqlite_file.findings(str(tmp_path / "logouts.db"), journal_mode="", mounts=tmp_path / "none")
    assert only(many, "local disk .its file system is not told.").severity == OK


def test_a_sqlite_file_whose_journal_was_changed(tmp_path: Path) -> None:
    """Something else uses a file that does not write ahead."""
    path = tmp_path / "logouts.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE page (id INTEGER)")
    assert only(sqlite_file.findings(str(path)), "journal_mode delete.: something else uses it").severity == WARNING


def test_a_sqlite_file_of_the_sql_store(settings: Settings, tmp_path: Path) -> None:
    """Its mode and its place are looked at; any journal will do."""
    del settings["store.path"]
    path = tmp_path / "sql.db"
    path.touch(0o644)
    told = found({**settings, "store": "sql", "store.url": f"sqlite:///{path}"}, "store")
    assert only(told, "open to other accounts of this machine .mode 0644.").severity == WARNING
    assert only(told, "The store's file lies ").severity in (OK, WARNING)
    assert not any("journal" in finding.sentence for finding in told)


@pytest.mark.process
@pytest.mark.services
def test_what_redis_may_lose(settings: Settings) -> None:
    """A real server, configured in five ways: each is reported with what may be lost; a good one reports nothing."""
    del settings["store.path"]
    shared = {**settings, "store": "redis", "session.type": "ext:redis"}
    del shared["session.data_dir"]
    with PrivateRedis() as server, redis.Redis(port=server.port) as client:
        shared.update({"store.url": server.url, "session.url": server.url, "store.max_staleness": "1s"})
        assert troubles(shared) == []
        ways = [
            ({"appendfsync": "everysec"}, "the last second's logouts"),
            ({"appendfsync": "no"}, "half a minute"),
            ({"maxmemory-policy": "allkeys-lru"}, "may drop the logouts once it is given a maxmemory"),
            ({"maxmemory-policy": "allkeys-lru", "maxmemory": "1gb"}, "may drop the logouts when its memory is full"),
            ({"appendonly": "no"}, "no append-only file"),
        ]
        for options, told in ways:
            before = {name: client.config_get(name)[name] for name in options}
            for name, text in options.items():
                client.config_set(name, text)
            (trouble,) = troubles(shared)
            assert told in trouble.sentence
            assert trouble.severity == WARNING
            for name, text in before.items():
                client.config_set(name, text)


@pytest.mark.process
@pytest.mark.services
def test_a_redis_replica_and_its_primary(settings: Settings) -> None:
    """The primary warns of the moment that a failover loses; the replica is an error."""
    del settings["store.path"]
    with PrivateRedis() as primary, PrivateRedis() as replica, redis.Redis(port=replica.port) as client:
        shared = {**settings, "store": "redis", "store.url": primary.url}
        client.replicaof("127.0.0.1", str(primary.port))
        _wait_for_replica(primary.port)
        assert only(troubles(shared), "a failover may lose").severity == WARNING
        told = troubles({**shared, "store.url": replica.url})
        assert only(told, r"can't be asked").severity == ERROR
        client.config_set("replica-read-only", "no")
        told = troubles({**shared, "store.url": replica.url})
        assert only(told, "This Redis is a replica: .* may lose").severity == ERROR


@pytest.mark.process
@pytest.mark.services
def test_what_redis_does_not_tell(settings: Settings) -> None:
    """An account that may not run CONFIG, or not even INFO, as at hosted servers: a warning, and no secret."""
    del settings["store.path"]
    with PrivateRedis() as server, redis.Redis(port=server.port) as client:
        for words, told in ((["-config"], "appendfsync is not told"), (["-config", "-info"], "does not tell how")):
            client.execute_command("ACL", "SETUSER", "site", "reset", "on", ">hunter2", "~*", "+@all", *words)
            url = f"redis://site:hunter2@127.0.0.1:{server.port}/0"
            many = found({**settings, "store": "redis", "store.url": url}, "store")
            assert only(many, told).severity == WARNING
            assert "hunter2" not in str(many)


class _ToldOfFullDisks(PrivateRedis):
    """It gets an error for what its disk does not take, not the signal of a limit."""

    def command(self) -> Sequence[str]:
        return ["env", "--ignore-signal=XFSZ", *super().command()]


@pytest.mark.process
@pytest.mark.services
def test_a_redis_that_cant_write_its_file() -> None:
    """Its disk is full since the last write."""
    with _ToldOfFullDisks() as server, redis.Redis(port=server.port) as client:
        client.config_set("appendfsync", "everysec")  # with "always" it ends itself
        with server.full_disk():
            client.set("some", "thing")
            assert only(redis_server.findings(server.url), "can't write its append-only file").severity == ERROR


def _wait_for_replica(port: int) -> None:
    from support.databases import wait_until

    with redis.Redis(port=port) as client:
        wait_until(lambda: int(client.info("replication")["connected_slaves"]) == 1, "no replica came")


@pytest.mark.process
@pytest.mark.services
def test_what_postgresql_may_lose(settings: Settings) -> None:
    """A real server of its own, without fsync: an error; a connection without synchronous_commit: a warning."""
    del settings["store.path"]
    with PrivatePostgreSQL() as server:
        shared = {**settings, "store": "sql", "store.url": server.url, "store.table_prefix": unique_prefix()}
        assert only(found(shared, "store"), "fsync is off").severity == ERROR
        assert only(found(shared, "store"), "before it answers").severity == OK
        lax = {**shared, "store.url": f"{server.url}?options=-csynchronous_commit%3Doff"}
        assert only(found(lax, "store"), "synchronous_commit is off").severity == WARNING


@pytest.mark.process
@pytest.mark.services
def test_a_postgresql_replica_and_its_primary(settings: Settings) -> None:
    """The primary warns of a failover; the replica is an error, and with fsync it has no other fault."""
    del settings["store.path"]
    with PrivatePostgreSQL() as primary, PrivateStandby(primary) as standby:
        shared = {**settings, "store": "sql", "store.table_prefix": unique_prefix(), "store.url": primary.url}
        assert only(found(shared, "store"), "PostgreSQL has replicas").severity == WARNING
        assert only(found({**shared, "store.url": standby.url}, "store"), "can't be asked").severity == ERROR
        told = list(sql_server.findings(standby.url))
        assert only(told, "This PostgreSQL is a replica").severity == ERROR
        assert [finding.severity for finding in told] == [ERROR, OK]


@pytest.mark.process
@pytest.mark.services
def test_what_mariadb_may_lose(settings: Settings) -> None:
    """A real server: a good one has no trouble; a lax one warns, and a read-only one is an error."""
    del settings["store.path"]
    with PrivateMariaDB() as server:
        shared = {**settings, "store": "sql", "store.url": server.url, "store.table_prefix": unique_prefix()}
        told = found(shared, "store")
        assert only(told, "The database writes each logout to its disk").severity == OK
        assert [finding for finding in told if finding.severity != OK] == []
        server.set("innodb_flush_log_at_trx_commit", 2)
        assert only(found(shared, "store"), "innodb_flush_log_at_trx_commit is 2").severity == WARNING
        server.set("read_only", 1)
        assert only(found(shared, "store"), "This database is read-only").severity == ERROR


def test_a_database_that_does_not_tell() -> None:
    """It fails when it is asked how it is set up: a warning with the kind of error, and no secret."""
    told = list(sql_server.findings("postgresql://site:hunter2@127.0.0.1:1/none"))
    assert only(told, r"does not tell how it is set up \(OperationalError\)").severity == WARNING
    assert "hunter2" not in str(told)


# -- sessions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "severity", "told"),
    [
        ({"session.type": "memory"}, WARNING, "live in one process"),
        ({"session.type": "memory", "store": "redis"}, ERROR, "live in one process"),
        ({"store": "redis"}, WARNING, "a login is known on one machine only"),
        ({"session.secret": "ab" * 20}, WARNING, "repeats itself"),
        ({"base_url": "http://localhost:1"}, WARNING, "is not Secure"),
        ({"session.timeout": "1h", "session.cookie_expires": "7d"}, OK, "for 7 days; a session ends after 3600 s"),
        ({"session.cookie_expires": "true"}, OK, "until it is closed"),
        ({}, OK, "The cookie __Host-clef-localhost-1 is Secure, HttpOnly, SameSite=Lax, json."),
        ({}, OK, "secret has 32 bytes"),
        ({"session.secret": SECRET + "\n" + SECRET[::-1]}, OK, "older ones that still verify cookies: 1"),
        ({"session.secret": SECRET + "\n" + "ab" * 20}, WARNING, "repeats itself"),
        ({}, OK, "was kept, and read back"),
    ],
    ids=str,
)
def test_sessions(settings: Settings, changes: Settings, severity: str, told: str) -> None:
    """The report states the effective session options and faults those that do not fit the store."""
    changed = {**settings, **changes}
    if changed["store"] == "redis":
        del changed["store.path"]
        changed["store.url"] = "redis://127.0.0.1:1/0"
    if changed["session.type"] == "memory":
        del changed["session.data_dir"]
    assert only(found(changed, "session"), told).severity == severity


@pytest.mark.parametrize(("mode", "severity"), [(0o700, OK), (0o755, WARNING), (0o777, ERROR)])
def test_the_sessions_directory(settings: Settings, mode: int, severity: str) -> None:
    """A readable sessions' directory lets its readers take over logins; a writable one, the process."""
    os.chmod(settings["session.data_dir"], mode)
    assert only(found(settings, "session"), "sessions' directory").severity == severity


def test_the_directory_that_is_used_is_looked_at(settings: Settings, tmp_path: Path) -> None:
    """Beaker's ``file_dir`` goes before its ``data_dir``."""
    (tmp_path / "files").mkdir()
    os.chmod(tmp_path / "files", 0o777)
    changed = {**settings, "session.file_dir": str(tmp_path / "files"), "session.lock_dir": str(tmp_path / "locks")}
    assert only(found(changed, "session"), "sessions' directory").severity == ERROR


def test_row_76_sessions_that_nothing_removes(settings: Settings) -> None:
    """A type whose records never end is named, and so is its directory's mode."""
    told = found({**settings, "session.type": "dbm"}, "session")
    assert only(told, "Nothing removes sessions of type dbm").severity == WARNING
    assert only(told, "sessions' directory").severity == OK
    assert not any("Nothing removes" in finding.sentence for finding in found(settings, "session"))


def test_sessions_that_cant_be_kept(settings: Settings) -> None:
    """A back-end that does not answer is an error, and the report does not show its address."""
    del settings["session.data_dir"]
    changed = {**settings, "session.type": "ext:redis", "session.url": "redis://:secret-of-redis@127.0.0.1:1/0"}
    told = only(found(changed, "session"), "can't be kept")
    assert told.severity == ERROR
    assert "secret-of-redis" not in str(told)


def test_sessions_that_hang(settings: Settings) -> None:
    """A back-end that takes the connection and says nothing is an error too, after a while."""
    del settings["session.data_dir"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        deployment = load({**settings, "session.type": "ext:redis", "session.url": url})
        told = session.findings(settings, deployment, timeout_seconds=0.2)
        assert only(told, r"can't be kept \(TimeoutError\)").severity == ERROR


class _Forgetful(dict[str, Any]):
    """A session whose back-end keeps nothing."""

    id = "0" * 32

    def save(self) -> None: ...
    def persist(self) -> None: ...
    def delete(self) -> None: ...
    def get_by_id(self, session_id: str) -> None: ...


def test_sessions_that_are_lost() -> None:
    """A back-end that takes a session and does not give it back is an error."""
    forgetful: Any = _Forgetful()
    told = session._round_trip(forgetful, timeout_seconds=5.0)
    assert (told.severity, told.remedy) == (ERROR, "Look at its back-end.")
    assert "was not there when it was read back" in told.sentence


def test_sessions_of_somebody_else(settings: Settings) -> None:
    """No session settings: what is in force can't be seen from here."""
    bare = {name: text for name, text in settings.items() if not name.startswith("session.")}
    assert only(found(bare, "session"), "somebody else puts Beaker").severity == WARNING


# -- the login service ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"provider.app_secret": "another-secret"}, "does not accept this site's app_id and app_secret"),
        ({"provider.app_id": "f" * 32}, "does not accept this site's app_id and app_secret"),
        ({"provider.server_url": "http://localhost:1"}, "can't be reached"),
        ({}, "accepts this site's id and secret"),
    ],
    ids=str,
)
def test_login_service(settings: Settings, changes: Settings, told: str) -> None:
    """The login service is asked with an invented code: its refusal of the code, or of the site, is the finding."""
    assert only(found({**settings, **changes}, "provider"), told).severity == (ERROR if changes else OK)


def test_a_secret_that_is_over(settings: Settings, clef: LocalClef) -> None:
    """Each secret of the list is tried: a refused one is reported even when another is accepted."""
    for secrets in (f"another\n{clef.app_secret}", f"{clef.app_secret}\nanother"):
        told = found({**settings, "provider.app_secret": secrets}, "provider")
        assert only(told, "accepts this site's id and secret").severity == OK
        assert only(told, "refuses 1 of the 2 secrets").severity == WARNING
    [finding] = found({**settings, "provider.app_secret": "another\nand another"}, "provider")
    assert (finding.severity, finding.sentence) == (ERROR, WRONG_APP)


def test_an_openid_provider(settings: Settings) -> None:
    """Its addresses to register are printed; its troubles have remedies of their own."""
    others = {name: text for name, text in settings.items() if not name.startswith("provider")}
    with FakeOIDC() as op:
        site = {"provider": "oidc", "provider.issuer": op.issuer, "provider.client_id": CLIENT_ID}
        told = found({**others, **site, "provider.client_secret": PLAIN_SECRET}, "provider")
        base_url = settings["base_url"]
        for path in ("/clef/callback", "/clef/webhook", "/clef/logout"):
            assert only(told, f"{base_url}{path}$").severity == OK
        told = found({**others, **site, "provider.client_secret": "wrong"}, "provider")
        assert only(told, "does not accept this site's client_id").severity == ERROR
        op.metadata = {"issuer": op.issuer + "/"}
        told = found({**others, **site, "provider.client_secret": PLAIN_SECRET}, "provider")
        assert only(told, "ends with a slash").remedy.startswith("Write provider.issuer")


def test_a_callback_that_is_not_registered(settings: Settings) -> None:
    """The login page itself says so, before anybody has signed in."""
    with LocalClef(site_url="http://localhost:8401") as clef:
        told = {"provider.server_url": clef.url, "provider.app_id": clef.app_id, "provider.app_secret": clef.app_secret}
        here = found({**settings, **told, "base_url": "http://localhost:8401"}, "provider")
        there = found({**settings, **told, "base_url": "http://localhost:8402"}, "provider")
        moved = found({**settings, **told, "base_url": "http://localhost:8401", "callback_path": "/back"}, "provider")
    assert [finding.severity for finding in here] == [OK]
    for many in (there, moved):
        assert only(many, "does not lead people back to http://localhost:840").severity == ERROR


def test_a_server_that_takes_any_code(settings: Settings, clef: LocalClef) -> None:
    """A token for a code that nobody has is no proof of anything but trouble."""
    clef.answer("authorize", body={"success": True, "access_token": "x"})
    [finding] = found(settings, "provider")
    assert finding.severity == ERROR


class Plug:
    """A provider of somebody's own, without ``check_peer``."""

    outcome: Exception | None = LoginRefused()

    def start_login(self, state: str, redirect_url: str) -> LoginStart:
        return LoginStart("https://login.example.net/")

    def finish_login(self, query: Mapping[str, str], provider_state: Mapping[str, Any], redirect_url: str) -> Identity:
        if self.outcome is not None:
            raise self.outcome
        return Identity({"id": "anybody"})

    def read_logout(self, form: Mapping[str, str]) -> Logout:
        raise LogoutRefused

    def user_key(self, user_id: str) -> str:
        return user_id


class SilentPlug(Plug):
    outcome = ProviderUnavailable()


class BrokenPlug(Plug):
    outcome = KeyError("hunter2")


class OpenPlug(Plug):
    outcome = None


@pytest.mark.parametrize(
    ("plug", "severity", "told"),
    [
        (Plug, WARNING, "knows this site can't be told: Plug has no check_peer"),
        (SilentPlug, ERROR, "can't be reached"),
        (BrokenPlug, WARNING, "it fails .KeyError."),
        (OpenPlug, ERROR, "lets somebody in with a code that nobody gave"),
    ],
)
def test_a_plug_that_can_prove_nothing_is_not_praised(
    settings: Settings, plug: type[Plug], severity: str, told: str
) -> None:
    """A refused code says nothing of the site's own secret: a plug without ``check_peer`` is unproven."""
    bare = {name: text for name, text in settings.items() if not name.startswith("provider")}
    [finding] = found({**bare, "provider": f"{__name__}:{plug.__name__}"}, "provider")
    assert (finding.severity, bool(finding.remedy)) == (severity, True)
    assert re.search(told, finding.sentence)
    assert "hunter2" not in str(finding)


class PlugThatChecks(Plug):
    """A plug whose ``check_peer`` returns what the test sets."""

    says: ClassVar[Any] = ()

    def check_peer(self, redirect_url: str) -> Any:
        if isinstance(self.says, Exception):
            raise self.says
        return [(*told[:2], f"{told[2]} {redirect_url}") for told in self.says]


@each(
    ("says", "expected"),
    [
        ([("ok", "Well.", "")], [OK]),
        ([("ok", "Well.", ""), ("warning", "Old.", "Renew it.")], [OK, WARNING]),
        ([("error", "The secret is wrong.", "Copy it again.")], [ERROR]),
        (ProviderUnavailable(), [ERROR]),
        (LoginRefused(), [WARNING]),
        (RuntimeError("hunter2"), [WARNING]),
        ([], [WARNING]),
        ([("fine", "Well.", "")], [WARNING]),
        ([("", "", "")], [WARNING]),
    ],
)
def test_a_plug_says_itself_what_its_peer_answers(settings: Settings, says: Any, expected: list[str]) -> None:
    """``check_peer`` gets the callback's address, and gives findings; whatever else comes of it is no praise."""
    PlugThatChecks.says = says
    bare = {name: text for name, text in settings.items() if not name.startswith("provider")}
    told = found({**bare, "provider": f"{__name__}:PlugThatChecks"}, "provider")
    assert [finding.severity for finding in told] == expected
    assert "hunter2" not in str(told)
    if says == [("error", "The secret is wrong.", "Copy it again.")]:
        assert told[0].remedy == "Copy it again. https://localhost:1/clef/callback"


# -- the deployed site ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("tls"))


def _seen_from_outside(settings: Settings, tls: Certificate, twist: https_proxy.Twist, **front: Any) -> list[Finding]:
    told: Settings = dict(settings)

    def make_app(url: str) -> Any:
        told["base_url"] = url
        return from_settings(links_home, told)

    with deployed(make_app, tls.context, twist, **front):
        many = findings(told, is_live=True, ca_file=tls.ca_file)
        return [finding for finding in many if finding.about == "site"]


def test_a_deployed_site_that_is_well(settings: Settings, tls: Certificate) -> None:
    """Behind an honest proxy every question has its answer."""
    told = _seen_from_outside(settings, tls, https_proxy.honest)
    assert [finding.sentence for finding in told if finding.severity != OK] == []
    assert len(told) == 7


TROUBLES: list[tuple[Callable[[], https_proxy.Twist], str]] = [
    (lambda: https_proxy.refuses_posts, "refuses the login service's POST with 403"),
    (lambda: https_proxy.refuses_strangers, "refuses the login service's POST with 403"),
    (lambda: https_proxy.redirects, "redirects https://localhost:\\d+/clef/webhook .301, to https://www.example.org."),
    (lambda: https_proxy.asks_for_a_password, "refuses https://localhost:\\d+/clef/webhook .401."),
    (lambda: https_proxy.is_another_site, "clef/webhook is answered by something else .404."),
    (lambda: https_proxy.is_broken, "clef/webhook fails .502."),
    (https_proxy.caching, "keeps answers and gives them to others"),
    (lambda: https_proxy.says_age, "keeps answers and gives them to others"),
    (lambda: https_proxy.takes_no_store_away, "takes Cache-Control: no-store away"),
    (lambda: https_proxy.takes_cookies_away, "takes the session's cookie away"),
    (lambda: https_proxy.takes_secure_away, "without HttpOnly or Secure"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("make_twist", "told"), TROUBLES, ids=[told for _, told in TROUBLES])
def test_proxies_that_misbehave(
    settings: Settings, tls: Certificate, make_twist: Callable[[], https_proxy.Twist], told: str
) -> None:
    """Each is an error with a remedy."""
    many = _seen_from_outside(settings, tls, make_twist())
    matching = [finding for finding in many if re.search(told, finding.sentence)]
    assert matching
    assert all([finding.severity == ERROR and finding.remedy for finding in matching])


def test_an_app_that_builds_http_addresses(settings: Settings, tls: Certificate) -> None:
    """A proxy that does not forward the scheme: the app builds http addresses, though people see https."""
    told = _seen_from_outside(settings, tls, https_proxy.honest, tells_scheme=False)
    assert [finding.sentence.partition(",")[0] for finding in told if finding.severity == ERROR] == [
        "The app builds http addresses"
    ]


def test_row_68_own_paths_outside_ascii(settings: Settings, tls: Certificate) -> None:
    """Row 68: every look finds them, from inside and from outside."""
    here: Settings = {**settings, **{f"{name}_path": f"/über/{name}" for name in ("login", "callback", "webhook")}}

    def make_app(url: str) -> Any:
        here["base_url"] = url
        return from_settings(links_home, here)

    with deployed(make_app, tls.context):
        many = list(findings(here, is_live=True, ca_file=tls.ca_file))
    assert [one.sentence for one in many if one.severity != OK and one.about != "store"] == []
    assert len([one for one in many if one.about == "site"]) == 7


def _mounted(app: Any, *, sets_script_name: bool, times: int) -> Any:
    """Return a front that mounts the site: it strips /app from the path, ``times`` times."""

    def front(environ: dict[str, Any], start_response: Any) -> Any:
        for _ in range(times):
            environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/app")
        return app({**environ, "SCRIPT_NAME": "/app" if sets_script_name else ""}, start_response)

    return front


@pytest.mark.parametrize(
    ("sets_script_name", "times", "severity", "told"),
    [
        (True, 1, OK, "The path /app is taken off once"),
        (False, 1, OK, "The path /app is taken off once"),
        (True, 2, ERROR, "/app/app/clef/webhook is the webhook too"),
        (False, 0, ERROR, "clef/webhook reaches the site with base_url's path still in PATH_INFO"),
        (True, 0, ERROR, "clef/webhook is answered by something else"),
    ],
)
def test_row_70_a_mounted_site(
    settings: Settings, tls: Certificate, sets_script_name: bool, times: int, severity: str, told: str
) -> None:
    """Row 70: the path of ``base_url`` is asked for once and twice."""
    here: Settings = dict(settings)

    def make_app(url: str) -> Any:
        here["base_url"] = url + "/app"
        return _mounted(from_settings(links_home, here), sets_script_name=sets_script_name, times=times)

    with deployed(make_app, tls.context):
        many = [one for one in findings(here, is_live=True, ca_file=tls.ca_file) if one.about == "site"]
    assert only(many, told).severity == severity
    assert (severity == OK) == all(one.severity == OK for one in many)


def test_another_site_than_the_settings_say(settings: Settings, tls: Certificate) -> None:
    """The deployed one was started with another base_url."""
    told: Settings = dict(settings)

    def make_app(url: str) -> Any:
        told["base_url"] = url
        return from_settings(links_home, {**told, "base_url": "https://www.example.com"})

    with deployed(make_app, tls.context):
        many = list(findings(told, is_live=True, ca_file=tls.ca_file))
    assert only(many, "to another address than these settings say").severity == ERROR


def test_a_site_that_cant_be_asked(settings: Settings, tls: Certificate) -> None:
    """Nobody listens, or the certificate is nobody's: one error, and no traceback."""
    assert only(findings(settings, is_live=True), "there is no connection to it").severity == ERROR
    with deployed(lambda url: from_settings(links_home, {**settings, "base_url": url}), tls.context) as url:
        many = list(findings({**settings, "base_url": url}, is_live=True))
    assert only(many, "certificate can't be verified").severity == ERROR


def test_a_site_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and says nothing: that clause, after a while."""
    monkeypatch.setattr(http_probe, "TIMEOUT_SECONDS", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(SilenceError, match=r"^it did not answer in time$"),
    ):
        Stranger().ask("GET", f"http://127.0.0.1:{silent.getsockname()[1]}/", {})


def test_a_page_without_end() -> None:
    """Little of an answer is read, however much of it there is."""

    def endless(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        while True:
            yield b"x" * 4096

    with served(endless) as port:
        reply = Stranger().ask("GET", f"http://127.0.0.1:{port}/", {})
    assert (reply.status, len(reply.body) // 4096) == (200, http_probe.MAX_BODY_BYTES // 4096 + 1)


def test_a_site_in_plain_http() -> None:
    """It is for this machine only."""
    stranger: Any = _Told(Reply(200, {}, b"Welcome"))
    place = live._Place(Site("http://localhost:8000"), stranger, "", "", "")
    assert only(live._home(place), "The site is plain http").severity == WARNING


class _Told:
    """A stranger who is answered as a test says, or not at all."""

    def __init__(self, reply: Reply | None) -> None:
        self._reply = reply

    def ask(self, *question: Any) -> Reply:
        if self._reply is None:
            raise SilenceError("nothing listens")
        return self._reply


@pytest.mark.parametrize(
    ("reply", "severity"),
    [
        (Reply(301, {"location": "https://www.example.com/"}, b""), OK),
        (Reply(200, {}, b"Welcome"), WARNING),
        (Reply(302, {"location": "http://www.example.com/home"}, b""), WARNING),
        (None, OK),
    ],
    ids=str,
)
def test_plain_http_beside_https(reply: Reply | None, severity: str) -> None:
    """It may be silent or lead to https, and nothing else."""
    stranger: Any = _Told(reply)
    place = live._Place(Site("https://www.example.com"), stranger, "", "", "")
    assert [finding.severity for finding in live._plain_http(place)] == [severity]


class SilentProvider(FakeProvider):
    """A provider with a logout of its own that sends no notifications."""

    default_login_age = timedelta(days=2)

    def end_login(self, provider_state: Any, return_url: str, state: str) -> str:
        return "https://login.example.net/logout"

    def advertises_logout(self) -> bool:
        return False

    def check_peer(self, redirect_url: str) -> list[tuple[str, str, str]]:
        return [(OK, "fine", "")]


AGES = [({}, WARNING), ({"max_login_age": 86400.0}, OK), ({"max_login_age": timedelta(days=30)}, WARNING)]


@pytest.mark.parametrize(("age", "severity"), AGES)
def test_a_provider_that_reports_no_logouts(age: dict[str, Any], severity: str) -> None:
    """A warning where logins last longer than a day; and the address to come back to is printed."""
    options = {"base_url": "https://www.example.com/app", **age}
    told = [*provider.findings(Deployment(SilentProvider(), MemoryLogoutStore(), options, None))]
    assert told[0].sentence.endswith(" https://www.example.com/app/clef/logout")
    assert told[1].sentence.endswith(" https://www.example.com/app/clef/webhook")
    assert [one.severity for one in told] == [OK, OK, OK, severity]
