"""Keep the provider's state of a login beside the session: a logout reads it, and no request does.

It lies in the session's back-end under a digest of session id and site, so that a signed-in request pays nothing for
it, whatever its size. It ends with the login: at a logout, at a new session id, by the back-end's time to live, or by
``clef-wsgi prune``. Losing it never ends a login.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from beaker.session import SessionObject

from clef_wsgi.base.errors import StoreUnavailable

from .session_class import BACK_END, DAY, UNDECODABLE
from .side_records import digest, packed, reading, remove, unpacked, writing

KEY = "provider_state"


class ProviderStates:
    """Keep the provider's state of one site's logins.

    :param entry: the name of the site's login in a session.
    :param lifetime: seconds for which a login may live.
    """

    def __init__(self, *, entry: str, lifetime: float) -> None:
        self._entry = entry
        self._lifetime = lifetime

    def keep(self, session: SessionObject, provider_state: Mapping[str, Any]) -> None:
        """Keep the state of the login that this session holds now.

        :raises StoreUnavailable: the back-end can't be asked.
        """
        if provider_state:
            with BACK_END, writing(self._place(session)) as place:
                place[KEY] = packed(session, dict(provider_state))

    def read(self, session: SessionObject) -> dict[str, Any]:
        """Return the state of this session's login; empty where there is none, or it can't be read."""
        with suppress(StoreUnavailable), BACK_END, suppress(*UNDECODABLE), reading(self._place(session)) as place:
            found = unpacked(session, place[KEY])
            return found if isinstance(found, dict) else {}
        return {}

    def drop(self, session: SessionObject) -> None:
        """Remove the state of this session's login. One that can't be removed ends by its time to live."""
        with suppress(StoreUnavailable), BACK_END:
            remove(self._place(session), [KEY])

    def _place(self, session: SessionObject) -> Any:
        return session.beside(digest(session.id, self._entry, KEY), self._lifetime + DAY)
