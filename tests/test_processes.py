"""Not a toy in one process: two waitress processes over one SQLite store and shared file sessions."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.crowd import LEAVING, STAYING, Crowd
from support.processes import Browser, HTTPWire, Processes, Wire

from clef_wsgi.testing import LocalClef

SOAK_SECONDS = float(os.environ.get("CLEF_SOAK_SECONDS", "1.5"))
SOAK_THREADS = 16
BOTH = (0, 1)

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def clef() -> Iterator[LocalClef]:
    with LocalClef(people=["Ann", "Bo", *LEAVING, *STAYING]) as running:
        yield running


@pytest.fixture(scope="module")
def site(clef: LocalClef, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    def provider(_base_url: str) -> dict[str, str]:
        return {"app_id": clef.app_id, "app_secret": clef.app_secret, "server_url": clef.url}

    with Processes(tmp_path_factory.mktemp("site"), provider=provider) as running:
        yield running


@pytest.fixture
def wire(site: Processes) -> Iterator[Wire]:
    opened = HTTPWire(site.ports)
    yield opened
    opened.close()


def signed_in(wire: Wire, clef: LocalClef, person: str, start_at: int = 0, finish_at: int = 1) -> Browser:
    browser = Browser(wire)
    assert browser.sign_in(clef, person, start_at=start_at, finish_at=finish_at).status == 303
    assert [browser.user(number) for number in BOTH] == [str(clef.clef_id(person))] * 2
    return browser


def everywhere(browser: Browser) -> list[Any]:
    return [browser.user(number) for number in BOTH]


# -- WIRE ---------------------------------------------------------------------------------------------------


@pytest.mark.services
def test_r1_a_login_is_known_to_all_processes(site: Processes, clef: LocalClef, wire: Wire) -> None:
    """R1: started at one process, finished at the other, known to both, which are two indeed."""
    ann = signed_in(wire, clef, "Ann", start_at=0, finish_at=1)
    assert len({ann.get(number, "/").json["pid"] for number in BOTH}) == 2


@pytest.mark.services
def test_r9_one_notification_signs_out_all_browsers_at_all_processes(
    site: Processes, clef: LocalClef, wire: Wire
) -> None:
    """R9: two browsers signed in, one notification: both are out at their next request, as are their old cookies."""
    phone, desk, bo = (signed_in(wire, clef, person) for person in ("Ann", "Ann", "Bo"))
    copies = [Browser(wire, browser.cookies) for browser in (phone, desk)]
    assert any(delivery.confirmed for delivery in clef.log_out_everywhere("Ann"))
    for browser in (phone, desk, *copies):
        assert everywhere(browser) == [None, None]
    assert everywhere(bo) == [str(clef.clef_id("Bo"))] * 2


@pytest.mark.parametrize("webhook_at", BOTH)
@pytest.mark.services
def test_r10_a_notification_sent_again_ends_no_newer_login(
    site: Processes, clef: LocalClef, wire: Wire, webhook_at: int
) -> None:
    """R10: a logout, a new login at once, the same notification again, to each process: the new login lives."""
    old = signed_in(wire, clef, "Ann")
    token = clef.logout_token("Ann")
    assert Browser(wire).post(webhook_at, "/clef/webhook", logout_token=token).status == 200
    new = signed_in(wire, clef, "Ann", start_at=1, finish_at=0)
    for number in BOTH:
        assert Browser(wire).post(number, "/clef/webhook", logout_token=token).status == 200
    assert None not in everywhere(new)
    assert everywhere(old) == [None, None]


@pytest.mark.parametrize("looks_first", [False, True], ids=["at once", "after a look"])
@pytest.mark.services
def test_r11_the_next_person_finds_nothing_of_the_last(
    site: Processes, clef: LocalClef, wire: Wire, looks_first: bool
) -> None:
    """R11: neither in Beaker's session nor in an app's own, which follows the recipe."""
    person = signed_in(wire, clef, "Ann")
    person.get(0, "/keep?diary=hers")
    seen = person.get(1, "/").json
    assert (seen["session"], seen["own"]["diary"]) == ({"diary": "hers"}, "hers")
    clef.log_out_everywhere("Ann")
    if looks_first:
        seen = person.get(0, "/").json
        assert (seen["session"], seen["own"]) == ({}, {"login_id": None})
    assert person.sign_in(clef, "Bo", start_at=1, finish_at=0).status == 303
    for number in BOTH:
        seen = person.get(number, "/").json
        assert (seen["user"], seen["session"]) == (str(clef.clef_id("Bo")), {})
        assert seen["own"].keys() == {"login_id"}


@pytest.mark.services
def test_row_50_a_logout_at_another_process_during_the_exchange_wins(
    site: Processes, clef: LocalClef, wire: Wire
) -> None:
    """One process asks the provider for the login while the other one records the logout."""
    ann = Browser(wire)
    callback_url, token = ann.approve(clef, "Ann", 0), clef.logout_token("Ann")
    webhook = HTTPWire(site.ports)
    clef.answer("info", during=lambda: Browser(webhook).post(0, "/clef/webhook", logout_token=token))
    assert ann.come_back(callback_url, 1).status == 400
    webhook.close()
    assert everywhere(ann) == [None, None]


# -- a process that dies ------------------------------------------------------------------------------------


@pytest.mark.services
def test_a_logout_survives_the_death_of_the_process_that_took_it(site: Processes, clef: LocalClef, wire: Wire) -> None:
    """SIGKILL between the webhook's answer and the next request: out at the other process, and at its successor."""
    ann, bo = signed_in(wire, clef, "Ann"), signed_in(wire, clef, "Bo")
    copied = dict(ann.cookies)
    before = ann.get(0, "/").json["pid"]
    assert Browser(wire).post(0, "/clef/webhook", logout_token=clef.logout_token("Ann")).status == 200
    site.kill(0)
    wire.close()
    assert Browser(wire, copied).user(1) is None
    site.start(0)
    assert everywhere(Browser(wire, copied)) == [None, None]
    assert everywhere(bo) == [str(clef.clef_id("Bo"))] * 2
    assert bo.get(0, "/").json["pid"] != before
    signed_in(wire, clef, "Ann", start_at=0, finish_at=0)


# -- row 51: many threads, many people ----------------------------------------------------------------------


@dataclass(frozen=True)
class ClefParty:
    """The provider of these processes."""

    clef: LocalClef

    def approve(self, login_url: str, person: str) -> str:
        return self.clef.approve(login_url, person)

    def logout_token(self, person: str) -> str:
        return self.clef.logout_token(person)

    def user_id(self, person: str) -> str:
        return str(self.clef.clef_id(person))


@pytest.mark.services
def test_row_51_no_request_is_signed_in_after_an_acknowledged_logout(
    site: Processes, clef: LocalClef, record_property: Callable[[str, object], None]
) -> None:
    """A linearizable history: no stale, revived or wrongly ended login, with slow requests that write back late."""
    seed = int(os.environ.get("CLEF_SOAK_SEED", random.randrange(10**6)))
    crowd = Crowd(ClefParty(clef), lambda: HTTPWire(site.ports), places=len(site.ports), seed=seed)
    crowd.run(SOAK_THREADS, seconds=SOAK_SECONDS)
    told = f"seed {seed}, {SOAK_SECONDS} s: {crowd.story}"
    print(told)
    record_property("row 51", told)
    assert crowd.history.faults() == [], told
    assert crowd.odd == []
    assert crowd.missing == [], told
