"""The worker: claims what is due, has it sent, and writes down what became of it.

One thread speaks to the database, and is in no transaction while a site is called: the site asks back
meanwhile. Each call has a thread of its own. A site has its own small number of them, so that a dead one
delays no other. Writes what a logout everywhere left to it, and ends the sessions whose time is up, too. How a site
is called is in call.py.
"""

from __future__ import annotations

import logging
import os
import platform
import queue
import secrets
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection

from clef_wsgi.server.clock import SECOND, Clock
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.delivery import failures, outcomes
from clef_wsgi.server.delivery.call import CALL_SECONDS, AttemptResult, Call, call
from clef_wsgi.server.delivery.outcomes import DeliveryEvent
from clef_wsgi.server.errors import DatabaseUnavailable
from clef_wsgi.server.records import audit, confirmations, global_logout, outbox, pruning, session_expiry, session_limit
from clef_wsgi.server.records.outbox import Notification

Observe = Callable[[str, float], None]
"""Takes ``confirmed``, ``busy``, ``failed`` or ``given_up``, and the seconds since the logout."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How much at once, and how long.

    :param lease_seconds: longer than a call, and than what it takes to write down how it ended.
    :param poll_seconds: how often is looked for what other processes wrote.
    :param prune_seconds: how often is looked for what is over and can be dropped.
    :param ask_seconds: how long a site that has answered may take to ask who logged out.
    :param calls: how many at the same time, all in all.
    :param calls_of_a_site: to one that answered the last one, by all processes together; any other gets one.
    :param calls_in_trouble: to all sites together that did not answer the last one.
    """

    call_seconds: float = CALL_SECONDS
    lease_seconds: float = 2 * CALL_SECONDS
    poll_seconds: float = 1.0
    prune_seconds: float = 60.0
    ask_seconds: float = confirmations.WAIT_US / SECOND
    calls: int = 64
    calls_of_a_site: int = 2
    calls_in_trouble: int = 32


@dataclass
class _Run:
    """What one thread of one process knows."""

    wake: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    ended: queue.SimpleQueue[tuple[Notification, AttemptResult]] = field(default_factory=queue.SimpleQueue)
    under_way: Counter[str] = field(default_factory=Counter)
    unsaved: list[tuple[Notification, AttemptResult]] = field(default_factory=list)
    thread: threading.Thread | None = None
    looked_at: float = 0.0
    prune_at: float = 0.0


