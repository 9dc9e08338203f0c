"""Deliveries to sites that run the real middleware, over HTTP: S10 to S13, and logouts at awkward moments."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.delivery import (
    PATIENCE_SECONDS,
    QUICK,
    RealSite,
    SiteBrowser,
    Sites,
    eventually,
    log_out,
    serving,
    stop_delivering,
    working,
)
from support.login_server import Browser, Server, postgresql, sent_back_to

from clef_wsgi.server.database.schema import deliveries
from clef_wsgi.server.records import logouts, outbox, people
from clef_wsgi.server.records.people import Person


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server") / "clef.db") as server:
        yield server


@pytest.fixture(scope="module")
def on_postgresql() -> Iterator[Server]:
    with postgresql() as url, serving(url) as server:
        yield server


@pytest.fixture(params=["on_sqlite", pytest.param("on_postgresql", marks=pytest.mark.services)])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """An empty server, on one database and on the other."""
    server: Server = request.getfixturevalue(request.param)
    server.clear()
    server.clock.now = 0
    yield server
    stop_delivering(server)


@pytest.fixture
def sites(server: Server) -> Iterator[Sites]:
    with Sites(server) as sites:
        yield sites


def states(server: Server, *which: Any) -> list[str]:
    return [row.state for row in server.rows(deliveries, *which)]


def signed_in(server: Server, *places: RealSite) -> tuple[Browser, list[Any]]:
    """A person's browser at the server, and one at each site, all signed in."""
    at_server = server.browser(signed_in=server.add_person())
    browsers = [site.browser() for site in places]
    for browser in browsers:
        browser.sign_in(at_server)
        assert browser.user()
    return at_server, browsers


def person_of(server: Server) -> Person:
    """The only one there is."""
    with server.database.reading() as connection:
        (person,) = people.all_people(connection)
    return person


def log_out_by_command(server: Server) -> None:
    """In another process, so to say: nobody wakes the worker."""
    with server.database.writing() as connection:
        logouts.log_out_everywhere(connection, person_of(server).id, now=server.clock())


def sign_in_all_the_same(browser: SiteBrowser, at_server: Browser) -> None:
    """Log in through the page that warns the person that the login may end soon."""
    asked = at_server.submit(at_server.get(f"/iframes/qr?{browser.start()}"))
    assert asked.headers["Location"].startswith("/iframes/late?")
    late = at_server.get(asked.headers["Location"])
    assert "Photos has not heard yet" in late.text
    assert 'name="late" value="1"' in late.text
    back = browser.come_back(sent_back_to(at_server.submit(late, late="1")))
    assert back.status_int == 303


def test_s10_s11_one_post_for_each_app_and_all_let_go(server: Server, sites: Sites) -> None:
    """S10, S11: two browsers at two sites; each site is notified once, exchanges the token, and ends the login."""
    photos, wiki = sites.add("Photos"), sites.add("Wiki")
    at_server, browsers = signed_in(server, photos, wiki)
    second = photos.browser()
    second.sign_in(at_server)
    log_out(at_server)
    eventually(lambda: states(server) == ["confirmed", "confirmed"])
    assert [browser.user() for browser in (*browsers, second)] == ["", "", ""]
    assert [len(site.tokens) for site in (photos, wiki)] == [1, 1]
    assert all(token.startswith(b"logout_token=") and b"&" not in token for token in (*photos.tokens, *wiki.tokens))
    assert photos.tokens != wiki.tokens
    for row in server.rows(deliveries):
        assert (row.token, row.status, row.failure, row.attempts, row.claimed_by) == (None, 200, None, 1, None)
        assert row.created_at <= row.first_tried_at <= row.done_at


@pytest.mark.slow
@pytest.mark.parametrize("mood", [500, 404, "lost"])
def test_s12_what_was_not_heard_is_sent_again_with_the_same_token(server: Server, sites: Sites, mood: Any) -> None:
    """S12: an error, or a lost answer of a site that did record it: the retry counts once, and is the last."""
    photos = sites.add("Photos")
    photos.mood = lambda number: mood if number == 0 else "heard"
    at_server, (browser,) = signed_in(server, photos)
    log_out(at_server)
    eventually(lambda: states(server) == ["confirmed"])
    assert browser.user() == ""
    assert len(photos.tokens) == 2
    assert photos.tokens[0] == photos.tokens[1]


@pytest.mark.slow
def test_a_lost_answer_does_not_end_a_newer_login(server: Server, sites: Sites) -> None:
    """A retry after a lost answer does not end a login that began in between."""
    photos = sites.add("Photos")
    may_answer = threading.Event()
    photos.mood = lambda number: "lost" if number == 0 else may_answer
    at_server, (browser,) = signed_in(server, photos)
    log_out(at_server)
    assert photos.arrived.acquire(timeout=PATIENCE_SECONDS)
    eventually(lambda: browser.user() == "")
    sign_in_all_the_same(browser, server.browser(signed_in=person_of(server)))
    assert browser.user()
    may_answer.set()
    eventually(lambda: states(server) == ["confirmed"])
    assert (len(photos.tokens), photos.tokens[0]) == (2, photos.tokens[1])
    assert browser.user()


