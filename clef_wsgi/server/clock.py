"""Time, as the server counts it: whole microseconds since 1970, UTC. Knows nothing of what is timed."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def system_clock() -> int:
    """Now, in microseconds."""
    return time.time_ns() // 1000