class Worker:
    """Delivers, in a thread of its own or in the caller's. A forked process starts with one that does not run.

    :param user_agent: what it calls itself at the sites.
    :param observe: told of every call, after it was written down.
    :param keep_audit_us: how long a line of the audit is kept; ``None``: for ever.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        user_agent: str,
        observe: Observe = lambda outcome, seconds: None,
        pace: Pace = Pace(),
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
        os.register_at_fork(after_in_child=_forgetting(weakref.ref(self)))

    def start(self) -> None:
        """Starts the thread, unless it runs already."""
        if self._run is not None:
            return
        with self._starting:
            if self._run is None:
                run = _Run()
                run.thread = threading.Thread(target=self._work, args=(run,), name="clef delivery", daemon=True)
                run.thread.start()
                self._run = run

    def wake(self) -> None:
        """There may be something to do. Starts the thread if it does not run."""
        self.start()
        if (run := self._run) is not None:
            run.wake.set()

    def stop(self, wait_seconds: float = 2.0) -> None:
        """Takes up nothing new. Calls under way have so long to end; those that don't are made again, later."""
        run, self._run = self._run, None
        if run is not None:
            run.over.set()
            run.wake.set()
            if run.thread is not None:
                run.thread.join(wait_seconds)

    def work(self, over: threading.Event) -> None:
        """Delivers in this thread until ``over`` is set, and then until the calls under way have ended."""
        self._work(_Run(over=over))

    def _forget(self) -> None:
        self._run = None
        self._starting = threading.Lock()
        self._heard: set[str] = set()
        self._troubled: set[str] = set()
        self._name = f"{platform.node()}:{os.getpid()}:{secrets.token_hex(4)}"

    def _work(self, run: _Run) -> None:
        while True:
            run.wake.clear()
            try:
                seconds = self._round(run)
            except DatabaseUnavailable as error:
                _log.error("deliveries wait: the database can't be asked (%s)", type(error.__cause__).__name__)
                seconds = self._pace.poll_seconds
            except Exception:  # noqa: BLE001  no error may end the telling of sites
                _log.exception("deliveries wait for a moment")
                seconds = self._pace.poll_seconds
            if run.over.is_set() and not run.under_way:  # what could not be written down is sent again, later
                return
            run.wake.wait(seconds)

    def _round(self, run: _Run) -> float:
        """Writes down what has ended, takes what is due; returns for how long there is nothing more to do."""
        with suppress(queue.Empty):
            while True:
                notification, outcome = run.ended.get_nowait()
                self._note_end(run, notification, outcome)
        if run.unsaved or self._is_due(run):
            self._write(run)
        if not run.over.is_set() and global_logout.next_step(self._database, now=self._clock()):
            return 0.02  # there may be more; others write meanwhile
        if run.wake.is_set() and time.monotonic() < run.looked_at + self._pace.poll_seconds:
            return 0  # a call has ended meanwhile
        return self._look_ahead(run)

    def _is_due(self, run: _Run) -> bool:
        """Whether there is anything to write down or to take. Asked first, since whoever writes holds up others."""
        if run.over.is_set():
            return False
        now = self._clock()
        with self._database.reading() as connection:
            due = outbox.due_sites(connection, now=now)
            return any(self._room(run, app_id) for app_id in due) or confirmations.has_overdue_exchange(
                connection, now=now
            )

    def _look_ahead(self, run: _Run) -> float:
        """Until the next row is due. Comes after all is written down: a call that failed is due again soon."""
        now, run.looked_at = self._clock(), time.monotonic()
        with self._database.reading() as connection:
            later = outbox.next_due(connection, now=now)
            over = [] if run.over.is_set() else session_expiry.expired_sessions(connection, now=now)
        for person_id, session_id in over:
            session_expiry.expire(self._database, person_id, session_id, now=now)
        if over:
            return 0  # their sites are to be told
        if self._tidy(run):
            return 0.02  # there is more; others write meanwhile
        seconds = self._pace.poll_seconds
        return seconds if later is None else min(seconds, max((later - now) / SECOND, 0.01))

    def _tidy(self, run: _Run) -> bool:
        """Drops what is over, a step at a time; whether there is more. What is due is done between two steps."""
        if run.over.is_set() or time.monotonic() < run.prune_at:
            return False
        now = self._clock()
        more = [pruning.prune(self._database, now=now, steps=1), session_limit.end_surplus(self._database, now=now)]
        if self._keep_audit_us is not None:
            more.append(audit.prune(self._database, kept_from=now - self._keep_audit_us))
        run.prune_at = 0.0 if any(more) else time.monotonic() + self._pace.prune_seconds
        return any(more)

    def _write(self, run: _Run) -> None:
        before = run.under_way.copy()
        try:
            with self._database.writing() as connection:
                told = self._note_ends(connection, run)
                claimed = [] if run.over.is_set() else self._claim(connection, run)
        except BaseException:
            run.under_way = before  # nothing of it was committed, or nobody knows: then the leases run out
            raise
        run.unsaved.clear()
        for notification in claimed:
            self._start_sending(run, notification)
        for outcome, seconds in told:
            if outcome == outbox.GIVEN_UP:
                _log.warning("a site did not hear of a logout in three days: see server deliveries list")
            self.observe(outcome, seconds)

    def _note_ends(self, connection: Connection, run: _Run) -> list[DeliveryEvent]:
        """Of calls, and of waits for sites that answered and never asked."""
        wait_us = int(self._pace.ask_seconds * SECOND)
        ended = sorted(run.unsaved, key=lambda each: each[0].id)
        told = [outcomes.save(connection, *each, now=self._clock(), wait_us=wait_us) for each in ended]
        return [*filter(None, told), *outcomes.end_waits(connection, now=self._clock())]

    def _claim(self, connection: Connection, run: _Run) -> list[Notification]:
        claimed: list[Notification] = []
        lease_us = int(self._pace.lease_seconds * SECOND)
        for app_id in outbox.due_sites(connection, now=self._clock()):
            room = self._room(run, app_id)
            if room and (room := min(room, self._free_calls(connection, app_id))):
                found = outbox.claim(
                    connection, app_id=app_id, worker=self._name, now=self._clock(), lease_us=lease_us, limit=room
                )
                if found:  # a count of 0 would stay, and the worker never end
                    run.under_way[app_id] += len(found)
                claimed += found
        return claimed

    def _free_calls(self, connection: Connection, app_id: str) -> int:
        """How many more calls an app may have now, beside those of other processes."""
        pace = self._pace
        call_us = int(pace.call_seconds * SECOND)
        return outbox.free_calls(connection, app_id, at_most=pace.calls_of_a_site, call_us=call_us, now=self._clock())

    def _room(self, run: _Run, app_id: str) -> int:
        """How many more calls an app may have now."""
        free = self._pace.calls - run.under_way.total()
        if app_id in self._heard:
            return max(0, min(free, self._pace.calls_of_a_site - run.under_way[app_id]))
        if app_id in self._troubled:
            free = min(free, self._pace.calls_in_trouble - sum(run.under_way[app] for app in self._troubled))
        return max(0, min(free, 1 - run.under_way[app_id]))

    def _start_sending(self, run: _Run, notification: Notification) -> None:
        try:
            threading.Thread(target=self._send, args=(run, notification), name="clef notice", daemon=True).start()
        except RuntimeError:  # the system has no thread to give
            run.ended.put((notification, AttemptResult(failure=failures.CONNECTION)))

    def _send(self, run: _Run, notification: Notification) -> None:
        outcome = AttemptResult(failure=failures.CONNECTION)
        try:
            outcome = self._call(
                notification.webhook_url,
                notification.token,
                user_agent=self._user_agent,
                allow_private=notification.allow_private,
                seconds=self._pace.call_seconds,
            )
        finally:
            run.ended.put((notification, outcome))
            run.wake.set()

    def _note_end(self, run: _Run, notification: Notification, outcome: AttemptResult) -> None:
        run.unsaved.append((notification, outcome))
        run.under_way[notification.app_id] -= 1
        run.under_way += Counter()  # drops those without any
        if outcome.is_busy:  # it stays what it was
            return
        better, worse = (self._heard, self._troubled) if outcome.is_answered else (self._troubled, self._heard)
        better.add(notification.app_id)
        worse.discard(notification.app_id)


def user_agent(origin: str) -> str:
    """What a server calls itself at its sites (Clef wire protocol, section 4)."""
    return f"Clef/1.0 ({origin})"


def _forgetting(worker: weakref.ref[Worker]) -> Callable[[], None]:
    def forget() -> None:
        found = worker()
        if found is not None:
            found._forget()

    return forget
