"""Not a toy in one process: two waitress processes over one SQLite store and shared file sessions."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from cases import each
from kit_history import Check, History, Login, Logout
from kit_processes import PATIENCE_SECONDS, Answer, Browser, Processes, Wire

from clef_wsgi.testing import LocalClef

SOAK_SECONDS = float(os.environ.get("CLEF_SOAK_SECONDS", "1.5"))
SOAK_THREADS = 16
LEAVING = [f"Leaving{number}" for number in range(10)]
STAYING = [f"Staying{number}" for number in range(4)]
BOTH = (0, 1)
EXPECTED = ("logins", "logouts", "requests signed in", "requests signed out", "notices repeated")


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
    opened = Wire(site.ports)
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
def test_r9_one_notice_signs_out_all_browsers_at_all_processes(site: Processes, clef: LocalClef, wire: Wire) -> None:
    """R9: two browsers signed in, one hook: both are out at their next request, and their old cookies with them."""
    phone, desk, bo = (signed_in(wire, clef, person) for person in ("Ann", "Ann", "Bo"))
    copies = [Browser(wire, browser.cookies) for browser in (phone, desk)]
    assert any(delivery.confirmed for delivery in clef.log_out_everywhere("Ann"))
    for browser in (phone, desk, *copies):
        assert everywhere(browser) == [None, None]
    assert everywhere(bo) == [str(clef.clef_id("Bo"))] * 2


@pytest.mark.parametrize("hook_at", BOTH)
@pytest.mark.services
def test_r10_a_notice_sent_again_ends_no_newer_login(
    site: Processes, clef: LocalClef, wire: Wire, hook_at: int
) -> None:
    """R10: logged out, logged in again at once, the same notice again, to each process: the new login lives."""
    old = signed_in(wire, clef, "Ann")
    token = clef.notice_token("Ann")
    assert Browser(wire).post(hook_at, "/clef/webhook", logout_token=token).status == 200
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
    callback_url, token = ann.approve(clef, "Ann", 0), clef.notice_token("Ann")
    hook = Wire(site.ports)
    clef.answer("info", during=lambda: Browser(hook).post(0, "/clef/webhook", logout_token=token))
    assert ann.come_back(callback_url, 1).status == 400
    hook.close()
    assert everywhere(ann) == [None, None]


# -- a process that dies ------------------------------------------------------------------------------------


@pytest.mark.services
def test_a_logout_survives_the_death_of_the_process_that_took_it(site: Processes, clef: LocalClef, wire: Wire) -> None:
    """SIGKILL between the webhook's answer and the next request: out at the other process, and at its successor."""
    ann, bo = signed_in(wire, clef, "Ann"), signed_in(wire, clef, "Bo")
    copied = dict(ann.cookies)
    before = ann.get(0, "/").json["pid"]
    assert Browser(wire).post(0, "/clef/webhook", logout_token=clef.notice_token("Ann")).status == 200
    site.kill(0)
    wire.close()
    assert Browser(wire, copied).user(1) is None
    site.start(0)
    assert everywhere(Browser(wire, copied)) == [None, None]
    assert everywhere(bo) == [str(clef.clef_id("Bo"))] * 2
    assert bo.get(0, "/").json["pid"] != before
    signed_in(wire, clef, "Ann", start_at=0, finish_at=0)


# -- row 51: many threads, many people ----------------------------------------------------------------------


