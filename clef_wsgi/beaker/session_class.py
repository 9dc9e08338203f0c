"""Beaker's session class, with the session cookie read by :mod:`.cookie`, and records that expire."""

from __future__ import annotations

import pickle
import time
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from beaker.container import NamespaceManager
from beaker.session import Session

from clef_wsgi.base.errors import StoreUnavailable

from . import private
from .backends import PLACES
from .cookie import Verified, session_cookie

DAY = 24 * 3600.0
MARGIN_SECONDS = 3600.0
"""Extra time for sessions that hold only started logins: a late callback still leads to its page."""
TIMEOUT_MARGIN_SECONDS = 120.0
"""Beaker's own: a record must not end while it is read."""
MAX_COOKIE_AGE = 400 * DAY
"""The longest that browsers keep a cookie (RFC 6265bis, section 5.5)."""
ENTRY_PREFIX = "clef.login."
EARLIER = "clef.earlier"
"""The one entry of a session that all middlewares share: the ids that it had, for logins under way in other tabs."""
UNDECODABLE = (
    # What unpickling, base64, zlib and JSON raise for garbage. A back-end that can't be asked raises OSError, or
    # an error of its client library.
    *(pickle.UnpicklingError, zlib.error, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(ImportError, ArithmeticError, RecursionError),
)


class TolerantSession(Session):  # type: ignore[misc]  # Beaker ships no types
    """A Beaker session that finds its cookie among odd ones and starts afresh when its record is undecodable.

    Beaker's parser never sees the Cookie header: it gives up at the first cookie that it finds odd.

    For an undecodable record Beaker knows two ways. With ``invalidate_corrupt`` true, one time-out of Redis signs a
    person out for good; with false, a garbled record raises at every request for ever. Here the back-end's errors
    (OSError and what its client library raises) go on to the caller, who can say "try again", and garbage becomes
    a new session.

    :param secret: signs new cookies.
    :param old_secrets: verify cookies, too. ``session_options`` takes all of them as one list.
    :param max_login_age: seconds for which a login may live.
    :param state_lifetime: seconds for which a started login may live.
    :param verified: the outcome of an earlier verification of the cookie in this request.
    """

    def __init__(
        self,
        request: dict[str, Any],
        id: str | None = None,
        *,
        type: str | None = None,
        data_dir: str | None = None,
        namespace_class: Any = None,
        key: str = "beaker.session.id",
        secret: str | None = None,
        old_secrets: tuple[str, ...] = (),
        max_login_age: float = 30 * DAY,
        state_lifetime: float = 3600.0,
        verified: Verified | None = None,
        **options: Any,
    ) -> None:
        self._max_login_age = max_login_age
        self._state_lifetime = state_lifetime
        header = request.pop("cookie", None)
        session_id = id
        if id is None and header and secret:
            session_id = session_cookie(key, (secret, *old_secrets)).verify(header, verified).session_id
        kind = type or ("file" if data_dir else "memory")
        super().__init__(
            request,
            session_id,
            key=key,
            secret=secret,
            type=kind,
            data_dir=data_dir,
            namespace_class=namespace_class or PLACES.get(kind),
            **options,
        )

    def load(self) -> None:
        try:
            super().load()
        except UNDECODABLE:
            self.invalidate()

    def save(self, accessed_only: bool = False) -> None:
        """Save the session, with its time to live for back-ends that expire records."""
        self.namespace_args["timeout"] = int(self._seconds())
        if hasattr(self, "namespace"):
            self.namespace.timeout = self.namespace_args["timeout"]
        super().save(accessed_only)

    def _seconds(self) -> float:
        if not any(map(is_content, self)):
            return self._state_lifetime + MARGIN_SECONDS
        if self.timeout:
            return float(self.timeout) + TIMEOUT_MARGIN_SECONDS
        return max(self._max_login_age, cookie_age(self.cookie_expires), *ages_of_logins(self)) + DAY

    def send_cookie(self) -> None:
        """Send the session cookie once more with this answer. Beaker sends it with the first one alone."""
        private.send_cookie(self)

    def beside(self, name: str, seconds: float) -> NamespaceManager:
        """Return the place of another record in the same back-end, which ends ``seconds`` after it was written."""
        options = {**self.namespace_args, "timeout": int(seconds)}
        return self.namespace_class(name, data_dir=self.data_dir, digest_filenames=False, **options)


def is_content(name: str) -> bool:
    """Return whether an entry is more than Beaker's times and what a session has for started logins."""
    return not name.startswith("_") and name != EARLIER


def cookie_age(expires: Any) -> float:
    """Return the seconds that a browser keeps a cookie, by Beaker's ``cookie_expires``; 0 where it dies with it."""
    if isinstance(expires, datetime):
        expires = expires - datetime.now(expires.tzinfo)
    if isinstance(expires, timedelta):
        return expires.total_seconds()
    return MAX_COOKIE_AGE if expires is False else 0.0


def ages_of_logins(session: Mapping[str, Any]) -> Iterator[float]:
    """Yield the seconds that each login has left, by its own record, and 0 for none. A record may hold anything."""
    yield 0.0
    for name, record in session.items():
        ends = record.get("expires_at") if name.startswith(ENTRY_PREFIX) and isinstance(record, dict) else None
        if type(ends) is float and ends < time.time() + MAX_COOKIE_AGE:
            yield ends - time.time()


class _BackEnd:
    """Turn every error of a session's back-end, each has its own, into :class:`StoreUnavailable`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception):
            raise StoreUnavailable(
                "The session can't be read or written right now.", reason="session_unavailable"
            ) from error


BACK_END = _BackEnd()
