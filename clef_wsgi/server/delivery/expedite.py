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
"""How many requests wait at a time, in one process."""

REST_US = 5 * SECOND
"""How long a site is left alone after an attempt, while a page polls; microseconds."""

_LOOK_SECONDS = 0.05


def wait_until_confirmed(
    database: Database,
    person_id: int,
    app_id: str,
    *,
    clock: Clock,
    wake: Callable[[], None],
    places: threading.Semaphore,
    seconds: float = WAIT_SECONDS,
) -> bool:
    """Return whether a site has confirmed all logouts of a person, waiting briefly if few others do.

    :param wake: wakes the worker.
    """
    if not _has_unconfirmed(database, person_id, app_id):
        return True
    if not places.acquire(blocking=False):
        return False
    try:
        _expedite(database, person_id, app_id, clock, wake)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            threading.Event().wait(_LOOK_SECONDS)
            if not _has_unconfirmed(database, person_id, app_id):
                return True
        return False
    finally:
        places.release()


def is_confirmed(database: Database, person_id: int, app_id: str, *, clock: Clock, wake: Callable[[], None]) -> bool:
    """Return the same without waiting, for a page that polls; expedites the notification now and then."""
    if not _has_unconfirmed(database, person_id, app_id):
        return True
    _expedite(database, person_id, app_id, clock, wake, rest_us=REST_US)
    return False


def _expedite(
    database: Database, person_id: int, app_id: str, clock: Clock, wake: Callable[[], None], rest_us: int = 0
) -> None:
    """Write only where that changes anything: many may press at once."""
    now = clock()
    with database.reading() as connection:
        if not outbox.can_expedite(connection, person_id, app_id, now=now, tried_before=now - rest_us):
            return
    with database.writing() as connection:
        outbox.expedite(connection, person_id, app_id, now=now, tried_before=now - rest_us)
    wake()


def _has_unconfirmed(database: Database, person_id: int, app_id: str) -> bool:
    with database.reading() as connection:
        return outbox.has_unconfirmed(connection, person_id, app_id)
