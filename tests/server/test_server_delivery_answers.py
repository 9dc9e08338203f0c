"""Confirmation of a delivery: a 2xx or 3xx answer and a token exchange in the same call (rows 87 to 89).

And what is no attempt at all: a site that is busy, a try out of turn (row 90).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert
from support.delivery import QUICK, eventually, log_out, working
from support.login_server import NOON, Server, Site, make_server
from support.on_both import ON_BOTH, empty_database

from clef_wsgi.server.clock import DAY, MINUTE, SECOND
from clef_wsgi.server.database.schema import deliveries, site_logins
from clef_wsgi.server.delivery.call import AttemptResult
from clef_wsgi.server.delivery.worker import Worker
from clef_wsgi.server.records import apps, clef_ids, confirmations, logouts, outbox, people, sessions
from clef_wsgi.server.web.support.context import KEY

BUSY = AttemptResult(503, "http_503", "1")
ONCE = 3 * QUICK.poll_seconds
"""Time for a worker to do what it must not do."""


@pytest.fixture(scope="module", params=ON_BOTH)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with empty_database(request.param, tmp_path_factory.mktemp("server")) as where:
        yield where


@pytest.fixture(scope="module")
def shared(place: str) -> Iterator[Server]:
    server = make_server(place)
    yield server
    server.close()


@pytest.fixture
def server(shared: Server) -> Server:
    shared.clear()
    return shared


class Told:
    """A site of which Ann has logged out, call by call: ``says`` is how it handles the next notification."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.site = server.add_site("Photos")
        self.other = server.add_site("Wiki")
        self.person = server.add_person("Ann")
        self.browser = server.browser(signed_in=self.person)
        server.log_in(self.site, self.browser)
        self.tokens: list[str] = []
        self.says: Callable[[], AttemptResult] = lambda: AttemptResult(200)
        log_out(self.browser)

    def call(self, url: str, token: str, **_: Any) -> AttemptResult:
        self.tokens.append(token)
        return self.says()

    def asks(self, site: Site | None = None, **form: str) -> int:
        """The site asks who logged out, with the latest token; the status of the answer."""
        fields = {**(site or self.site).credentials, "logout_token": self.tokens[-1], **form}
        answer = self.server.browser().post("/api/v1/logout", fields)
        assert answer.status_int != 200 or answer.json["clef_id"] == self.row.clef_id
        return int(answer.status_int)

    def asks_and(self, outcome: AttemptResult) -> Callable[[], AttemptResult]:
        def says() -> AttemptResult:
            assert self.asks() == 200
            return outcome

        return says

    @property
    def row(self) -> Any:
        (row,) = self.server.rows(deliveries)
        return row

    def line(self) -> tuple[str, str]:
        """Return the line that Ann reads at the receipts."""
        (line,) = self.browser.get("/receipts/states").json["lines"]
        return line["words"], line["why"]

    @contextmanager
    def delivery(self) -> Iterator[Worker]:
        with working(self.server, call=self.call) as worker:
            yield worker

    def until(self, calls: int, **values: Any) -> None:
        """So many calls have been made, and the row is as it is said."""

        def holds() -> bool:
            row = self.row
            found = {name: getattr(row, name) for name in values}
            return row.calls == calls == len(self.tokens) and row.claimed_until is None and found == values

        eventually(holds, f"{calls} calls and {values}")

    def after(self, seconds: float, calls: int, **values: Any) -> None:
        self.server.clock.advance(seconds)
        self.until(calls, **values)


@pytest.fixture
def told(server: Server) -> Told:
    return Told(server)


# --- rows 87 to 89


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 204, 302])
def test_row_87_an_answer_without_an_exchange_confirms_nothing(told: Told, status: int) -> None:
    """Row 87: ten seconds to ask, without a retry; then a failure of its own, on the usual schedule."""
    told.says = lambda: AttemptResult(status)
    with told.delivery():
        told.until(1, state="pending", status=status, failure=None, attempts=1)
        assert told.line() == ("answered; waiting for it to ask whom to log out", "")
        told.server.clock.advance(9.9)
        threading.Event().wait(ONCE)
        told.until(1, failure=None)
        told.after(0.1, 1, failure="not_asked", next_at=NOON + 11 * SECOND)
        assert told.line() == ("trying again in 1 s", "answered, but did not ask whom to log out")
        told.after(1, 2, failure="not_asked", attempts=2)  # sent again, waits again
        assert told.row.waits_until == NOON + 21 * SECOND
        told.after(10, 2, failure="not_asked", next_at=NOON + 26 * SECOND, waits_until=None)
    assert told.tokens[0] == told.tokens[1]
    assert told.browser.get("/receipts").html.h1.text == "Your sites are being told"


