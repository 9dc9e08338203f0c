"""Upgrade of an older version's database, with people logged in and notifications pending: all of it goes on.

The files in ``fixtures`` hold what the code of that version made: ``server-v1`` of schema 1.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from support.login_server import NOON, Browser, Server, Site, make_server

from clef_wsgi.server.clock import MINUTE, SECOND
from clef_wsgi.server.database import schema
from clef_wsgi.server.database.schema import deliveries
from clef_wsgi.server.records import confirmations, outbox

FIXTURES = Path(__file__).parent / "fixtures"
PHOTOS = Site("1" * 32, "secret-of-photos-of-old")
WIKI = Site("2" * 32, "secret-of-wiki-of-old", "https://wiki.example.com/cb")


def padded(text: str) -> str:
    """A secret of the fixtures: as long as any, and readable."""
    return text.ljust(43, "x")


def old_token(number: int) -> str:
    """The logout token of Bo's logout of that number."""
    return padded(f"old-token-number-{number}-which-has-43-characters"[:43])


@pytest.fixture
def old(where: str) -> str:
    """Create a database of version 1 and return its path or URL."""
    if "://" not in where:
        with closing(sqlite3.connect(where)) as connection:
            connection.executescript((FIXTURES / "server-v1.sqlite.sql").read_text(encoding="utf-8"))
        return where
    import psycopg

    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute((FIXTURES / "server-v1.postgresql.sql").read_bytes())
    return where


@pytest.fixture
def server(old: str) -> Iterator[Server]:
    server = make_server(old)
    yield server
    server.close()


def exchange(server: Server, site: Site, token: str) -> int:
    answer = server.browser().post("/api/v1/logout", {**site.credentials, "logout_token": token})
    return int(answer.status_int)


def returning(server: Server, session: str) -> Browser:
    browser = server.browser()
    browser.web.set_cookie("__Host-clef-session", session)
    return browser


def test_the_tables_are_those_of_a_new_one(old: str, tmp_path: Path) -> None:
    """The steps lead to the same columns, indexes and keys as ``create_all``, and the second start takes none."""
    make_server(old).close()
    server, new = make_server(old), make_server(tmp_path / "new.db", copied=False)
    found = [{name: _columns(each, name) for name in schema.metadata.tables} for each in (server, new)]
    assert found[0] == found[1]
    assert server.rows(schema.schema_version) == [(schema.VERSION,)]
    for each in (server, new):
        each.close()


INDEXES = {
    "sqlite": "SELECT name FROM pragma_index_list(:table) WHERE origin = 'c'",
    "postgresql": "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = CAST(:table AS regclass)"
    " AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.indexrelid)",
}
"""The names of a table's indexes, but for those of its keys. SQLAlchemy's inspector leaves out those of expressions."""


def _columns(server: Server, table: str) -> tuple[dict[str, bool], set[str]]:
    with server.database.reading() as connection:
        columns = {each["name"]: bool(each["nullable"]) for each in inspect(connection).get_columns(table)}
        return columns, set(connection.execute(text(INDEXES[server.database.dialect]), {"table": table}).scalars())


def test_logins_live_on(server: Server) -> None:
    """Sessions, codes and access tokens work, and a later logout writes its notifications, to the same webhooks."""
    ann = returning(server, padded("session-of-ann"))
    assert "Log out everywhere" in ann.get("/").text
    assert ann.get(f"/api/v1/info?access_token={padded('access-token-of-ann')}").json["info"]["first_name"] == "Ann"
    assert ann.post("/api/v1/authorize", {**PHOTOS.credentials, "code": padded("code-of-ann")}).status_int == 200
    before = {row.id for row in server.rows(deliveries)}
    assert ann.submit(ann.get("/")).status_int == 303
    new = [row for row in server.rows(deliveries) if row.id not in before]
    assert sorted((row.app_id[0], row.webhook_url) for row in new) == [
        ("1", "https://photos.example.com/clef/webhook"),
        ("2", "https://wiki.example.com/hook?ann=1"),
    ]
    assert [row.token.count(".") for row in new] == [1, 1]  # signed


def test_a_receipt_of_before_is_read(server: Server) -> None:
    """By the browser that has it."""
    bo = server.browser()
    bo.web.set_cookie("__Host-clef-receipt", padded("receipt-of-bo"))
    assert [line["name"] for line in bo.get("/receipts/states").json["lines"]] == ["Photos"]


def test_notifications_of_before_go_on(server: Server) -> None:
    """With the token and the time of before; what was confirmed stays so; a redirect is an answer from here on."""
    rows = {row.id: row for row in server.rows(deliveries)}
    assert [(row.state, row.attempts, row.calls, row.failure) for row in rows.values()] == [
        ("pending", 1, 1, "timeout"),
        ("pending", 2, 2, "not_asked"),
        ("given_up", 80, 80, "http_500"),
        ("confirmed", 1, 1, None),
        ("pending", 1, 1, None),
        ("pending", 0, 0, None),
    ]
    assert [exchange(server, PHOTOS, old_token(number)) for number in range(1, 7)] == [200] * 6
    assert exchange(server, WIKI, old_token(1)) == 400
    states = [row.state for row in server.rows(deliveries)]
    assert states == ["pending", "confirmed", "given_up", "confirmed", "pending", "pending"]
    server.clock.now = NOON + 21 * SECOND
    with server.database.writing() as connection:
        claimed = outbox.claim(
            connection, app_id=PHOTOS.app_id, worker="w", now=server.clock(), lease_us=MINUTE, limit=9
        )
        assert [(notification.id, notification.token) for notification in claimed] == [
            (each, old_token(each)) for each in (1, 5, 6)
        ]
        for notification in claimed:  # asked before this call: that proves nothing of it
            assert confirmations.record_answer(connection, notification, status=200, now=server.clock()) == "pending"
    assert [exchange(server, PHOTOS, notification.token) for notification in claimed] == [200] * 3
    assert [row.state for row in server.rows(deliveries)] == [*["confirmed"] * 2, "given_up", *["confirmed"] * 3]
