"""Many at once: everybody logs out of one small site, and everybody presses "continue" for a dead one.

The server is a process of its own, as ``server run`` starts it.
"""

from __future__ import annotations

import http.client
import logging
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import waitress
from sqlalchemy import insert, update
from support.delivery import eventually
from support.login_server import Server, Site, make_server
from support.peers import Peer, hangs
from support.ports import free_port
from support.programs import busyness, python_path, unmeasured

import clef_wsgi
from clef_wsgi.server import tokens
from clef_wsgi.server.clock import HOUR, SECOND, system_clock
from clef_wsgi.server.database.schema import deliveries, site_logins
from clef_wsgi.server.delivery import expedite
from clef_wsgi.server.records import clef_ids, confirmations, logouts, people, sessions

FORM = "application/x-www-form-urlencoded"


class Crowd:
    """A server in a process of its own, and people with a browser each."""

    def __init__(self, where: str) -> None:
        self.port = free_port()
        self.origin = f"http://localhost:{self.port}"
        self.server = make_server(where, origin=self.origin)
        self._where = where

    @contextmanager
    def running(self) -> Iterator[None]:
        command = [sys.executable, "-W", "ignore", "-m", "clef_wsgi", "server", "run", "--origin", self.origin]
        with subprocess.Popen(
            [*command, "--database", self._where],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**unmeasured(), "PYTHONPATH": python_path()},
        ) as process:
            try:
                assert process.stdout is not None
                assert [process.stdout.readline()[:7] for _ in range(2)] == ["This is", "Listeni"]
                yield
            finally:
                process.terminate()

    def logged_in(self, site: Site, number: int) -> list[str]:
        """The sessions of so many people, all logged in at a site."""
        found, now = [], system_clock()
        with self.server.database.writing() as connection:
            for _ in range(number):
                person = people.add(connection, now=now)
                found.append(sessions.start(connection, person_id=person.id, passkey_id=None, now=now))
                session = sessions.find(connection, found[-1], now=now)
                clef_ids.clef_id(connection, site.app_id, person.id)
                login = {"session_id": session.id, "person_id": person.id, "app_id": site.app_id, "created_at": now}
                connection.execute(insert(site_logins).values(login))
        return found

    def press(self, session: str, path: str) -> tuple[int, str]:
        """A button of a page of the server's; status and where it leads."""
        browser = tokens.new_token()
        cookies = f"clef-browser-{self.port}={browser}; clef-session-{self.port}={session}"
        form = urlencode({"token": tokens.derived(browser, "form")})
        return self.post(path, form, {"Sec-Fetch-Site": "same-origin", "Cookie": cookies})

    def post(self, path: str, form: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        given = {"Host": f"localhost:{self.port}", "Content-Type": FORM, **(headers or {})}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("POST", path, form, given)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers["Location"] or ""


@pytest.fixture
def crowd(where: str) -> Iterator[Crowd]:
    crowd = Crowd(where)
    with closing(crowd.server):
        yield crowd


# --- row 110


class SmallSite:
    """The middleware under four threads. A call during two exchanges gets 503 with ``Retry-After``."""

    def __init__(self, server: Server) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.site = server.add_site(
            callback=f"{url}/clef/callback", webhooks=[f"{url}/clef/webhook"], allow_private=True
        )
        self._places, self.turned_away, self._url, self._origin = threading.Semaphore(2), 0, url, server.origin

    def __enter__(self) -> SmallSite:
        self._app = clef_wsgi.wrap(
            lambda environ, start_response: [],
            provider=clef_wsgi.ClefProvider(
                app_id=self.site.app_id, app_secret=self.site.secret, server_url=self._origin
            ),
            logout_store=clef_wsgi.MemoryLogoutStore(),
            base_url=self._url,
            session={"secret": "a secret of the site, 32 bytes long", "type": "memory"},
        )
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._channels: dict[int, Any] = {}
        self._server = waitress.create_server(self._answer, sockets=[self._listener], threads=4, map=self._channels)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        self._server.task_dispatcher.shutdown()
        for channel in list(self._channels.values()):
            channel.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            self._server.asyncore.loop(timeout=0.1, count=1, map=self._channels)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if not self._places.acquire(timeout=0.2):
            self.turned_away += 1
            start_response("503 Busy", [("Content-Length", "0"), ("Retry-After", "1")])
            return []
        try:
            return self._app(environ, start_response)
        finally:
            self._places.release()


@pytest.mark.process
@pytest.mark.parametrize(
    ("where", "strangers"),
    [("sqlite", 2), pytest.param("postgresql", 0, marks=pytest.mark.services)],
    indirect=["where"],
)
def test_row_110_two_hundred_log_out_at_once(crowd: Crowd, strangers: int) -> None:
    """Row 110: one site of four threads: all have confirmed soon, and none is ever marked failed.

    The row's ten seconds are those of a quiet machine: docs/performance.md has what was seen, and the limit here is
    thrice that. Once with two strangers beside it, who hold the site's places with junk again and again.
    """
    with SmallSite(crowd.server) as small, crowd.running():
        everybody, over = crowd.logged_in(small.site, 200), threading.Event()
        hecklers = [threading.Thread(target=_heckle, args=(small, over)) for _ in range(strangers)]
        for each in hecklers:
            each.start()
        with ThreadPoolExecutor(8) as pool:
            confirmations = list(pool.map(lambda session: crowd.press(session, "/log-out"), everybody))
        assert set(confirmations) == {(303, "/receipts")}
        for _ in range(4):  # on a busy machine
            with suppress(AssertionError):
                eventually(lambda: crowd.server.count(deliveries, deliveries.c.state == "confirmed") == 200)
        over.set()
        for each in hecklers:
            each.join(10)
    rows = crowd.server.rows(deliveries)
    assert {(row.state, row.failure, row.attempts) for row in rows} == {("confirmed", None, 1)}
    seconds = (max(row.done_at for row in rows) - min(row.created_at for row in rows)) / SECOND
    assert small.turned_away > 0 or not strangers
    print(f"200 confirmed in {seconds:.1f} s, {small.turned_away} calls were told to come again")
    assert seconds < 30 * busyness()


def _heckle(small: SmallSite, over: threading.Event) -> None:
    """Hold one of the site's places until a call was turned away, and then for 0.3 s of each half second."""
    with small._places:
        while not small.turned_away and not over.wait(0.02):
            pass
    while not over.wait(0.2):
        with small._places:
            over.wait(0.3)


# --- row 91


@pytest.mark.process
def test_row_91_everybody_continues_to_a_dead_site(crowd: Crowd) -> None:
    """Row 91: a hundred presses at once: another site's calls are answered within half a second."""
    with Peer(hangs()) as dead:
        photos = crowd.server.add_site("Photos", webhooks=[f"{dead.url}/hook"], allow_private=True)
        wiki = crowd.server.add_site("Wiki")
        everybody = crowd.logged_in(photos, 100)
        asked = urlencode({**wiki.credentials, "logout_token": _told(crowd, photos, wiki)})
        with crowd.running(), ThreadPoolExecutor(100) as pool:
            list(pool.map(lambda _: crowd.post("/api/v1/logout", asked), range(20)))  # each thread has its connection
            began = time.monotonic()
            presses = [pool.submit(crowd.press, session, f"/iframes/approve?{photos.ask()}") for session in everybody]
            took = []
            while not all(each.done() for each in presses):
                before = time.monotonic()
                assert crowd.post("/api/v1/logout", asked)[0] == 200
                took.append(time.monotonic() - before)
            seconds = time.monotonic() - began
        print(f"100 presses in {seconds:.1f} s; {len(took)} calls meanwhile, the slowest took {max(took):.2f} s")
        assert {each.result()[1].partition("?")[0] for each in presses} == {"/iframes/late"}
        assert statistics.median(took) < 0.5 * busyness()
        assert max(took) < expedite.WAIT_SECONDS * busyness()  # it waits behind nobody who waits


def _told(crowd: Crowd, photos: Site, wiki: Site) -> str:
    """All have logged out of the dead site, which is tried next in an hour; the token of a logout of the other one."""
    crowd.logged_in(wiki, 1)
    now = system_clock()
    with crowd.server.database.writing() as connection:
        for person in people.all_people(connection):
            for site in (photos, wiki):
                logouts.log_out_of_app(connection, person.id, site.app_id, now=now)
        tried = {"attempts": 9, "calls": 9, "failure": "timeout", "tried_at": now, "first_tried_at": now}
        connection.execute(update(deliveries).values(**tried, next_at=now + HOUR))
    (row,) = crowd.server.rows(deliveries, deliveries.c.app_id == wiki.app_id)
    return str(row.token)


# --- the page that asks


def test_the_late_page_asks_by_itself(tmp_path: Path) -> None:
    """The page learns of the site's confirmation; it approves nothing, and makes the server retry now and then."""
    with closing(make_server(tmp_path / "clef.db", deliver="elsewhere")) as server:
        site, person = server.add_site("Photos"), server.add_person()
        browser = server.browser(signed_in=person)
        server.log_in(site, browser)
        with server.database.writing() as connection:
            logouts.log_out_of_app(connection, person.id, site.app_id, now=server.clock())
            tried = {"attempts": 9, "calls": 9, "tried_at": server.clock(), "next_at": server.clock() + HOUR}
            connection.execute(update(deliveries).values(**tried))
        page = browser.get(f"/iframes/late?{site.ask(state='a&b')}")
        card = page.html.find(id="late")
        assert card["data-ask"] == f"/iframes/late/heard?{site.ask(state='a&b')}"
        assert 'http-equiv="refresh"' in page.text  # without JavaScript
        assert hurried(server) == [False]
        server.clock.advance(expedite.REST_US / SECOND)
        assert browser.get(card["data-ask"]).json == {"heard": False}
        assert hurried(server) == [True]
        assert browser.get("/iframes/late/heard?app_id=x").status_int == 400
        (row,) = server.rows(deliveries)
        with server.database.writing() as connection:
            connection.execute(update(deliveries).values(answered_call=9))
        confirmations.exchange(server.database, site.app_id, row.token, now=server.clock())
        assert browser.get(card["data-ask"]).json == {"heard": True}
        assert browser.get(page.request.path_qs).headers["Location"] == card["data-next"]
        assert card["data-next"] == f"/iframes/qr?{site.ask(state='a&b')}"
        assert "Continue" in browser.get(card["data-next"]).text


def hurried(server: Server) -> list[bool]:
    return [row.expedited_at is not None for row in server.rows(deliveries)]
