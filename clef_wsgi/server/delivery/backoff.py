"""Compute the back-off of failed attempts: first delays, then exponential with jitter, for three days."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import timezone
from email.utils import parsedate_to_datetime

from clef_wsgi.server.clock import DAY, HOUR, MINUTE, SECOND

FIRST_DELAYS = (1 * SECOND, 5 * SECOND, 15 * SECOND, 60 * SECOND)
PERIOD = 3 * DAY
"""Time after which a notification is no longer attempted."""

LONGEST_DELAY = HOUR
"""Also the most that a site's ``Retry-After`` is believed."""

BUSY_DELAY = SECOND
"""The delay of a busy site; up to half of it more, so that not all come at once."""

_JITTER = 0.2
_MOST_DOUBLINGS = 10


def next_try(
    attempts: int,
    *,
    now: int,
    first_tried_at: int,
    retry_after: str | None = None,
    draw: Callable[[], float] = random.random,
) -> int | None:
    """Return the time of the next attempt, in microseconds; ``None`` gives up.

    :param attempts: how many there were, the last one just now.
    :param retry_after: the header of the site's answer.
    :param draw: a number from 0 to 1: jitter.
    """
    at = now + max(_delay(attempts, draw()), wished_delay(retry_after, now))
    return at if at <= first_tried_at + PERIOD else None


def next_try_of_busy(*, now: int, first_tried_at: int, draw: Callable[[], float] = random.random) -> int | None:
    """Return the time of the next attempt at a busy site; ``None`` where it was busy so long that it has to count."""
    at = now + int(BUSY_DELAY * (1 + draw() / 2))
    return at if at <= first_tried_at + PERIOD else None


def wished_delay(retry_after: str | None, now: int) -> int:
    """Parse ``Retry-After``, seconds or a date (RFC 9110, section 10.2.3), within bounds; else 0."""
    text = (retry_after or "").strip()
    if re.fullmatch("[0-9]{1,10}", text):
        return min(int(text) * SECOND, LONGEST_DELAY)
    try:
        date = parsedate_to_datetime(text)
        at = int(date.replace(tzinfo=date.tzinfo or timezone.utc).timestamp() * SECOND)
    except (ValueError, OverflowError, IndexError):
        return 0
    return min(max(at - now, 0), LONGEST_DELAY)


def _delay(attempts: int, drawn: float) -> int:
    if attempts <= len(FIRST_DELAYS):
        return FIRST_DELAYS[max(attempts, 1) - 1]
    doublings = min(attempts - len(FIRST_DELAYS), _MOST_DOUBLINGS)
    delay = min(MINUTE * 2**doublings, LONGEST_DELAY)
    return int(delay * (1 - _JITTER * drawn))
