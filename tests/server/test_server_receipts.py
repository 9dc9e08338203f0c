"""Logging out on the account page, and the receipts: what became of it, for the browser that did it, for an hour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import webtest
from sqlalchemy import Engine, event, update
from support.login_server import NOON, SAME_ORIGIN, WEBHOOK, Browser, Server, Site, make_server
from support.on_both import ON_BOTH, empty_database

from clef_wsgi.server.clock import SECOND
from clef_wsgi.server.database.schema import deliveries, receipt_sites, receipts, sessions, site_logins
from clef_wsgi.server.options import Limits
from clef_wsgi.server.records import outbox, people
from clef_wsgi.server.records.audit import read
from clef_wsgi.server.records.people import Person


@pytest.fixture(scope="module", params=ON_BOTH)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with empty_database(request.param, tmp_path_factory.mktemp("server")) as where:
        server = make_server(where, limits=Limits(account=100_000))
        yield server
        server.close()


@pytest.fixture
def server(shared: Server) -> Server:
    shared.clear()
    return shared


@pytest.fixture
def ann(server: Server) -> Person:
    return server.add_person("Ann")


@pytest.fixture
def browser(server: Server, ann: Person) -> Browser:
    return server.browser(signed_in=ann)


def press(browser: Browser, path: str = "/log-out") -> webtest.TestResponse:
    answer = browser.post(path, {"token": browser.form_token("/enrol")}, headers=SAME_ORIGIN)
    assert (answer.status_int, answer.headers["Location"]) == (303, "/receipts")
    return answer


def links(page: webtest.TestResponse) -> dict[str, str]:
    """The addresses of a page's links, by their words."""
    return {link.get_text().strip(): link["href"] for link in page.html.main.find_all("a")}


def test_back_to_the_site(server: Server, browser: Browser) -> None:
    """A receipt of one site leads back to it by name; of several, each line leads to its own."""
    photos = server.add_site("Photos", callback="https://photos.example.com/clef/callback")
    server.log_in(photos, browser)
    press(browser, f"/sites/{photos.app_id}/log-out")
    found = links(browser.get("/receipts"))
    assert found["Back to Photos"] == found["photos.example.com"] == "https://photos.example.com/"
    for name, callback in [("Wiki", "https://example.com/wiki/clef/callback"), ("Phone", "myapp://clef")]:
        server.log_in(server.add_site(name, callback=callback), browser)
    press(browser)
    found = links(browser.get("/receipts"))
    assert found["example.com"] == "https://example.com/wiki/"
    assert not [name for name in found if name.startswith("Back to") or name == "clef"]


def states(browser: Browser) -> dict[str, Any]:
    answer = browser.get("/receipts/states")
    assert answer.status_int == 200, answer.text
    return dict(answer.json)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Yield a list that collects the SELECT statements of this process."""
    found: list[str] = []

    def listen(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT"):
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", listen)


def said(browser: Browser) -> dict[str, tuple[str, str]]:
    """By site: the words and the reason, without its moment."""
    return {line["name"]: (line["words"], line["why"]) for line in states(browser)["lines"]}


def tell(server: Server, site: Site, **values: Any) -> None:
    """Write the result of a delivery into the site's rows."""
    with server.database.writing() as connection:
        connection.execute(update(deliveries).where(deliveries.c.app_id == site.app_id).values(**values))


def is_signed_in(browser: Browser) -> bool:
    return "Log out everywhere" in browser.get("/").text


def twin(server: Server, browser: Browser) -> Browser:
    """The same browser as it is now, whatever the other one is answered later."""
    other = server.browser()
    for cookie in browser.web.cookiejar:
        other.web.cookiejar.set_cookie(cookie)
    return other


def living(server: Server, site: Site) -> int:
    return server.count(site_logins, site_logins.c.app_id == site.app_id, site_logins.c.ended_at.is_(None))


# --- the logouts


def test_everywhere(server: Server, ann: Person, browser: Browser) -> None:
    """All browsers and all sites; the page lists each as pending, and claims nothing more."""
    other = server.browser(signed_in=ann)
    photos, wiki = server.add_site("Photos"), server.add_site("Wiki")
    server.log_in(photos, browser)
    server.log_in(wiki, other)
    press(browser)
    assert (is_signed_in(browser), is_signed_in(other)) == (False, False)
    assert said(browser) == {"Photos": ("is being told", ""), "Wiki": ("is being told", "")}
    page = browser.get("/receipts")
    assert page.html.h1.text == "Your sites are being told"
    assert "0 of 2 confirmed" in page.text
    tell(server, photos, state="confirmed", done_at=NOON + 400_000)
    tell(server, wiki, state="confirmed", done_at=NOON + 12 * SECOND)
    assert said(browser) == {"Photos": ("confirmed in 0.4 s", ""), "Wiki": ("confirmed in 12 s", "")}
    page = browser.get("/receipts")
    assert page.html.h1.text == "Logged out everywhere"
    assert "Every site has confirmed it." in page.text
    assert states(browser)["done"] is True


