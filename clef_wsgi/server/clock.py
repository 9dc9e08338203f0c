"""Time as the server counts it: whole microseconds since 1970, UTC."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timezone

Clock = Callable[[], int]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def system_clock() -> int:
    """Return now, in microseconds."""
    return time.time_ns() // 1000


def moment(at: int) -> datetime:
    """Return microseconds as a date and time, UTC, to the second."""
    return datetime.fromtimestamp(at // SECOND, timezone.utc)


def rfc3339(at: int) -> str:
    """Format microseconds for programs (RFC 3339)."""
    return moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def days(text: str) -> int:
    """Parse a number of days, ``400d``, and return microseconds.

    :raises ValueError: it is none.
    """
    if not re.fullmatch("[1-9][0-9]{0,4}d", text):
        raise ValueError("this is some days, such as 400d")
    return int(text[:-1]) * DAY
