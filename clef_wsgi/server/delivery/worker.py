"""Deliver the outbox: claim due notifications, have them sent, and record how each attempt ended.

One thread speaks to the database, and is in no transaction while a site is called: the site asks back
meanwhile. Each call has a thread of its own. The same thread takes the steps that a logout everywhere left to it,
and ends expired sessions.
"""

from __future__ import annotations

import logging
import os
import platform
import queue
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection

from clef_wsgi.server.clock import SECOND, Clock
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.delivery import failures, outcomes
from clef_wsgi.server.delivery.call import AttemptResult, Call, call
from clef_wsgi.server.delivery.outcomes import DeliveryEvent
from clef_wsgi.server.delivery.slots import Pace, Slots
from clef_wsgi.server.errors import DatabaseUnavailable
from clef_wsgi.server.forks import after_fork
from clef_wsgi.server.records import audit, confirmations, global_logout, outbox, pruning, session_expiry
from clef_wsgi.server.records.outbox import Notification

Observe = Callable[[str, float], None]
"""Takes ``confirmed``, ``busy``, ``failed`` or ``given_up``, and the seconds since the logout."""

_YIELD_SECONDS = 0.02
"""Between two steps of a longer task, so that others can write."""

_log = logging.getLogger(__name__)


@dataclass
class _Run:
    """The state of one delivering thread."""

    wake: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)
    ended: queue.SimpleQueue[tuple[Notification, AttemptResult]] = field(default_factory=queue.SimpleQueue)
    in_flight: Counter[str] = field(default_factory=Counter)
    unsaved: list[tuple[Notification, AttemptResult]] = field(default_factory=list)
    thread: threading.Thread | None = None
    polled_at: float = 0.0
    prune_at: float = 0.0


