"""A history of the logins, logouts and answers seen by many threads, and the judge that checks it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

NEVER = float("inf")


@dataclass(frozen=True)
class Login:
    """A login that was acknowledged; ``began`` and ``ended`` are those of the callback's request."""

    number: int
    user: str
    began: float
    ended: float


@dataclass(frozen=True)
class Logout:
    """A logout of a person, of one login alone, or of everyone; ``ended`` is infinite when it was not acknowledged.

    ``place`` is the process that took it: behind a cache the others may see it later. None is none of them.
    """

    began: float
    ended: float
    user: str | None = None
    login: int | None = None
    everyone: bool = False
    place: int | None = None


@dataclass(frozen=True)
class Refusal:
    """A login that was refused, as if its person had logged out meanwhile."""

    user: str
    began: float
    ended: float


@dataclass(frozen=True)
class Check:
    """A request with the cookies of a login, and whether the process at ``place`` served it as signed in."""

    login: int
    began: float
    ended: float
    signed_in: bool
    place: int | None = None


@dataclass
class History:
    """A history of events on one clock. Appending is thread-safe.

    ``max_staleness`` is how much later another process than the one that took a logout may see it.
    """

    logins: list[Login] = field(default_factory=list)
    logouts: list[Logout] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    max_staleness: float = 0.0

    def served_after_logout(self) -> Iterator[str]:
        """Yield the requests that were served although a logout had ended their login.

        A login that was acknowledged before a logout began is ended by it: no request that begins after the
        logout was acknowledged may be served as signed in. What was seen ended stays ended; behind a cache, after
        its time, also at the process that saw it: it may have found a session that another one had emptied.
        """
        for login, logouts, checks in self._by_login():
            dead_from = _Moments(self.max_staleness)
            for out in logouts:
                if out.began >= login.ended:
                    dead_from.add(out.ended, out.place)
            seen_dead = _Moments(self.max_staleness)
            for check in checks:
                if check.signed_in and check.began >= dead_from.at(check.place):
                    yield f"stale: {check} after a logout of {login}"
                if check.signed_in and check.began >= seen_dead.at(check.place):
                    yield f"revived: {check} of {login}"
                if not check.signed_in:
                    seen_dead.add(check.ended, None)

    def ended_without_logout(self) -> Iterator[str]:
        """Logins that were refused or ended although no logout overlaps with them or follows them."""
        for login, logouts, checks in self._by_login():
            may_be_dead_from = min((out.began for out in logouts if out.ended > login.began), default=NEVER)
            for check in checks:
                if not check.signed_in and check.ended <= may_be_dead_from:
                    yield f"false sign-out: {check} of {login}"
        of_users, _, of_everyone = self._logouts()
        for refusal in self.refusals:
            logouts = [*of_users[refusal.user], *of_everyone]
            if not any(out.began < refusal.ended and out.ended > refusal.began for out in logouts):
                yield f"refused for nothing: {refusal}"

    def faults(self) -> list[str]:
        """Every observation that no order of the events could explain, both ways."""
        return [*self.served_after_logout(), *self.ended_without_logout()]

    def _by_login(self) -> Iterator[tuple[Login, list[Logout], list[Check]]]:
        """Each login with the logouts that cover it, and with its checks in the order in which they began."""
        of_users, of_logins, of_everyone = self._logouts()
        checks: defaultdict[int, list[Check]] = defaultdict(list)
        for check in sorted(self.checks, key=lambda check: check.began):
            checks[check.login].append(check)
        for login in self.logins:
            yield login, [*of_users[login.user], *of_logins[login.number], *of_everyone], checks[login.number]

    def _logouts(self) -> tuple[defaultdict[str, list[Logout]], defaultdict[int, list[Logout]], list[Logout]]:
        of_users: defaultdict[str, list[Logout]] = defaultdict(list)
        of_logins: defaultdict[int, list[Logout]] = defaultdict(list)
        for out in self.logouts:
            if out.user is not None:
                of_users[out.user].append(out)
            if out.login is not None:
                of_logins[out.login].append(out)
        return of_users, of_logins, [out for out in self.logouts if out.everyone]


class _Moments:
    """The first moment from which something is known: at the place that saw it, and at all others a little later."""

    def __init__(self, max_staleness: float) -> None:
        self._max_staleness = max_staleness
        self._everywhere = NEVER
        self._at: dict[int, float] = {}

    def add(self, moment: float, place: int | None) -> None:
        self._everywhere = min(self._everywhere, moment + self._max_staleness)
        if place is not None:
            self._at[place] = min(moment, self._at.get(place, NEVER))

    def at(self, place: int | None) -> float:
        return min(self._everywhere, NEVER if place is None else self._at.get(place, NEVER))
