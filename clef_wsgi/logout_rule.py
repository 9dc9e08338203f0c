"""Apply the rule of logout: begin, check and end logins.

The store stamps logins and logouts with one hybrid logical clock. A login has ended once any of its keys has a logout
newer than its stamp. Deleting a login from the session is a courtesy, never the mechanism: a slow request that loaded
the session before writes it back when it ends.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from . import events
from .base.errors import LoggedOutMeanwhile, StoreUnavailable
from .beaker import login_record, private
from .beaker.login_record import LOGIN_KEY_PREFIX, Record
from .beaker.provider_state import ProviderStates
from .beaker.started_logins import StartedLogins
from .interfaces import LogoutStore


class Logins:
    """Begin, check and end the logins of one site.

    :param store: stamps logins and logouts.
    :param entry: the name of this site's login in a session.
    :param started: the started logins of this site.
    :param max_age: seconds after which a login ends whatever happens.
    :param clock: seconds since the epoch, for ages alone.
    :param states: the provider's states of logins; None where the provider has no use for them.
    """

    def __init__(
        self,
        store: LogoutStore,
        *,
        entry: str,
        started: StartedLogins,
        max_age: float,
        clock: Callable[[], float],
        states: ProviderStates | None = None,
    ) -> None:
        self._store = store
        self._entry = entry
        self._started = started
        self._max_age = max_age
        self._clock = clock
        self._states = states

    def active(self, session: Any) -> Record | None:
        """Return the login that nothing has ended. Of one that has ended the session is emptied.

        :raises StoreUnavailable: the session or the store can't be asked.
        """
        record = login_record.read(session, self._entry)
        if record is not None:
            if not login_record.is_in_time(record, self._clock(), self._max_age):
                self._end_noticed(session, "too_old", record)
            elif (logout := self._store.newest_logout(record["keys"])) < record["started"]:
                return record
            else:
                self._end_noticed(session, "logged_out", record, since=logout)
        elif login_record.holds_anything_of_a_login(session, self._entry):
            self._end_noticed(session, "malformed")
        return None

    def is_active(self, record: Record) -> bool:
        """Ask the store alone whether a login that was read before is still active.

        :raises StoreUnavailable: the store can't be asked.
        """
        return (
            login_record.is_in_time(record, self._clock(), self._max_age)
            and self._store.newest_logout(record["keys"]) < record["started"]
        )

    def check_store(self) -> None:
        """Read from the store, so that nobody is sent to a login that can't be finished.

        :raises StoreUnavailable: the store can't be asked.
        """
        self._store.newest_logout(())

    def tick(self) -> int:
        """Return the stamp of a login that is about to happen, to be taken before the provider is asked."""
        return self._store.tick()

    def begin(
        self,
        session: Any,
        user: dict[str, Any],
        keys: tuple[str, ...],
        started: int,
        provider_state: Mapping[str, Any],
    ) -> None:
        """Write a login under a new session id (session fixation), and end the one that it replaces.

        :param keys: the person's logout key, and the provider's others.
        :param started: what :meth:`tick` gave before the provider was asked.
        :param provider_state: what stays with the login for the provider's own logout. Losing it ends no login.
        :raises LoggedOutMeanwhile: one of the keys had a logout since.
        :raises StoreUnavailable: nothing is written then.
        """
        login_keys = [LOGIN_KEY_PREFIX + secrets.token_hex(16), *keys]
        if self._store.newest_logout(login_keys) >= started:
            raise LoggedOutMeanwhile()
        now = float(self._clock())
        record: Record = {
            "user": user,
            "keys": login_keys,
            "started": started,
            "logged_in_at": now,
            "expires_at": now + self._max_age,
        }
        private.discard(session)
        is_theirs = self._end_previous(session, user["id"])
        under_way = self._started.inherited(session)
        login_record.replace(session, self._entry, record, keep=is_theirs, more=under_way)
        if self._states is not None:
            with suppress(StoreUnavailable):
                self._states.keep(session, provider_state)
        events.emit("login", "a login was written", keys=events.digests(login_keys))

    def provider_state(self, session: Any) -> Mapping[str, Any]:
        """Return what stayed with this browser's login for the provider; empty where that was lost."""
        return {} if self._states is None else self._states.read(session)

    def end(self, session: Any) -> None:
        """Record the end of this browser's login, then empty its session.

        :raises StoreUnavailable: the end could not be recorded; the login goes on.
        """
        record = login_record.read(session, self._entry)
        if record is not None:
            self._store.record_logout(record["keys"][:1])
            events.emit("sign_out", "a browser signed out", keys=events.digests(record["keys"]))
        self._empty(session)

    def _end_noticed(self, session: Any, reason: str, record: Record | None = None, since: int | None = None) -> None:
        """Empty the session of an ended login. ``since`` is the logout's stamp, in the store's microseconds."""
        seconds = None if since is None else max(0.0, round(self._clock() - since / 1_000_000, 3))
        keys = events.digests(record["keys"] if record else ())
        events.emit("sign_out_noticed", "a login was found ended", reason=reason, keys=keys, seconds=seconds)
        self._empty(session)

    def _empty(self, session: Any) -> None:
        if self._states is not None:
            self._states.drop(session)
        login_record.empty(session, self._entry)

    def _end_previous(self, session: Any, user_id: str) -> bool:
        """End the login that is replaced. Return whether the session's content may stay: nobody's, or this person's."""
        previous = login_record.read(session, self._entry)
        if previous is None:
            return not login_record.holds_anything_of_a_login(session, self._entry)
        is_theirs = previous["user"]["id"] == user_id and self.is_active(previous)
        self._store.record_logout(previous["keys"][:1])
        if self._states is not None:
            self._states.drop(session)
        return is_theirs
