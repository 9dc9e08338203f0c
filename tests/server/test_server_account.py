"""The account page: what it shows, and what can be changed on it. The logouts are in test_server_receipts.py."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import webtest
from support.login_server import NOON, SAME_ORIGIN, Browser, Server, make_server
from support.passkeys import enrolled

from clef_wsgi.server.clock import DAY, HOUR
from clef_wsgi.server.database.schema import people, sessions
from clef_wsgi.server.options import Limits
from clef_wsgi.server.records.audit import AuditEntry, read
from clef_wsgi.server.records.people import Person

FIREFOX = "Mozilla/5.0 (Android 16; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = make_server(tmp_path_factory.mktemp("server") / "clef.db")
    yield server
    server.close()


@pytest.fixture
def server(shared: Server) -> Server:
    shared.clear()
    return shared


@pytest.fixture
def ann(server: Server) -> Person:
    return server.add_person("Ann", last_name="Lee", email="ann@example.com", phone_number="+49 30 1")


@pytest.fixture
def browser(server: Server, ann: Person) -> Browser:
    return server.browser(signed_in=ann)


def change(browser: Browser, path: str, **fields: str) -> int:
    """Send a form of the account page and return the answer's status."""
    answer = browser.post(path, {"token": browser.form_token(), **fields}, headers=SAME_ORIGIN)
    return int(answer.status_int)


def words(page: webtest.TestResponse) -> str:
    """Return the visible text of a page."""
    return re.sub(r"\s+", " ", page.html.main.get_text(" ")).replace(" ,", ",").replace(" .", ".")


def person(server: Server, ann: Person) -> Person:
    (row,) = server.rows(people, people.c.id == ann.id)
    return Person(**row._mapping)


def expiries(server: Server) -> list[int | None]:
    return [row.expires_at for row in server.rows(sessions)]


def audit(server: Server) -> list[AuditEntry]:
    with server.database.reading() as connection:
        return read(connection)


# --- what it shows


def test_everything_is_on_the_page(server: Server, ann: Person, browser: Browser) -> None:
    """Who, where they are logged in since when, by which passkeys, in which browsers until when."""
    server.log_in(server.add_site("Photos"), browser)
    enrolled(server, ann)
    text = words(browser.get("/"))
    assert "Signed in as Ann Lee" in text
    assert "Photos photos.example.com Since 2027-01-15, 08:00 UTC Log out Photos" in text
    assert "Phone On one device only Made 2027-01-15, 08:00 UTC, not used yet" in text
    assert "A browser This browser Since 2027-01-15, 08:00 UTC Until 2027-02-14, 08:00 UTC Log out A browser" in text
    assert "E-mail ann@example.com Telephone +49 30 1" in text


def test_when_a_browser_was_last_used(server: Server, ann: Person, browser: Browser) -> None:
    """The moment of the last yes to a site, beside that of the beginning."""
    server.clock.advance(2 * 24 * 3600 + 60)
    server.browser(signed_in=ann)
    server.log_in(server.add_site("Photos"), browser)
    text = words(browser.get("/"))
    assert "This browser Since 2027-01-15, 08:00 UTC Last used 2027-01-17, 08:01 UTC Until" in text
    assert text.count("Last used") == 1, "the other one has not been used since it began"


def test_nothing_of_other_people(server: Server, browser: Browser) -> None:
    """Bo's site, passkey and browser are on Bo's page alone."""
    bo = server.add_person("Bo")
    server.log_in(server.add_site("Wiki"), server.browser(signed_in=bo))
    enrolled(server, bo)
    text = browser.get("/").text
    assert "Wiki" not in text
    assert 'action="/sites/' not in text
    assert text.count('action="/browsers/') == 1


def test_the_nudge_to_add_a_second_passkey(server: Server, ann: Person, browser: Browser) -> None:
    """A person with one passkey is asked to add a second; a person with two is not."""
    enrolled(server, ann)
    assert "Add a second one" in browser.get("/").text
    enrolled(server, ann)
    assert "Add a second one" not in browser.get("/").text


def test_an_account_without_a_passkey(server: Server, ann: Person, browser: Browser) -> None:
    """Nobody is told of having one who has none; adding one needs one, so the page offers no button for it."""
    for path in ("/", "/passkeys"):
        page = browser.get(path)
        assert "You have no passkey. Ask whoever runs this server" in words(page)
        assert "only one" not in page.text
    assert browser.get("/passkeys").html.find(id="add") is None
    enrolled(server, ann)
    assert browser.get("/passkeys").html.find(id="add") is not None


