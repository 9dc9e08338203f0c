"""Every version opens what an older one left: it goes on from there, or begins anew with everybody signed out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from support.databases import (
    CALM,
    MARIADB_URL,
    POSTGRESQL_URL,
    REDIS_URL,
    drop_tables,
    redis_store,
    require_at,
    unique_prefix,
)
from support.old_stores import FIXTURES, fill, load_redis, load_sql, load_sqlite_file

from clef_wsgi import (
    CachedLogoutStore,
    LogoutStore,
    MemoryLogoutStore,
    RedisLogoutStore,
    SQLAlchemyLogoutStore,
    SQLiteLogoutStore,
)

VERSIONS = sorted(folder.name for folder in FIXTURES.iterdir())
OTHER_FORMAT = {("bc51233", kind) for kind in ("sqlite_file", "sqlite", "postgresql", "mariadb")}
"""Fixtures in a format that is no longer read."""
KINDS = ("sqlite_file", "sqlite", "fakeredis", "postgresql", "mariadb", "redis")
SERVICES = ("postgresql", "mariadb", "redis")


def fixtures(*, in_todays_format: bool) -> list[Any]:
    """Return versions and kinds of store whose fixtures are in today's format, or those that are not."""
    return [
        pytest.param(version, kind, marks=[pytest.mark.services] if kind in SERVICES else [])
        for version in VERSIONS
        for kind in KINDS
        if ((version, kind) not in OTHER_FORMAT) == in_todays_format
    ]


@contextmanager
def opened(folder: Path, kind: str, directory: Path) -> Iterator[LogoutStore]:
    """Put the fixture back in its place and yield today's store on it."""
    with ExitStack() as at_end:
        yield at_end.enter_context(closing(_open(folder, kind, directory, at_end)))


def _open(folder: Path, kind: str, directory: Path, at_end: ExitStack) -> Any:
    if kind == "sqlite_file":
        load_sqlite_file(folder, directory / "logouts.db")
        return SQLiteLogoutStore(directory / "logouts.db")
    if kind == "fakeredis":
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer(), socket_timeout=5)
        load_redis(folder, client, "clef:")
        return RedisLogoutStore(client)
    if kind == "redis":
        require_at(REDIS_URL)
        store = at_end.enter_context(redis_store())
        with redis.Redis.from_url(REDIS_URL) as client:
            load_redis(folder, client, store.prefix)
        return store
    url = {"sqlite": f"sqlite:///{directory}/logouts.db", "postgresql": POSTGRESQL_URL, "mariadb": MARIADB_URL}[kind]
    if kind != "sqlite":
        require_at(url)
    prefix = unique_prefix()
    at_end.callback(drop_tables, url, prefix)
    load_sql(folder, url, prefix)
    return SQLAlchemyLogoutStore(url, table_prefix=prefix, **CALM)


def said(folder: Path, kind: str) -> dict[str, Any]:
    """Return the older version's own account of its records."""
    found: dict[str, Any] = json.loads((folder / "logins.json").read_text())[kind.replace("fakeredis", "redis")]
    return found


def living(store: LogoutStore, logins: list[dict[str, Any]]) -> list[bool]:
    return [store.newest_logout(login["keys"]) < login["started"] for login in logins]


@pytest.mark.parametrize(("version", "kind"), fixtures(in_todays_format=False))
def test_another_format_is_born_again(
    version: str, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Everybody is signed out, one warning says so, a login from now on lives; all stamps are above the old ones."""
    logins = said(FIXTURES / version, kind)["logins"]
    with opened(FIXTURES / version, kind, tmp_path) as store:
        assert living(store, logins) == [False] * len(logins)
        started = store.tick()
        assert started > max(login["started"] for login in logins)
        assert store.newest_logout(logins[1]["keys"]) < started
        assert store.record_logout(["ann"], idempotency_key="a new notification") is True
        assert store.newest_logout(["ann"]) > started
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "everybody has to log in again" in caplog.text


@pytest.mark.parametrize(("version", "kind"), fixtures(in_todays_format=True))
def test_an_older_versions_records_count(version: str, kind: str, tmp_path: Path) -> None:
    """Active logins live, ended ones stay ended, a notification is known; the order of stamps goes on from there."""
    folder = FIXTURES / version
    known = said(folder, kind)
    logins, expected = known["logins"], [login["lives"] for login in known["logins"]]
    assert set(expected) == {True, False}
    with opened(folder, kind, tmp_path) as store:
        assert living(store, logins) == expected
        assert living(CachedLogoutStore(store, 60), logins) == expected
        repeated = [
            store.record_logout(logins[1]["keys"], idempotency_key=notification) for notification in known["notices"]
        ]
        assert repeated == [False] * len(known["notices"])
        assert living(store, logins) == expected
        started = store.tick()
        assert started > max(login["started"] for login in logins)
        assert store.newest_logout(logins[1]["keys"]) < started


@pytest.mark.parametrize(("version", "kind"), fixtures(in_todays_format=True))
def test_an_older_versions_tables_are_written_on(version: str, kind: str, tmp_path: Path) -> None:
    """The first call may be a write, which ends whom it names and nobody else."""
    folder = FIXTURES / version
    logins = said(folder, kind)["logins"]
    with opened(folder, kind, tmp_path) as store:
        ann = next(login for login in logins if login["lives"])
        assert store.record_logout(ann["keys"], idempotency_key="a new notification") is True
        assert living(store, logins) == [login["lives"] and login is not ann for login in logins]


def test_what_is_written_down_is_what_a_store_says() -> None:
    """The expectations of a fixture are a store's own at the time when it is made."""
    store = MemoryLogoutStore()
    made = fill(store)
    assert living(store, made["logins"]) == [login["lives"] for login in made["logins"]]
