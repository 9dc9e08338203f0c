"""Keep session records: four of Beaker's back-ends, changed so that records expire and files are closed to others.

A namespace manager of Beaker's is one record. Beaker's other back-ends are used as they are.
"""

from __future__ import annotations

import dbm
import hashlib
import heapq
import os
import pickle
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import Any

from beaker.container import (
    DBMNamespaceManager,
    FileNamespaceManager,
    MemoryNamespaceManager,
    OpenResourceNamespaceManager,
)
from beaker.exceptions import MissingCacheParameter
from beaker.ext.redisnm import RedisNamespaceManager

from . import private

_OWNER_ALONE = 0o600
_CHUNK = 64 * 1024


class MemoryPlace(MemoryNamespaceManager):  # type: ignore[misc]  # Beaker ships no types
    """A record in this process, which ends ``timeout`` seconds after it was written."""

    _lock = threading.Lock()
    _ends: dict[str, float] = {}  # noqa: RUF012
    _queue: list[tuple[float, str]] = []  # noqa: RUF012

    def __init__(self, namespace: str, timeout: float | None = None, **options: Any) -> None:
        # Reading what is not there makes no record, as it does in Beaker.
        super(MemoryNamespaceManager, self).__init__(namespace)
        self.dictionary = self.namespaces.dict.get(namespace, {})
        self.timeout = timeout

    def __setitem__(self, key: str, value: Any) -> None:
        self.dictionary = self.namespaces.get(self.namespace, lambda: self.dictionary)
        super().__setitem__(key, value)
        if self.timeout is not None:
            with self._lock:
                self._end_later(time.monotonic(), self.timeout)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        if not self.dictionary:
            self.namespaces.dict.pop(self.namespace, None)

    def _end_later(self, now: float, seconds: float) -> None:
        if self.namespace not in self._ends:
            heapq.heappush(self._queue, (now + seconds, self.namespace))
        self._ends[self.namespace] = now + seconds
        while self._queue and self._queue[0][0] <= now:
            name = heapq.heappop(self._queue)[1]
            if self._ends[name] > now:  # written again since
                heapq.heappush(self._queue, (self._ends[name], name))
            else:
                del self._ends[name]
                self.namespaces.dict.pop(name, None)


class RedisPlace(RedisNamespaceManager):  # type: ignore[misc]
    """A record in Redis with a time to live, by the command that redis-py still has."""

    def set_value(self, key: str, value: Any, expiretime: float | None = None) -> None:
        seconds = self.timeout if expiretime is None else expiretime
        self.client.set(private.redis_key(self, key), pickle.dumps(value), ex=None if seconds is None else int(seconds))


class FilePlace(FileNamespaceManager):  # type: ignore[misc]
    """A record in a file that only its owner can open, below directories of the same kind.

    It is read without a lock, since it is replaced as a whole: so reading what is not there makes no file either.
    """

    def __init__(
        self,
        namespace: str,
        data_dir: str | None = None,
        file_dir: str | None = None,
        lock_dir: str | None = None,
        **options: Any,
    ) -> None:
        self.file_dir, self.lock_dir = directories(data_dir, file_dir, lock_dir)
        # Beaker's two constructors above this one look into directories, and make a lock: a reader needs neither.
        super(OpenResourceNamespaceManager, self).__init__(namespace)
        self.openers, self.mutex = 0, threading.Lock()
        self.file = _path(self.file_dir, namespace, ".cache")
        self.hash: dict[str, Any] = {}
        self.flags: str | None = None

    def get_access_lock(self) -> private.LockFile:
        return PrivateLock.of(self.namespace, self.lock_dir)

    @cached_property
    def access_lock(self) -> private.LockFile:
        """The lock for writers, made when the first of them comes."""
        return self.get_access_lock()

    def do_open(self, flags: str, replace: bool) -> None:
        content = None if replace else _content(self.file)
        if content is not None:
            self.hash = pickle.loads(content)  # noqa: S301 - Beaker's format
        self.flags = flags

    def acquire_read_lock(self) -> None:
        self.open("r", checkcount=True)

    def release_read_lock(self) -> None:
        self.close(checkcount=True)

    def do_close(self) -> None:
        if self.flags in ("c", "w"):
            make_private(os.path.dirname(self.file))
            _replace(self.file, pickle.dumps(self.hash))
        self.hash, self.flags = {}, None

    def do_remove(self) -> None:
        super().do_remove()
        with suppress(OSError):
            os.remove(self.access_lock.filename)


