"""``/healthz`` and ``/metrics``: who may see what, and whether the figures are right."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from support import doc_runner
from support.cases import each
from support.login_server import Server, make_server, postgresql

from clef_wsgi.server.database.schema import deliveries
from clef_wsgi.server.errors import ConfigurationError
from clef_wsgi.server.records import backlog, logouts
from clef_wsgi.server.web.support.context import KEY

INSIDE = {"REMOTE_ADDR": "10.1.2.3"}
PROXY = {"REMOTE_ADDR": "192.0.2.1"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = make_server(tmp_path / "clef.db", trusted_proxy="192.0.2.1", metrics_from="10.0.0.0/8")
    yield made
    made.close()


def figures(server: Server) -> dict[tuple[str, ...], float]:
    answer = server.browser().get("/metrics", extra_environ=INSIDE)
    assert answer.status_int == 200
    return {
        (sample.name.removeprefix("clef_server_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket"))
    }


def log_out(server: Server, name: str = "Ann") -> None:
    """Somebody signs in at a site, and logs out everywhere."""
    person, site = server.add_person(name), server.add_site(name)
    server.log_in(site, server.browser(signed_in=person))
    with server.database.writing() as connection:
        logouts.log_out_everywhere(connection, person.id, now=server.clock())


# -- who may see what -------------------------------------------------------------------------------------


@each(
    ("environ", "may"),
    [
        (INSIDE, True),
        ({"REMOTE_ADDR": "203.0.113.9"}, False),
        ({"REMOTE_ADDR": "127.0.0.1"}, False),
        ({"REMOTE_ADDR": ""}, False),
        ({**PROXY, "HTTP_X_FORWARDED_FOR": "10.1.2.3"}, True),
        ({**PROXY, "HTTP_X_FORWARDED_FOR": "203.0.113.9"}, False),
        ({**PROXY, "HTTP_X_FORWARDED_FOR": "10.1.2.3, 203.0.113.9"}, False),  # the visitor wrote the first one
        ({**INSIDE, "HTTP_X_FORWARDED_FOR": "10.1.2.4"}, False),  # a proxy that nobody trusts
        (PROXY, False),
    ],
)
def test_figures_are_for_the_networks_that_were_named(server: Server, environ: dict[str, str], may: bool) -> None:
    """Other networks get 404 for the figures, and only the server's status from ``/healthz``."""
    stranger = server.browser()
    assert stranger.get("/metrics", extra_environ=environ).status_int == (200 if may else 404)
    answer = stranger.get("/healthz", extra_environ=environ)
    assert answer.status_int == 200
    assert set(answer.json) == {"status", "deliveries"} if may else {"status"}


def test_nobody_may_unless_it_is_said(tmp_path: Path) -> None:
    """Without ``--metrics-from`` not even this machine may: it may be a proxy's address."""
    server = make_server(tmp_path / "clef.db")
    for address in ("127.0.0.1", "::1", "10.1.2.3"):
        assert server.browser().get("/metrics", extra_environ={"REMOTE_ADDR": address}).status_int == 404
    server.close()


def test_a_network_that_is_none_is_refused(tmp_path: Path) -> None:
    """The sentence names the option."""
    with pytest.raises(ConfigurationError, match=r"^metrics_from must be addresses or networks"):
        make_server(tmp_path / "clef.db", metrics_from="everybody")


def test_machines_get_no_cookie(server: Server) -> None:
    """And need no name: they may ask under an address."""
    for path in ("/healthz", "/metrics"):
        answer = server.browser().get(path, extra_environ={**INSIDE, "HTTP_HOST": "10.1.2.1:8400"})
        assert answer.status_int == 200
        assert "Set-Cookie" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"


# -- what is seen -----------------------------------------------------------------------------------------


def test_logins_and_refusals_are_counted(server: Server) -> None:
    """One login; a code used twice, a wrong secret, a page that is not there."""
    ann, site = server.add_person("Ann"), server.add_site()
    browser = server.browser(signed_in=ann)
    code = browser.approve(site.ask())["code"]
    form = {**site.credentials, "code": code}
    statuses = [browser.post("/api/v1/authorize", form).status_int for _ in range(2)]
    statuses.append(browser.post("/api/v1/authorize", {**form, "app_secret": "wrong"}).status_int)
    statuses.append(browser.get("/nowhere").status_int)
    assert statuses == [200, 403, 403, 404]
    found = figures(server)
    assert found[("logins_total",)] == 1
    assert {key: value for key, value in found.items() if key[0] == "refusals_total"} == {
        ("refusals_total", "invalid_code"): 1,
        ("refusals_total", "invalid_secret"): 1,
        ("refusals_total", "not_found"): 1,
    }


def test_no_visitor_makes_new_series(server: Server) -> None:
    """Whatever is asked for, a label comes from a closed list."""
    for number in range(20):
        server.browser().get(f"/nowhere{number}")
        server.browser().get(f"/api/v1/nowhere{number}")
    labels = {key[1:] for key in figures(server) if key[0] == "refusals_total"}
    assert labels == {("not_found",), ("wrong_call",)}


