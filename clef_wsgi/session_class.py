"""The session class: Beaker's, with the session cookie read by :mod:`._session_cookie`."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from beaker.container import NamespaceManager
from beaker.session import Session

from ._session_cookie import session_cookie
from .errors import StoreUnavailable
from .session_places import PLACES

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
        **options: Any,
    ) -> None:
        header = request.pop("cookie", None)
        session_id = session_cookie(key, (secret, *old_secrets)).session_id(header) if secret else None
        kind = type or ("file" if data_dir else "memory")
        options.update(type=kind, data_dir=data_dir, namespace_class=namespace_class or PLACES.get(kind))
        super().__init__(request, id or session_id, key=key, secret=secret, **options)

    def load(self) -> None:
        try:
            super().load()
        except UNDECODABLE:
            self.invalidate()

    def beside(self, name: str, seconds: float) -> NamespaceManager:
        """The place of another record in the same back-end, which ends ``seconds`` after it was written."""
        options = {**self.namespace_args, "timeout": int(seconds)}
        return self.namespace_class(name, data_dir=self.data_dir, digest_filenames=False, **options)


@contextmanager
def back_end_is_asked() -> Iterator[None]:
    """Every trouble of a session's back-end leaves as :class:`StoreUnavailable`: each raises errors of its own."""
    try:
        yield
    except Exception as error:
        raise StoreUnavailable(
            "The session can't be read or written right now.", reason="session_unavailable"
        ) from error
