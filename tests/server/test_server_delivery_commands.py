"""``server deliveries``, ``server deliver`` and ``server run --no-deliver``: what an administrator sees and does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests
from support.commands import Desk
from support.delivery import PATIENCE_SECONDS, eventually
from support.login_server import ORIGIN, Site
from support.peers import Peer, Talk, answer
from support.ports import free_port

import clef_wsgi
from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.database.schema import audit, deliveries
from clef_wsgi.server.records import confirmations, logouts, outbox
from clef_wsgi.server.records.people import Person

ROOT = Path(clef_wsgi.__file__).parents[1]
ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with closing(Desk(str(tmp_path / "clef.db"), capsys)) as desk:
        yield desk


def log_out(desk: Desk, person: Person, *webhooks: str) -> list[Site]:
    """Log out a person who was logged in at sites with these webhooks."""
    browser, sites = desk.server.browser(signed_in=person), list[Site]()
    for webhook in webhooks:
        name = f"Site {len(desk.server.rows(deliveries)) + webhooks.index(webhook) + 1}"
        sites.append(desk.server.add_site(name, webhooks=[webhook], allow_private=True))
        desk.server.log_in(sites[-1], browser)
    with desk.server.database.writing() as connection:
        logouts.log_out_everywhere(connection, person.id, now=system_clock())
    return sites


def fail(desk: Desk, number: int, failure: str, *, next_at: int | None) -> None:
    with desk.server.database.writing() as connection:
        row = desk.server.rows(deliveries, deliveries.c.id == number)[0]
        now = system_clock()
        taken = {"app_id": row.app_id, "worker": "w", "now": now, "lease_us": 10**6, "limit": 1}
        (notification,) = outbox.claim(connection, **taken)
        confirmations.record_failure(connection, notification, failure=failure, status=None, next_at=next_at, now=now)


def three_rows(desk: Desk) -> None:
    """One that waits for its next try, one that was given up, one that is new."""
    log_out(desk, desk.server.add_person("Ann"), *[f"https://{name}.example.com/hook" for name in "abc"])
    fail(desk, 1, "http_503", next_at=system_clock() + 3_000_000_000)
    fail(desk, 2, "refused_address", next_at=None)


def test_list(desk: Desk) -> None:
    """Site, person, state, tries, next try and reason, as sentences; no webhook's query and no token."""
    assert desk.do("deliveries", "list") == "Every site has heard of every logout.\n"
    three_rows(desk)
    lines = desk.do("deliveries", "list").splitlines()
    assert lines[0].split() == ["#", "SITE", "PERSON", "STATE", "SINCE", "TRIES", "NEXT", "TRY", "REASON"]
    assert [line.split("  ")[-1].strip() for line in lines[1:4]] == [
        "It answered with status 503.",
        "Its address is in a private network, which was not allowed for it.",
        "-",
    ]
    assert "in 49 min" in lines[1]
    assert "given up" in lines[2]
    assert lines[-1].startswith("2 pending, the oldest for ")
    assert lines[-1].endswith(" 1 given up: see retry.")
    assert not any(row.token in "".join(lines) for row in desk.server.rows(deliveries))


def test_list_for_programs(desk: Desk) -> None:
    """The same figures as /healthz, and each row."""
    three_rows(desk)
    printed = desk.do("deliveries", "list", "--json")
    found = json.loads(printed)
    assert (found["pending"], found["given_up"]) == (2, 1)
    assert found["oldest_seconds"] >= 0
    assert [(row["id"], row["state"], row["failure"], row["attempts"]) for row in found["deliveries"]] == [
        (1, "pending", "http_503", 1),
        (2, "given_up", "refused_address", 1),
        (3, "pending", None, 0),
    ]
    assert found["deliveries"][0]["person"] == "Ann"
    assert found["deliveries"][1]["next_at"] is None
    assert found["deliveries"][0]["next_at"].endswith("Z")
    assert not any(row.token in printed for row in desk.server.rows(deliveries))


