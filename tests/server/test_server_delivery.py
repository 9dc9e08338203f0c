"""The outbox and its worker: leases, retries, giving up, one queue for each site; and who else logs people out."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select
from support.delivery import PATIENCE_SECONDS, QUICK, RealClock, eventually, working
from support.login_server import WEBHOOK, Server, Site, make_server, postgresql, sent_back_to
from support.passkeys import Visitor, enrolled

from clef_wsgi.base.deadline import AFTERWARDS_SECONDS
from clef_wsgi.server.clock import DAY, HOUR, SECOND
from clef_wsgi.server.commands import restoring
from clef_wsgi.server.database import engine
from clef_wsgi.server.database.schema import audit, deliveries, sessions, site_logins
from clef_wsgi.server.delivery import outcomes
from clef_wsgi.server.delivery.call import AttemptResult
from clef_wsgi.server.delivery.slots import Pace
from clef_wsgi.server.delivery.worker import Worker
from clef_wsgi.server.errors import DatabaseUnavailable, InvalidLogoutToken
from clef_wsgi.server.records import confirmations, deactivation, logouts, outbox, people
from clef_wsgi.server.records.outbox import Notification
from clef_wsgi.server.records.people import Person
from clef_wsgi.server.web.support.context import KEY

LEASE = 30 * SECOND
HEARD = AttemptResult(200)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = make_server(tmp_path_factory.mktemp("shared") / "clef.db")
    yield server
    server.close()


@pytest.fixture(scope="module")
def on_postgresql() -> Iterator[Server]:
    with postgresql() as url:
        server = make_server(url)
        yield server
        server.close()


@pytest.fixture(params=["on_sqlite", pytest.param("on_postgresql", marks=pytest.mark.services)])
def server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    server.clear()
    return server


@pytest.fixture
def lite(on_sqlite: Server) -> Server:
    """For what does not depend on the database."""
    on_sqlite.clear()
    return on_sqlite


def logged_in(server: Server, *sites: Site, person: Person | None = None) -> Person:
    """Somebody who is logged in at sites."""
    person = person or server.add_person()
    browser = server.browser(signed_in=person)
    for site in sites:
        server.log_in(site, browser)
    return person


def log_out(server: Server, person: Person) -> None:
    with server.database.writing() as connection:
        logouts.log_out_everywhere(connection, person.id, now=server.clock())


def logged_out(server: Server, *sites: Site) -> Person:
    person = logged_in(server, *sites)
    log_out(server, person)
    return person


def claim(server: Server, site: Site, worker: str = "a", limit: int = 9) -> list[Notification]:
    with server.database.writing() as connection:
        now = server.clock()
        return outbox.claim(connection, app_id=site.app_id, worker=worker, now=now, lease_us=LEASE, limit=limit)


def fail(server: Server, notification: Notification, *, next_at: int | None) -> bool:
    now = server.clock()
    with server.database.writing() as connection:
        return confirmations.record_failure(
            connection, notification, failure="http_500", status=500, next_at=next_at, now=now
        )


def answer(server: Server, notification: Notification) -> str | None:
    """The site answers; what became of the row, if that is news."""
    with server.database.writing() as connection:
        return confirmations.record_answer(connection, notification, status=204, now=server.clock())


def reads(server: Server, site: Site, token: str) -> bool:
    """The site asks who logged out; whether the token still works."""
    try:
        return confirmations.exchange(server.database, site.app_id, token, now=server.clock()).clef_id > 0
    except InvalidLogoutToken:
        return False


def confirm(server: Server, site: Site, notification: Notification) -> bool:
    """The site asks, then answers."""
    return reads(server, site, notification.token) and answer(server, notification) == "confirmed"


def only(server: Server) -> Any:
    (row,) = server.rows(deliveries)
    return row


# --- the journal


def journal(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of sites, without their ids."""
    found = [record.getMessage() for record in caplog.records if record.getMessage().startswith("the site ")]
    caplog.clear()
    return [re.sub(r" \([0-9a-f]{32}\)", "", line) for line in found]


