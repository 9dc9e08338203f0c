"""Keep started logins, each a record of its own in the session's back-end, and consume each once (login CSRF).

The record's name is a digest of session id, site and state, so that no start rewrites what another tab or the app
writes. A list beside them, one for each session and site, bounds their number and the room that return addresses take.
Two processes that write the list at once may lose an entry of it, never a started login. The start with which a session
begins has a name without the state, so that the list can wait for the second one: most visitors make no second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypedDict, cast

from beaker.container import NamespaceManager
from beaker.session import SessionObject
from beaker.synchronization import NameLock

from .session_class import BACK_END, EARLIER, MARGIN_SECONDS, UNDECODABLE
from .side_records import digest, packed, reading, remove, unpacked, writing

MAX_STARTED = 20
MAX_NEXT_LENGTH = 2048
"""The characters that the return addresses of one session may take together."""
_CLOCK_SLACK = 2 * 24 * 3600
_LOGIN, _NEXT, _LIST = _KEYS = "login", "next", "started"
_FIRST = ""

Known = list[tuple[str, int]]
"""Names of started logins, the oldest first, each with the length of the return address that is kept for it."""


class Pending(TypedDict):
    """A login that was started: ``next`` is a path of this site or None, ``at`` is ``clock``'s time."""

    next: str | None
    provider_state: dict[str, Any]
    at: float


class StartedLogins:
    """Keep the started logins of one site.

    :param entry: the name of the site's login in a session.
    :param lifetime: seconds for which a started login is usable.
    :param clock: seconds since the epoch, for ages alone.
    """

    def __init__(self, *, entry: str, lifetime: float, clock: Callable[[], float]) -> None:
        self._entry = entry
        self._lifetime = lifetime
        self._clock = clock

    def remember(self, session: SessionObject, state: str, next: str | None, provider_state: Mapping[str, Any]) -> None:
        """Keep a started login; beyond :data:`MAX_STARTED` the oldest is dropped.

        :raises StoreUnavailable: the back-end can't be asked.
        """
        login = {"state": digest(state), "provider_state": dict(provider_state), "at": float(self._clock())}
        with BACK_END:
            owner, is_first = digest(session.id), session.is_new and not session.request["set_cookie"]
            name = self._name(owner, _FIRST if is_first else state)
            with writing(self._place(session, name)) as place:
                place[_LOGIN] = packed(session, login)
                if next is not None:
                    place[_NEXT] = packed(session, next)
            if not is_first:
                self._keep_few(session, owner, name, len(next or ""))
        # There may be no session yet: its id is all that the browser needs.
        session.request["set_cookie"] = True

    def consume(self, session: SessionObject, state: str) -> Pending | None:
        """Consume a started login, before any network call. Return None where it is unknown, or consumed already.

        :raises StoreUnavailable: the back-end can't be asked.
        """
        with BACK_END:
            taken = (self._taken(session, owner, state) for owner in (digest(session.id), *self._earlier(session)))
            return next(filter(None, taken), None)

    def is_fresh(self, pending: Pending) -> bool:
        """Return whether a started login is still usable, by clocks that may differ between processes."""
        return pending["at"] - _CLOCK_SLACK <= self._clock() < pending["at"] + self._lifetime

    def inherited(self, session: SessionObject) -> dict[str, Any]:
        """Return what the session's next id needs, so that logins under way in other tabs finish with either cookie.

        They count no longer than they live: who knows an old id must not start logins for the new one later.
        """
        until = float(self._clock()) + self._lifetime
        return {EARLIER: [[digest(session.id), until], *map(list, self._earlier(session).items())][:MAX_STARTED]}

    def _earlier(self, session: SessionObject) -> dict[str, float]:
        """Return digests of the ids that the session had, the newest first, with the time until which each counts."""
        found, now = session.get(EARLIER), self._clock()
        pairs = [pair for pair in found if _is_pair(pair, str, float)] if isinstance(found, list) else []
        return {owner: until for owner, until in pairs if now < until}

    # -- one record -----------------------------------------------------------------------------------------

    def _name(self, owner: str, state: str) -> str:
        return digest(owner, self._entry, state)

    def _place(self, session: SessionObject, name: str) -> NamespaceManager:
        return session.beside(name, self._lifetime + MARGIN_SECONDS)

    def _taken(self, session: SessionObject, owner: str, state: str) -> Pending | None:
        """Take one record: at most one thread gets it; of several processes the provider's single-use code decides."""
        return self._taken_as(session, owner, state, state) or self._taken_as(session, owner, state, _FIRST)

    def _taken_as(self, session: SessionObject, owner: str, state: str, name_state: str) -> Pending | None:
        name = self._name(owner, name_state)
        with _one_thread(name):
            place = self._place(session, name)
            pending = _content(session, place, state)
            if pending is not None:
                self._change_list(session, owner, lambda known: [item for item in known if item[0] != name])
                remove(place, _KEYS)
            return pending

    # -- the list -------------------------------------------------------------------------------------------

    def _keep_few(self, session: SessionObject, owner: str, name: str, length: int) -> None:
        before: Known = []

        def bounded(known: Known) -> Known:
            before[:] = [*known, (name, length)]
            return _bounded(before)

        after = dict(self._change_list(session, owner, bounded))
        for old, old_length in before:
            if old not in after:
                remove(self._place(session, old), _KEYS)
            elif after[old] != old_length:
                self._drop_next(session, old)

    def _drop_next(self, session: SessionObject, name: str) -> None:
        place = self._place(session, name)
        with suppress(*UNDECODABLE):
            with reading(place):
                is_there = _NEXT in place
            if is_there:  # writing makes a file, and this one may be spent
                with writing(place):
                    del place[_NEXT]

    def _change_list(self, session: SessionObject, owner: str, change: Callable[[Known], Known]) -> Known:
        with _one_thread(digest(owner, self._entry)):
            try:
                return self._changed(session, owner, change)
            except UNDECODABLE:
                remove(self._place(session, digest(owner, self._entry)), _KEYS)
            except Exception:  # noqa: BLE001, S110  another process made the list in the same moment, if no worse
                pass
            return self._changed(session, owner, change)

    def _changed(self, session: SessionObject, owner: str, change: Callable[[Known], Known]) -> Known:
        place = self._place(session, digest(owner, self._entry))
        with writing(place):
            known = change(_known(session, place) if _LIST in place else self._first(session, owner))
            place[_LIST] = packed(session, known)
        if not known:
            remove(place, _KEYS)
        return known

    def _first(self, session: SessionObject, owner: str) -> Known:
        """Return the entries where there is no list: at most the start with which the session began."""
        name = self._name(owner, _FIRST)
        with suppress(*UNDECODABLE), reading(self._place(session, name)) as place:
            return [(name, len(unpacked(session, place[_NEXT])) if _NEXT in place else 0)] if _LOGIN in place else []
        return []


