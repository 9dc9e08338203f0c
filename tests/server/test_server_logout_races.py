"""A logout under way, on PostgreSQL: what is asked for beside it waits for its end, and is given nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection, text
from support.login_server import SAME_ORIGIN, Browser, Server, Site, make_server, postgresql, token_of

from clef_wsgi.server.database.schema import access_tokens, codes, sessions, site_logins
from clef_wsgi.server.errors import SessionEnded, Unknown
from clef_wsgi.server.records import deactivation, logouts, people
from clef_wsgi.server.records import sessions as session_records
from clef_wsgi.server.records.people import Person

pytestmark = pytest.mark.services

PATIENCE_SECONDS = 10.0


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with postgresql() as url:
        server = make_server(url)
        yield server
        server.close()


@pytest.fixture
def server(shared: Server) -> Server:
    shared.clear()
    return shared


@dataclass
class Scene:
    """A person with a browser, a page that is open, a code under way and an access token."""

    server: Server
    site: Site
    ann: Person
    session_id: int
    browser: Browser
    page: Any
    code: str
    token: str

    @classmethod
    def at(cls, server: Server) -> Scene:
        ann, site = server.add_person(), server.add_site()
        browser = server.browser(signed_in=ann)
        (session,) = server.rows(sessions)
        token, code = server.log_in(site, browser), browser.approve(site.ask())["code"]
        page = browser.get(f"/iframes/qr?{site.ask()}")
        return cls(server, site, ann, session.id, browser, page, code, token)

    def approve(self) -> str:
        answer = self.browser.submit(self.page)
        return "given" if "Refresh" in answer.headers else "refused"

    def exchange(self) -> str:
        form = {**self.site.credentials, "code": self.code}
        answer = self.server.browser().post("/api/v1/authorize", form)
        return "given" if answer.status_int == 200 else str(answer.json["error"])

    def renew(self) -> str:
        """Sign in again where somebody is signed in, once the session was read."""
        try:
            with self.server.database.writing() as connection:
                session_records.renew(connection, self.session_id, passkey_id=None, now=self.server.clock())
        except (SessionEnded, Unknown):
            return "refused"
        return "given"

    def change_names(self) -> str:
        """Any other change of a person's own."""
        form = {"token": token_of(self.page), "first_name": "Eve", "last_name": ""}
        answer = self.browser.post("/names", form, headers=SAME_ORIGIN)
        return "given" if answer.status_int == 303 else "refused"

    def info(self) -> str:
        answer = self.server.browser().get(f"/api/v1/info?access_token={self.token}")
        return "given" if answer.status_int == 200 else str(answer.json["error"])


def everywhere(connection: Connection, scene: Scene) -> None:
    logouts.log_out_everywhere(connection, scene.ann.id, now=scene.server.clock())


def of_this_browser(connection: Connection, scene: Scene) -> None:
    logouts.end_session(connection, scene.ann.id, scene.session_id, now=scene.server.clock())


def of_this_site(connection: Connection, scene: Scene) -> None:
    logouts.log_out_of_app(connection, scene.ann.id, scene.site.app_id, now=scene.server.clock())


def by_removal(connection: Connection, scene: Scene) -> None:
    deactivation.remove(connection, scene.ann.id, now=scene.server.clock())


Logout = Callable[[Connection, Scene], None]
Act = Callable[[Scene], str]


def beside(scene: Scene, log_out: Logout, acts: Sequence[Act], *, is_written: bool) -> list[str]:
    """Start all of ``acts`` while a logout has its lock and has not committed, and return what became of them.

    :param is_written: whether its rows are written when they start; else that follows once they wait.
    """
    outcomes: dict[int, str] = {}
    database = scene.server.database
    threads = [
        threading.Thread(target=lambda number=number, act=act: outcomes.update({number: act(scene)}))
        for number, act in enumerate(acts)
    ]
    with database.writing() as connection:
        people.lock(connection, scene.ann.id)
        if is_written:
            log_out(connection, scene)
        for thread in threads:
            thread.start()
        await_waiting(connection, len(threads))
        assert not outcomes, "none is answered before the logout has ended"
        if not is_written:
            log_out(connection, scene)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return [outcomes[number] for number in range(len(acts))]


def await_waiting(connection: Connection, number: int) -> None:
    """Until so many transactions wait for this one, directly or behind each other."""
    waiting = text(
        "WITH RECURSIVE behind(pid) AS (SELECT pg_backend_pid() UNION SELECT l.pid FROM pg_locks l JOIN behind"
        " ON NOT l.granted AND behind.pid = ANY(pg_blocking_pids(l.pid))) SELECT count(*) - 1 FROM behind"
    )
    until = time.monotonic() + PATIENCE_SECONDS / 2  # sooner than a lock times out
    while connection.execute(waiting).scalar_one() < number:
        assert time.monotonic() < until, "not all of them wait for the logout"
        threading.Event().wait(0.02)


WHEN = pytest.mark.parametrize("is_written", [False, True], ids=["locked", "written"])


@WHEN
@pytest.mark.parametrize("log_out", [everywhere, of_this_browser, by_removal])
@pytest.mark.parametrize("act", [Scene.approve, Scene.exchange, Scene.renew, Scene.change_names])
def test_beside_a_logout_nothing_is_given(server: Server, log_out: Logout, act: Act, is_written: bool) -> None:
    """It waits for the person's lock, and sees what the logout has committed: no code, token or session."""
    scene = Scene.at(server)
    assert "given" not in beside(scene, log_out, [act], is_written=is_written)
    assert server.count(codes) == server.count(access_tokens) == 0
    assert server.count(site_logins, site_logins.c.ended_at.is_(None)) == 0


@WHEN
def test_all_at_once_beside_a_logout(server: Server, is_written: bool) -> None:
    """They queue for one lock: no dead-lock among them, and nothing for any of them."""
    acts: list[Act] = [Scene.approve, Scene.exchange, Scene.renew, Scene.change_names]
    assert "given" not in beside(Scene.at(server), everywhere, acts, is_written=is_written)


@WHEN
def test_an_exchange_beside_a_logout_of_its_site(server: Server, is_written: bool) -> None:
    """The session lives on; the code was revoked."""
    scene = Scene.at(server)
    assert beside(scene, of_this_site, [Scene.exchange], is_written=is_written) == ["Invalid OAuth Code."]
    assert server.count(access_tokens) == 0


@pytest.mark.parametrize("log_out", [everywhere, of_this_browser, of_this_site, by_removal])
def test_info_beside_a_logout(server: Server, log_out: Logout) -> None:
    """Before the commit it says what holds until then, without waiting; after it, nothing."""
    scene = Scene.at(server)
    with server.database.writing() as connection:
        log_out(connection, scene)
        assert scene.info() == "given", "nobody was told yet that there was a logout"
    assert scene.info() == "Invalid token."


def test_info_beside_a_logout_and_an_exchange(server: Server) -> None:
    """The access token that an exchange might have given beside the logout is never there to be asked with."""
    scene = Scene.at(server)
    assert "given" not in beside(scene, everywhere, [Scene.exchange, Scene.approve], is_written=True)
    assert scene.info() == "Invalid token."