def saved(server: Server, notification: Notification, result: AttemptResult) -> None:
    """What the worker does with the end of a call."""
    with server.database.writing() as connection:
        event = outcomes.save(connection, notification, result, now=server.clock(), wait_us=10 * SECOND)
    if event is not None:
        event.log()


def test_a_site_that_fails_and_recovers_is_logged_once_each(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """However many notifications fail meanwhile; it recovers with the last one that it had missed."""
    caplog.set_level(logging.INFO, "clef_wsgi.server")
    site = server.add_site("Photos")
    for _ in range(3):
        logged_out(server, site)
    for _ in range(2):
        for notification in claim(server, site):
            saved(server, notification, AttemptResult(failure="timeout"))
        server.clock.advance(60)
    assert journal(caplog) == ["the site Photos began to fail: It did not answer in time."]
    first, second, third = claim(server, site)
    for notification in (first, second):
        assert reads(server, site, notification.token)
        saved(server, notification, AttemptResult(status=204))
    assert journal(caplog) == []
    saved(server, third, AttemptResult(status=204))
    form = {"logout_token": third.token, **site.credentials}  # the site asks after its answer
    assert server.browser().post("/api/v1/logout", form).status_int == 200
    assert journal(caplog) == ["the site Photos recovered: it has confirmed what it had missed"]
    logged_out(server, site)
    (notification,) = claim(server, site)
    saved(server, notification, AttemptResult(status=500, failure="http_500"))
    assert journal(caplog) == ["the site Photos began to fail: It answered with status 500."]
    server.clock.advance(60)
    (notification,) = claim(server, site)
    assert reads(server, site, notification.token)
    saved(server, notification, AttemptResult(status=204))
    assert journal(caplog) == ["the site Photos recovered: it has confirmed what it had missed"]


def test_a_healthy_site_is_not_in_the_journal(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is one whose neighbour fails."""
    caplog.set_level(logging.INFO, "clef_wsgi.server")
    well, down = server.add_site("Well"), server.add_site("Down")
    logged_out(server, well, down)
    (notification,) = claim(server, down)
    saved(server, notification, AttemptResult(failure="connection"))
    (notification,) = claim(server, well)
    assert reads(server, well, notification.token)
    saved(server, notification, AttemptResult(status=204))
    assert journal(caplog) == ["the site Down began to fail: It can't be reached."]


# --- leases


def test_a_row_is_claimed_by_one_while_its_lease_lasts(server: Server) -> None:
    """Then by whoever comes; the first one's failure counts no more, but what it confirms is confirmed."""
    site = server.add_site()
    logged_out(server, site)
    (first,) = claim(server, site, "a")
    assert claim(server, site, "b") == []
    server.clock.advance(LEASE / SECOND - 0.001)
    assert claim(server, site, "b") == []
    server.clock.advance(0.001)
    (second,) = claim(server, site, "b")
    assert (first.token, first.attempts, second.attempts) == (second.token, 1, 2)
    assert not fail(server, first, next_at=None)
    assert only(server).claimed_by == "b"
    assert confirm(server, site, first)
    assert not confirm(server, site, second)
    assert not fail(server, second, next_at=None)
    assert (only(server).state, only(server).token, only(server).claimed_by) == ("confirmed", None, None)


def test_a_lease_that_ran_out_is_over_for_the_same_worker_too(lite: Server) -> None:
    """It claimed the row once more: how the older call failed says nothing of the newer one."""
    site = lite.add_site()
    logged_out(lite, site)
    (first,) = claim(lite, site, "a")
    lite.clock.advance(LEASE / SECOND)
    (second,) = claim(lite, site, "a")
    assert not fail(lite, first, next_at=None)
    assert (only(lite).state, only(lite).claimed_by) == ("pending", "a")
    assert fail(lite, second, next_at=None)


@pytest.mark.slow
def test_two_who_claim_at_once_share_the_rows(server: Server) -> None:
    """Eight threads, sixteen rows: each row goes to one of them, and none is left."""
    site = server.add_site()
    for _ in range(16):
        logged_out(server, site)
    claimed: list[int] = []
    barrier = threading.Barrier(8)

    def take(name: str) -> None:
        barrier.wait()
        while found := claim(server, site, name, limit=3):
            claimed.extend(notification.id for notification in found)

    threads = [threading.Thread(target=take, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(claimed) == [row.id for row in server.rows(deliveries)]


def test_a_failure_waits_for_its_time_with_the_same_token(server: Server) -> None:
    """The token works until the row is confirmed, and ten minutes longer: some sites ask in a job of their own."""
    site = server.add_site()
    logged_out(server, site)
    (first,) = claim(server, site)
    assert fail(server, first, next_at=server.clock() + 5 * SECOND)
    assert (only(server).failure, only(server).status) == ("http_500", 500)
    assert claim(server, site) == []
    server.clock.advance(5)
    (second,) = claim(server, site)
    assert second.token == first.token
    assert reads(server, site, first.token)
    assert confirm(server, site, second)
    done_at = server.clock()
    server.clock.advance(599)
    assert reads(server, site, first.token)
    server.clock.advance(1)
    assert not reads(server, site, first.token)
    assert (only(server).failure, only(server).done_at) == (None, done_at)


def test_what_was_given_up_stays_and_can_be_sent_again(server: Server) -> None:
    """Its token works ten minutes longer, and again once it is sent; it gets three more days."""
    site = server.add_site()
    logged_out(server, site)
    (first,) = claim(server, site)
    fail(server, first, next_at=None)
    assert (only(server).state, only(server).done_at) == ("given_up", server.clock())
    assert reads(server, site, first.token)
    server.clock.advance(600)
    assert (claim(server, site), reads(server, site, first.token)) == ([], False)
    assert only(server).state == "given_up"
    with server.database.writing() as connection:
        assert outbox.retry(connection, now=server.clock()) == 1
    assert reads(server, site, first.token)
    (again,) = claim(server, site)
    assert (again.token, again.attempts, again.first_tried_at) == (first.token, 2, server.clock())


def test_logouts_join_rows_that_nobody_claimed_and_no_others(server: Server) -> None:
    """One that was claimed may be known to the site, even if whoever claimed it is gone."""
    site = server.add_site()
    person = logged_out(server, site)
    log_out(server, logged_in(server, site, person=person))
    assert len(server.rows(deliveries)) == 1
    claim(server, site)
    for advance in (0, LEASE / SECOND + 1):
        server.clock.advance(advance)
        log_out(server, logged_in(server, site, person=person))
    assert len(server.rows(deliveries)) == 2


def test_a_restored_database_is_not_confirmed_by_an_older_call(server: Server) -> None:
    """The number of a row is not enough: its token has to be the one that was sent."""
    site = server.add_site()
    logged_out(server, site)
    (notification,) = claim(server, site)
    assert reads(server, site, notification.token)
    assert answer(server, replace(notification, token="another")) is None
    assert only(server).state == "pending"


# --- the worker


class FakeSites:
    """Takes the place of all calls: what each site says, and what it was sent. One that answers 2xx asked before."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.says: dict[str, Callable[[], AttemptResult]] = {}
        self.app_ids: dict[str, str] = {}
        self.heard: list[tuple[str, str]] = []
        self.busy = 0
        self.busiest = 0
        self._lock = threading.Lock()

    def add(self, name: str, says: Callable[[], AttemptResult] = lambda: HEARD) -> Site:
        url = f"https://{name}.example.com/hook"
        self.says[url] = says
        site = self._server.add_site(name, callback=f"https://{name}.example.com/cb", webhooks=[url])
        self.app_ids[url] = site.app_id
        return site

    def call(self, url: str, token: str, **options: Any) -> AttemptResult:
        with self._lock:
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
        try:
            outcome = self.says[url]()
            if outcome == HEARD:
                confirmations.exchange(self._server.database, self.app_ids[url], token, now=self._server.clock())
            return outcome
        finally:
            with self._lock:
                self.busy -= 1
                self.heard.append((url, token))


@pytest.mark.slow
def test_row_65_sites_that_hang_take_no_room_from_others(server: Server) -> None:
    """Row 65: more hanging sites than concurrent calls, each with many rows: a healthy site is still notified."""
    fake, held = FakeSites(server), threading.Event()

    def hang() -> AttemptResult:
        held.wait(PATIENCE_SECONDS)
        return AttemptResult(failure="timeout")

    sick = [fake.add(f"sick{number}", lambda: AttemptResult(500, "http_500")) for number in range(6)]
    well = fake.add("well")
    pace = replace(QUICK, calls=8, calls_in_trouble=4)
    with working(server, pace=pace, call=fake.call) as worker:
        logged_out(server, *sick)
        worker.wake()
        eventually(lambda: len(fake.heard) >= 6)  # now each is known to be in trouble
        for url in fake.says:
            fake.says[url] = hang if "sick" in url else fake.says[url]
        for _ in range(3):
            logged_out(server, *sick, well)
        worker.wake()
        ours = deliveries.c.app_id == well.app_id
        eventually(lambda: server.count(deliveries, ours, deliveries.c.state == "confirmed") == 3)
        assert fake.busy <= pace.calls_in_trouble
        held.set()


@pytest.mark.slow
def test_a_site_that_answers_is_told_two_at_once(server: Server) -> None:
    """Two and no more, by two workers together; before it has answered one, each worker sends one."""
    fake, go_on = FakeSites(server), threading.Event()

    def hold() -> AttemptResult:
        go_on.wait(PATIENCE_SECONDS)
        return HEARD

    site = fake.add("well")
    with working(server, call=fake.call) as worker, working(server, call=fake.call) as other:
        for each in (worker, other):  # each knows the site from now on
            with working_alone(each, worker, other):
                logged_out(server, site)
                each.wake()
                eventually(lambda: server.count(deliveries, deliveries.c.state == "pending") == 0)
        fake.says["https://well.example.com/hook"], fake.busiest = hold, 0
        for _ in range(8):
            logged_out(server, site)
        for each in (worker, other, worker, other):
            each.wake()
            threading.Event().wait(3 * QUICK.poll_seconds)  # time to take more, if they would
        assert (fake.busy, fake.busiest) == (2, 2)
        go_on.set()
        eventually(lambda: server.count(deliveries, deliveries.c.state == "confirmed") == 10)
    assert fake.busiest == 2


@contextmanager
def working_alone(one: Worker, *all_of_them: Worker) -> Iterator[None]:
    """The others rest meanwhile."""
    others = [each for each in all_of_them if each is not one]
    for each in others:
        each.stop(PATIENCE_SECONDS)
    yield
    for each in others:
        each.start()


def test_a_site_that_has_answered_nothing_yet_is_sent_one(lite: Server) -> None:
    """It may be dead, and hold what it is given for as long as a call takes."""
    fake, go_on = FakeSites(lite), threading.Event()

    def hold() -> AttemptResult:
        go_on.wait(PATIENCE_SECONDS)
        return HEARD

    site = fake.add("new", hold)
    for _ in range(3):
        logged_out(lite, site)
    with working(lite, call=fake.call):
        eventually(lambda: fake.busy)
        threading.Event().wait(3 * QUICK.poll_seconds)
        assert fake.busiest == 1
        go_on.set()
        eventually(lambda: lite.count(deliveries, deliveries.c.state == "confirmed") == 3)


def test_what_a_killed_process_sent_holds_no_place_for_longer_than_a_call(server: Server) -> None:
    """Its rows wait for the end of the lease; others of that site need not."""
    site = server.add_site()
    for _ in range(3):
        logged_out(server, site)
    assert len(claim(server, site, limit=2)) == 2

    def free() -> int:
        with server.database.writing() as connection:
            now = server.clock()
            return outbox.free_calls(connection, site.app_id, at_most=2, call_us=10 * SECOND, now=now)

    assert free() == 0
    server.clock.advance(10)
    assert (free(), len(claim(server, site))) == (2, 1)


@pytest.mark.services
def test_whoever_claims_waits_for_nobody(on_postgresql: Server) -> None:
    """While another transaction holds rows, or counts the calls of a site, nothing is claimed, and at once."""
    on_postgresql.clear()
    site = on_postgresql.add_site()
    logged_out(on_postgresql, site)
    logged_out(on_postgresql, site)
    took: list[float] = []
    with on_postgresql.database.writing() as holding:
        first = select(deliveries).order_by(deliveries.c.id).limit(1).with_for_update()
        held = holding.execute(first).one()
        began = time.monotonic()
        assert [notification.id for notification in claim(on_postgresql, site)] == [held.id + 1]
        took.append(time.monotonic() - began)
        now = on_postgresql.clock()

        def free(connection: Connection) -> int:
            return outbox.free_calls(connection, site.app_id, at_most=2, call_us=SECOND, now=now)

        assert free(holding) == 1
        with on_postgresql.database.writing() as other:
            began = time.monotonic()
            assert free(other) == 0
            took.append(time.monotonic() - began)
    assert max(took) < engine.BUSY_SECONDS / 2


def test_the_lease_outlasts_the_call() -> None:
    """Else a second process would send what the first one still sends."""
    pace = Pace()
    assert pace.lease_seconds >= pace.call_seconds + AFTERWARDS_SECONDS + engine.BUSY_SECONDS


@pytest.mark.slow
def test_a_try_that_failed_is_made_again_when_it_is_due(tmp_path: Path) -> None:
    """A second after the first one, however seldom the worker looks: what has ended is written down before it rests."""
    server = make_server(tmp_path / "clef.db", clock=RealClock())
    fake, times = FakeSites(server), list[float]()

    def say() -> AttemptResult:
        times.append(time.monotonic())
        return HEARD if len(times) > 1 else AttemptResult(500, "http_500")

    logged_out(server, fake.add("sick", say))
    with closing(server), working(server, pace=replace(QUICK, poll_seconds=PATIENCE_SECONDS), call=fake.call):
        eventually(lambda: len(times) == 2)
    assert 1 <= times[1] - times[0] < PATIENCE_SECONDS / 2


def test_s12_the_worker_keeps_the_schedule_and_gives_up(lite: Server) -> None:
    """S12: tried at once, after 1, 5, 15 and 60 s, as the site wishes, for three days; all is observed."""
    fake = FakeSites(lite)
    site = fake.add("sick", lambda: AttemptResult(503, "http_503"))
    seen: list[tuple[str, float]] = []
    start = lite.clock()
    logged_out(lite, site)
    with working(lite, call=fake.call, observe=lambda *what: seen.append(what)) as worker:
        for number, after in enumerate((0, 1, 6, 21, 81), 1):
            lite.clock.now = start + after * SECOND
            worker.wake()
            wait_for(seen, number)
            assert len(fake.heard) == number
        fake.says["https://sick.example.com/hook"] = lambda: AttemptResult(503, "http_503", "1800")
        lite.clock.now = only(lite).next_at
        eventually(lambda: len(seen) == 6)
        assert only(lite).next_at == lite.clock() + HOUR // 2
        lite.clock.now = start + 3 * DAY
        eventually(lambda: only(lite).state == "given_up")
    assert [outcome for outcome, _ in seen] == ["failed"] * 6 + ["given_up"]
    assert [seconds for _, seconds in seen][:5] == [0, 1, 6, 21, 81]
    assert len(set(fake.heard)) == 1


def wait_for(seen: list[Any], number: int) -> None:
    eventually(lambda: len(seen) == number)


def test_the_worker_survives_what_it_does_not_expect(lite: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A call or an observer that raises does not keep the next notification from being sent."""
    fake = FakeSites(lite)
    site = fake.add("well")
    logged_out(lite, site)

    def observe(*_: Any) -> None:
        raise ValueError("the observer's own trouble")

    with working(lite, call=fake.call, observe=observe):
        eventually(lambda: only(lite).state == "confirmed")
        log_out(lite, logged_in(lite, site))
        eventually(lambda: lite.count(deliveries, deliveries.c.state == "confirmed") == 2)
    assert "deliveries wait for a moment" in caplog.text


class FailingDatabase:
    """A database whose transactions fail at their very end, as often as a test says."""

    def __init__(self, server: Server) -> None:
        self._database = server.database
        self.reading = server.database.reading
        self.failures = 0

    @contextmanager
    def writing(self) -> Iterator[Any]:
        with self._database.writing() as connection:
            yield connection
            if self.failures:
                self.failures -= 1
                raise DatabaseUnavailable


def test_a_database_that_fails_costs_no_site_its_place(lite: Server) -> None:
    """Claims and results that the database could not take are made up for when it works again."""
    fake, database, go_on = FakeSites(lite), FailingDatabase(lite), threading.Event()

    def say() -> AttemptResult:
        go_on.wait(PATIENCE_SECONDS)
        return HEARD

    site = fake.add("well", say)
    logged_out(lite, site)
    database.failures = 3
    with working(lite, call=fake.call, database=database):
        eventually(lambda: fake.busy)
        database.failures = 3
        go_on.set()
        eventually(lambda: only(lite).state == "confirmed")
    assert (database.failures, len(fake.heard)) == (0, 1)


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_starts_a_worker_of_its_own(lite: Server) -> None:
    """gunicorn forks after the app is made, perhaps after its first request."""
    fake = FakeSites(lite)
    site = fake.add("well")
    with working(lite, call=fake.call) as worker:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                is_clean = worker._run is None
                worker.start()
                runs = worker._run is not None and worker._run.thread is not None and worker._run.thread.is_alive()
                os.write(writer, b"yes" if is_clean and runs else b"no")
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            assert pipe.read() == b"yes"
        os.waitpid(child, 0)
        logged_out(lite, site)
        eventually(lambda: only(lite).state == "confirmed")


def test_the_thread_starts_with_the_first_request(tmp_path: Path) -> None:
    """Not when the app is made; and without ``deliver`` never."""
    for deliver in (True, "elsewhere", False):
        server = make_server(tmp_path / f"{deliver}.db", deliver=deliver)
        worker: Worker = server.app.extensions[KEY].worker
        assert worker._run is None
        server.browser().get("/")
        server.app.extensions[KEY].deliver_soon()
        assert (worker._run is not None) == (deliver is True)
        worker.stop(PATIENCE_SECONDS)
        server.close()


# --- who else logs people out


def test_the_timer_ends_sessions_and_tells_their_sites(server: Server) -> None:
    """When a session expires its sites are notified, as by a logout; others stay. The audit has an entry."""
    fake = FakeSites(server)
    photos, wiki = fake.add("photos"), fake.add("wiki")
    person = server.add_person()
    with server.database.writing() as connection:
        people.change(connection, person.id, session_lifetime_us=HOUR)
    logged_in(server, photos, person=server.add_person("Bo"))
    logged_in(server, photos, wiki, person=_again(server, person))
    with working(server, call=fake.call):
        server.clock.advance(3599)
        threading.Event().wait(3 * QUICK.poll_seconds)
        assert server.rows(deliveries) == []
        server.clock.advance(1)
        eventually(lambda: server.count(deliveries, deliveries.c.state == "confirmed") == 2)
    assert {row.person_id for row in server.rows(deliveries)} == {person.id}
    assert server.count(sessions, sessions.c.ended_at.is_(None)) == 1
    assert server.count(site_logins, site_logins.c.ended_at.is_(None)) == 1
    (entry,) = server.rows(audit, audit.c.action == "session.expire")
    assert (entry.actor, entry.subject) == ("timer", f"person:{person.id}")


def _again(server: Server, person: Person) -> Person:
    with server.database.reading() as connection:
        return people.get(connection, person.id)


ENDS: dict[str, Callable[[Any, Person, int], None]] = {
    "disable": lambda connection, person, now: deactivation.disable(connection, person.id, now=now),
    "remove": lambda connection, person, now: deactivation.remove(connection, person.id, now=now),
    "recover": lambda connection, person, now: deactivation.revoke_credentials(connection, person.id, now=now),
    "restore": lambda connection, person, now: restoring.end_all(connection, now=now),
}


@pytest.mark.parametrize("name", ENDS)
def test_each_of_these_logs_out_everywhere(server: Server, name: str) -> None:
    """Disable, remove, recover, restore: all sites are notified, and exchange the token during the webhook call."""
    fake = FakeSites(server)
    places = [fake.add("photos"), fake.add("wiki")]
    person = logged_in(server, *places)
    with server.database.writing() as connection:
        ENDS[name](connection, person, server.clock())
    rows = server.rows(deliveries)
    assert {row.app_id for row in rows} == {site.app_id for site in places}
    assert server.count(sessions, sessions.c.ended_at.is_(None)) == 0
    for row in rows:
        site = next(site for site in places if site.app_id == row.app_id)
        answer = server.browser().post("/api/v1/logout", {**site.credentials, "logout_token": row.token})
        assert answer.json == {"success": True, "clef_id": row.clef_id}
    with working(server, call=fake.call):
        eventually(lambda: server.count(deliveries, deliveries.c.state == "confirmed") == 2)


def test_the_webhook_of_one_login_is_told_instead(lite: Server) -> None:
    """A login with a webhook of its own, and one without: each is notified at the right address."""
    fake = FakeSites(lite)
    site = lite.add_site()
    own = "https://photos.example.com/hooks/7"
    fake.says |= {WEBHOOK: lambda: HEARD, own: lambda: HEARD}
    fake.app_ids |= {WEBHOOK: site.app_id, own: site.app_id}
    browser = lite.browser(signed_in=(person := lite.add_person()))
    lite.log_in(site, browser)
    lite.log_in(site, browser, logout_hook=own)
    log_out(lite, person)
    with working(lite, call=fake.call):
        eventually(lambda: lite.count(deliveries, deliveries.c.state == "confirmed") == 2)
    assert {url for url, _ in fake.heard} == {WEBHOOK, own}
    assert len({token for _, token in fake.heard}) == 2


def test_a_session_that_signs_in_twice_with_two_webhooks(server: Server) -> None:
    """Both webhooks are notified once, with different tokens; one that was named twice is notified once."""
    webhooks = [f"{WEBHOOK}s/{number}" for number in (1, 2)]
    site, browser = server.add_site(), server.browser(signed_in=(person := server.add_person()))
    for webhook in (*webhooks, webhooks[0]):
        server.log_in(site, browser, logout_hook=webhook)
    log_out(server, person)
    rows = server.rows(deliveries)
    assert sorted(row.webhook_url for row in rows) == webhooks
    assert len({row.token for row in rows}) == 2


# --- a login before the site has heard


@pytest.mark.slow
def test_a_sign_in_before_a_site_has_heard_is_told_so(tmp_path: Path) -> None:
    """The same after a passkey as after one click; the page is for who is signed in, and knows where to go on."""
    server = make_server(tmp_path / "clef.db", deliver="elsewhere")
    with closing(server):
        site, other = server.add_site("Photos"), server.add_site("Wiki", callback="https://wiki.example.com/cb")
        person = logged_out(server, site)
        passkey, visitor = enrolled(server, person), Visitor(server)
        assert visitor.sign_in(passkey, other.ask()).json["location"].startswith(other.callback)
        warning = visitor.sign_in(passkey, site.ask(state="a&b")).json["location"]
        assert warning == f"/iframes/late?{site.ask(state='a&b')}"
        assert server.browser().get(warning).headers["Location"] == f"/iframes/qr?{site.ask(state='a&b')}"
        page = visitor.get(warning, headers={"Accept-Language": "de"})
        assert "Photos weiß es noch nicht" in page.text
        back = sent_back_to(visitor.submit(page, late="1"))
        assert back.startswith(f"{site.callback}?code=")
        assert back.endswith("&state=a%26b")


def test_a_row_that_was_given_up_holds_nobody_up(tmp_path: Path) -> None:
    """Nobody tries that one any more, so there is nothing to wait for."""
    server = make_server(tmp_path / "clef.db", deliver="elsewhere")
    with closing(server):
        site = server.add_site()
        person = logged_out(server, site)
        fail(server, claim(server, site)[0], next_at=None)
        assert server.browser(signed_in=person).approve(site.ask())["code"]