@pytest.mark.parametrize(
    ("words", "numbers"), [(["2"], [2]), (["--site", "Site 1"], [1]), (["--all"], [1, 2, 3]), (["1"], [1])]
)
def test_retry(desk: Desk, words: list[str], numbers: list[int]) -> None:
    """By number, for one site, or all: due now, with the tokens of before, and it stands in the audit."""
    three_rows(desk)
    tokens = [row.token for row in desk.server.rows(deliveries)]
    assert desk.do("deliveries", "retry", *words) == f"{len(numbers)} to be sent now.\n"
    rows = desk.server.rows(deliveries)
    due = [row.id for row in rows if row.state == "pending" and row.next_at <= system_clock()]
    assert due == sorted({*numbers, 3})
    assert [row.token for row in rows] == tokens
    (entry,) = desk.server.rows(audit, audit.c.action == "deliveries.retry")
    assert json.loads(entry.details)["number"] == len(numbers)


def test_retry_of_nothing(desk: Desk) -> None:
    """An unknown number, nothing to send, an unknown site, and wrong usage are refused or reported."""
    assert "does not wait for anything" in desk.refuse(1, "deliveries", "retry", "7")
    assert desk.do("deliveries", "retry", "--all") == "There is nothing to send.\n"
    assert "no site" in desk.refuse(1, "deliveries", "retry", "--site", "Nowhere")
    assert desk.type("deliveries", "retry").code == 2
    assert desk.type("deliveries", "retry", "1", "--all").code == 2


@contextmanager
def understanding(desk: Desk) -> Iterator[Peer]:
    """Yield a site that Ann has logged out of, which exchanges the token when it is notified."""
    sites: list[Site] = []

    def script(talk: Talk) -> None:
        form = {"logout_token": peer.requests[-1].form["logout_token"][0], **sites[0].credentials}
        assert desk.server.browser().post("/api/v1/logout", form).status_int == 200
        talk.send(answer(b"", "204 No Content"))

    with Peer(script) as peer:
        sites += log_out(desk, desk.server.add_person("Ann"), f"{peer.url}/hook")
        yield peer


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "ignore", "-m", "clef_wsgi", "server", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRON) as process:
        try:
            yield process
        finally:
            process.kill()


def journal(out: str, errors: str, code: int) -> list[str]:
    """What the process logged, and nothing else was said."""
    assert (out, code) == ("", 0)
    return [line.partition(": ")[2] for line in errors.splitlines()]


def ended(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    process.send_signal(signal.SIGTERM)
    return *process.communicate(timeout=PATIENCE_SECONDS), process.returncode


@pytest.mark.process
def test_deliver_beside_a_server_that_does_not(desk: Desk) -> None:
    """``run --no-deliver`` leaves the rows alone, ``deliver`` sends them, and both end at SIGTERM."""
    with understanding(desk) as peer:
        at = f"unix:{Path(desk.place).parent / 'socket'}"
        where: list[str] = ["--database", desk.place]
        with started("run", "--origin", ORIGIN, "--listen", at, "--no-deliver", *where) as server:
            assert server.stdout is not None
            assert [server.stdout.readline()[:7] for _ in range(2)] == ["This is", "Listeni"]
            assert journal(*ended(server)) == [f"start: {ORIGIN}; sites are told elsewhere", "stop"]
        assert desk.server.rows(deliveries)[0].attempts == 0
        port = free_port()
        with started("deliver", "--metrics", f"127.0.0.1:{port}", *where) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "Telling sites of logouts.\n"
            eventually(lambda: desk.server.rows(deliveries)[0].state == "confirmed")
            metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
            assert "clef_server_database_up 1.0" in metrics
            assert "clef_server_deliveries_pending 0.0" in metrics
            assert journal(*ended(worker)) == [f"start: telling the sites of {ORIGIN}", "stop"]
        (request,) = peer.requests
        assert request.headers["user-agent"] == f"Clef/1.0 ({ORIGIN})"


@pytest.mark.process
def test_a_server_that_starts_sends_what_waits(desk: Desk) -> None:
    """``run`` needs nobody's visit to begin; the site is sent what was left over."""
    with understanding(desk) as peer:
        listen = ["--listen", f"unix:{Path(desk.place).parent / 'socket'}"]
        with started("run", "--origin", ORIGIN, *listen, "--database", desk.place) as server:
            eventually(lambda: desk.server.rows(deliveries)[0].state == "confirmed")
            _, errors, code = ended(server)
        assert journal("", errors, code)[-1] == "stop"
        assert len(peer.requests) == 1


@pytest.mark.process
def test_metrics_at_a_taken_address(desk: Desk) -> None:
    """One sentence, and exit code 1; a socket in the file system is no place for them."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "can't be listened on" in desk.refuse(1, "deliver", "--metrics", place)
    assert desk.type("deliver", "--metrics", "unix:/run/x").code == 2
