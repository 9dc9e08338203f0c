"""Deliver a pending logout immediately, and wait briefly for it, when its user is about to log in to that site.

Few requests wait, since each holds a thread of the server; all others are answered at once that the logout is
unconfirmed, and their page polls. The worker sends it, in this process or elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from clef_wsgi.server.clock import SECOND, Clock
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.records import outbox

WAIT_SECONDS = 2.0
MAX_WAITING = 2
"""Largest number of requests that wait at the same time, per process."""

REST_US = 5 * SECOND
"""Shortest pause between two attempts at one site while a page polls; microseconds."""

_LOOK_SECONDS = 0.05


class Expediter:
    """Expedites the notifications of one server.

    :param wake: wakes the worker.
    """

    def __init__(self, database: Database, clock: Clock, wake: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake
        self._waiting = threading.Semaphore(MAX_WAITING)

    def wait_until_confirmed(self, person_id: int, app_id: str, *, seconds: float = WAIT_SECONDS) -> bool:
        """Return whether a site has confirmed all logouts of a person, waiting briefly if few others do."""
        if not self._has_unconfirmed(person_id, app_id):
            return True
        if not self._waiting.acquire(blocking=False):
            return False
        try:
            self._expedite(person_id, app_id)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                threading.Event().wait(_LOOK_SECONDS)
                if not self._has_unconfirmed(person_id, app_id):
                    return True
            return False
        finally:
            self._waiting.release()

    def is_confirmed(self, person_id: int, app_id: str) -> bool:
        """Return the same without waiting, for a page that polls; expedites the notification now and then."""
        if not self._has_unconfirmed(person_id, app_id):
            return True
        self._expedite(person_id, app_id, rest_us=REST_US)
        return False

    def _expedite(self, person_id: int, app_id: str, rest_us: int = 0) -> None:
        """Write only where that changes anything: many may press at once."""
        now = self._clock()
        with self._database.reading() as connection:
            if not outbox.can_expedite(connection, person_id, app_id, now=now, tried_before=now - rest_us):
                return
        with self._database.writing() as connection:
            outbox.expedite(connection, person_id, app_id, now=now, tried_before=now - rest_us)
        self._wake()

    def _has_unconfirmed(self, person_id: int, app_id: str) -> bool:
        with self._database.reading() as connection:
            return outbox.has_unconfirmed(connection, person_id, app_id)