class Worker:
    """Delivers in a thread of its own, or in the caller's. In a forked process it starts anew, not running.

    :param user_agent: the ``User-Agent`` of its calls.
    :param observe: called after each attempt is recorded.
    :param keep_audit_us: how long an audit entry is kept, in microseconds; ``None``: for ever.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        user_agent: str,
        observe: Observe = lambda outcome, seconds: None,
        pace: Pace = Pace(),  # noqa: B008 - frozen
        call: Call = call,
        keep_audit_us: int | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._user_agent = user_agent
        self.observe = observe
        self._pace = pace
        self._call = call
        self._keep_audit_us = keep_audit_us
        self._run: _Run | None = None
        self._forget()
        after_fork(self._forget)

    def start(self) -> None:
        """Start the thread, unless it runs already."""
        if self._run is not None:
            return
        with self._starting:
            if self._run is None:
                run = _Run()
                run.thread = threading.Thread(target=self._work, args=(run,), name="clef delivery", daemon=True)
                run.thread.start()
                self._run = run

    def wake(self) -> None:
        """Have the thread look for due rows now, and start it if it does not run."""
        self.start()
        if (run := self._run) is not None:
            run.wake.set()

    def stop(self, wait_seconds: float = 2.0) -> None:
        """Claim nothing more, and wait for calls in flight. A call that takes longer is made again after its lease."""
        run, self._run = self._run, None
        if run is not None:
            run.stopping.set()
            run.wake.set()
            if run.thread is not None:
                run.thread.join(wait_seconds)

    def work(self, stopping: threading.Event) -> None:
        """Deliver in this thread until ``stopping`` is set, and then until the calls in flight have ended."""
        self._work(_Run(stopping=stopping))

    def _forget(self) -> None:
        self._run = None
        self._starting = threading.Lock()
        self._slots = Slots(self._pace)
        self._name = f"{platform.node()}:{os.getpid()}:{secrets.token_hex(4)}"

    def _work(self, run: _Run) -> None:
        while True:
            run.wake.clear()
            try:
                seconds = self._round(run)
            except DatabaseUnavailable as error:
                _log.error("deliveries wait: the database can't be asked (%s)", type(error.__cause__).__name__)
                seconds = self._pace.poll_seconds
            except Exception:  # noqa: BLE001  no error may end the delivery
                _log.exception("deliveries wait for a moment")
                seconds = self._pace.poll_seconds
            if run.stopping.is_set() and not run.in_flight:  # what could not be recorded is sent again, later
                return
            run.wake.wait(seconds)

    def _round(self, run: _Run) -> float:
        """Record ended calls and claim due rows; return the seconds until there is more to do."""
        with suppress(queue.Empty):
            while True:
                self._take_back(run, *run.ended.get_nowait())
        if run.unsaved or self._is_due(run):
            self._write(run)
        if not run.stopping.is_set() and global_logout.next_step(self._database, now=self._clock()):
            return _YIELD_SECONDS
        if run.wake.is_set() and time.monotonic() < run.polled_at + self._pace.poll_seconds:
            return 0  # a call has ended meanwhile
        return self._poll(run)

    def _is_due(self, run: _Run) -> bool:
        """Return whether there is anything to claim or to record. Asked first, since a writer holds up others."""
        if run.stopping.is_set():
            return False
        now = self._clock()
        with self._database.reading() as connection:
            if any(self._slots.free(app_id, run.in_flight) for app_id in outbox.due_sites(connection, now=now)):
                return True
            return confirmations.has_overdue_exchange(connection, now=now)

    def _poll(self, run: _Run) -> float:
        """End expired sessions, prune, and return the seconds until the next row is due.

        Comes after all is recorded: a call that failed is due again soon.
        """
        now, run.polled_at = self._clock(), time.monotonic()
        with self._database.reading() as connection:
            later = outbox.next_due(connection, now=now)
            expired = [] if run.stopping.is_set() else session_expiry.expired_sessions(connection, now=now)
        for person_id, session_id in expired:
            session_expiry.expire(self._database, person_id, session_id, now=now)
        if expired:
            return 0  # their notifications are due
        if self._tidy(run):
            return _YIELD_SECONDS
        seconds = self._pace.poll_seconds
        return seconds if later is None else min(seconds, max((later - now) / SECOND, 0.01))

    def _tidy(self, run: _Run) -> bool:
        """Take one step of pruning, and return whether there may be more."""
        if run.stopping.is_set() or time.monotonic() < run.prune_at:
            return False
        now = self._clock()
        more = [pruning.prune(self._database, now=now, steps=1), session_expiry.end_surplus(self._database, now=now)]
        if self._keep_audit_us is not None:
            more.append(audit.prune(self._database, kept_from=now - self._keep_audit_us))
        run.prune_at = 0.0 if any(more) else time.monotonic() + self._pace.prune_seconds
        return any(more)

    def _write(self, run: _Run) -> None:
        before = run.in_flight.copy()
        try:
            with self._database.writing() as connection:
                events = self._record(connection, run)
                claimed = [] if run.stopping.is_set() else self._claim(connection, run)
        except BaseException:
            run.in_flight = before  # not committed, or unknown: then the leases run out
            raise
        run.unsaved.clear()
        for notification in claimed:
            self._start_sending(run, notification)
        for event in events:
            event.log()
            self.observe(event.outcome, event.seconds)

    def _record(self, connection: Connection, run: _Run) -> list[DeliveryEvent]:
        """Record ended calls, and sites that answered and did not exchange their token in time."""
        wait_us = int(self._pace.ask_seconds * SECOND)
        ended = sorted(run.unsaved, key=lambda each: each[0].id)
        events = [outcomes.save(connection, *each, now=self._clock(), wait_us=wait_us) for each in ended]
        return [*filter(None, events), *outcomes.end_waits(connection, now=self._clock())]

    def _claim(self, connection: Connection, run: _Run) -> list[Notification]:
        claimed: list[Notification] = []
        pace, now = self._pace, self._clock()
        lease_us, call_us = int(pace.lease_seconds * SECOND), int(pace.call_seconds * SECOND)
        for app_id in outbox.due_sites(connection, now=now):
            limit = self._slots.free(app_id, run.in_flight)
            if limit:  # beside those of other processes
                at_most = pace.calls_of_a_site
                limit = min(limit, outbox.free_calls(connection, app_id, at_most=at_most, call_us=call_us, now=now))
            if limit:
                found = outbox.claim(
                    connection, app_id=app_id, worker=self._name, now=now, lease_us=lease_us, limit=limit
                )
                if found:  # a count of 0 would stay, and the worker never end
                    run.in_flight[app_id] += len(found)
                claimed += found
        return claimed

    def _start_sending(self, run: _Run, notification: Notification) -> None:
        try:
            threading.Thread(target=self._send, args=(run, notification), name="clef notification", daemon=True).start()
        except RuntimeError:  # the system has no thread to give
            run.ended.put((notification, AttemptResult(failure=failures.CONNECTION)))

    def _send(self, run: _Run, notification: Notification) -> None:
        result = AttemptResult(failure=failures.CONNECTION)
        try:
            result = self._call(
                notification.webhook_url,
                notification.token,
                user_agent=self._user_agent,
                allow_private=notification.allow_private,
                seconds=self._pace.call_seconds,
            )
        finally:
            run.ended.put((notification, result))
            run.wake.set()

    def _take_back(self, run: _Run, notification: Notification, result: AttemptResult) -> None:
        run.unsaved.append((notification, result))
        run.in_flight[notification.app_id] -= 1
        run.in_flight += Counter()  # drops those without any
        self._slots.record(notification.app_id, result)


def user_agent(origin: str) -> str:
    """Return the ``User-Agent`` of a server's calls (Clef wire protocol, section 4)."""
    return f"Clef/1.0 ({origin})"