def test_one_site(server: Server, browser: Browser, ann: Person) -> None:
    """That site, whatever browser the login began in; the others and the sessions stay."""
    photos, wiki = server.add_site("Photos"), server.add_site("Wiki")
    server.log_in(photos, server.browser(signed_in=ann))
    server.log_in(wiki, browser)
    press(browser, f"/sites/{photos.app_id}/log-out")
    assert (living(server, photos), living(server, wiki)) == (0, 1)
    assert said(browser) == {"Photos": ("is being told", "")}
    assert is_signed_in(browser)
    assert "You are still signed in here." in browser.get("/receipts").text
    with server.database.reading() as connection:
        line = read(connection)[0]
    assert (line.action, line.actor, line.subject) == ("logout.site", f"person:{ann.id}", f"app:{photos.app_id}")


def test_another_browser(server: Server, browser: Browser, ann: Person) -> None:
    """The other browser is logged out, and the sites that began in it are notified; this one stays."""
    other = server.browser(signed_in=ann)
    photos, wiki = server.add_site("Photos"), server.add_site("Wiki")
    server.log_in(photos, other)
    server.log_in(wiki, browser)
    press(browser, f"/browsers/{server.rows(sessions)[1].id}/log-out")
    assert (is_signed_in(browser), is_signed_in(other)) == (True, False)
    assert (living(server, photos), living(server, wiki)) == (0, 1)
    assert list(said(browser)) == ["Photos"]


def test_this_browser(server: Server, browser: Browser, ann: Person) -> None:
    """It is signed out, the other one stays; there was no site, and the page says so."""
    other = server.browser(signed_in=ann)
    press(browser, f"/browsers/{server.rows(sessions)[0].id}/log-out")
    assert (is_signed_in(browser), is_signed_in(other)) == (False, True)
    assert "There was no site to tell." in browser.get("/receipts").text


def test_what_is_not_ones_own(server: Server, browser: Browser) -> None:
    """Another person's browser or site, and unknown ones: nothing ends, and the answer reveals nothing about them."""
    bo = server.browser(signed_in=server.add_person("Bo"))
    site = server.add_site()
    server.log_in(site, bo)
    theirs = server.rows(sessions)[1].id
    for path in (f"/browsers/{theirs}/log-out", "/browsers/9007199254740991/log-out", f"/sites/{site.app_id}/log-out"):
        answer = press(browser, path)
        assert "receipt" not in str(answer.headers.getall("Set-Cookie")), path
    press(browser, "/sites/nothing/log-out")
    assert is_signed_in(bo)
    assert living(server, site) == 1
    assert server.count(deliveries) == server.count(receipts) == 0


def test_a_double_press(server: Server, browser: Browser, ann: Person) -> None:
    """The second POST of the old page ends nothing more, and leaves the first one's receipt as it is."""
    site = server.add_site("Photos")
    server.log_in(site, browser)
    token, late = browser.form_token("/enrol"), twin(server, browser)
    assert is_signed_in(late)
    press(browser)
    answer = late.post("/log-out", {"token": token}, headers=SAME_ORIGIN)
    assert (answer.status_int, answer.headers["Location"]) == (303, "/receipts")
    assert "receipt" not in str(answer.headers.getall("Set-Cookie"))
    assert server.count(deliveries) == server.count(receipts) == 1
    assert list(said(browser)) == ["Photos"]


@pytest.mark.slow
def test_two_presses_at_once(server: Server, browser: Browser, ann: Person) -> None:
    """One of them logs out and gets the receipt; the other one gets none, least of all an empty one."""
    server.log_in(server.add_site("Photos"), browser)
    token, second = browser.form_token("/enrol"), twin(server, browser)
    form = {"token": token}
    with ThreadPoolExecutor(2) as pool, server.database.writing() as connection:
        people.lock(connection, ann.id)
        calls = [pool.submit(each.post, "/log-out", form, headers=SAME_ORIGIN) for each in (browser, second)]
        wait(calls, timeout=0.5)  # both stand at the lock, which is let go first
    cookies = [str(call.result().headers.getall("Set-Cookie")) for call in calls]
    assert sorted("clef-receipt" in each for each in cookies) == [False, True]
    assert [row.state for row in server.rows(deliveries)] == ["pending"]
    assert server.count(receipt_sites) == 1