class Crowd:
    """What many threads do to the site, written down."""

    def __init__(self, site: Processes, clef: LocalClef, seed: int) -> None:
        self.history = History()
        self.counts: Counter[str] = Counter()
        self.odd: list[str] = []
        self.refused: list[Logout] = []
        """Logins that were refused, as a span of time in which their person must have logged out."""
        self._site, self._clef, self._seed = site, clef, seed
        self._numbers = count()
        self._known: list[tuple[Login, dict[str, str]]] = []

    def run(self, seconds: float, threads: int) -> None:
        ends = time.monotonic() + seconds
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(self._work, thread, ends) for thread in range(threads)]:
                done.result()

    @property
    def missing(self) -> list[str]:
        """What has not happened once: a slow machine gets more time for it."""
        return [name for name in EXPECTED if not self.counts[name]]

    def _work(self, thread: int, ends: float) -> None:
        luck = random.Random(self._seed * 1000 + thread)
        wire = Wire(self._site.ports)
        acts: list[Callable[[random.Random, Wire], None]] = [self._sign_in, self._log_out, self._sign_out, self._check]
        while time.monotonic() < ends or (self.missing and time.monotonic() < ends + PATIENCE_SECONDS):
            [act] = luck.choices(acts, [12, 8, 8, 72]) if self._known else [self._sign_in]
            act(luck, wire)
        wire.close()

    def _sign_in(self, luck: random.Random, wire: Wire) -> None:
        person, browser = luck.choice([*LEAVING, *STAYING]), Browser(wire)
        callback_url = browser.approve(self._clef, person, luck.choice(BOTH))
        began = time.monotonic()
        answer = browser.come_back(callback_url, luck.choice(BOTH))
        ended = time.monotonic()
        if answer.status == 303:
            login = Login(next(self._numbers), person, began, ended)
            self.history.logins.append(login)
            self._known.append((login, browser.cookies))
            self.counts["logins"] += 1
        else:
            self.refused.append(Logout(began, ended, user=person))
            self.counts[f"logins refused with {answer.status}"] += 1

    def _log_out(self, luck: random.Random, wire: Wire) -> None:
        person = luck.choice(LEAVING)
        token, first = self._clef.notice_token(person), luck.choice(BOTH)
        self._write_down(lambda: Browser(wire).post(first, "/clef/webhook", logout_token=token), 200, user=person)
        if luck.random() < 0.3:  # a repetition is no logout: it may end nothing that began since
            assert Browser(wire).post(1 - first, "/clef/webhook", logout_token=token).status == 200
            self.counts["notices repeated"] += 1

    def _sign_out(self, luck: random.Random, wire: Wire) -> None:
        """Signs out at one process while a slow request of the same login is under way at the other."""
        login, cookies = self._some_login(luck)
        if login.user in LEAVING:
            number, began = luck.choice(BOTH), time.monotonic()
            wire.send(1 - number, "/slow?late=yes", cookies)
            form = {"next": "/"}
            self._write_down(lambda: wire.ask(number, "/clef/logout", cookies, form), 303, login=login.number)
            self._saw(login, began, wire.receive(1 - number))
            self._check(luck, wire, of=(login, cookies))

    def _write_down(self, call: Callable[[], Any], status: int, **whose: Any) -> None:
        began = time.monotonic()
        answer = call()
        is_acknowledged = answer.status == status
        self.history.logouts.append(Logout(began, time.monotonic() if is_acknowledged else float("inf"), **whose))
        self.counts["logouts" if is_acknowledged else f"logouts refused with {answer.status}"] += 1

    def _check(self, luck: random.Random, wire: Wire, of: tuple[Login, dict[str, str]] | None = None) -> None:
        login, cookies = of or self._some_login(luck)
        path = "/slow?late=yes" if luck.random() < 0.25 else "/"
        began = time.monotonic()
        self._saw(login, began, wire.ask(luck.choice(BOTH), path, cookies))

    def _saw(self, login: Login, began: float, answer: Answer) -> None:
        user = answer.json["user"]
        self.history.checks.append(Check(login.number, began, time.monotonic(), user is not None))
        self.counts["requests signed in" if user else "requests signed out"] += 1
        if user not in (None, str(self._clef.clef_id(login.user))):
            self.odd.append(f"a cookie of {login.user} was served as {user}")

    def _some_login(self, luck: random.Random) -> tuple[Login, dict[str, str]]:
        """Mostly one of the last, which may still live; sometimes an old cookie."""
        return luck.choice(self._known[-6:] if luck.random() < 0.8 else self._known)


@pytest.mark.services
def test_row_51_no_request_is_signed_in_after_an_acknowledged_logout(
    site: Processes, clef: LocalClef, record_property: Callable[[str, object], None]
) -> None:
    """A linearizable history: no stale, revived or wrongly ended login, with slow requests that write back late."""
    seed = int(os.environ.get("CLEF_SOAK_SEED", random.randrange(10**6)))
    crowd = Crowd(site, clef, seed)
    crowd.run(SOAK_SECONDS, SOAK_THREADS)
    told = f"seed {seed}, {SOAK_SECONDS} s: " + ", ".join(f"{n} {name}" for name, n in sorted(crowd.counts.items()))
    print(told)
    record_property("row 51", told)
    assert list(crowd.history.faults()) == [], told
    assert crowd.odd == []
    logouts = crowd.history.logouts
    for refusal in crowd.refused:
        assert any(
            out.user == refusal.user and out.began < refusal.ended and out.ended > refusal.began for out in logouts
        ), f"refused for nothing: {refusal}"
    assert crowd.missing == [], told


# -- the judge itself ---------------------------------------------------------------------------------------

LOGIN = Login(1, "ann", 10, 11)
FOREVER = float("inf")


@each(
    ("logout", "check", "fault"),
    [
        (Logout(12, 13, user="ann"), Check(1, 13, 14, True), "stale"),
        (Logout(12, 13, login=1), Check(1, 14, 15, True), "stale"),
        (Logout(12, 13, user="ann"), Check(1, 12.9, 14, True), None),
        (Logout(12, FOREVER, user="ann"), Check(1, 14, 15, True), None),
        (Logout(10.5, 12, user="ann"), Check(1, 14, 15, True), None),
        (Logout(12, 13, user="bo"), Check(1, 14, 15, True), None),
        (Logout(12, 13, user="bo"), Check(1, 14, 15, False), "false sign-out"),
        (Logout(12, 13, login=2), Check(1, 14, 15, False), "false sign-out"),
        (Logout(8, 9, user="ann"), Check(1, 14, 15, False), "false sign-out"),
        (Logout(8, 10.5, user="ann"), Check(1, 14, 15, False), None),
        (Logout(16, 17, user="ann"), Check(1, 14, 15, False), "false sign-out"),
        (Logout(14.5, FOREVER, user="ann"), Check(1, 14, 15, False), None),
    ],
)
def test_the_judge_finds_what_no_order_explains(logout: Logout, check: Check, fault: str | None) -> None:
    """One login, one logout, one request: what may be, and what may not."""
    faults = list(History([LOGIN], [logout], [check]).faults())
    assert [text.partition(":")[0] for text in faults] == ([] if fault is None else [fault])


def test_the_judge_finds_what_came_back_to_life() -> None:
    """Overlapping with the login, a logout may end it or not; but not first the one, then the other."""
    logout = Logout(10.5, 12, user="ann")
    checks = [Check(1, 14, 15, True), Check(1, 12, 13, False), Check(1, 12.5, 13.5, True)]
    assert [text.partition(":")[0] for text in History([LOGIN], [logout], checks).faults()] == ["revived"]
