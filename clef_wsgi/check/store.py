"""Check the logout store: a record has to be seen through a second connection, and its clock has to be right."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping

from clef_wsgi.base.errors import StoreUnavailable
from clef_wsgi.check import redis_server, sql_server, sqlite_file
from clef_wsgi.check.findings import STORE, Finding
from clef_wsgi.interfaces import LogoutStore

MAX_CLOCK_DIFFERENCE_SECONDS = 5.0


def findings(settings: Mapping[str, str], store: LogoutStore, other: LogoutStore) -> Iterator[Finding]:
    """Yield the findings about a store.

    :param other: a second instance of the same settings, with connections of its own.
    """
    if getattr(store, "single_process", False):
        yield STORE.warning(
            "The store lives in one process: at a restart it forgets, and everybody has to sign in again.",
            "Use store = sqlite on one machine, sql or redis on several.",
        )
        return
    try:
        yield _round_trip(store, other)
        yield _clock(store)
    except StoreUnavailable as error:
        yield unavailable(error)
        return
    yield from _persistence(settings)


def unavailable(error: StoreUnavailable) -> Finding:
    """Find that the store can't be asked, with the kind of error."""
    cause = f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
    return STORE.error(
        f"The store can't be asked{cause}: requests that carry a login get 503.",
        "See that it runs, that this machine reaches it, and that it lets this account in.",
    )


def _round_trip(store: LogoutStore, other: LogoutStore) -> Finding:
    key = f"check:{secrets.token_hex(16)}"  # nobody's: it ends no login, and is pruned with the rest
    started = other.tick()
    store.record_logout([key])
    if other.newest_logout([key]) > started:
        return STORE.ok("A logout that one connection recorded was seen by a second one.")
    return STORE.error(
        "A logout that one connection recorded was not seen by a second one: a logout would be lost.",
        "Let all processes use the same store, and of a database the primary, never a replica.",
    )


def _clock(store: LogoutStore) -> Finding:
    before = time.time()
    stamp = store.tick() / 1_000_000
    after = time.time()
    ahead = max(0.0, stamp - after) - max(0.0, before - stamp)
    if abs(ahead) <= MAX_CLOCK_DIFFERENCE_SECONDS:
        return STORE.ok(f"The store's clock is within {MAX_CLOCK_DIFFERENCE_SECONDS:.0f} s of this machine's.")
    return STORE.warning(
        f"The store's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's, or once was: "
        "no logout is lost by it, but pruning counts ages by it.",
        "Let both machines follow a time server.",
    )


def _persistence(settings: Mapping[str, str]) -> Iterator[Finding]:
    kind = settings["store"]
    if kind == "redis":
        yield from redis_server.findings(settings["store.url"])
    elif kind == "sql":
        yield from sql_server.findings(settings["store.url"])
    elif kind == "sqlite":
        yield from sqlite_file.findings(settings["store.path"])
    else:
        yield STORE.warning(
            "What this store loses in a crash can't be told from here: it is one of your own.",
            "See that it writes to the disk before record_logout returns.",
        )