def test_row_87_each_call_is_asked_about_anew(told: Told) -> None:
    """Row 87: asked in call 1 and answered 503, answered 200 in call 2 and not asked: not confirmed."""
    told.says = told.asks_and(AttemptResult(503, "http_503"))
    with told.delivery():
        told.until(1, failure="http_503", attempts=1)
        told.says = lambda: AttemptResult(200)
        told.after(1, 2, state="pending", status=200)
        told.after(10, 2, state="pending", failure="not_asked")
        told.says = told.asks_and(AttemptResult(200))
        told.after(5, 3, state="confirmed", failure=None, token=None)


def test_row_87_given_up_at_last(told: Told) -> None:
    """Row 87: after three days a person reads why, and what to do."""
    with told.delivery():
        told.until(1, status=200)
        told.after(3 * DAY / SECOND, 1, state="given_up", failure="not_asked")
    told.server.clock.now = NOON + MINUTE  # the page lasts an hour
    assert told.line() == ("given up: log out there yourself", "answered, but did not ask whom to log out")
    told.browser.web.extra_environ["HTTP_ACCEPT_LANGUAGE"] = "de"
    assert told.line()[1] == "hat geantwortet, aber nicht gefragt, wen sie abmelden soll"


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 201, 204, 302, 303, 307])
def test_row_88_asked_and_answered(told: Told, status: int) -> None:
    """Row 88: any 2xx or 3xx after the exchange, a redirect to the front page among them."""
    told.says = told.asks_and(AttemptResult(status))
    with told.delivery():
        told.until(1, state="confirmed", status=status, failure=None, token=None)
    assert told.line()[0].startswith("confirmed in ")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 5, 9.9])
def test_row_89_answered_first_and_asked_later(told: Told, seconds: float) -> None:
    """Row 89: confirmed at once when it asks, by whichever process; and it can ask again for ten minutes."""
    with told.delivery():
        told.until(1, status=200)
        told.server.clock.advance(seconds)
        assert told.asks() == 200
        assert (told.row.state, told.row.done_at) == ("confirmed", told.server.clock())
        assert told.line() == ("confirmed in 0 s" if seconds == 0 else told.line()[0], "")
        threading.Event().wait(ONCE)
    assert len(told.tokens) == 1
    told.server.clock.advance(599)
    assert told.asks() == 200
    told.server.clock.advance(1)
    assert told.asks() == 400


def test_row_89_asked_after_it_counted_as_a_failure(told: Told) -> None:
    """Row 89: while the token reads, an exchange confirms at once: nothing is sent any more."""
    with told.delivery():
        told.until(1, status=200)
        told.after(10, 1, failure="not_asked")
        assert told.asks() == 200
        assert (told.row.state, told.row.failure) == ("confirmed", None)
        told.server.clock.advance(DAY / SECOND)
        threading.Event().wait(ONCE)
        assert len(told.tokens) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "state"),
    [
        (AttemptResult(200), "confirmed"),
        (AttemptResult(302), "confirmed"),
        (AttemptResult(500, "http_500"), "given_up"),
    ],
)
def test_row_89_a_row_that_was_given_up(told: Told, last: AttemptResult, state: str) -> None:
    """An exchange in the ten minutes after that confirms only what was answered 2xx or 3xx at the last call."""
    with told.delivery():
        told.until(1, status=200)
        told.says = lambda: last
        told.after(11, 1, failure="not_asked")
        told.server.clock.now = told.row.next_at
        told.until(2, status=last.status)
        told.after(3 * DAY / SECOND, 2 + (not last.is_answered), state="given_up")
        told.server.clock.advance(599)
        assert told.asks() == 200
        assert told.row.state == state


@pytest.mark.parametrize("failure", [AttemptResult(500, "http_500"), AttemptResult(failure="timeout")])
def test_an_exchange_alone_confirms_nothing(told: Told, failure: AttemptResult) -> None:
    """Neither during the call nor after it: a site that failed may have failed to obey."""
    told.says = told.asks_and(failure)
    with told.delivery():
        told.until(1, failure=failure.failure)
        assert told.asks() == 200
        assert told.row.state == "pending"
        told.says = told.asks_and(AttemptResult(200))
        told.after(1, 2, state="confirmed")


def test_an_exchange_during_a_later_call_waits_for_its_answer(told: Told) -> None:
    """Answered 200 at call 1 without asking; asked during call 2, which fails: not confirmed."""
    with told.delivery():
        told.until(1, status=200)
        told.says = told.asks_and(AttemptResult(500, "http_500"))
        told.after(10, 1, failure="not_asked")
        told.after(1, 2, state="pending", failure="http_500")


