"""Reach Beaker's private names: all that this package uses of them is here, and :data:`NAMES` says which they are.

tests/test_beaker_private.py looks for each; .ci/run runs it with the lowest and with the newest Beaker.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from beaker.session import SessionObject
from beaker.synchronization import FileSynchronizer, _synchronizer
from beaker.util import ThreadLocal

NAMES: Mapping[str, tuple[str, ...]] = {
    "SessionObject": ("_params", "_sess", "_dirty"),
    "Session": ("_update_cookie_out", "_encrypt_data", "_decrypt_data", "_creation_time", "_accessed_time"),
    "FileSynchronizer": ("_synchronizer", "_filedescriptor", "_filedesc", "_open"),
    "RedisNamespaceManager": ("_format_key",),
}
"""By the class that they belong to: its attributes, entries of its content, and what makes it."""


def effective_options(session: SessionObject) -> dict[str, Any]:
    """Return Beaker's options in force, by their names without prefix. Reading them loads no session.

    With them Beaker will load this request's session; they may be added to.
    """
    return cast("dict[str, Any]", vars(session)["_params"])


def discard(session: SessionObject) -> None:
    """Discard the loaded session. The next access reloads it; if there is none, Beaker saves nothing at the end."""
    vars(session).update(_sess=None, _dirty=False)


def mark_saved(session: SessionObject) -> None:
    """Keep Beaker from saving once more when the request ends."""
    vars(session)["_dirty"] = False


def set_times(session: Any) -> None:
    """Write the times that Beaker's ``created`` and ``last_accessed`` read: without them they raise KeyError."""
    session["_creation_time"] = session["_accessed_time"] = time.time()


def send_cookie(session: Any) -> None:
    session._update_cookie_out()


def encrypted(session: Any, value: Any) -> Any:
    return session._encrypt_data({"value": value})


def decrypted(session: Any, data: Any) -> Any:
    return session._decrypt_data(data)["value"]


def redis_key(namespace: Any, key: str) -> Any:
    return namespace._format_key(key)


_MAX_TRIES = 100


class LockFile(FileSynchronizer):  # type: ignore[misc]  # Beaker ships no types
    """A lock file whose place and mode a subclass decides."""

    def __init__(self, identifier: str, lock_dir: str) -> None:
        super(FileSynchronizer, self).__init__()
        self._filedescriptor = ThreadLocal()
        self.filename = self.place(lock_dir, identifier)

    @classmethod
    def of(cls, identifier: str, lock_dir: str) -> LockFile:
        """Return the one lock that this process has for a name."""
        return cast("LockFile", _synchronizer(identifier, cls, lock_dir=lock_dir))

    def place(self, lock_dir: str, identifier: str) -> str:
        raise NotImplementedError

    def opened(self, mode: int) -> int:
        raise NotImplementedError

    def do_acquire_read_lock(self, wait: bool) -> bool:
        return self._acquired(super().do_acquire_read_lock, wait)

    def do_acquire_write_lock(self, wait: bool) -> bool:
        return self._acquired(super().do_acquire_write_lock, wait)

    def _acquired(self, acquire: Callable[[bool], bool], wait: bool) -> bool:
        """Acquire the lock of the file that is there now: who held it may have removed it with its record meanwhile."""
        for _ in range(_MAX_TRIES):
            if not acquire(wait):
                return False
            if self.is_in_place():
                return True
            self.do_release_write_lock()
        return acquire(wait)  # of a file system on which no file is the same twice

    def is_in_place(self) -> bool:
        """Return whether the open file is still the one of this name."""
        try:
            return os.path.samestat(os.fstat(self._filedesc), os.stat(self.filename))
        except FileNotFoundError:
            return False

    def _open(self, mode: int) -> int:
        if self._filedesc is None:
            self._filedescriptor.put(self.opened(mode))
        descriptor: int = self._filedesc
        return descriptor
