"""Ground truth: real server processes, killed while they notify real sites, and counts from both sides' databases.

Every logout that was acknowledged reached every working site, and none was invented.
"""

from __future__ import annotations

import hashlib
import http.client
import random
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import insert, text
from support.delivery import eventually
from support.delivery_processes import Nursery
from support.login_server import Server, Site, make_server, postgresql
from support.peers import Peer, hangs
from support.services import served

import clef_wsgi
from clef_wsgi.server import tokens
from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.database.schema import deliveries, site_logins
from clef_wsgi.server.records import clef_ids, people, sessions

PACE = {"call_seconds": 1.0, "lease_seconds": 2.0, "poll_seconds": 0.2}
SITES_OF_A_PERSON = 3
ENDED_EARLY = (OSError, http.client.HTTPException)

pytestmark = [pytest.mark.services, pytest.mark.process]


class Place:
    """A working site: the middleware with a store in a file, and the number of its notifications."""

    def __init__(self, url: str, store: Path) -> None:
        self.url, self.store = url, store
        self.posts = 0
        self.app: Any = None
        self.app_id = ""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.posts += 1
        answer: Iterable[bytes] = self.app(environ, start_response)
        return answer

    def wrap(self, site: Site, origin: str) -> None:
        self.app_id = site.app_id
        self.provider = clef_wsgi.ClefProvider(app_id=site.app_id, app_secret=site.secret, server_url=origin)
        self.app = clef_wsgi.wrap(
            lambda environ, start_response: [],
            provider=self.provider,
            logout_store=clef_wsgi.SQLiteLogoutStore(self.store),
            base_url=self.url,
            session={"secret": "a secret of the site, 32 bytes long", "type": "memory"},
        )

    def key(self, clef_id: int) -> bytes:
        return hashlib.sha256(self.provider.user_key(str(clef_id)).encode()).digest()

    def heard(self) -> set[bytes]:
        """Whose logouts stand in its own database."""
        with closing(sqlite3.connect(self.store)) as connection:
            everyone = hashlib.sha256(b"everyone").digest()
            keys = {key for (key,) in connection.execute("SELECT key FROM logout")}
        return keys - {everyone}


@contextmanager
def places(folder: Path, server: Server, living: int, sick: int) -> Iterator[tuple[list[Place], list[str]]]:
    """Yield sites, and the ids of those that never confirm: gone, hanging, failing and redirecting ones."""
    with ExitStack() as stack:
        found: list[Place] = []
        for number in range(living):
            made: list[Place] = []

            def make(url: str, number: int = number, made: list[Place] = made) -> Place:
                made.append(Place(url, folder / f"site{number}.db"))
                return made[0]

            url = stack.enter_context(served(make))
            made[0].wrap(_add(server, f"{url}/clef/webhook"), server.origin)
            found += made
        hanging = stack.enter_context(Peer(hangs()))
        failing = stack.enter_context(served(lambda url: _answering("500 Trouble")))
        leading_away = stack.enter_context(served(lambda url: _answering("307 Away", f"{found[0].url}/clef/webhook")))
        webhooks = ["http://127.0.0.1:9/", f"{hanging.url}/", f"{failing}/", f"{leading_away}/"]
        yield found, [_add(server, f"{webhooks[number % 4]}{number}").app_id for number in range(sick)]


def _answering(status: str, location: str = "") -> Any:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(status, [("Content-Length", "0"), *([("Location", location)] if location else [])])
        return []

    return app


def _add(server: Server, webhook: str) -> Site:
    return server.add_site(callback=f"{webhook}/cb", webhooks=[webhook], allow_private=True)


def populate(server: Server, app_ids: list[str], number: int, draw: random.Random) -> dict[str, list[tuple[str, int]]]:
    """People who are logged in at some sites each: the token of their session, and the sites with their numbers."""
    found: dict[str, list[tuple[str, int]]] = {}
    now = system_clock()
    with server.database.writing() as connection:
        for _ in range(number):
            person = people.add(connection, now=now)
            token = sessions.start(connection, person_id=person.id, passkey_id=None, now=now)
            session = sessions.find(connection, token, now=now)
            found[token] = []
            for app_id in draw.sample(app_ids, SITES_OF_A_PERSON):
                number_there = clef_ids.clef_id(connection, app_id, person.id)
                login = {"session_id": session.id, "person_id": person.id, "app_id": app_id, "created_at": now}
                connection.execute(insert(site_logins).values(login))
                found[token].append((app_id, number_there))
    return found