def test_only_this_app_and_this_token(told: Told) -> None:
    """Another app, a wrong secret, another token: 4xx, and nothing is confirmed."""
    with told.delivery():
        told.until(1, status=200)
        assert told.asks(told.other) == 400
        assert told.asks(app_secret="wrong") == 403
        assert told.asks(logout_token=told.tokens[0] + "x") == told.asks(logout_token="") == 400
        assert told.asks(logout_token=told.tokens[0].partition(".")[0]) == 400
        assert told.row.state == "pending"


@pytest.mark.slow
def test_whoever_is_second_confirms(server: Server) -> None:
    """The answer and the exchange at the same moment, by different processes: of fifty none is left waiting."""
    site, now = server.add_site(), server.clock()
    with server.database.writing() as connection:
        for _ in range(50):
            person = people.add(connection, now=now)
            token = sessions.start(connection, person_id=person.id, passkey_id=None, now=now)
            session = sessions.find(connection, token, now=now)
            clef_ids.clef_id(connection, site.app_id, person.id)
            login = {"session_id": session.id, "person_id": person.id, "app_id": site.app_id, "created_at": now}
            connection.execute(insert(site_logins).values(login))
            logouts.log_out_everywhere(connection, person.id, now=now)
        claimed = outbox.claim(connection, app_id=site.app_id, worker="w", now=now, lease_us=MINUTE, limit=50)
    meet = threading.Barrier(2)

    def answer() -> None:
        for notification in claimed:
            meet.wait(20)
            with server.database.writing() as connection:
                confirmations.record_answer(connection, notification, status=200, now=now)

    def ask() -> None:
        for notification in claimed:
            meet.wait(20)
            confirmations.exchange(server.database, site.app_id, notification.token, now=now)

    threads = [threading.Thread(target=each) for each in (answer, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert server.count(deliveries, deliveries.c.state == "confirmed") == len(claimed) == 50


def test_junk_waits_for_no_writer(told: Told) -> None:
    """An exchange of an unknown token is refused without a place among those who write."""
    told.tokens.append("nothing")
    if told.server.database.dialect == "sqlite":
        with told.server.database.writing():
            assert told.asks() == 400


def test_the_outcomes_are_counted(told: Told) -> None:
    """One word for each call; a late exchange counts where it was served."""
    seen: list[str] = []
    before = confirmed(told.server)
    told.says = lambda: BUSY
    with working(told.server, call=told.call, observe=lambda what, _: seen.append(what)):
        told.until(1, attempts=0)
        told.says = lambda: AttemptResult(200)
        told.after(1.5, 2, status=200)
        told.after(10, 2, failure="not_asked")
        eventually(lambda: seen == ["busy", "failed"])
        assert told.asks() == 200
    assert confirmed(told.server) == before + 1


def confirmed(server: Server) -> float:
    found = re.search(
        r'deliveries_total\{outcome="confirmed"\} (\S+)', server.app.extensions[KEY].metrics.text().decode()
    )
    return float(found[1]) if found else 0.0


# --- signed tokens


def test_a_token_is_signed_for_each_living_secret(server: Server) -> None:
    """BODY.SIG.SIG: base64url of HMAC-SHA256 over BODY, keyed by the SHA-256 of each secret, the newest first."""
    site = server.add_site()
    assert signers(server, site) == [site.secret]
    with server.database.writing() as connection:
        newest = apps.rotate_secret(connection, site.app_id, now=server.clock())
    assert signers(server, site, newest) == [newest, site.secret]
    with server.database.writing() as connection:
        apps.end_rotation(connection, site.app_id)
    site = replace(site, secret=newest)
    assert signers(server, site) == [newest]


def signers(server: Server, site: Site, *more: str) -> list[str]:
    """Whose signatures the token of a new logout bears, of these secrets."""
    browser = server.browser(signed_in=server.add_person())
    server.log_in(site, browser)
    log_out(browser)
    body, *found = server.rows(deliveries)[-1].token.split(".")
    assert re.fullmatch(r"[\w-]{43}", body)
    known = {signature(body, secret): secret for secret in (site.secret, *more)}
    return [known[each] for each in found]


def signature(body: str, secret: str) -> str:
    found = hmac.new(hashlib.sha256(secret.encode()).digest(), body.encode("ascii"), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()


# --- busy


@pytest.mark.slow
@pytest.mark.parametrize("wish", ["1", "0", "2", " 2 ", "01"])
def test_a_site_that_is_busy(told: Told, wish: str) -> None:
    """503 with at most two seconds: no attempt, no trouble; again after a second, and not all at once."""
    told.says = lambda: AttemptResult(503, "http_503", wish)
    with told.delivery() as worker:
        told.until(1, attempts=0, failure=None, state="pending")
        assert NOON + SECOND <= told.row.next_at <= NOON + 1.5 * SECOND
        assert told.line() == ("is being told", "")
        assert worker._slots.failing == set()
        told.server.clock.advance(0.999)
        threading.Event().wait(ONCE)
        told.until(1)
        told.says = told.asks_and(AttemptResult(200))
        told.after(0.5, 2, state="confirmed", attempts=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "outcome",
    [
        AttemptResult(503, "http_503", wish)
        for wish in (None, "", "3", "120", "-1", "1.5", "soon", "\N{SUPERSCRIPT TWO}")
    ]
    + [AttemptResult(status, f"http_{status}", "1") for status in (500, 429, 502)],
)
def test_what_is_not_busy(told: Told, outcome: AttemptResult) -> None:
    """A longer wish, none, or another status: an attempt that failed."""
    told.says = lambda: outcome
    with told.delivery():
        told.until(1, attempts=1, failure=outcome.failure)


def test_an_exchange_before_a_busy_answer_counts_for_nothing(told: Told) -> None:
    """The site said that it has not done it."""
    told.says = told.asks_and(BUSY)
    with told.delivery():
        told.until(1, attempts=0)
        told.says = lambda: AttemptResult(200)
        told.after(1.5, 2, status=200, state="pending")


def test_a_site_that_is_busy_for_three_days(told: Told) -> None:
    """It is given up like any other."""
    told.says = lambda: BUSY
    with told.delivery():
        told.until(1, attempts=0)
        told.after(3 * DAY / SECOND, 2, state="given_up", failure="http_503")


def test_a_later_logout_does_not_join_a_notification_that_was_sent(told: Told) -> None:
    """The site was busy, but it has seen the token: a newer logout has one of its own."""
    told.says = lambda: BUSY
    with told.delivery():
        told.until(1, attempts=0)
    browser = told.server.browser(signed_in=told.person)
    told.server.log_in(told.site, browser)
    log_out(browser)
    assert told.server.count(deliveries) == 2


# --- out of turn


def expedite(told: Told) -> None:
    with told.server.database.writing() as connection:
        outbox.expedite(connection, told.person.id, told.site.app_id, now=told.server.clock())


def test_row_90_tries_out_of_turn_change_nothing(told: Told) -> None:
    """Row 90: twelve of them while the site is down: the next automatic try is where it would have been."""
    told.says = lambda: AttemptResult(failure="connection")
    with told.delivery() as worker:
        for number, seconds in enumerate((0, 1, 5), 1):
            told.after(seconds, number, attempts=number)
        due = told.row.next_at
        assert due == told.server.clock() + 15 * SECOND
        for number in range(12):
            expedite(told)
            worker.wake()
            told.until(4 + number, attempts=3, next_at=due, expedited_at=None)
        told.server.clock.now = due
        told.until(16, attempts=4, next_at=due + 60 * SECOND)


def test_row_90_a_try_out_of_turn_that_is_not_asked_about(told: Told) -> None:
    """It waits its ten seconds, in which pressing again sends nothing; then its failure changes no date either."""
    told.says = lambda: AttemptResult(500, "http_500")
    with told.delivery() as worker:
        for number, seconds in enumerate((0, 1, 5, 15), 1):
            told.after(seconds, number, attempts=number)
        due = told.row.next_at
        told.says = lambda: AttemptResult(200)
        expedite(told)
        worker.wake()
        told.until(5, status=200, next_at=due)
        expedite(told)
        worker.wake()
        threading.Event().wait(ONCE)
        told.until(5, expedited_at=None)
        told.after(10, 5, failure="not_asked", attempts=4, next_at=due)
        expedite(told)
        told.says = told.asks_and(AttemptResult(200))
        worker.wake()
        told.until(6, state="confirmed")


def test_what_waits_for_its_turn_is_not_hurried(told: Told) -> None:
    """One that is due, or on its way, needs no expedite; nor one that is hurried already."""
    with told.server.database.writing() as connection:
        which = (told.person.id, told.site.app_id)
        assert not outbox.can_expedite(connection, *which, now=NOON)
        app_id = told.site.app_id
        (notification,) = outbox.claim(connection, app_id=app_id, worker="w", now=NOON, lease_us=MINUTE, limit=1)
        assert not outbox.can_expedite(connection, *which, now=NOON)
        confirmations.record_failure(
            connection, notification, failure="timeout", status=None, next_at=NOON + MINUTE, now=NOON
        )
        assert outbox.can_expedite(connection, *which, now=NOON)
        outbox.expedite(connection, *which, now=NOON)
        assert not outbox.can_expedite(connection, *which, now=NOON)
