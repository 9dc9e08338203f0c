"""Find the session cookie in a Cookie header and verify its signature.

The format is Beaker's ``SignedCookie``: 40 hex digits of HMAC-SHA1 (RFC 2104), then the session id. Python's own
parser is not used: it stops at the first cookie of somebody else that it finds odd, and with it the rest is lost.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import NamedTuple

_SIGNATURE_LENGTH = 40
_MAX_VALUE_LENGTH = 256


class SessionCookie:
    """Read the session id from a Cookie header.

    :param name: the cookie's exact name.
    :param secrets: each may have signed it.
    """

    def __init__(self, name: str, secrets: tuple[str, ...]) -> None:
        self.start = name + "="
        self._keys = tuple(hmac.new(secret.encode(), digestmod="sha1") for secret in secrets)

    def verify(self, header: str, before: object = None) -> Verified:
        """Verify the cookie, once in a request.

        :param before: the outcome of an earlier verification. It counts where it was by this one, of this very header.
        """
        if isinstance(before, Verified) and before.by is self and before.header is header:
            return before
        return Verified(self, header, self.session_id(header))

    def session_id(self, header: str | None) -> str | None:
        """Return the session id of the last cookie of this name whose signature verifies, or None.

        The header is that of RFC 6265, section 4.2.
        """
        start = self.start
        if not header or start not in header:
            return None
        for part in reversed(header.split(";")):
            if start in part and (pair := part.strip(" \t")).startswith(start):
                value = pair[len(start) :].strip('"')
                if self._is_ours(value):
                    return value[_SIGNATURE_LENGTH:]
        return None

    def _is_ours(self, value: str) -> bool:
        if not _SIGNATURE_LENGTH < len(value) <= _MAX_VALUE_LENGTH or not value.isascii():
            return False
        signature, message = value[:_SIGNATURE_LENGTH], value[_SIGNATURE_LENGTH:].encode("ascii")
        for key in self._keys:  # noqa: SIM110 - a generator costs half a signature
            if hmac.compare_digest(_signature(key, message), signature):
                return True
        return False


class Verified(NamedTuple):
    """The session id of a Cookie header, or None, and by whom it was verified: proof for this very header alone."""

    by: SessionCookie
    header: str
    session_id: str | None


@lru_cache(maxsize=64)
def session_cookie(name: str, secrets: tuple[str, ...]) -> SessionCookie:
    """Return the one instance for a name and secrets: preparing a key costs more than a signature."""
    return SessionCookie(name, secrets)


def _signature(key: hmac.HMAC, message: bytes) -> str:
    begun = key.copy()
    begun.update(message)
    return begun.hexdigest()