class Visitor:
    """Presses the button, over HTTP, and again if the server went away meanwhile."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._browser = tokens.new_token()
        self.pressed_again = 0

    def log_out(self, session: str) -> None:
        """Log out everywhere, and return when any process has acknowledged it."""
        while not self._press(session):
            self.pressed_again += 1

    def _press(self, session: str) -> bool:
        form = urlencode({"token": tokens.derived(self._browser, "form")})
        headers = {
            "Host": f"localhost:{self._port}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
            "Cookie": f"clef-browser-{self._port}={self._browser}; clef-session-{self._port}={session}",
        }
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            try:
                connection.request("POST", "/log-out", form, headers)
                status = connection.getresponse().status
            except ENDED_EARLY:
                return False
        assert status == 303, status
        return True


def settled(server: Server, app_ids: list[str]) -> bool:
    """Return True when every working site has confirmed all its deliveries."""
    return server.count(deliveries, deliveries.c.app_id.in_(app_ids), deliveries.c.state != "confirmed") == 0


def test_s13_ground_truth_with_a_server_that_is_killed(tmp_path: Path) -> None:
    """S13: 20 sites, 8 of them sick; 200 logouts of 220 people; SIGKILL at any moment, also before the first POST."""
    draw = random.Random(20)
    with Nursery(str(tmp_path / "clef.db"), pace=PACE) as nursery:
        server = make_server(tmp_path / "clef.db", origin=nursery.origin)
        with places(tmp_path, server, living=12, sick=8) as (living, sick):
            ours = [place.app_id for place in living]
            people_there = populate(server, ours + sick, 220, draw)
            tapped = list(people_there)[:200]
            pid = nursery.start(deliver=False)
            visitor = Visitor(nursery.port)
            for number, session in enumerate(tapped):
                if number and number % 25 == 0:
                    # the first ones had nobody to send them: killed between the commit and the first POST
                    threading.Event().wait(draw.uniform(0, 0.05))
                    nursery.kill(pid)
                    pid = nursery.start()
                visitor.log_out(session)
            nursery.kill(pid)  # right after the last one was acknowledged
            nursery.start()
            eventually(lambda: settled(server, ours), "all living sites have heard")
            count_both_sides(server, living, people_there, tapped, nursery.kills)
            unheard = {row.state for row in server.rows(deliveries, deliveries.c.app_id.in_(sick))}
            assert unheard == {"pending"}
        server.close()


def count_both_sides(
    server: Server, living: list[Place], known: dict[str, list[tuple[str, int]]], tapped: list[str], kills: int
) -> None:
    expected, heard, posts = 0, 0, 0
    for place in living:
        due = {place.key(number) for token in tapped for app_id, number in known[token] if app_id == place.app_id}
        assert place.heard() == due  # nobody is missing, and nobody was made up
        expected, heard, posts = expected + len(due), heard + len(place.heard()), posts + place.posts
    confirmed = server.count(deliveries, deliveries.c.state == "confirmed")
    assert confirmed == expected
    print(
        f"{len(tapped)} logouts acknowledged, {kills} processes killed; living sites had to hear of {expected}, "
        f"heard of {heard}, in {posts} POSTs; the server's database says {confirmed}; lost: 0, invented: 0"
    )


LOG_CLAIMS = """
CREATE TABLE claims (id bigint, by_whom text, at bigint, before text, before_until bigint);
CREATE FUNCTION log_claim() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO claims VALUES (NEW.id, NEW.claimed_by, NEW.tried_at, OLD.claimed_by, OLD.claimed_until);
  RETURN NEW;
END $$;
CREATE TRIGGER log_claim AFTER UPDATE ON deliveries FOR EACH ROW
  WHEN (NEW.attempts > OLD.attempts) EXECUTE FUNCTION log_claim();
"""


def test_s13_two_processes_on_one_postgresql(tmp_path: Path) -> None:
    """No row is claimed twice while its lease holds, by the database's own record; a killed one's are taken over."""
    draw = random.Random(21)
    with ExitStack() as stack:
        url = stack.enter_context(postgresql())
        nursery = stack.enter_context(Nursery(url, pace=PACE))
        server = make_server(url, origin=nursery.origin)
        stack.callback(server.close)
        with server.database.writing() as connection:
            connection.execute(text(LOG_CLAIMS))
        living, sick = stack.enter_context(places(tmp_path, server, living=6, sick=4))
        ours = [place.app_id for place in living]
        people_there = populate(server, ours + sick, 60, draw)
        visitor = Visitor(nursery.port)
        pids = [nursery.start(), nursery.start()]
        for number, session in enumerate(people_there):
            if number in (15, 35, 50):
                nursery.kill(pids.pop(0))
                pids.append(nursery.start())
            visitor.log_out(session)
        eventually(lambda: settled(server, ours), "all living sites have heard")
        with server.database.reading() as connection:
            claims = connection.execute(text("SELECT * FROM claims")).all()
        early = [claim for claim in claims if claim.before_until is not None and claim.at < claim.before_until]
        taken_over = [claim for claim in claims if claim.before not in (None, claim.by_whom)]
        assert early == []
        assert len({claim.by_whom for claim in claims}) >= 2
        count_both_sides(server, living, people_there, list(people_there), nursery.kills)
        print(f"{len(claims)} claims by {len({claim.by_whom for claim in claims})}; taken over: {len(taken_over)}")
