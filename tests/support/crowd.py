"""Many threads that log in, log out and look, at several processes of one site, and record what they saw."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Protocol

from support.history import NEVER, Check, History, Login, Logout, Refusal
from support.processes import PATIENCE_SECONDS, Answer, Browser, Wire

LEAVING = [f"Leaving{number}" for number in range(10)]
STAYING = [f"Staying{number}" for number in range(4)]
EXPECTED = ("logins", "logouts", "requests signed in", "requests signed out", "notifications repeated")
ATTEMPTS = 10
REPEATED = 0.3
SLOW = 0.15


class Party(Protocol):
    """The provider, as the crowd needs it."""

    def approve(self, login_url: str, person: str) -> str: ...

    def logout_token(self, person: str) -> str: ...

    def user_id(self, person: str) -> str: ...


class Crowd:
    """Logins, logouts and requests that many threads make at the site, recorded in a history.

    ``lost_notifications`` counts the times that the site lost its idempotency keys: a notification repeated across such
    a moment may count again. Increment it before each loss.

    :param open_wire: makes a thread's own way to the processes.
    :param places: how many processes there are.
    :param expected: what has to happen once, by the names that are counted.
    """

    def __init__(
        self,
        party: Party,
        open_wire: Callable[[], Wire],
        *,
        places: int,
        seed: int,
        max_staleness: float = 0.0,
        expected: Sequence[str] = EXPECTED,
    ) -> None:
        self.history = History(max_staleness=max_staleness)
        self.counts: Counter[str] = Counter()
        self.odd: list[str] = []
        self.lost_notifications = 0
        self._expected = expected
        self._party, self._open_wire, self._places, self._seed = party, open_wire, places, seed
        self._numbers = count()
        self._known: list[tuple[Login, dict[str, str]]] = []
        self._replaceable: list[tuple[Login, dict[str, str]]] = []
        self._lock = threading.Lock()

    def run(self, threads: int, *, seconds: float, operations: float = NEVER) -> None:
        """Go on until the time is over or enough was done; longer, while something has not happened once."""
        ends = time.monotonic() + seconds

        def is_done() -> bool:
            now = time.monotonic()
            is_over = now > ends or self.operations >= operations
            return is_over and (not self.missing or now > ends + PATIENCE_SECONDS)

        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(self._work, thread, is_done) for thread in range(threads)]:
                done.result()

    @property
    def operations(self) -> int:
        """The number of requests that were answered and judged."""
        seen = self.history
        requests = len(seen.logins) + len(seen.logouts) + len(seen.checks) + len(seen.refusals)
        return requests + self.counts["notifications repeated"]

    @property
    def missing(self) -> list[str]:
        """Return the expected events that have not happened yet: a slow machine gets more time for them."""
        return [name for name in self._expected if not self.counts[name]]

    @property
    def story(self) -> str:
        return ", ".join(f"{number} {name}" for name, number in sorted(self.counts.items()))

    def tell(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def _work(self, thread: int, is_done: Callable[[], bool]) -> None:
        luck = random.Random(self._seed * 1000 + thread)
        wire = self._open_wire()
        acts: Sequence[Callable[[random.Random, Wire], None]] = (
            self._sign_in,
            self._sign_in_again,
            self._log_out,
            self._sign_out,
            self._check,
        )
        while not is_done():
            [act] = luck.choices(acts, [10, 2, 8, 8, 72]) if self._known else [self._sign_in]
            act(luck, wire)
        wire.close()

    # -- logins ---------------------------------------------------------------------------------------------

    def _sign_in(self, luck: random.Random, wire: Wire) -> None:
        self._finish_login(luck, Browser(wire))

    def _sign_in_again(self, luck: random.Random, wire: Wire) -> None:
        """In a browser that somebody is signed in at: the new login ends the old one."""
        try:
            old, cookies = self._replaceable.pop()  # by one thread alone: of two states in a session one may get lost
        except IndexError:
            return
        began = time.monotonic()
        is_done = self._finish_login(luck, Browser(wire, cookies))
        self.history.logouts.append(Logout(began, time.monotonic() if is_done else NEVER, login=old.number))

    def _finish_login(self, luck: random.Random, browser: Browser) -> bool:
        person = luck.choice([*LEAVING, *STAYING])
        started = browser.get(self._somewhere(luck), "/clef/login?next=/")
        if started.status != 303:
            self.tell(f"logins not started: {started.status}")
            return False
        before = dict(browser.cookies)
        callback_url = self._party.approve(str(started.location), person)
        began = time.monotonic()
        answer = browser.come_back(callback_url, self._somewhere(luck))
        ended = time.monotonic()
        if answer.status == 303 and browser.cookies != before:
            login = Login(next(self._numbers), person, began, ended)
            self.history.logins.append(login)
            for known in (self._known, self._replaceable):
                known.append((login, browser.cookies))
            self.tell("logins")
            return True
        if answer.status == 400:
            self.history.refusals.append(Refusal(person, began, ended))
        self.tell(f"logins answered {answer.status}")
        return False

    # -- logouts --------------------------------------------------------------------------------------------

    def _log_out(self, luck: random.Random, wire: Wire) -> None:
        """Send the provider's notification. If it was not acknowledged, send it again, as the provider would."""
        person, before = luck.choice(LEAVING), self.lost_notifications
        token, place = self._party.logout_token(person), self._somewhere(luck)
        began = time.monotonic()
        for attempt in range(ATTEMPTS):
            answer = Browser(wire).post((place + attempt) % self._places, "/clef/webhook", logout_token=token)
            if answer.status == 200:
                break
            self.tell(f"notifications answered {answer.status}")
        self._write_down(began, answer, 200, user=person)
        if answer.status == 200 and luck.random() < REPEATED:
            self._repeat(wire, person, token, self._another(place), before)

    def _repeat(self, wire: Wire, person: str, token: str, place: int, lost_before: int) -> None:
        """Repeat the same notification: it must not end a newer login."""
        began = time.monotonic()
        answer = Browser(wire).post(place, "/clef/webhook", logout_token=token)
        self.tell("notifications repeated" if answer.status == 200 else f"repetitions answered {answer.status}")
        if self.lost_notifications != lost_before:
            self.history.logouts.append(Logout(began, NEVER, user=person))

    def _sign_out(self, luck: random.Random, wire: Wire) -> None:
        """Log out at one process while a slow request of the same login is under way at another."""
        login, cookies = self._some_login(luck)
        if login.user not in LEAVING:
            return
        number, began = self._somewhere(luck), time.monotonic()
        other = self._another(number)
        if other != number:
            wire.send(other, "/slow?late=yes", cookies)
        signing_out = time.monotonic()
        answer = wire.ask(number, "/clef/logout", cookies, {"next": "/"})
        # Another process may have ended it and emptied the session: then this one recorded nothing, and its cache
        # knows as little as any other's.
        self._write_down(signing_out, replace(answer, place=None), 303, login=login.number)
        if other != number:
            self._saw(login, began, wire.receive(other))
        self._look(luck, wire, login, cookies)

    def _write_down(
        self, began: float, answer: Answer, status: int, user: str | None = None, login: int | None = None
    ) -> None:
        ended = time.monotonic() if answer.status == status else NEVER
        self.history.logouts.append(Logout(began, ended, user=user, login=login, place=answer.place))
        self.tell("logouts" if answer.status == status else f"logouts answered {answer.status}")

    # -- looks ----------------------------------------------------------------------------------------------

    def _check(self, luck: random.Random, wire: Wire) -> None:
        self._look(luck, wire, *self._some_login(luck))

    def _look(self, luck: random.Random, wire: Wire, login: Login, cookies: Mapping[str, str]) -> None:
        path = "/slow?late=yes" if luck.random() < SLOW else "/"
        began = time.monotonic()
        self._saw(login, began, wire.ask(self._somewhere(luck), path, cookies))

    def _saw(self, login: Login, began: float, answer: Answer) -> None:
        if answer.status != 200:
            self.tell(f"requests answered {answer.status}")
            return
        user = answer.json["user"]
        self.history.checks.append(Check(login.number, began, time.monotonic(), user is not None, answer.place))
        self.tell("requests signed in" if user else "requests signed out")
        if user not in (None, self._party.user_id(login.user)):
            self.odd.append(f"a cookie of {login.user} was served as {user}")

    def _some_login(self, luck: random.Random) -> tuple[Login, dict[str, str]]:
        """Mostly one of the last, which may still live; sometimes an old cookie."""
        return luck.choice(self._known[-6:] if luck.random() < 0.8 else self._known)

    def _somewhere(self, luck: random.Random) -> int:
        return luck.randrange(self._places)

    def _another(self, place: int) -> int:
        return (place + 1) % self._places
