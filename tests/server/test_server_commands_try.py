"""``server app test``: a true notification of nobody, and what came back."""

from __future__ import annotations

import functools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select
from support.commands import Desk
from support.login_server import ORIGIN, Site, postgresql
from support.peers import Peer, Script, Talk, answer, hangs, says

from clef_wsgi.server.clock import DAY, HOUR
from clef_wsgi.server.commands.webhook_trial import TrialResult, try_webhook
from clef_wsgi.server.database.schema import audit, clef_ids, deliveries, people
from clef_wsgi.server.delivery.call import AttemptResult, call
from clef_wsgi.server.records import apps, backlog, outbox, trials
from clef_wsgi.server.records.pruning import drop


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with closing(Desk(str(tmp_path / "clef.db"), capsys)) as desk:
        yield desk


def asks(desk: Desk, site: Site, peer: Peer) -> int:
    """The site asks who logged out, of the running server; who it was."""
    form = {"logout_token": peer.requests[-1].form["logout_token"][0], **site.credentials}
    found = desk.server.browser().post("/api/v1/logout", form)
    assert found.status_int == 200
    return int(found.json["clef_id"])


def asking(desk: Desk, status: str, seen: list[int]) -> tuple[list[Site], list[Peer], Script]:
    sites, peers = list[Site](), list[Peer]()

    def script(talk: Talk) -> None:
        assert desk.server.count(deliveries, deliveries.c.state == "test") == 1
        with desk.server.database.reading() as connection:
            assert backlog.rows(connection) == []
            assert backlog.read(connection, now=desk.server.clock()).pending == 0
        seen.append(asks(desk, sites[0], peers[0]))
        talk.send(answer(b"", status))

    return sites, peers, script


def add_site(desk: Desk, *webhooks: str) -> Site:
    return desk.server.add_site("Photos", webhooks=webhooks, allow_private=True)


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "302 Found"])
def test_a_site_that_understands(desk: Desk, status: str) -> None:
    """Reached, answered, exchanged; while it is under way it counts nowhere, and afterwards nothing is left of it."""
    seen: list[int] = []
    sites, peers, script = asking(desk, status, seen)
    with Peer(script) as peer:
        peers.append(peer)
        sites.append(add_site(desk, f"{peer.url}/hook"))
        for _ in range(2):
            lines = desk.do("app", "test", "Photos").splitlines()
            assert lines[0] == f"Photos  {peer.url}/hook"
            assert [line.split()[:2] for line in lines[1:4]] == [
                ["reached", "yes"],
                ["answered", f"{status[:3]},"],
                ["exchanged", "yes"],
            ]
            assert lines[-1] == "Photos confirmed the notification."
        assert {request.headers["user-agent"] for request in peer.requests} == {f"Clef/1.0 ({ORIGIN})"}
        tokens = [request.form["logout_token"][0] for request in peer.requests]
        assert len(set(tokens)) == 2
        assert all(token.count(".") == 1 for token in tokens)  # signed, as any
    assert seen == [desk.server.rows(clef_ids)[0].clef_id] * 2  # one number, that nobody else can be given
    assert desk.server.count(deliveries) == 0
    assert desk.server.rows(people)[0].removed_at is not None
    assert json.loads(desk.do("user", "list", "--json")) == []
    assert desk.server.count(audit, audit.c.action == "app.test") == 2


def _app(desk: Desk, site: Site) -> apps.App:
    with desk.server.database.reading() as connection:
        return apps.get(connection, site.app_id)


def attempt(
    desk: Desk, site: Site, webhook: str, seconds: float = 0.2, **options: Callable[..., AttemptResult]
) -> TrialResult:
    return try_webhook(desk.server.database, _app(desk, site), webhook, ORIGIN, ask_seconds=seconds, **options)


def test_a_site_that_never_asks(desk: Desk) -> None:
    """It answers 200, and that is not enough; one that asks a moment later has confirmed."""
    with Peer(says(answer(b"<html>Welcome</html>"))) as peer:
        site = add_site(desk, f"{peer.url}/hook")
        found = attempt(desk, site, f"{peer.url}/hook")
        assert (found.outcome, found.exchanged, found.confirmed) == (AttemptResult(200), False, False)
        assert desk.server.count(deliveries) == 0


@pytest.mark.slow
def test_what_is_said_of_a_site_that_never_asks(desk: Desk) -> None:
    """After ten seconds, in which it may; where to look."""
    with Peer(says(answer(b"<html>Welcome</html>"))) as peer:
        add_site(desk, f"{peer.url}/hook")
        said = desk.type("app", "test", "Photos")
    assert (said.code, said.err) == (1, "clef-wsgi: Photos did not confirm the notification.\n")
    for line in ("answered   200,", "exchanged  no", "never asked who logged out: is its secret right?", ORIGIN):
        assert line in said.out


