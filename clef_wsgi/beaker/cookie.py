"""The session cookie: find it in a Cookie header and verify its signature.

The format is Beaker's ``SignedCookie``: 40 hex digits of HMAC-SHA1 (RFC 2104), then the session id. Python's own
parser is not used: it stops at the first cookie of somebody else that it finds odd, and with it the rest is lost.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from functools import lru_cache

_SIGNATURE_LENGTH = 40
_MAX_VALUE_LENGTH = 256


class SessionCookie:
    """Read the session id from a Cookie header.

    :param name: the cookie's exact name.
    :param secrets: each may have signed it.
    """

    def __init__(self, name: str, secrets: tuple[str, ...]) -> None:
        self._start = name + "="
        self._keys = tuple(hmac.new(secret.encode(), digestmod="sha1") for secret in secrets)

    def session_id(self, header: str | None) -> str | None:
        """Return the session id of the last cookie of this name whose signature verifies, or None.

        The header is that of RFC 6265, section 4.2.
        """
        if not header or self._start not in header:
            return None
        return next((value[_SIGNATURE_LENGTH:] for value in self._values(header) if self._is_ours(value)), None)

    def _values(self, header: str) -> Iterator[str]:
        """Yield what has this name and could be signed, the last one first."""
        length = len(self._start)
        for part in reversed(header.split(";")):
            pair = part.strip(" \t")
            if pair.startswith(self._start):
                value = pair[length:].strip('"')
                if _SIGNATURE_LENGTH < len(value) <= _MAX_VALUE_LENGTH and value.isascii():
                    yield value

    def _is_ours(self, value: str) -> bool:
        signature, message = value[:_SIGNATURE_LENGTH], value[_SIGNATURE_LENGTH:].encode("ascii")
        return any(hmac.compare_digest(_signature(key, message), signature) for key in self._keys)


@lru_cache(maxsize=64)
def session_cookie(name: str, secrets: tuple[str, ...]) -> SessionCookie:
    """Return the one instance for a name and secrets: preparing a key costs more than a signature."""
    return SessionCookie(name, secrets)


def _signature(key: hmac.HMAC, message: bytes) -> str:
    begun = key.copy()
    begun.update(message)
    return begun.hexdigest()