def test_a_site_without_a_webhook(server: Server, browser: Browser) -> None:
    """A site without a webhook can't be notified, and the page does not claim that it was."""
    server.log_in(server.add_site("Old", webhooks=()), browser)
    press(browser)
    assert said(browser) == {"Old": ("can't be told: log out there yourself", "")}
    assert browser.get("/receipts").html.h1.text == "Not every site has heard it"


def test_a_second_logout_names_its_own_sites_alone(server: Server, browser: Browser) -> None:
    """A row of an earlier logout that is still under way is not this one's."""
    photos, wiki = server.add_site("Photos"), server.add_site("Wiki")
    for site in (photos, wiki):
        server.log_in(site, browser)
    press(browser, f"/sites/{photos.app_id}/log-out")
    server.clock.advance(5)
    press(browser)
    assert list(said(browser)) == ["Wiki"]


def test_a_notification_of_before_that_is_still_tried(server: Server, browser: Browser) -> None:
    """A second logout of a site with an unconfirmed one has a notification of its own, and shows that."""
    photos = server.add_site("Photos")
    server.log_in(photos, browser)
    press(browser, f"/sites/{photos.app_id}/log-out")
    tell(server, photos, attempts=1, failure="timeout", first_tried_at=NOON, next_at=NOON + 3600 * SECOND)
    server.clock.advance(5)
    server.log_in(photos, browser)
    press(browser)
    assert said(browser) == {"Photos": ("is being told", "")}


def test_a_notification_that_joins_an_earlier_one(server: Server, browser: Browser) -> None:
    """Two logouts before any attempt share one notification, which is on both receipts."""
    photos = server.add_site("Photos")
    server.log_in(photos, browser)
    press(browser, f"/sites/{photos.app_id}/log-out")
    server.clock.advance(5)
    server.log_in(photos, browser)
    press(browser)
    assert server.count(deliveries) == 1
    assert list(said(browser)) == ["Photos"]
    tell(server, photos, state="confirmed", done_at=server.clock() + 300_000)
    assert said(browser) == {"Photos": ("confirmed in 0.3 s", "")}  # since this press


# --- what the lines say


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"failure": "timeout", "next_at": NOON + 15 * SECOND}, ("trying again in 15 s", "unreachable since")),
        ({"failure": "connection", "next_at": NOON + 14_100_000}, ("trying again in 15 s", "unreachable since")),
        (
            {"failure": "http_500", "next_at": NOON + 7200 * SECOND},
            ("trying again in 2 h", "answers with an error since"),
        ),
        ({"failure": "timeout", "next_at": NOON - SECOND}, ("trying again now", "unreachable since")),
        (
            {"failure": "timeout", "next_at": NOON + 5 * SECOND, "claimed_until": NOON + SECOND},
            ("trying again now", "unreachable since"),
        ),
        ({"failure": "timeout", "state": "given_up"}, ("given up: log out there yourself", "unreachable since")),
        (
            {"failure": "refused_address", "next_at": NOON + 60 * SECOND},
            ("trying again in 60 s", "its address is not permitted; tell whoever runs this server"),
        ),
        ({"failure": "answer", "next_at": NOON + SECOND}, ("trying again in 1 s", "answers with an error since")),
        (
            {"waits_until": NOON + 10 * SECOND, "next_at": NOON - SECOND},
            ("answered; waiting for it to ask whom to log out", ""),
        ),
        (
            {"failure": "not_asked", "next_at": NOON + SECOND},
            ("trying again in 1 s", "answered, but did not ask whom to log out"),
        ),
        (
            {"failure": "not_asked", "state": "given_up"},
            ("given up: log out there yourself", "answered, but did not ask whom to log out"),
        ),
        ({"failure": "a code of tomorrow", "next_at": NOON + SECOND}, ("trying again in 1 s", "unreachable since")),
    ],
)
def test_words(server: Server, browser: Browser, values: dict[str, Any], line: tuple[str, str]) -> None:
    """Each state of a row has its words; the moment is that of the first try."""
    site = server.add_site("Photos")
    server.log_in(site, browser)
    press(browser)
    tell(server, site, attempts=2, first_tried_at=NOON, tried_at=NOON, **values)
    assert said(browser) == {"Photos": line}
    (found,) = states(browser)["lines"]
    without = (None, "refused_address", "not_asked")
    assert found["since"] == (None if values.get("failure") in without else "2027-01-15T08:00:00Z")
    page = browser.get("/receipts")
    assert all(words in page.text for words in line)
    assert ("2027-01-15, 08:00 UTC" in page.text) == (found["since"] is not None)
    assert states(browser)["done"] is ("state" in values)
    assert ('http-equiv="refresh"' in page.text) is ("state" not in values)


