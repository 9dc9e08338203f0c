"""Rate-limit requests per client address, or per app, with fixed one-minute windows, in memory and per process.

What is guessed at has 256 random bits, so these limits guard no secret: they bound what a flood costs. Memory is
bounded too: with too many addresses at once the oldest are forgotten.
"""

from __future__ import annotations

import threading

from clef_wsgi.server.clock import MINUTE, Clock
from clef_wsgi.server.errors import Refused
from clef_wsgi.server.options import Limits
from clef_wsgi.server.web.support.client_address import network_of

MAX_COUNTERS = 10_000


class TooManyRequests(Refused):
    """One request too many from this address or app. ``retry_after`` is in seconds."""

    message = "Too many requests."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class Limiter:
    """Count by kind (a name of :class:`Limits`) and address, or the id of an app."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._counts: dict[tuple[str, str, int], int] = {}
        self._lock = threading.Lock()

    def hit(self, kind: str, address: str) -> None:
        """Count one request.

        :raises TooManyRequests: it is one too many; it is not counted.
        """
        key = kind, network_of(address), self._clock() // MINUTE
        if self._counts.get(key, 0) >= getattr(self._limits, kind):
            raise TooManyRequests(60 - self._clock() % MINUTE // 1_000_000)
        with self._lock:
            self._counts[key] = self._counts.pop(key, 0) + 1
            while len(self._counts) > MAX_COUNTERS:
                del self._counts[next(iter(self._counts))]
