"""Keep logout records in a dict, for one process.

It lives as long as the process: after a restart everybody has to sign in again.
files, other processes or the network.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from clef_wsgi.base.errors import ConfigurationError
from clef_wsgi.interfaces import EVERYONE

from .keys import age


class MemoryLogoutStore:
    """Keep stamps in memory, for development, tests, and sites that run as one process.

    All methods may be called by many threads at once.

    :param clock: gives the time in seconds; wall-clock time, since the epoch.
    :raises ConfigurationError: ``clock`` can't be called.
    """

    single_process = True

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        if not callable(clock):
            raise ConfigurationError("MemoryLogoutStore: clock must be callable, such as time.time.")
        self._clock = clock
        self._lock = threading.Lock()
        self._mark = 0
        self._logouts: dict[str, int] = {}
        self._known: dict[str, int] = {}
        self.record_logout([EVERYONE])

    def tick(self) -> int:
        """Return a new stamp in microseconds, greater than all before it."""
        with self._lock:
            return self._new_stamp()

    def record_logout(self, keys: Iterable[str], *, idempotency_key: str | None = None) -> bool:
        """Record a logout of all ``keys`` under one new stamp.

        :param keys: any text; a single ``str`` in place of a list is refused.
        :param idempotency_key: a digest; when it is known already, nothing is done.
        :returns: True when recorded, False when ``idempotency_key`` was known.
        :raises TypeError: ``keys`` is a ``str``, or holds something else than ``str``.
        """
        wanted = list(keys)
        if isinstance(keys, str) or not all([isinstance(key, str) for key in wanted]):
            raise TypeError("keys must be a list of str, not one str: write [key].")
        with self._lock:
            if idempotency_key is not None and idempotency_key in self._known:
                return False
            stamp = self._new_stamp()
            self._logouts.update(dict.fromkeys(wanted, stamp))
            if idempotency_key is not None:
                self._known[idempotency_key] = stamp
        return True

    def newest_logout(self, keys: Iterable[str]) -> int:
        """Return the newest stamp, in microseconds, among ``keys`` and ``everyone``.

        :raises TypeError: ``keys`` is a ``str``.
        """
        if isinstance(keys, str):
            raise TypeError("keys must be a list of keys, not one str: write [key].")
        # No lock: each dict.get is atomic, and a record that is half written has not been acknowledged yet.
        # One dict serves the whole look-up, and prune puts a new one in its place instead of emptying this
        # one: so no look-up can miss both a dropped record and the stamp of everyone that makes up for it.
        stamp_of = self._logouts.get
        newest = stamp_of(EVERYONE, 0)
        for key in keys:
            stamp = stamp_of(key, 0)
            if stamp > newest:
                newest = stamp
        return newest

    def prune(self, older_than: float) -> int:
        """Drop records and idempotency keys older than ``older_than`` seconds, and raise ``everyone`` to that moment.

        :returns: the number of logout records dropped.
        :raises ConfigurationError: ``older_than`` is negative or not a finite number.
        """
        seconds = age(older_than)
        with self._lock:
            cut = int((self._clock() - seconds) * 1_000_000)
            # The mark goes along: a stamp below everyone's would be a login that is dead at birth.
            self._mark = max(self._mark, cut)
            before = len(self._logouts)
            kept = {key: stamp for key, stamp in self._logouts.items() if stamp >= cut and key != EVERYONE}
            kept[EVERYONE] = max(self._logouts[EVERYONE], cut)
            self._known = {known: stamp for known, stamp in self._known.items() if stamp >= cut}
            self._logouts = kept
            return before - len(kept)

    def _new_stamp(self) -> int:
        self._mark = max(int(self._clock() * 1_000_000), self._mark + 1)
        return self._mark
