"""Keep records beside the session: values of our own in Beaker's namespaces, in the back-end of the session.

Each value is as small as can be, and encrypted where the session is.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from beaker.container import NamespaceManager, OpenResourceNamespaceManager
from beaker.session import SessionObject

from . import private


@contextmanager
def writing(place: NamespaceManager) -> Iterator[NamespaceManager]:
    """Hold the record's lock as Beaker does for a write."""
    place.acquire_write_lock()
    try:
        yield place
    finally:
        place.release_write_lock()


@contextmanager
def reading(place: NamespaceManager) -> Iterator[NamespaceManager]:
    """Hold the record's lock as Beaker does for a read."""
    place.acquire_read_lock()
    try:
        yield place
    finally:
        place.release_read_lock()


def remove(place: NamespaceManager, keys: Iterable[str]) -> None:
    """Remove a record that holds these keys at most. Beaker's own ``remove`` searches all keys of a Redis."""
    if isinstance(place, OpenResourceNamespaceManager):
        place.remove()
    else:
        for key in keys:
            with suppress(KeyError):
                del place[key]


def packed(session: SessionObject, value: Any) -> Any:
    """Return a JSON value as the back-end keeps it: compressed, and encrypted where the session is."""
    if session.encrypt_key:
        return private.encrypted(session, value)
    return zlib.compress(json.dumps(value).encode())


def unpacked(session: SessionObject, data: Any) -> Any:
    """Return what :func:`packed` made; raise one of ``UNDECODABLE`` for anything else."""
    if session.encrypt_key:
        return private.decrypted(session, data)
    return json.loads(zlib.decompress(data))


def digest(*parts: str) -> str:
    """Return a record's name: 32 hexadecimal digits, as a session id has them."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
