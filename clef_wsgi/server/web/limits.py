"""How often one address may knock: counters in memory, a minute at a time, each process on its own.

They keep a flood off the database; what is guessed at has 256 random bits, so they guard no secret. Memory is
bounded: with too many addresses at once the oldest are forgotten. Knows nothing of HTTP.
"""

from __future__ import annotations

import threading

from clef_wsgi.server.clock import MINUTE, Clock
from clef_wsgi.server.errors import Refused
from clef_wsgi.server.options import Limits
from clef_wsgi.server.web.addresses import network_of

MAX_COUNTERS = 10_000


class TooManyRequests(Refused):
    """This address knocked too often. ``retry_after`` is in seconds."""

    message = "Too many requests."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class Limiter:
    """Counts by kind (a name of :class:`Limits`) and address."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._counts: dict[tuple[str, str, int], int] = {}
        self._lock = threading.Lock()

    def hit(self, kind: str, address: str) -> None:
        """Counts one knock.

        :raises TooManyRequests: it is one too many.
        """
        self.check(kind, address)
        key = self._key(kind, address)
        with self._lock:
            self._counts[key] = self._counts.pop(key, 0) + 1
            while len(self._counts) > MAX_COUNTERS:
                del self._counts[next(iter(self._counts))]

    def check(self, kind: str, address: str) -> None:
        """Counts nothing.

        :raises TooManyRequests: there were too many knocks already.
        """
        if self._counts.get(self._key(kind, address), 0) >= getattr(self._limits, kind):
            raise TooManyRequests(60 - self._clock() % MINUTE // 1_000_000)

    def _key(self, kind: str, address: str) -> tuple[str, str, int]:
        return kind, network_of(address), self._clock() // MINUTE
