"""Find a request's Beaker session, and refuse one that a login can't stand on.

Refused are unsafe options, and several middlewares in one session whose logins can't be told apart because a provider
has no issuer: one of them would take another's login for its own (mix-up, RFC 9700, section 4.4).
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from beaker.session import SessionObject

from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.base.urls import Site

from . import login_record, private
from .cookie import SessionCookie
from .options import unsafe_options

_UNNAMED = (
    "Several middlewares share this session, and the provider of one has no issuer, so their logins can't "
    "be told apart: give each provider an `issuer`, or each middleware a session of its own."
)
_SHARERS: WeakKeyDictionary[object, WeakSet[Sessions]] = WeakKeyDictionary()
"""For each of Beaker's middlewares, those of ours inside of it that have been asked."""


class Sessions:
    """The sessions of one middleware's requests.

    :param key: where Beaker puts the session in environ.
    :param entry: the name of the middleware's login in a session.
    :param has_issuer: False where its provider does not say who answers for the identities.
    :param single_process: True where its logout store lives in one process.
    """

    def __init__(self, *, key: str, site: Site, entry: str, has_issuer: bool, single_process: bool) -> None:
        self._key = key
        self._site = site
        self._entry = entry
        self._has_issuer = has_issuer
        self._single_process = single_process
        self._cookie: SessionCookie | None = None  # known when the first request has shown Beaker's options

    def of(self, environ: dict[str, Any]) -> Any:
        return environ[self._key]

    def discard(self, environ: dict[str, Any]) -> None:
        """Let a request write nothing more into its session."""
        private.discard(environ[self._key])

    def carried_by(self, environ: dict[str, Any]) -> bool:
        """Return whether a session comes with this request: a forged cookie, or another's, is as none."""
        cookie = self._cookie or self.check(environ)
        header = environ.get("HTTP_COOKIE")
        if not header or cookie.start not in header:
            return False
        return login_record.carries_cookie(environ[self._key], cookie, header)

    def check(self, environ: dict[str, Any]) -> SessionCookie:
        """Check Beaker's options in force, at the first request, and return the reader of the session cookie.

        :raises ConfigurationError: there is no Beaker session, or none that a login can stand on.
        """
        if self._cookie is not None:
            return self._cookie
        session = environ.get(self._key)
        if not isinstance(session, SessionObject):
            raise ConfigurationError(
                f"There is no Beaker session in environ[{self._key!r}]: use clef_wsgi.wrap, or put "
                "ClefMiddleware inside Beaker's SessionMiddleware."
            )
        options = private.effective_options(session)
        is_shared = bool(environ.get("wsgi.multiprocess"))
        faults = unsafe_options(options, self._site, must_be_shared=is_shared)
        if is_shared and self._single_process:
            faults.append("This logout store lives in one process, and the server runs several: use another.")
        if self._meets_others_unnamed(environ):
            faults.append(_UNNAMED)
        if faults:
            raise ConfigurationError(*faults)
        self._cookie = login_record.cookie(options)
        return self._cookie

    def _meets_others_unnamed(self, environ: dict[str, Any]) -> bool:
        """Return whether one of the middlewares inside the same Beaker can't be told from the others."""
        outer = getattr(environ.get("beaker.get_session"), "__self__", self)
        sharers = _SHARERS.setdefault(outer, WeakSet())
        sharers.add(self)
        return len(sharers) > 1 and not all(sharer._has_issuer for sharer in sharers)

    def enter(self, environ: dict[str, Any]) -> None:
        """Refuse a second middleware without an issuer whose Beaker, another one, has the same cookie.

        To be called where this one's provider has none.

        :raises ConfigurationError: this request went through the first already.
        """
        session = environ.get(self._key)
        outer, outer_session = environ.setdefault("clef.unnamed", (self, session))
        if outer is not self and outer._entry == self._entry and _same_cookie(outer_session, session):
            raise ConfigurationError(_UNNAMED)


def _same_cookie(one: object, other: object) -> bool:
    keys = [private.effective_options(each)["key"] for each in (one, other) if isinstance(each, SessionObject)]
    return len(keys) == 2 and keys[0] == keys[1]
