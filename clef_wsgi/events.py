"""Emit events: each is written once, to the log and to counters.

The events are a closed list, and so is what each carries (docs/operating.md shows both). Nobody's data goes
out in the clear: people and logins appear as digests of their logout keys.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .base.errors import ClefError, ProviderUnavailable, StoreUnavailable

log = logging.getLogger("clef_wsgi")

Observer = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Event:
    """One line of the list: the level it is logged at, and the fields it carries beside ``event``."""

    level: int
    fields: tuple[str, ...]


_TROUBLE = Event(logging.WARNING, ("reason", "cause", "endpoint", "reference"))
EVENTS: Mapping[str, Event] = {
    "login": Event(logging.INFO, ("keys",)),
    "sign_out": Event(logging.INFO, ("keys",)),
    "sign_out_noticed": Event(logging.INFO, ("reason", "keys", "seconds")),
    "webhook": Event(logging.INFO, ("outcome", "keys")),
    "refusal": _TROUBLE,
    "provider_error": _TROUBLE,
    "store_error": _TROUBLE,
    "remote_user_missing": Event(logging.WARNING, ("keys",)),
    "site_error": Event(logging.ERROR, ("hook",)),
}

_TROUBLES = {StoreUnavailable: "store_error", ProviderUnavailable: "provider_error"}

observers: list[Observer] = []
"""Called with each event, whatever the logger's level is. Shared by all middlewares of the process."""


def emit(event: str, message: str, *words: object, **fields: Any) -> None:
    """Emit one event, to the log and to every observer.

    :param event: a name of :data:`EVENTS`.
    :param message: the line for people; ``words`` fill its ``%s``.
    :param fields: what the event carries.
    """
    level, content = EVENTS[event].level, {"event": event, **fields}
    log.log(level, message, *words, exc_info=level >= logging.ERROR, extra=content)
    for observer in observers:
        _notify(observer, content)


def _notify(observer: Observer, content: Mapping[str, Any]) -> None:
    try:
        observer(content)
    except Exception:  # who counts must not be able to break a login
        log.exception("an observer failed")


def emit_refusal(error: ClefError, endpoint: str) -> str:
    """Emit what a request was refused for, and return the reference that stands in its line of the log.

    :param endpoint: ``page``, or the name of one of the middleware's own.
    """
    reference = secrets.token_hex(4)
    # The cause's own text may hold an URL with a token in it: its name has to do.
    cause = getattr(error, "cause", None) or (type(error.__cause__).__name__ if error.__cause__ else "-")
    event = next((event for kind, event in _TROUBLES.items() if isinstance(error, kind)), "refusal")
    fields = {"reason": error.reason, "cause": cause, "endpoint": endpoint, "reference": reference}
    emit(event, "%s: %s (cause: %s) [%s]", error.reason, error.message, cause, reference, **fields)
    return reference


def digests(keys: Iterable[str]) -> list[str]:
    """Return what stands in an event for logout keys: the first half of each key's SHA-256, in hexadecimal."""
    return [hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:32] for key in keys]
