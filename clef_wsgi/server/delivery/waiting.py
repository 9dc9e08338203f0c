"""A site that has yet to hear of a logout is told at once, because somebody waits for it.

Whoever delivers does the telling, in this process or elsewhere. Knows nothing of who waits, and why.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from clef_wsgi.server.clock import Clock
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.records import outbox

WAIT_SECONDS = 2.0
_LOOK_SECONDS = 0.05


def heard(
    database: Database,
    person_id: int,
    app_id: str,
    *,
    clock: Clock,
    wake: Callable[[], None],
    seconds: float = WAIT_SECONDS,
) -> bool:
    """Whether a site has heard of all logouts of a person, for which it is given a moment.

    :param wake: tells the worker that there is something to do.
    """
    if not _is_unheard(database, person_id, app_id):
        return True
    until = time.monotonic() + seconds
    with database.writing() as connection:
        outbox.hurry(connection, person_id, app_id, now=clock())
    wake()
    while time.monotonic() < until:
        threading.Event().wait(_LOOK_SECONDS)
        if not _is_unheard(database, person_id, app_id):
            return True
    return False


def _is_unheard(database: Database, person_id: int, app_id: str) -> bool:
    with database.reading() as connection:
        return outbox.is_unheard(connection, person_id, app_id)
