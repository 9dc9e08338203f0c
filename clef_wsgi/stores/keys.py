"""Digest the keys of logout records, and check ages, for every store."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from clef_wsgi.base.errors import ConfigurationError

OTHER_FORMAT = "%s: what an older clef_wsgi left has another format: it begins anew, and everybody has to log in again."


def digest(key: str) -> bytes:
    """Return the SHA-256 of a key: length, NUL, case and collation then make no difference."""
    # surrogatepass: any str is a key, and no two share an encoding.
    return hashlib.sha256(str.encode(key, "utf-8", "surrogatepass")).digest()


def listed(keys: Iterable[str]) -> tuple[str, ...]:
    """:raises TypeError: one ``str`` in place of a list: it would be read as a key for each character."""
    if isinstance(keys, (str, bytes)):
        raise TypeError("keys must be a list of keys, not one str: write [key].")
    return tuple(keys)


def digests(keys: Iterable[str]) -> list[bytes]:
    """:raises TypeError: a key is no ``str``, or the list is one."""
    return [digest(key) for key in listed(keys)]


def age(older_than: float) -> float:
    """Check the age that ``prune`` was given, in seconds.

    :raises ConfigurationError: it is negative or not a finite number.
    """
    if not 0 <= older_than < math.inf:
        raise ConfigurationError("prune: older_than must be a number of seconds, zero or more.")
    return older_than


def microseconds(older_than: float) -> int:
    """Return the same age in microseconds, as stamps count.

    :raises ConfigurationError: as :func:`age`.
    """
    return int(age(older_than) * 1_000_000)
