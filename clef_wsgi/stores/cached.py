"""Cache the look-ups of a logout store that is far away: each costs a microsecond, and may be a little old."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from clef_wsgi.base.errors import StoreUnavailable
from clef_wsgi.base.options import Faults
from clef_wsgi.interfaces import EVERYONE, LogoutStore

from .keys import listed

_PATIENCE_SECONDS = 2.0
_Answer = tuple[float, int]
"""One cached look-up: when the store was asked, on the monotonic clock, and the newest stamp."""


class CachedLogoutStore:
    """Answer look-ups from memory for at most ``max_staleness``.

    What it trades: a logout that **another** process recorded is seen that much later here, and until then the
    person counts as signed in. A logout that went through this object is seen at once. The time is counted from
    before the store was asked, so it holds however slow the store is; when it is over and the store can't be
    asked, look-ups raise ``StoreUnavailable``: nobody lives on from memory.

    A login is not let in by memory: ``tick`` always asks the store, and the look-up of a new login has a key
    that nobody asked for before. Many look-ups of one login at one moment ask the store once.

    All methods may be called by many threads at once, and after a fork.

    :param store: keeps the records.
    :param max_staleness: how old an answer may be; ``timedelta`` or seconds.
    :param max_logins: how many logins' answers are kept, at about half a kilobyte each. When they are full of
        answers that still count, all are dropped.
    :param clock: a monotonic clock, in seconds.
    :raises ConfigurationError: an argument is wrong; ``faults`` has the sentences.
    """

    def __init__(
        self,
        store: LogoutStore,
        max_staleness: float | timedelta,
        *,
        max_logins: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        faults = Faults()
        self.store: LogoutStore = faults.plug("store", store, LogoutStore)
        self.max_staleness = faults.seconds("max_staleness", max_staleness)
        if type(max_logins) is not int or max_logins < 1:
            faults.add("max_logins must be a whole number, one or more.")
        self._clock = faults.function("clock", clock)
        faults.raise_all()
        self.single_process = bool(getattr(store, "single_process", False))
        self._max_logins = max_logins
        self._answers: dict[tuple[str, ...], _Answer] = {}
        self._questions = _Questions()
        # When this process ended a key: answers from before are out of date. After the last of these moments
        # plus ``max_staleness`` there are no such answers left.
        self._ended: dict[str, float] = {}
        self._calm_from = -math.inf

    def __repr__(self) -> str:
        return f"CachedLogoutStore({self.store!r}, {self.max_staleness})"

    def tick(self) -> int:
        """As the store's."""
        return self.store.tick()

    def record_logout(self, keys: Iterable[str], *, idempotency_key: str | None = None) -> bool:
        """Record a logout in the store, and discard what is cached of these keys, also where the store failed."""
        ended = listed(keys)
        try:
            return self.store.record_logout(ended, idempotency_key=idempotency_key)
        finally:
            self._forget(ended)

    def newest_logout(self, keys: Iterable[str]) -> int:
        """Return the newest stamp among ``keys`` and ``everyone``, at most ``max_staleness`` old.

        :raises TypeError: ``keys`` is a ``str``, or holds something else than ``str``.
        """
        wanted = listed(keys)
        began = self._clock()
        answer = self._answers.get(wanted)
        if answer is not None and answer[0] >= began - self.max_staleness and began > self._calm_from:
            return answer[1]
        return self._newest(wanted, began)

    def prune(self, older_than: float) -> int:
        """As the store's."""
        try:
            return self.store.prune(older_than)
        finally:
            self._forget((EVERYONE,))

    def close(self) -> None:
        """Close the store, where it can be closed."""
        close: Callable[[], object] = getattr(self.store, "close", lambda: None)
        close()

    def _newest(self, wanted: tuple[str, ...], began: float) -> int:
        """Return the cached stamp if it is new enough; else ask the store, one thread for all that wait."""
        while True:
            answer = self._answers.get(wanted)
            if answer is not None and self._counts(answer, wanted, began):
                return answer[1]
            questions = self._current_questions()
            question, is_mine = questions.take(wanted)
            if is_mine:
                with questions.answering(wanted, question):
                    return self._ask(wanted)
            # Whether the answer counts for this thread too, the next turn sees.
            question.wait()

    def _ask(self, wanted: tuple[str, ...]) -> int:
        asked_at = self._clock()
        newest = self.store.newest_logout(wanted)
        if len(self._answers) >= self._max_logins:
            self._make_room(asked_at - self.max_staleness)
        self._answers[wanted] = asked_at, newest
        return newest

    def _counts(self, answer: _Answer, wanted: tuple[str, ...], began: float) -> bool:
        asked_at = answer[0]
        if asked_at < began - self.max_staleness:
            return False
        ended = self._ended
        return all([asked_at > ended.get(key, -math.inf) for key in (*wanted, EVERYONE)])

    def _make_room(self, oldest: float) -> None:
        kept = {wanted: answer for wanted, answer in list(self._answers.items()) if answer[0] >= oldest}
        # Where most of them count, dropping the rest would be the work of every look-up.
        self._answers = kept if len(kept) <= self._max_logins // 2 else {}

    def _forget(self, keys: tuple[str, ...]) -> None:
        with self._current_questions().lock:
            now = self._clock()
            oldest = now - self.max_staleness
            kept = {key: ended_at for key, ended_at in self._ended.items() if ended_at >= oldest}
            # A new dict: look-ups read the old one without a lock.
            self._ended = {**kept, **dict.fromkeys(keys, now)}
            self._calm_from = now + self.max_staleness

    def _current_questions(self) -> _Questions:
        # After a fork, nobody will answer what the parent's threads were asking.
        if self._questions.pid != os.getpid():
            self._questions = _Questions()
        return self._questions


class _Question:
    """One look-up under way: a thread asks the store, and others wait for it."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self.is_answered = False

    def end(self) -> None:
        self._ended.set()

    def wait(self) -> None:
        """:raises StoreUnavailable: there was no answer, or not in time."""
        if not self._ended.wait(_PATIENCE_SECONDS) or not self.is_answered:
            raise StoreUnavailable()


class _Questions:
    """The look-ups under way in this process: at most one for the same keys."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self._open: dict[tuple[str, ...], _Question] = {}

    def take(self, wanted: tuple[str, ...]) -> tuple[_Question, bool]:
        """Return the look-up, and whether it is the caller's to make."""
        mine = _Question()
        with self.lock:
            question = self._open.setdefault(wanted, mine)
        return question, question is mine

    @contextmanager
    def answering(self, wanted: tuple[str, ...], question: _Question) -> Iterator[None]:
        try:
            yield
            question.is_answered = True
        finally:
            with self.lock:
                del self._open[wanted]
            question.end()