def test_a_site_that_asks_later(desk: Desk) -> None:
    """In a job of its own, after it has answered."""
    site = add_site(desk, "https://photos.example.com/hook")
    tokens: list[str] = []

    def call(url: str, token: str, **_: object) -> AttemptResult:
        tokens.append(token)
        return AttemptResult(200)

    def later() -> None:
        while not tokens:
            threading.Event().wait(0.01)
        form = {"logout_token": tokens[0], **site.credentials}
        assert desk.server.browser().post("/api/v1/logout", form).status_int == 200

    asks = threading.Thread(target=later)
    asks.start()
    assert attempt(desk, site, "https://photos.example.com/hook", 20, call=call).confirmed
    asks.join(20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "lines"),
    [
        (says(answer(b"", "500 Broken")), ["reached    yes", "answered   500,", "It answered with status 500."]),
        (says(answer(b"", "503 Away")), ["answered   503,", f"when it can't ask {ORIGIN}", "does this server run?"]),
        (says(answer(b"", "503 Busy", Retry_After="1")), ["answered   503,", "It is busy"]),
        (says(b"SSH-2.0-OpenSSH_9.6\r\n"), ["reached    yes", "answered   no", "makes no sense"]),
        (says(b""), ["reached    no", "answered   no", "exchanged  no", "It can't be reached."]),
    ],
)
def test_a_site_that_fails(desk: Desk, script: Script, lines: list[str]) -> None:
    """A failed test prints the site's answer and the place to look: exit code 1."""
    with Peer(script) as peer:
        add_site(desk, f"{peer.url}/hook")
        said = desk.type("app", "test", "Photos")
    assert (said.code, said.err) == (1, "clef-wsgi: Photos did not confirm the notification.\n")
    assert all(line in said.out for line in lines), said.out
    assert desk.server.count(deliveries) == 0


def test_a_site_that_speaks_no_tls(desk: Desk) -> None:
    """It was reached: the fault is its certificate, or its port."""

    def speak(server: socket.socket) -> None:
        with closing(server.accept()[0]) as talk:
            talk.recv(1024)
            talk.sendall(answer(b"", "400 Bad Request"))

    with socket.create_server(("127.0.0.1", 0)) as server:
        add_site(desk, f"https://127.0.0.1:{server.getsockname()[1]}/hook")
        thread = threading.Thread(target=speak, args=(server,))
        thread.start()
        said = desk.type("app", "test", "Photos")
        thread.join(20)
    assert said.code == 1
    assert all(line in said.out for line in ("reached    yes", "answered   no", "exchanged  no")), said.out


def test_a_site_that_is_silent(desk: Desk) -> None:
    """It was reached, and did not answer in time."""
    with Peer(hangs()) as peer:
        site = add_site(desk, f"{peer.url}/hook")
        found = attempt(desk, site, f"{peer.url}/hook", call=functools.partial(call, seconds=0.3))
    assert (found.outcome.failure, found.outcome.connected, found.confirmed) == ("timeout", True, False)


def test_a_site_that_asks_and_fails(desk: Desk) -> None:
    """It knows who logged out, and did not let them go."""
    sites, peers, script = asking(desk, "500 Broken", [])
    with Peer(script) as peer:
        peers.append(peer)
        sites.append(add_site(desk, f"{peer.url}/hook"))
        said = desk.type("app", "test", "Photos")
    assert (said.code, "exchanged  yes" in said.out, "failed after that" in said.out) == (1, True, True)


def test_without_a_webhook_and_without_a_site(desk: Desk) -> None:
    """Each in a sentence."""
    add_site(desk)
    assert "has no webhook" in desk.refuse(1, "app", "test", "Photos")
    assert "no site" in desk.refuse(1, "app", "test", "Nowhere")


def test_it_is_named_where_a_site_is_added(desk: Desk) -> None:
    """With the id of that site."""
    printed = desk.do("app", "add", "Wiki", "--redirect", "https://wiki.example.com/cb")
    (row,) = json.loads(desk.do("app", "list", "--json"))
    assert printed.endswith(f"clef-wsgi server app test {row['id']}\n")


@pytest.mark.services
def test_on_postgresql(capsys: pytest.CaptureFixture[str]) -> None:
    """The same, twice: nobody is one person."""
    seen: list[int] = []
    with postgresql() as place, closing(Desk(place, capsys)) as desk:
        sites, peers, script = asking(desk, "200 OK", seen)
        with Peer(script) as peer:
            peers.append(peer)
            sites.append(add_site(desk, f"{peer.url}/hook"))
            for _ in range(2):
                assert desk.do("app", "test", "Photos").endswith("Photos confirmed the notification.\n")
        assert (len(set(seen)), desk.server.count(people), desk.server.count(deliveries)) == (1, 1, 0)


def test_what_a_killed_command_leaves_behind_is_pruned(desk: Desk) -> None:
    """It is sent by nobody else meanwhile."""
    site = add_site(desk, "https://photos.example.com/hook")
    clock = desk.server.clock
    with desk.server.database.writing() as connection:
        trials.begin(connection, site.app_id, "https://photos.example.com/hook", now=clock())
        assert outbox.due_sites(connection, now=clock() + DAY) == []
        assert outbox.retry(connection, now=clock()) == 0
        drop(connection, now=clock() + HOUR)
        assert connection.execute(select(deliveries.c.id)).all() != []
        drop(connection, now=clock() + HOUR + 1)
        assert connection.execute(select(deliveries.c.id)).all() == []