def test_the_first_try_and_a_retry_of_the_administrator_s(server: Server, browser: Browser) -> None:
    """A row on its first attempt reads "is being told"; one that starts anew has no "since" yet."""
    site = server.add_site("Photos")
    server.log_in(site, browser)
    press(browser)
    tell(server, site, attempts=1, first_tried_at=NOON, tried_at=NOON, claimed_until=NOON + SECOND)
    assert said(browser) == {"Photos": ("is being told", "")}
    tell(server, site, first_tried_at=None, failure="timeout", claimed_until=None)
    assert said(browser) == {"Photos": ("trying again now", "")}


def test_a_site_with_two_webhooks_is_as_far_as_the_slower(server: Server, browser: Browser) -> None:
    """One line for a site; it is confirmed when both are, in the time of the later."""
    site = server.add_site("Photos", webhooks=(WEBHOOK, f"{WEBHOOK}/2"))
    server.log_in(site, browser)
    press(browser)
    first, second = server.rows(deliveries)
    with server.database.writing() as connection:
        one = update(deliveries).where(deliveries.c.id == first.id)
        connection.execute(one.values(state="confirmed", done_at=NOON + 100_000))
    assert said(browser) == {"Photos": ("is being told", "")}
    with server.database.writing() as connection:
        one = update(deliveries).where(deliveries.c.id == second.id)
        connection.execute(one.values(state="confirmed", done_at=NOON + 900_000))
    assert said(browser) == {"Photos": ("confirmed in 0.9 s", "")}


def test_in_german(server: Server, browser: Browser) -> None:
    """Words and numbers are in the visitor's language."""
    site = server.add_site("Fotos")
    server.log_in(site, browser)
    press(browser)
    tell(server, site, state="confirmed", done_at=NOON + 400_000)
    page = browser.get("/receipts", headers={"Accept-Language": "de"})
    assert "bestätigt in 0,4 s" in page.text
    assert page.html.h1.text == "Überall abgemeldet"


def test_site_names_are_text(server: Server, browser: Browser) -> None:
    """HTML in a site's name is text, on the page and in the JSON, which no browser takes for a page."""
    server.log_in(server.add_site("<b>Photos</b>"), browser)
    press(browser)
    page, answer = browser.get("/receipts"), browser.get("/receipts/states")
    assert page.html.main.b is None
    assert "<b>Photos</b>" in page.html.main.get_text()
    assert answer.content_type == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# --- who sees it


def test_another_browser_sees_nothing(server: Server, ann: Person, browser: Browser) -> None:
    """Not one that nobody is signed in in, not one of the same person, not one that guesses."""
    server.log_in(server.add_site("Photos"), browser)
    press(browser)
    for other in (server.browser(), server.browser(signed_in=ann)):
        for guess in (None, "x" * 43, "", "x", "%00"):
            if guess is not None:
                other.web.set_cookie("__Host-clef-receipt", guess)
            assert other.get("/receipts/states").status_int == 404
            assert "Photos" not in other.get("/receipts").text
    assert list(said(browser)) == ["Photos"]


def test_who_signs_in_as_somebody_else_sees_nothing(server: Server, browser: Browser) -> None:
    """In the browser of the family: Bo does not see where Ann was."""
    server.log_in(server.add_site("Photos"), browser)
    press(browser)
    bo = server.browser(signed_in=server.add_person("Bo"))
    (cookie,) = [each for each in browser.web.cookiejar if each.name == "__Host-clef-receipt"]
    bo.web.cookiejar.set_cookie(cookie)
    assert bo.get("/receipts/states").status_int == 404
    assert "Photos" not in bo.get("/receipts").text


