"""The running server bounds its tables: rows that are over (row 92), and the sessions of one person (row 93)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert, select
from support.delivery import QUICK, eventually, working
from support.login_server import NOON, Server, Site, make_server
from support.passkeys import Visitor, enrolled
from support.programs import busyness

from clef_wsgi.server import tokens
from clef_wsgi.server.clock import DAY
from clef_wsgi.server.database.schema import access_tokens, audit, codes, deliveries, sessions, site_logins
from clef_wsgi.server.records import logouts, pruning
from clef_wsgi.server.records import sessions as session_records
from clef_wsgi.server.records.people import Person
from clef_wsgi.server.records.sessions import MOST

ALWAYS = replace(QUICK, prune_seconds=0.05)


@pytest.fixture
def server(where: str) -> Iterator[Server]:
    server = make_server(where)
    yield server
    server.close()


def dead_logins(server: Server, site: Site, person: Person, number: int) -> None:
    """Add logins of the past days with their codes and access tokens, all of them over."""
    with server.database.writing() as connection:
        token = session_records.start(connection, person_id=person.id, passkey_id=None, now=NOON)
        session_id = session_records.find(connection, token, now=NOON).id
        login = {"session_id": session_id, "person_id": person.id, "app_id": site.app_id, "created_at": NOON - 9 * DAY}
        login_id = connection.execute(insert(site_logins).values(login).returning(site_logins.c.id)).scalar_one()
        own = {**login, "expires_at": NOON - 8 * DAY}
        connection.execute(insert(codes), [{**own, "code_hash": os.urandom(32)} for _ in range(number)])
        grants = [{**own, "token_hash": os.urandom(32), "site_login_id": login_id} for _ in range(number)]
        connection.execute(insert(access_tokens), grants)


@pytest.mark.slow
def test_row_92_dead_rows_go_while_the_server_runs(server: Server) -> None:
    """Row 92: forty thousand of them, in steps; whoever logs out meanwhile waits for none longer than a step takes."""
    site, ann, bo = server.add_site(), server.add_person("Ann"), server.add_person("Bo")
    dead_logins(server, site, ann, 20_000)
    living = server.browser(signed_in=bo)
    code = living.approve(site.ask())["code"]
    took: list[float] = []
    with working(server, pace=ALWAYS, call=lambda *_, **__: pytest.fail("nobody is to be told")):
        while server.count(codes) > 1 or server.count(access_tokens):
            somebody, began = server.add_person(), time.monotonic()
            with server.database.writing() as connection:
                logouts.log_out_everywhere(connection, somebody.id, now=NOON)
            took.append(time.monotonic() - began)
            assert len(took) < 5_000, "it never ends"
    assert living.post("/api/v1/authorize", {**site.credentials, "code": code}).status_int == 200
    print(f"{len(took)} logouts meanwhile, the slowest in {max(took):.3f} s")
    assert sorted(took)[len(took) // 2] < 0.2 * busyness()


def test_a_step_is_small(server: Server) -> None:
    """No more rows than it may, whatever tables they are in."""
    dead_logins(server, server.add_site(), server.add_person(), 30)
    with server.database.writing() as connection:
        assert [pruning.drop(connection, now=NOON, limit=25) for _ in range(4)] == [25, 25, 10, 0]
    assert server.count(codes) == server.count(access_tokens) == 0


def crowd(server: Server, person: Person, number: int) -> None:
    """So many living sessions, each unused for a little longer than the next."""
    row: dict[str, Any] = {
        "person_id": person.id,
        "created_at": NOON - DAY,
        "address": "192.0.2.7",
        "user_agent": "x" * 200,
    }
    rows = [
        {**row, "token_hash": tokens.digest(str(n)), "seen_at": NOON - DAY + n, "expires_at": NOON + DAY}
        for n in range(number)
    ]
    with server.database.writing() as connection:
        connection.execute(insert(sessions), rows)


def living(server: Server) -> int:
    return server.count(sessions, sessions.c.ended_at.is_(None))


def test_row_93_one_session_too_many(server: Server) -> None:
    """Row 93: the session unused longest ends, and its sites are notified; the new session stays."""
    site, ann = server.add_site(), server.add_person()
    crowd(server, ann, MOST - 1)
    server.log_in(site, server.browser(signed_in=ann))  # one whose site is to be told
    with server.database.writing() as connection:
        connection.execute(sessions.update().where(sessions.c.created_at == NOON).values(seen_at=NOON - 2 * DAY))
    visitor = Visitor(server)
    visitor.sign_in(enrolled(server, ann))
    assert "Log out everywhere" in visitor.get("/").text
    assert living(server) == MOST
    assert [(row.app_id, row.state) for row in server.rows(deliveries)] == [(site.app_id, "pending")]
    assert server.count(sessions, sessions.c.seen_at == NOON - 2 * DAY, sessions.c.ended_at.is_(None)) == 0
    assert server.count(audit, audit.c.action == "session.surplus") == server.count(sessions) - MOST


@pytest.mark.slow
def test_row_93_a_page_stays_small(server: Server) -> None:
    """Row 93: a person with 40,001 sessions of an older version: under 200 kB, and the worker ends the surplus."""
    ann = server.add_person()
    crowd(server, ann, 40_000)
    browser = server.browser(signed_in=ann)
    page = browser.get("/")
    assert page.status_int == 200
    assert len(page.body) < 200_000
    assert page.text.count("/browsers/") == MOST
    with working(server, pace=ALWAYS):
        eventually(lambda: living(server) < 39_900)
    assert "Log out everywhere" in browser.get("/").text


def test_the_worker_ends_a_surplus(server: Server) -> None:
    """Down to what one person may have: those unused longest; others' stay."""
    ann, bo = server.add_person(), server.add_person("Bo")
    server.browser(signed_in=bo)
    crowd(server, ann, MOST + 25)
    with working(server, pace=ALWAYS):
        eventually(lambda: living(server) == MOST + 1)
    with server.database.reading() as connection:
        oldest = select(sessions.c.seen_at).where(sessions.c.ended_at.is_(None), sessions.c.person_id == ann.id)
        assert min(connection.execute(oldest).scalars()) == NOON - DAY + 25
    assert server.count(audit, audit.c.action == "session.surplus", audit.c.actor == "limit") == 25
