"""The session class: Beaker's, with the session cookie read by :mod:`._session_cookie`."""

from __future__ import annotations

import pickle
import zlib
from typing import Any

from beaker.session import Session

from ._session_cookie import session_cookie

_UNDECODABLE = (
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
    """

    def __init__(
        self,
        request: dict[str, Any],
        id: str | None = None,
        *,
        key: str = "beaker.session.id",
        secret: str | None = None,
        old_secrets: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        header = request.pop("cookie", None)
        session_id = session_cookie(key, (secret, *old_secrets)).session_id(header) if secret else None
        super().__init__(request, id or session_id, key=key, secret=secret, **options)

    def load(self) -> None:
        try:
            super().load()
        except _UNDECODABLE:
            self.invalidate()