def test_after_an_hour(server: Server, browser: Browser) -> None:
    """The receipt is over, its row goes with the next logout, and the page says so without an error."""
    server.log_in(server.add_site("Photos"), browser)
    press(browser)
    server.clock.advance(3599)
    assert list(said(browser)) == ["Photos"]
    server.clock.advance(1)
    assert browser.get("/receipts/states").status_int == 404
    page = browser.get("/receipts")
    assert (page.status_int, page.html.h1.text) == (200, "Nothing to show")
    press(server.browser(signed_in=server.add_person("Bo")))
    assert server.count(receipts) == 1


def test_the_secret_is_in_a_cookie_alone(server: Server, browser: Browser, ann: Person) -> None:
    """A ``__Host-`` cookie for an hour, not for scripts; only its digest is stored, and no page or address has it."""
    server.log_in(server.add_site("Photos"), browser)
    answer = press(browser)
    (cookie,) = [each for each in answer.headers.getall("Set-Cookie") if each.startswith("__Host-clef-receipt=")]
    secret = browser.web.cookies["__Host-clef-receipt"]
    for part in ("Max-Age=3600", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert part in cookie
    assert "Domain" not in cookie
    page, found = browser.get("/receipts"), browser.get("/receipts/states")
    assert secret not in page.text + found.text + answer.headers["Location"]
    assert secret not in str(server.rows(receipts))
    assert (page.headers["Referrer-Policy"], page.headers["Cache-Control"]) == ("no-referrer", "no-store")
    assert "Ann" not in page.text + found.text
    assert set(found.json) == {"title", "summary", "done", "lines"}
    assert set(found.json["lines"][0]) == {"site", "name", "host", "mark", "words", "why", "since"}


def test_a_receipt_opens_nothing_else(server: Server, browser: Browser) -> None:
    """It is no session: the account page and its changes stay closed."""
    press(browser)
    assert not is_signed_in(browser)
    form = {"token": browser.form_token("/enrol"), "stay": "hour"}
    assert browser.post("/stay", form, headers=SAME_ORIGIN).status_int == 403
    secret = browser.web.cookies["__Host-clef-receipt"]
    browser.web.set_cookie("__Host-clef-session", secret)
    assert not is_signed_in(browser)


# --- the account page afterwards


def test_sites_that_have_not_heard_are_on_the_account_page(server: Server, ann: Person, browser: Browser) -> None:
    """Pending or given up, however old, until that site has confirmed a later logout."""
    site = server.add_site("Photos")
    server.log_in(site, browser)
    press(browser)
    tell(server, site, state="given_up", attempts=9, failure="timeout", first_tried_at=NOON, claimed_until=None)
    server.clock.advance(86_400 * 4)
    back = server.browser(signed_in=ann)
    assert "given up: log out there yourself" in back.get("/").text
    assert "Not told yet" not in server.browser(signed_in=server.add_person("Bo")).get("/").text
    server.log_in(site, back)
    press(back, f"/sites/{site.app_id}/log-out")
    later = server.rows(deliveries)[1]
    with server.database.writing() as connection:
        connection.execute(update(deliveries).where(deliveries.c.id == later.id).values(state=outbox.CONFIRMED))
    assert "Not told yet" not in back.get("/").text


def test_a_logout_that_could_not_be_written_is_not_claimed(tmp_path: Path) -> None:
    """503, and neither cookie changes: the person is still signed in, and sees no receipt."""
    server = make_server(tmp_path / "clef.db")
    browser = server.browser(signed_in=server.add_person())
    server.log_in(server.add_site(), browser)
    token = browser.form_token("/enrol")
    with server.database.writing() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON receipt_sites BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        )
    server.app.config["PROPAGATE_EXCEPTIONS"] = False
    answer = browser.post("/log-out", {"token": token}, headers=SAME_ORIGIN)
    assert answer.status_int >= 500
    assert "Set-Cookie" not in answer.headers
    assert is_signed_in(browser)
    assert server.count(deliveries) == 0


def test_the_states_are_small(server: Server, ann: Person, browser: Browser) -> None:
    """A page that asks every second costs little: twenty sites are a few KiB, and as many queries as one."""
    found: list[tuple[int, list[str]]] = []
    for numbers in (range(1), range(1, 20)):
        for number in numbers:
            server.log_in(server.add_site(f"Site {number:02}"), browser)
        press(browser)
        with statements() as said:
            found.append((len(json.dumps(states(browser))), said))
        browser = server.browser(signed_in=ann)
    (_, for_one), (size, for_many) = found
    assert size < 6000
    assert 0 < len(for_many) == len(for_one) <= 4, for_many
