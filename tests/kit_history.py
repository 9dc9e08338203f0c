"""What many threads did and saw, and the judge who finds what no order of the events could explain.

Knows nothing of processes, HTTP or the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Login:
    """A login that was acknowledged; ``began`` and ``ended`` are those of the callback's request."""

    number: int
    user: str
    began: float
    ended: float


@dataclass(frozen=True)
class Logout:
    """A logout of a person, or of one login alone; ``ended`` is infinite when it was not acknowledged."""

    began: float
    ended: float
    user: str | None = None
    login: int | None = None

    def covers(self, login: Login) -> bool:
        return self.user == login.user or self.login == login.number


@dataclass(frozen=True)
class Check:
    """A request with the cookies of a login, and whether it was served as signed in."""

    login: int
    began: float
    ended: float
    signed_in: bool


@dataclass
class History:
    """What happened, on one clock. Appending is safe among threads."""

    logins: list[Login] = field(default_factory=list)
    logouts: list[Logout] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def faults(self) -> Iterator[str]:
        """Every observation that no order of the events could explain.

        A login that was acknowledged before a logout began is ended by it: no request that begins after the
        logout was acknowledged may be served as signed in. What was seen ended stays ended. And nothing but a
        logout, one that was not over before the login began, ends a login.
        """
        logins = {login.number: login for login in self.logins}
        for number, checks in self._checks_by_login().items():
            login = logins[number]
            logouts = [logout for logout in self.logouts if logout.covers(login)]
            dead_from = min((out.ended for out in logouts if out.began >= login.ended), default=float("inf"))
            may_be_dead_from = min((out.began for out in logouts if out.ended > login.began), default=float("inf"))
            seen_dead = float("inf")
            for check in sorted(checks, key=lambda check: check.began):
                if check.signed_in and check.began >= dead_from:
                    yield f"stale: {check} after a logout of {login}"
                if check.signed_in and check.began >= seen_dead:
                    yield f"revived: {check} of {login}"
                if not check.signed_in:
                    seen_dead = min(seen_dead, check.ended)
                    if check.ended <= may_be_dead_from:
                        yield f"false sign-out: {check} of {login}"

    def _checks_by_login(self) -> dict[int, list[Check]]:
        found: dict[int, list[Check]] = {}
        for check in self.checks:
            found.setdefault(check.login, []).append(check)
        return found
