"""Where session records are kept: three of Beaker's back-ends, so that records end and files are closed to others.

A namespace manager of Beaker's is one record. Beaker's other back-ends are used as they are.
"""

from __future__ import annotations

import heapq
import pickle
import threading
import time
from collections.abc import Mapping
from typing import Any

from beaker.container import MemoryNamespaceManager
from beaker.ext.redisnm import RedisNamespaceManager


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
        self.client.set(self._format_key(key), pickle.dumps(value), ex=None if seconds is None else int(seconds))


PLACES: Mapping[str, type] = {"memory": MemoryPlace, "ext:redis": RedisPlace}
"""By the type of session."""