def test_the_last_passkey_says_why_it_stays(server: Server, ann: Person, browser: Browser) -> None:
    """A person's only passkey has no button to remove it, but the reason why."""
    reason = "It can't be removed, since it is your only one"
    enrolled(server, ann)
    assert reason in words(browser.get("/passkeys"))
    enrolled(server, ann)
    assert reason not in words(browser.get("/passkeys"))


def test_saved_is_said_where_it_was_saved(server: Server, ann: Person, browser: Browser) -> None:
    """The sentence is in the section of the form, and the address leads to it: it can take the focus."""
    enrolled(server, ann)
    token = browser.form_token()
    for path, fields, section in [("/names", {"first_name": "Anna"}, "you"), ("/stay", {"stay": "day"}, "stay")]:
        answer = browser.post(path, {"token": token, **fields}, headers=SAME_ORIGIN)
        page = browser.get(answer.headers["Location"])
        (saved,) = page.html.find_all(id="saved")
        assert (saved.text, saved["tabindex"], saved.parent["id"]) == ("Saved.", "-1", section)
        assert answer.headers["Location"].endswith("#saved")
    answer = browser.post("/passkeys/1/rename", {"token": token, "name": "Phone"}, headers=SAME_ORIGIN)
    saved = browser.get(answer.headers["Location"]).html.find(id="saved")
    assert saved.find_previous_sibling("h2").text == "Phone"
    assert browser.get("/").html.find(id="saved") is None


def test_markup_stays_text(server: Server, ann: Person, browser: Browser) -> None:
    """HTML in the names of sites and people is text."""
    server.log_in(server.add_site("<b>Photos</b>"), browser)
    change(browser, "/names", first_name="<i>Ann</i>", last_name='" autofocus onfocus="x')
    page = browser.get("/")
    assert not page.html.find_all(["b", "i"])
    assert not page.html.find_all(attrs={"onfocus": True})
    assert "<b>Photos</b>" in page.html.main.get_text()


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (FIREFOX, "Firefox on Android"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36 Edg/142.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605 Version/19.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36", "Chrome on Linux"),
        ("<script>alert(1)</script>", "A browser"),
        ("", "A browser"),
        ("You were hacked, call 555 0100" + "x" * 4000, "A browser"),
        ("Firefox/ is at https://evil.example", "Firefox"),
    ],
)
def test_browsers_are_called_in_words_of_ours(
    server: Server, ann: Person, browser: Browser, user_agent: str, name: str
) -> None:
    """Whatever a browser says of itself, nothing of it stands on the page but names that are known."""
    with server.database.writing() as connection:
        connection.execute(sessions.update().values(user_agent=user_agent))
    page = browser.get("/")
    assert page.html.find(id="browsers").h3.text == name
    for part in ("<script>alert", "hacked", "evil.example"):
        assert part not in page.text


def test_passkeys_have_their_times_on_their_own_page(server: Server, ann: Person, browser: Browser) -> None:
    """Made and last used stand there, too."""
    enrolled(server, ann)
    text = words(browser.get("/passkeys"))
    assert "Made 2027-01-15, 08:00 UTC, not used yet" in text


# --- names


def test_names_can_be_edited(server: Server, ann: Person, browser: Browser) -> None:
    """First and last name are their owner's; the audit says that they were changed, and not to what."""
    assert change(browser, "/names", first_name="  Anna  Maria ", last_name="") == 303
    assert (person(server, ann).first_name, person(server, ann).last_name) == ("Anna Maria", None)
    line = audit(server)[0]
    assert (line.action, line.actor, line.details) == ("names", f"person:{ann.id}", {})


def test_e_mail_and_phone_can_not(server: Server, ann: Person, browser: Browser) -> None:
    """They are the administrator's word, whatever fields a form holds; so is everything else."""
    fields = {"email": "evil@example.com", "phone_number": "1", "person_id": "2"}
    fields |= {"session_lifetime_us": "1", "disabled_at": "1"}
    assert change(browser, "/names", first_name="Ann", last_name="Lee", **fields) == 303
    assert person(server, ann) == ann
    assert 'name="email"' not in browser.get("/").text


@pytest.mark.parametrize("name", ["x" * 65, "a\u202eb", "a\x00b"])
def test_what_is_no_name(server: Server, ann: Person, browser: Browser, name: str) -> None:
    """Too long, or not to be seen: refused, and nothing is changed."""
    assert change(browser, "/names", first_name=name, last_name="Lee") == 400
    assert person(server, ann) == ann


