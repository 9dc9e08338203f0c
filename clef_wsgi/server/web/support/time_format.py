"""Format times and durations for pages.

The server can't know a visitor's time zone: it says UTC, and static/moments.js says it in local time.
"""

from __future__ import annotations

from collections.abc import Callable

from clef_wsgi.server.clock import DAY, HOUR, MINUTE, SECOND, moment

Texts = Callable[..., str]


def utc(at: int, t: Texts) -> str:
    """Format microseconds for people, to the minute."""
    parts = {"year": "%Y", "month": "%m", "day": "%d", "time": "%H:%M"}
    return t("time.utc", **{name: moment(at).strftime(form) for name, form in parts.items()})


def span(length: int, t: Texts) -> str:
    """Format a duration in microseconds: ``0.4 s``, ``15 s``, ``2 min``. A negative one is zero."""
    length = max(length, 0)
    if length < 10 * SECOND and length % SECOND:
        return t("time.seconds", number=f"{length / SECOND:.1f}".replace(".", t("time.point")))
    if length < 100 * SECOND:
        return t("time.seconds", number=round(length / SECOND))
    if length < 100 * MINUTE:
        return t("time.minutes", number=round(length / MINUTE))
    if length < 2 * DAY:
        return t("time.hours", number=round(length / HOUR))
    return t("time.days", number=round(length / DAY))