def backlog_is_right(server: Server) -> None:
    log_out(server)
    server.clock.advance(100)
    log_out(server, "Bo")
    server.clock.advance(20)
    with server.database.writing() as connection:
        claimed = server.clock.now + 30_000_000
        first = server.rows(deliveries)[0].id
        connection.execute(update(deliveries).where(deliveries.c.id == first).values(claimed_until=claimed))
    with server.database.reading() as connection:
        found = backlog.read(connection, now=server.clock())
    assert found == backlog.Backlog(pending=2, given_up=0, oldest_seconds=120.0, overdue_seconds=20.0)
    with server.database.writing() as connection:
        connection.execute(update(deliveries).values(state="given_up"))
    with server.database.reading() as connection:
        found = backlog.read(connection, now=server.clock())
    assert found == backlog.Backlog(pending=0, given_up=2, oldest_seconds=0.0, overdue_seconds=0.0)


def test_the_backlog_is_the_databases(server: Server) -> None:
    """A row that somebody is trying is not overdue; one that was given up is neither pending nor old."""
    backlog_is_right(server)
    answer = server.browser().get("/healthz", extra_environ=INSIDE)
    figures_told = {"given_up": 2, "oldest_seconds": 0.0, "overdue_seconds": 0.0, "pending": 0}
    assert answer.json == {"status": "ok", "deliveries": figures_told}
    assert figures(server)[("deliveries_given_up",)] == 2


@pytest.mark.services
def test_the_backlog_of_postgresql() -> None:
    """The same on PostgreSQL."""
    with postgresql() as url:
        server = make_server(url)
        backlog_is_right(server)
        server.close()


def test_deliveries_are_counted_by_outcome(server: Server) -> None:
    """The histogram holds what was confirmed alone: a refused attempt has not reached anybody."""
    metrics = server.app.extensions[KEY].metrics
    metrics.delivered("confirmed", 0.3)
    metrics.delivered("timeout", 5.0)
    found = figures(server)
    assert (found[("deliveries_total", "confirmed")], found[("deliveries_total", "timeout")]) == (1, 1)
    assert (found[("delivery_seconds_count",)], found[("delivery_seconds_sum",)]) == (1, 0.3)


def test_a_database_that_is_away(tmp_path: Path) -> None:
    """``/healthz`` is 503, says nothing of why, and heals; ``/metrics`` still has what the process counted."""
    path = tmp_path / "clef.db"
    server = make_server(path, metrics_from="10.0.0.0/8")
    server.database.close()
    path.rename(tmp_path / "away.db")
    path.mkdir()
    answer = server.browser().get("/healthz", extra_environ=INSIDE)
    assert (answer.status_int, answer.json, answer.headers["Retry-After"]) == (503, {"status": "unavailable"}, "5")
    found = figures(server)
    assert found[("database_up",)] == 0
    assert ("logins_total",) in found
    assert ("deliveries_pending",) not in found
    path.rmdir()
    (tmp_path / "away.db").rename(path)
    assert server.browser().get("/healthz").status_int == 200
    server.close()


def test_a_database_that_is_busy_is_not_away(server: Server) -> None:
    """Somebody who writes for long does not make the server unwell."""
    with closing(sqlite3.connect(str(server.database.path))) as other:
        other.execute("BEGIN IMMEDIATE")
        assert server.browser().get("/healthz").status_int == 200


def test_the_page_lists_the_journal() -> None:
    """Each line of the journal in docs/operating.md is one that the server writes."""
    source = "".join(path.read_text("utf-8") for path in (doc_runner.ROOT / "clef_wsgi" / "server").rglob("*.py"))
    page = doc_runner.ROOT / "docs" / "operating.md"
    (rows,) = (rows for heading, rows in doc_runner.tables(page) if heading == "The journal")
    lines = [line for row in rows for line in re.findall("`([^`]+)`", row[0])]
    assert len(lines) > 6
    for line in lines:
        words = re.split(r"Photos \(\.\.\.\)|\.\.\.|not_verified|\d+", line)
        assert all(part.strip(" :") in source for part in words), line


def test_the_page_lists_the_metrics(server: Server) -> None:
    """docs/operating.md has each of them; its alerts speak of no other."""
    page = doc_runner.ROOT / "docs" / "operating.md"
    listed, alerts = (rows for heading, rows in doc_runner.tables(page) if heading == "The server")
    text = server.browser().get("/metrics", extra_environ=INSIDE).text
    kinds = dict(re.findall(r"# TYPE (clef_server_\w+) (\w+)", text))
    made = {name for name in kinds if not name.endswith("_created")}
    assert {row[0].strip("`") for row in listed} == made
    assert {name for row in alerts for name in re.findall(r"clef_server_\w+", row[1])} <= made