# --- how long one stays


def test_a_shorter_stay_holds_at_once(server: Server, ann: Person, browser: Browser) -> None:
    """All browsers of this person end by then, and nobody else's; at the end, this one is signed out."""
    server.browser(signed_in=ann)
    server.browser(signed_in=server.add_person("Bo"))
    server.clock.advance(3600)
    assert change(browser, "/stay", stay="day") == 303
    assert expiries(server) == [NOON + HOUR + DAY, NOON + HOUR + DAY, NOON + 30 * DAY]
    assert 'value="day" aria-pressed="true"' in browser.get("/").text
    assert (audit(server)[0].action, audit(server)[0].details) == ("stay", {"minutes": 1440})
    server.clock.advance(86_400)
    assert "Log out everywhere" not in browser.get("/").text


def test_a_longer_stay_waits_for_the_next_sign_in(server: Server, ann: Person, browser: Browser) -> None:
    """A browser that was left signed in somewhere does not prolong itself; the next session has the new length."""
    change(browser, "/stay", stay="hour")
    server.clock.advance(1800)
    for stay in ("month", "logout"):
        assert change(browser, "/stay", stay=stay) == 303
    assert expiries(server) == [NOON + HOUR]
    server.browser(signed_in=ann)
    assert expiries(server) == [NOON + HOUR, None]
    assert 'value="logout" aria-pressed="true"' in browser.get("/").text


@pytest.mark.parametrize("fields", [{}, {"stay": "year"}, {"stay": "3600"}, {"stay": ""}])
def test_a_stay_that_is_not_offered(server: Server, ann: Person, browser: Browser, fields: dict[str, str]) -> None:
    """Refused, and nothing is changed."""
    assert change(browser, "/stay", **fields) == 400
    assert person(server, ann) == ann


# --- who may


PATHS = ("/names", "/stay", "/log-out", "/sites/{site}/log-out", "/browsers/{session}/log-out", "/passkeys/1/rename")


def test_no_change_without_token_from_elsewhere_or_by_get(server: Server, ann: Person, browser: Browser) -> None:
    """Row 64, at each address of the page: no token, another browser's, cross-origin, no origin, GET."""
    site = server.add_site()
    server.log_in(site, browser)
    enrolled(server, ann)
    token, foreign = browser.form_token(), server.browser(signed_in=ann).form_token()
    good = {"token": token, "first_name": "Eve", "stay": "hour", "name": "Eve"}
    (session, _) = server.rows(sessions)
    for pattern in PATHS:
        path = pattern.format(site=site.app_id, session=session.id)
        answers = [
            browser.post(path, {**good, "token": ""}, headers=SAME_ORIGIN),
            browser.post(path, {**good, "token": foreign}, headers=SAME_ORIGIN),
            browser.post(path, good, headers={"Sec-Fetch-Site": "cross-site"}),
            browser.post(path, good, headers={"Sec-Fetch-Site": "same-site"}),
            browser.post(path, good, headers={"Origin": "https://evil.example"}),
            browser.post(path, good),
        ]
        assert [answer.status_int for answer in answers] == [403] * len(answers), path
        assert browser.get(path).status_int == 405, path
    assert person(server, ann) == ann
    assert [row.ended_at for row in server.rows(sessions)] == [None, None]


def test_nobody_signed_in_changes_nothing(server: Server, ann: Person) -> None:
    """A browser without a session gets 403, and nothing changes."""
    browser = server.browser()
    assert change(browser, "/names", first_name="Eve") == 403
    assert change(browser, "/stay", stay="hour") == 403
    assert person(server, ann) == ann


def test_changes_are_limited(tmp_path_factory: pytest.TempPathFactory) -> None:
    """More changes than that in a minute are 429; logging out everywhere is never refused for its number."""
    server = make_server(tmp_path_factory.mktemp("server") / "clef.db", limits=Limits(account=2))
    browser = server.browser(signed_in=server.add_person())
    assert [change(browser, "/stay", stay="day") for _ in range(3)] == [303, 303, 429]
    assert browser.get("/receipts/states").status_int == 429
    assert browser.post("/log-out", {"token": browser.form_token()}, headers=SAME_ORIGIN).status_int == 303
    assert server.count(sessions, sessions.c.ended_at.is_(None)) == 0
