"""Documents of the provider that are fetched when first needed and renewed beside the request that finds them old.

Locks are made anew in a forked process, since the thread that held one exists in the parent alone.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from clef_wsgi.base.errors import ProviderUnavailable

from .http_client import unavailable

MAX_AGE_SECONDS = 3600
FIRST_PAUSE_SECONDS = 30
LONGEST_PAUSE_SECONDS = 600
SECONDS_BETWEEN_DEMANDS = 1
THREAD_NAME = "clef_wsgi renewal"

_TOO_SOON: Mapping[str, Any] = {
    "message": "The login service was asked for its keys a moment ago: try again in a second.",
    "reason": "provider_keys",
    "retry_after": 1,
}

T = TypeVar("T")


class ForkSafe:
    """Hold a lock that is free in a forked process whoever held it when the process forked."""

    def __init__(self) -> None:
        self.free()
        _LIVING.add(self)

    def free(self) -> None:
        self._lock = threading.Lock()


_LIVING: WeakSet[ForkSafe] = WeakSet()


def _free_all() -> None:
    for living in list(_LIVING):
        living.free()


os.register_at_fork(after_in_child=_free_all)


class Renewed(ForkSafe, Generic[T]):
    """Keep one document, fetched by one thread at a time.

    :param fetch: returns the document or raises ``ProviderUnavailable``, within a deadline of its own.
    :param clock: seconds since the epoch.
    :param expires_after: seconds after which a document that could not be renewed is no longer used.
    """

    def __init__(self, fetch: Callable[[], T], *, clock: Callable[[], float], expires_after: float = math.inf) -> None:
        self._fetch, self._clock, self._expires_after = fetch, clock, expires_after
        self._kept: tuple[T, float] | None = None
        self._failures, self._tried_at = 0, -math.inf
        self._failure: ProviderUnavailable | None = None
        super().__init__()

    def free(self) -> None:
        super().free()
        self._under_way: Future[T] | None = None

    @property
    def is_kept(self) -> bool:
        """Tell whether :meth:`current` returns at once."""
        return self._kept is not None and self._clock() - self._kept[1] < self._expires_after

    def current(self, seconds: float) -> T:
        """Return the document, and begin to renew it where it is older than an hour.

        :param seconds: how long to wait for the first fetch.
        :raises ProviderUnavailable: there is none; at once, where the last fetch failed a short while ago.
        """
        kept = self._kept
        age = math.inf if kept is None else self._clock() - kept[1]
        if kept is not None and 0 <= age < MAX_AGE_SECONDS:
            return kept[0]
        under_way = self._start(self._pause)
        if kept is not None and age < self._expires_after:
            return kept[0]
        return self._outcome(under_way, seconds)

    def newer_than(self, document: T, seconds: float) -> T:
        """Return another document than this one, fetched now; threads that demand it together share one fetch.

        The fetch begins a second after the last one: no provider sends a logout notification again, so one that comes
        earlier has to wait rather than to be refused.

        :raises ProviderUnavailable: it can't be had, or the last fetch failed less than a second ago.
        """
        under_way = self._start(SECONDS_BETWEEN_DEMANDS, waits=True)
        kept = self._kept
        return kept[0] if kept is not None and kept[0] is not document else self._outcome(under_way, seconds)

    @property
    def _pause(self) -> float:
        doubled = FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 10)
        return min(doubled, LONGEST_PAUSE_SECONDS) if self._failures else 0

    def _start(self, pause: float, *, waits: bool = False) -> Future[T] | None:
        """Return the fetch to wait for, or None where nobody shall wait.

        :param waits: begins the fetch when ``pause`` is over, where the last one did not fail.
        """
        with self._lock:
            now = self._clock()
            if self._under_way is not None:
                return None if self._failures else self._under_way
            since = now - self._tried_at
            left = pause - since if 0 <= since < pause else 0
            if not left or (waits and not self._failures):
                self._tried_at, self._under_way = now + left, Future()
                self._run_beside(self._under_way, left)
            return self._under_way

    def _run_beside(self, outcome: Future[T], after_seconds: float) -> None:
        thread = threading.Thread(target=self._run, args=(outcome, after_seconds), name=THREAD_NAME, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread to give
            self._under_way, self._failure = None, unavailable(cause=type(error).__name__)

    def _run(self, outcome: Future[T], after_seconds: float) -> None:
        time.sleep(after_seconds)  # in a thread of its own: nothing else waits
        try:
            document = self._fetch()
        except ProviderUnavailable as error:
            failure = error
        except Exception as error:  # noqa: BLE001  of a library; its text may hold what the peer sent
            failure = unavailable("provider_answer", cause=type(error).__name__)
        else:
            with self._lock:
                self._kept, self._failures, self._under_way = (document, self._clock()), 0, None
                self._failure = None
            outcome.set_result(document)
            return
        with self._lock:
            self._failure, self._failures, self._under_way = failure, self._failures + 1, None
        outcome.set_exception(failure)

    def _outcome(self, under_way: Future[T] | None, seconds: float) -> T:
        failure = self._failure
        try:
            if under_way is not None:
                return under_way.result(seconds)
        except FutureTimeout:
            failure = unavailable("provider_timeout")
        except ProviderUnavailable as error:
            failure = error
        # A new one for each thread, outside of the handler.
        raise ProviderUnavailable(**_TOO_SOON if failure is None else vars(failure))
