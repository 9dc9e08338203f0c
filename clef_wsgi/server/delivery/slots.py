"""Share out concurrent calls: two to a site that answers, one to any other, so that a dead site delays no other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from clef_wsgi.server.clock import SECOND
from clef_wsgi.server.delivery.call import CALL_SECONDS, AttemptResult
from clef_wsgi.server.records import confirmations


@dataclass(frozen=True)
class Pace:
    """Concurrency limits and intervals of the delivery worker.

    :param lease_seconds: longer than a call, and than what it takes to record how it ended.
    :param poll_seconds: how often rows of other processes are looked for.
    :param prune_seconds: how often rows that are over are looked for.
    :param ask_seconds: how long a site that has answered may take to exchange the token.
    :param calls: concurrent calls of one process.
    :param calls_of_a_site: concurrent calls to one site that answered the last one, of all processes together.
    :param calls_in_trouble: concurrent calls to all sites together that did not answer the last one.
    """

    call_seconds: float = CALL_SECONDS
    lease_seconds: float = 2 * CALL_SECONDS
    poll_seconds: float = 1.0
    prune_seconds: float = 60.0
    ask_seconds: float = confirmations.WAIT_US / SECOND
    calls: int = 64
    calls_of_a_site: int = 2
    calls_in_trouble: int = 32


class Slots:
    """Remember which sites answered their last call, and say how many more calls each may have."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.responsive: set[str] = set()
        self.failing: set[str] = set()

    def record(self, app_id: str, result: AttemptResult) -> None:
        """Remember how the last call to a site ended. A busy site stays what it was."""
        if result.is_busy:
            return
        better, worse = (self.responsive, self.failing) if result.is_answered else (self.failing, self.responsive)
        better.add(app_id)
        worse.discard(app_id)

    def free(self, app_id: str, in_flight: Counter[str]) -> int:
        """Return how many more calls a site may have, beside those of this process that are in flight."""
        free = self._pace.calls - in_flight.total()
        if app_id in self.responsive:
            return max(0, min(free, self._pace.calls_of_a_site - in_flight[app_id]))
        if app_id in self.failing:
            free = min(free, self._pace.calls_in_trouble - sum(in_flight[app] for app in self.failing))
        return max(0, min(free, 1 - in_flight[app_id]))
