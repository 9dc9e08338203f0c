"""Log a person out everywhere: one back-channel logout notification to each relying party, and its outcome.

A notification is the form ``logout_token=...`` and nothing else (Clef wire protocol, section 4). The site exchanges
the token while its own answer is still open, so notifications are sent from threads of their own without any lock.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import requests

from clef_wsgi.testing.local_clef.records import LogoutToken, Person
from clef_wsgi.testing.local_clef.storage import Storage

USER_AGENT = "Clef/1.0 (local)"
BUSY_DELAY_SECONDS = 1.0


@dataclass(frozen=True)
class Delivery:
    """A notification to one site.

    ``status`` is the site's answer, ``None`` when there was none or ``url`` is ``None`` (the site has no
    webhook); ``seconds`` is how long the last attempt took.
    """

    site: str
    url: str | None
    _token: LogoutToken = field(repr=False)
    status: int | None = None
    seconds: float = 0.0
    attempts: int = 0

    @property
    def token(self) -> str:
        """The logout token, the same for every attempt."""
        return self._token.text

    @property
    def answered(self) -> bool:
        """True once the site answered 2xx or 3xx; the body is never read."""
        return self.status is not None and 200 <= self.status < 400

    @property
    def confirmed(self) -> bool:
        """True once the site answered 2xx or 3xx and exchanged the token after that attempt began, be it later."""
        return self._token.confirmed_at is not None


@dataclass(frozen=True)
class Logout:
    """One press of "log out everywhere"."""

    person: Person
    deliveries: tuple[Delivery, ...]


class Logouts:
    """All logouts so far, by an unguessable name."""

    def __init__(self, storage: Storage, timeout_seconds: float) -> None:
        self._storage = storage
        self._timeout_seconds = timeout_seconds
        self._done: dict[str, Logout] = {}

    def start(self, person: Person) -> tuple[str, Logout]:
        """End a person's logins and notify every site. Return when all have answered or timed out."""
        deliveries = [
            Delivery(login.site, login.webhook_url, self._storage.issue_logout_token(person, login.app_id))
            for login in self._storage.end_logins(person)
        ]
        return self._send_all(secrets.token_hex(8), person, deliveries)

    def send_again(self, name: str) -> None:
        """Send once more what was not confirmed.

        :raises KeyError: there is no such logout.
        """
        logout = self._done[name]
        self._send_all(name, logout.person, logout.deliveries)

    def find(self, name: str) -> Logout | None:
        """Return the logout of that name, as it stands."""
        return self._done.get(name)

    def send(self, delivery: Delivery) -> Delivery:
        """Send one notification, with the token it always had. A confirmed one is not sent again.

        A site that is busy is notified again, within its time; that counts as one attempt.
        """
        if delivery.confirmed or delivery.url is None:
            return delivery
        began = time.perf_counter()
        status, is_busy = self._post(delivery.url, delivery._token)
        while is_busy and time.perf_counter() - began + BUSY_DELAY_SECONDS < self._timeout_seconds:
            time.sleep(BUSY_DELAY_SECONDS)  # as long as the site asked for
            status, is_busy = self._post(delivery.url, delivery._token)
        took = time.perf_counter() - began
        return replace(delivery, status=status, seconds=took, attempts=delivery.attempts + 1)

    def _send_all(self, name: str, person: Person, deliveries: Sequence[Delivery]) -> tuple[str, Logout]:
        with ThreadPoolExecutor(max_workers=max(1, len(deliveries))) as pool:  # a slow site delays no other
            self._done[name] = Logout(person, tuple(pool.map(self.send, deliveries)))
        return name, self._done[name]

    def _post(self, url: str, token: LogoutToken) -> tuple[int | None, bool]:
        """Return the site's status, and whether it is busy: 503, and it has room again within two seconds."""
        attempt = self._storage.begin_attempt(token)
        with requests.Session() as http:
            http.trust_env = False
            try:
                with http.post(
                    url,
                    data={"logout_token": token.text},
                    headers={"User-Agent": USER_AGENT},
                    timeout=self._timeout_seconds,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    status, retry_after = response.status_code, response.headers.get("Retry-After", "")
            except requests.RequestException:
                return None, False
        self._storage.note_answer(token, attempt, status)
        return status, status == 503 and re.fullmatch("0*[0-2]", retry_after.strip()) is not None