def test_s13_killed_before_the_first_post(server: Server, sites: Sites) -> None:
    """S13: the logout is committed and nobody sends it: whoever comes next does."""
    photos = sites.add("Photos")
    _, (browser,) = signed_in(server, photos)
    stop_delivering(server)
    log_out_by_command(server)
    assert (states(server), browser.user() != "") == (["pending"], True)
    with working(server):
        eventually(lambda: browser.user() == "")


@pytest.mark.slow
def test_s13_killed_in_the_middle_of_a_call(server: Server, sites: Sites) -> None:
    """S13: a row that somebody claimed who is gone is taken over when the lease ends, and no sooner."""
    photos = sites.add("Photos")
    _, (browser,) = signed_in(server, photos)
    stop_delivering(server)
    log_out_by_command(server)
    with server.database.writing() as connection:
        lease_us = 1_000_000
        claimed = outbox.claim(
            connection, app_id=photos.site.app_id, worker="gone", now=server.clock(), lease_us=lease_us, limit=9
        )
    assert len(claimed) == 1
    with working(server):
        eventually(lambda: states(server) == ["confirmed"])
    (row,) = server.rows(deliveries)
    assert row.tried_at >= row.created_at + lease_us
    assert (row.attempts, len(photos.tokens), browser.user()) == (2, 1, "")


def test_a_logout_between_approval_and_exchange(server: Server, sites: Sites) -> None:
    """The code is dead, so no login comes of it, and no site has to be notified."""
    photos = sites.add("Photos")
    at_server, browser = server.browser(signed_in=server.add_person()), photos.browser()
    location = at_server.location_of_approval(browser.start())
    log_out(at_server)
    assert browser.come_back(location).status_int == 400
    assert (browser.user(), states(server)) == ("", [])


@pytest.mark.slow
def test_a_second_logout_while_the_first_is_in_flight(server: Server, sites: Sites) -> None:
    """It has a row and a token of its own: what began after the first one ends, too."""
    photos = sites.add("Photos")
    go_on = threading.Event()
    photos.mood = lambda number: go_on if number == 0 else "heard"
    at_server, (browser,) = signed_in(server, photos)
    log_out(at_server)
    assert photos.arrived.acquire(timeout=PATIENCE_SECONDS)
    again = server.browser(signed_in=person_of(server))
    sign_in_all_the_same(browser, again)
    log_out(again)
    assert len(server.rows(deliveries)) == 2
    go_on.set()
    eventually(lambda: states(server) == ["confirmed", "confirmed"])
    assert (browser.user(), len(set(photos.tokens))) == ("", 2)


def has_failed_twice(server: Server) -> bool:
    row = server.rows(deliveries)[0]
    return row.attempts >= 2 and row.claimed_until is None


@pytest.mark.slow
def test_a_new_login_before_the_first_delivery_is_told_so(server: Server, sites: Sites) -> None:
    """The site is down: after two seconds the page says that this login may end too; and so it does."""
    photos = sites.add("Photos")
    photos.mood = lambda number: 500
    at_server, (browser,) = signed_in(server, photos)
    log_out(at_server)
    assert photos.arrived.acquire(timeout=PATIENCE_SECONDS)
    eventually(lambda: has_failed_twice(server))  # the next try is five seconds away
    tried = len(photos.tokens)
    sign_in_all_the_same(browser, server.browser(signed_in=person_of(server)))
    assert len(photos.tokens) > tried  # it was tried once more, for this
    assert browser.user()
    photos.mood = lambda number: "heard"
    with server.database.writing() as connection:
        outbox.retry(connection, now=server.clock())
    eventually(lambda: states(server) == ["confirmed"])
    assert browser.user() == ""


@pytest.mark.slow
def test_a_new_login_after_a_site_came_back_is_told_nothing(server: Server, sites: Sites) -> None:
    """It is tried before the login is approved, long before its turn: the login is a plain one, and lives."""
    photos = sites.add("Photos")
    photos.mood = lambda number: 500
    at_server, (browser,) = signed_in(server, photos)
    log_out(at_server)
    eventually(lambda: has_failed_twice(server))  # the next try is five seconds away
    photos.mood = lambda number: "heard"
    browser.sign_in(server.browser(signed_in=person_of(server)))
    assert (browser.user() != "", states(server)) == (True, ["confirmed"])


@pytest.mark.slow
def test_row_65_a_dead_site_delays_no_other(server: Server, sites: Sites) -> None:
    """Row 65: one hangs, one answers 500, two are gone: four others confirm meanwhile."""
    healthy, sick = [sites.add(f"well {number}") for number in range(4)], []
    held = threading.Event()
    for number, mood in enumerate((held, 500, 404, 410)):
        site = sites.add(f"sick {number}")
        site.mood = lambda _, mood=mood: mood  # type: ignore[misc]
        sick.append(site)
    at_server, browsers = signed_in(server, *sick, *healthy)
    log_out(at_server)
    ours = deliveries.c.app_id.in_([site.site.app_id for site in healthy])
    eventually(lambda: states(server, ours) == ["confirmed"] * 4)
    slowest = max(row.done_at - row.created_at for row in server.rows(deliveries, ours))
    assert slowest < QUICK.call_seconds * 1_000_000  # nobody waited for the one that hangs
    assert [browser.user() for browser in browsers[4:]] == [""] * 4
    eventually(lambda: {row.failure for row in server.rows(deliveries, ~ours)} >= {"http_500", "http_404", "http_410"})
    held.set()
