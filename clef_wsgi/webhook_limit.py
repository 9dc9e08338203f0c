"""Rate-limit the exchanges of back-channel logout requests: two under way in a process, one waiting, others refused.

Anybody can post to a webhook, and each request may hold a thread for as long as the login service is silent. The
bound is the process's, and shared by all its middlewares, since the threads are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .base.errors import ProviderUnavailable

MAX_UNDER_WAY = 2
WAIT_SECONDS = 0.2


class ExchangeLimit:
    """Hand out places for exchanges. A process that was forked begins with all places free."""

    def __init__(self) -> None:
        self._free_all()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while the login service is asked.

        :raises ProviderUnavailable: there is none, and another request waits already or the wait was in vain.
        """
        if self._pid != os.getpid():  # a place that was held when the process forked is given back to the parent alone
            self._free_all()
        places = self._places
        if not places.acquire(blocking=False) and not self._acquire_in_time(places):
            raise ProviderUnavailable(
                "Other logouts are being read: send this one again in a second.", reason="webhook_busy", retry_after=1
            )
        try:
            yield
        finally:
            places.release()

    def _acquire_in_time(self, places: threading.Semaphore) -> bool:
        """Wait for a place, unless another thread waits already."""
        line = self._line
        if not line.acquire(blocking=False):
            return False
        try:
            return places.acquire(timeout=WAIT_SECONDS)
        finally:
            line.release()

    def _free_all(self) -> None:
        self._places = threading.BoundedSemaphore(MAX_UNDER_WAY)
        self._line = threading.Lock()
        self._pid = os.getpid()


of_this_process = ExchangeLimit()