class DBMPlace(DBMNamespaceManager):  # type: ignore[misc]
    """A record in a file of the ``dbm`` module that only its owner can open."""

    def __init__(
        self,
        namespace: str,
        data_dir: str | None = None,
        dbm_dir: str | None = None,
        lock_dir: str | None = None,
        **options: Any,
    ) -> None:
        files, locks = directories(data_dir, dbm_dir, lock_dir, kind="dbm")
        make_private(os.path.dirname(_path(files, namespace, "")))
        make_private(locks)
        super().__init__(namespace, **{"dbmmodule": _PrivateDBM, **options, "dbm_dir": files, "lock_dir": locks})

    def get_access_lock(self) -> private.LockFile:
        return PrivateLock.of(self.namespace, self.lock_dir)


class _PrivateDBM:
    @staticmethod
    def open(file: str, flag: str) -> Any:
        return dbm.open(file, "c" if flag == "c" else "r", _OWNER_ALONE)


class PrivateLock(private.LockFile):
    """A lock file that only its owner can open."""

    def place(self, lock_dir: str, identifier: str) -> str:
        return lock_path(lock_dir, identifier)

    def opened(self, mode: int) -> int:
        make_private(os.path.dirname(self.filename))
        return os.open(self.filename, mode | os.O_CLOEXEC, _OWNER_ALONE)


@lru_cache(maxsize=64)
def directories(
    data_dir: str | None, own_dir: str | None, lock_dir: str | None, *, kind: str = "file"
) -> tuple[str, str]:
    """Return where Beaker keeps session files and their locks, by its options."""
    if not data_dir and not (own_dir and lock_dir):
        raise MissingCacheParameter(f"data_dir is required, or {kind}_dir and lock_dir")
    base = os.path.join(data_dir or "", f"container_{kind}")
    return own_dir or base, lock_dir or f"{base}_lock"


def lock_path(lock_dir: str, session_id: str) -> str:
    """Return where Beaker locks a session: by the SHA-1 of its id."""
    return _path(lock_dir, hashlib.sha1(session_id.encode(), usedforsecurity=False).hexdigest(), ".lock")


def make_private(directory: str) -> None:
    """Make the directory, and those above it that are missing, for its owner alone."""
    if directory and not os.path.isdir(directory):
        make_private(os.path.dirname(directory))
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)


def _path(root: str, name: str, extension: str) -> str:
    """Return a file's place, as Beaker lays files out. A name is an id or a digest; nothing in it leads elsewhere."""
    name = os.path.basename(name).replace(".", "")
    return os.path.join(root, name[:1], name[:2], name + extension)


def _content(path: str) -> bytes | None:
    """Read a file in three calls of the system, or four; None where there is none for us, as in Beaker."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        content = os.read(descriptor, _CHUNK)
        while chunk := os.read(descriptor, _CHUNK):
            content += chunk
        return content
    finally:
        os.close(descriptor)


def _replace(path: str, content: bytes) -> None:
    """Write the file under another name first, so that readers see the old content or the new. The lock is held."""
    draft = f"{path}.temp"
    with suppress(FileNotFoundError):
        os.remove(draft)  # of a process that was killed
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ALONE), "wb") as file:
        file.write(content)
    os.replace(draft, path)


PLACES: Mapping[str, type] = {"memory": MemoryPlace, "file": FilePlace, "dbm": DBMPlace, "ext:redis": RedisPlace}
"""By the type of session."""
