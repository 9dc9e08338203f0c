"""Logging a person out everywhere: one notice to each site, and what became of it.

A notice is the form ``logout_token=...`` and nothing else (Clef wire protocol, section 4). The site asks back
while its own answer is still open, so notices are sent from threads of their own and no lock is held.
This file knows nothing of pages or of the server's side of HTTP.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import requests

from clef_wsgi.testing.local_clef.book import Book, Person

USER_AGENT = "Clef/1.0 (local)"


@dataclass(frozen=True)
class Delivery:
    """A notice to one site.

    ``status`` is the site's answer, ``None`` when there was none or ``url`` is ``None`` (the site has no
    webhook); ``seconds`` is how long the last attempt took.
    """

    site: str
    url: str | None
    token: str = field(repr=False)
    status: int | None = None
    seconds: float = 0.0
    attempts: int = 0

    @property
    def confirmed(self) -> bool:
        """Any 2xx is a confirmation; the body is never read."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class LogOut:
    """One press of "log out everywhere"."""

    person: Person
    deliveries: tuple[Delivery, ...]


class LogOuts:
    """All log-outs so far, by an unguessable name."""

    def __init__(self, book: Book, timeout_seconds: float) -> None:
        self._book = book
        self._timeout_seconds = timeout_seconds
        self._done: dict[str, LogOut] = {}

    def start(self, person: Person) -> tuple[str, LogOut]:
        """Ends a person's logins and tells every site. Comes back when all have answered or timed out."""
        deliveries = [
            Delivery(login.site, login.webhook_url, self._book.issue_notice(person, login.app_id))
            for login in self._book.end_logins(person)
        ]
        return self._finish(secrets.token_hex(8), person, deliveries)

    def again(self, name: str) -> None:
        """Sends what was not confirmed once more.

        :raises KeyError: no such log-out.
        """
        log_out = self._done[name]
        self._finish(name, log_out.person, log_out.deliveries)

    def find(self, name: str) -> LogOut | None:
        """The log-out of that name, as it stands."""
        return self._done.get(name)

    def send(self, delivery: Delivery) -> Delivery:
        """Sends one notice, with the token it always had. A confirmed one is not sent again.

        A site that is busy is asked again, within its time; that counts as one attempt.
        """
        if delivery.confirmed or delivery.url is None:
            return delivery
        began = time.perf_counter()
        status, wait = self._post(delivery.url, delivery.token)
        while wait is not None and time.perf_counter() - began + wait < self._timeout_seconds:
            time.sleep(wait)  # as long as the site has asked for
            status, wait = self._post(delivery.url, delivery.token)
        took = time.perf_counter() - began
        sent = replace(delivery, status=status, seconds=took, attempts=delivery.attempts + 1)
        if sent.confirmed:
            self._book.drop_notice(sent.token)
        return sent

    def _finish(self, name: str, person: Person, deliveries: Sequence[Delivery]) -> tuple[str, LogOut]:
        with ThreadPoolExecutor(max_workers=max(1, len(deliveries))) as pool:  # a slow site delays no other
            self._done[name] = LogOut(person, tuple(pool.map(self.send, deliveries)))
        return name, self._done[name]

    def _post(self, url: str, token: str) -> tuple[int | None, int | None]:
        """The site's status, and the seconds after which a site that is busy wants to be asked again."""
        with requests.Session() as http:
            http.trust_env = False
            try:
                with http.post(
                    url,
                    data={"logout_token": token},
                    headers={"User-Agent": USER_AGENT},
                    timeout=self._timeout_seconds,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    wait = response.headers.get("Retry-After") if response.status_code == 503 else None
                    return response.status_code, int(wait) if wait in ("1", "2") else None
            except requests.RequestException:
                return None, None