def _content(session: SessionObject, place: NamespaceManager, state: str) -> Pending | None:
    with suppress(*UNDECODABLE), reading(place):
        login = unpacked(session, place[_LOGIN])
        pending = {**login, "next": unpacked(session, place[_NEXT]) if _NEXT in place else None}
        return cast("Pending", pending) if pending.pop("state") == digest(state) and _is_pending(pending) else None
    return None


def _bounded(known: Known) -> Known:
    """Keep the newest entries, and the return addresses of as many as there is room for."""
    kept: Known = []
    total = 0
    for name, length in reversed(known[-MAX_STARTED:]):
        total += length
        kept.insert(0, (name, length if total <= MAX_NEXT_LENGTH else 0))
    return kept


def _known(session: SessionObject, place: NamespaceManager) -> Known:
    with suppress(*UNDECODABLE):
        return [(item[0], item[1]) for item in unpacked(session, place[_LIST]) if _is_pair(item, str, int)]
    return []


def _is_pair(found: Any, first: type, second: type) -> bool:
    return isinstance(found, list) and len(found) == 2 and type(found[0]) is first and type(found[1]) is second


def _is_pending(pending: dict[str, Any]) -> bool:
    return (
        pending.keys() == Pending.__annotations__.keys()
        and (pending["next"] is None or isinstance(pending["next"], str))
        and isinstance(pending["provider_state"], dict)
        and type(pending["at"]) is float
    )


@contextmanager
def _one_thread(name: str) -> Iterator[None]:
    lock = NameLock(identifier=f"clef {name}", reentrant=True)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
