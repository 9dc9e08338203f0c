"""The account page in a real Chromium: two sites behind the real middleware, two browsers, and one button."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from support.chromium import Page, Place, Stage, add_device, open_page, running_server, site
from support.services import chromium

from clef_wsgi.server.clock import SECOND, system_clock
from clef_wsgi.server.database.schema import deliveries, people, sessions

pytestmark = pytest.mark.browser


def log_in(page: Page, place: Place) -> None:
    """At a site, signed in at the server already."""
    page.open(place.url)
    page.press("a")
    page.wait("form[action^='/iframes/approve'] button").click()
    page.wait_for_url(place.url)
    assert page.find("body").text == "Hello, Ann"


def is_let_go(page: Page, place: Place) -> bool:
    page.open(place.url)
    return "Hello" not in page.find("body").text


def marks(page: Page) -> dict[str, str]:
    """The receipts, by site."""
    rows = page.driver.find_elements("css selector", "#receipts .row")
    return {row.find_element("css selector", ".name").text: str(row.get_attribute("data-mark")) for row in rows}


def test_log_out_everywhere_on_a_phone(tmp_path: Path) -> None:
    """Two browsers, two sites, one button at 390 px: both let go, and the receipts appear without a reload.

    One site is down at first: the other is not kept waiting, the page says what is the matter, and goes on by
    itself when the site has come back.
    """
    with ExitStack() as stack:
        server = stack.enter_context(running_server(tmp_path, deliver=True))
        photos, wiki = (stack.enter_context(site(server, name)) for name in ("Photos", "Wiki"))
        phone, desk = (Page(stack.enter_context(chromium()), server, Stage("")) for _ in range(2))
        ann = server.add_person("Ann")
        for page in (phone, desk):
            add_device(page.driver)
            page.enrol(ann)
        log_in(phone, photos)
        log_in(desk, photos)
        log_in(desk, wiki)

        wiki.down = True
        phone.set_size(390)
        phone.open("/")
        assert [each.text for each in phone.driver.find_elements("css selector", "#sites h3")] == ["Photos", "Wiki"]
        phone.press("form[action='/log-out'] button")
        phone.wait("#receipts")
        phone.run("window.same = true;")
        phone.until(lambda: marks(phone) == {"Photos": "done", "Wiki": "busy"}, "one receipt")
        phone.until(lambda: "answers with an error since" in phone.find("#receipts").text, "the reason")
        assert "confirmed in" in phone.find("[data-mark=done] .words").text
        assert phone.find("#summary").text == "1 of 2 confirmed"
        assert phone.find("h1").text == "Your sites are being told"
        assert is_let_go(desk, photos)
        wiki.down = False
        phone.until(lambda: marks(phone) == {"Photos": "done", "Wiki": "done"}, "both receipts", seconds=60)
        assert phone.find("h1").text == "Logged out everywhere"
        assert phone.driver.title.startswith("Logged out everywhere")
        assert "Wiki: confirmed in" in str(phone.find("#news").get_attribute("textContent"))
        assert phone.run("return window.same;"), "the page was not loaded anew"
        assert is_let_go(desk, wiki)
        assert is_let_go(phone, photos)
        desk.open("/")
        desk.wait("#sign-in")
        assert phone.complaints() == desk.complaints() == []


# --- one browser, and deliveries that the test writes down


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("server")) as page:
        yield page


@pytest.fixture
def page(shared: Page) -> Iterator[Page]:
    """Ann is signed in, and logged in at Photos and Wiki."""
    shared.open("/static/key.svg")
    shared.driver.delete_all_cookies()
    shared.driver.remove_all_credentials()
    shared.set_size(390)
    shared.server.clear()
    shared.server.clock.now = system_clock()
    ann = shared.server.add_person("Ann")
    shared.enrol(ann)
    browser = shared.server.browser(signed_in=ann)
    for name in ("Photos", "Wiki"):
        shared.server.log_in(shared.server.add_site(name), browser)
    shared.complaints()
    yield shared
    assert shared.complaints() == []


def tell(page: Page, **values: Any) -> None:
    """Write the result of a delivery into all rows."""
    with page.server.database.writing() as connection:
        connection.execute(update(deliveries).values(values))


def asked_at(page: Page) -> list[float]:
    """When the page has asked for the states, in milliseconds since it was opened."""
    entries = "performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/receipts/states'))"
    times: list[float] = page.run(f"return {entries}.map((e) => e.startTime);")
    return times


def test_the_page_stops_to_ask_when_all_have_spoken(page: Page) -> None:
    """Given up is the last word: no further request, and no spinner."""
    page.open("/")
    page.press("form[action='/log-out'] button")
    page.wait("#receipts[data-mark=busy]")
    tell(page, state="given_up", failure="timeout", first_tried_at=system_clock(), done_at=system_clock())
    page.wait("#receipts[data-mark=bad]")
    asked = len(asked_at(page))
    assert not page.find("#busy").is_displayed()
    page.driver.execute_async_script("setTimeout(arguments[0], 1500);")
    assert len(asked_at(page)) == asked


def test_the_page_asks_less_often_while_nothing_happens(page: Page) -> None:
    """The pauses grow: in two seconds a handful of requests, not one for each 400 ms for ever."""
    page.open("/")
    page.press("form[action='/log-out'] button")
    page.wait("#receipts[data-mark=busy]")
    page.until(lambda: len(asked_at(page)) >= 4, "four requests", seconds=30)
    times = asked_at(page)
    # The pause is 400 ms when something happens, and how long an answer takes comes on top of each.
    assert times[3] - times[2] > 700


def test_the_receipts_without_javascript(page: Page) -> None:
    """The page loads itself anew until all have spoken; there is a link to do it by hand, too."""
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open("/")
        page.press("form[action='/log-out'] button")
        page.wait("#reload a")
        # The page may load itself anew while it is read.
        page.until(lambda: marks(page) == {"Photos": "busy", "Wiki": "busy"}, "the marks")
        tell(page, state="confirmed", done_at=system_clock())
        page.until(lambda: set(marks(page).values()) == {"done"}, "a reload by itself", seconds=30)
        assert not page.driver.find_elements("css selector", "#reload, meta[http-equiv=refresh]")
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_account_page_without_javascript(page: Page) -> None:
    """One site, the names and the stay: forms, and nothing else is needed."""
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open("/")
        page.press("#sites .row:nth-of-type(2) button")
        page.wait("#receipts")
        assert marks(page) == {"Wiki": "busy"}
        page.open("/")
        page.press("#stay button[value=day]")
        page.wait("#stay button[value=day][aria-pressed=true]")
        field = page.find("#first-name")
        field.clear()
        field.send_keys("Anna")
        page.press("#you button")
        page.until(lambda: page.find("h1").text == "Anna", "the new name")
        assert [row.session_lifetime_us for row in page.server.rows(people)] == [86_400 * SECOND]
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_times_are_those_of_the_visitor_s_clock(page: Page) -> None:
    """In the visitor's time zone and language; of today, the hour alone."""
    page.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kathmandu"})
    try:
        page.open("/")
        page.until(lambda: "UTC" not in page.find("main").text, "local times")
        shown = page.find("#sites time")
        expected = "return new Date(arguments[0]).toLocaleTimeString('en-US', {hour: 'numeric', minute: '2-digit'});"
        assert shown.text == page.run(expected, shown.get_attribute("datetime"))
    finally:
        page.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def test_ending_another_browser(page: Page) -> None:
    """Its row goes; this browser stays signed in."""
    page.open("/")
    page.press("#browsers .row:nth-of-type(1) button")
    page.wait("#receipts")
    page.open("/")
    assert len(page.driver.find_elements("css selector", "#browsers .row")) == 1
    assert page.server.count(sessions, sessions.c.ended_at.is_(None)) == 1
