"""The loop, step by step, over real HTTP: what a person with two browsers would try, and must see.

Knows nothing of processes: it is told two addresses, of a ``LocalClef`` and of the example site.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import urljoin

import requests

TIMEOUT_SECONDS = 10.0


def walk(provider_url: str, site_url: str, say: Callable[[str], object] = print) -> int:
    """Takes every step and says how each went, and how long it took.

    :param provider_url: of the ``LocalClef``, without a trailing slash.
    :param site_url: of the example site.
    :param say: takes each line.
    :returns: the exit code: 0, or 1 at the first step that failed.
    """
    visit = _Visit(provider_url, site_url)
    try:
        return 0 if all(_step_went_well(visit, sentence, step, say) for sentence, step in _STEPS) else 1
    finally:
        visit.close()


def _step_went_well(visit: _Visit, sentence: str, step: Callable[[_Visit], None], say: Callable[[str], object]) -> bool:
    began = time.perf_counter()
    try:
        step(visit)
    except _Unexpected as error:
        say(f"FAIL {time.perf_counter() - began:5.2f} s  {sentence}")
        say(f"              expected {error.expected}, but {error.came}")
        return False
    say(f"ok   {time.perf_counter() - began:5.2f} s  {sentence}")
    return True


class _Unexpected(Exception):
    def __init__(self, expected: str, came: str) -> None:
        super().__init__(expected, came)
        self.expected = expected
        self.came = came


def _expect(holds: bool, expected: str, came: str) -> None:
    if not holds:
        raise _Unexpected(expected, came)


class _Browser:
    """Somebody's browser: cookies, redirects, and the buttons of a page."""

    def __init__(self, site_url: str) -> None:
        self.site_url = site_url
        self.http = requests.Session()
        self.http.trust_env = False

    def get(self, url: str) -> requests.Response:
        return self._send("GET", url, {})

    def press(self, page: requests.Response, action: str, **form: str) -> requests.Response:
        """Posts the form of ``page`` whose address begins with ``action``."""
        found = re.search(rf'<form[^>]* action="({re.escape(action)}[^"]*)"', page.text)
        _expect(found is not None, f"a form for {action}", "the page has none")
        address = urljoin(page.url, unescape(found[1] if found else ""))
        return self._send("POST", address, form)

    def user(self) -> dict[str, Any] | None:
        """What the site has in ``clef.user`` for this browser."""
        answer = self.get(f"{self.site_url}/whoami")
        _expect(answer.status_code == 200, "status 200 from /whoami", f"it was {answer.status_code}")
        try:
            user = answer.json()
        except ValueError:
            user = "no JSON"
        _expect(user is None or isinstance(user, dict), "clef.user as JSON from /whoami", "something else came")
        return user  # type: ignore[no-any-return]

    def log_in(self) -> None:
        """From the page for members to the provider, and back to that page."""
        page = self.get(f"{self.site_url}/account")
        _expect("/iframes/" in page.url, "to be sent to the provider", "the site answered itself")
        person = re.search(r'name="person" value="([^"]*)"', page.text)
        _expect(person is not None, "a person to choose", "the provider's page offers none")
        back = self.press(page, "/approve", person=unescape(person[1] if person else ""))
        came = f"status {back.status_code} came from {back.url.partition('?')[0]}"
        _expect((back.status_code, back.url) == (200, f"{self.site_url}/account"), "the page for members", came)
        self.expect_signed_in()

    def expect_signed_in(self) -> None:
        _expect(self.user() is not None, "somebody to be signed in", "nobody was")

    def expect_signed_out(self) -> None:
        _expect(self.user() is None, "nobody to be signed in", "somebody was")

    def _send(self, method: str, url: str, form: dict[str, str]) -> requests.Response:
        origin = {"Origin": "/".join(url.split("/", 3)[:3])} if method == "POST" else {}
        try:
            return self.http.request(method, url, data=form, headers=origin, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            raise _Unexpected("an answer", f"there was a {type(error).__name__}") from error


class _Visit:
    """The steps, in order; each builds on those before."""

    def __init__(self, provider_url: str, site_url: str) -> None:
        self.provider_url = provider_url
        self.first, self.second, self.thief = (_Browser(site_url) for _ in range(3))

    def close(self) -> None:
        for browser in (self.first, self.second, self.thief):
            browser.http.close()

    def stay_anonymous(self) -> None:
        page = self.first.get(self.first.site_url)
        _expect(page.status_code == 200, "status 200", f"it was {page.status_code}")
        self.first.expect_signed_out()

    def log_in(self) -> None:
        self.first.log_in()
        self.thief.http.cookies.update(self.first.http.cookies)

    def look_at_user(self) -> None:
        user = self.first.user() or {}
        missing = [name for name in ("id", "first_name", "logged_in_at") if not user.get(name)]
        _expect(not missing, "id, first_name and logged_in_at in clef.user", f"{', '.join(missing)} was missing")

    def log_in_elsewhere(self) -> None:
        self.second.log_in()
        self.first.expect_signed_in()

    def log_out_everywhere(self) -> None:
        overview = self.second.get(self.provider_url + "/")
        name = (self.second.user() or {}).get("first_name", "")
        done = self.second.press(overview, "/log-out", person=name)
        well = "confirmed" in done.text and 'class="bad"' not in done.text
        _expect(well, "the site to confirm the logout", "it did not")

    def find_both_out(self) -> None:
        self.first.expect_signed_out()
        self.second.expect_signed_out()

    def replay_the_old_cookie(self) -> None:
        self.thief.expect_signed_out()

    def log_in_again(self) -> None:
        self.first.log_in()
        self.second.log_in()
        self.thief.expect_signed_out()

    def sign_out_here(self) -> None:
        page = self.first.get(self.first.site_url)
        self.thief.http.cookies.update(self.first.http.cookies)
        self.first.press(page, f"{self.first.site_url}/clef/logout")
        self.first.expect_signed_out()
        self.thief.expect_signed_out()
        self.second.expect_signed_in()


_STEPS: tuple[tuple[str, Callable[[_Visit], None]], ...] = (
    ("anonymous: the public page is there, and nobody is signed in", _Visit.stay_anonymous),
    ("a browser signs in", _Visit.log_in),
    ("clef.user says who it is", _Visit.look_at_user),
    ("a second browser signs in", _Visit.log_in_elsewhere),
    ("log out everywhere: the site confirms", _Visit.log_out_everywhere),
    ("both browsers are out at their next request", _Visit.find_both_out),
    ("the cookie of before the logout, sent again, is refused", _Visit.replay_the_old_cookie),
    ("who signs in again stays in", _Visit.log_in_again),
    ("sign out here: this browser is out, the other stays", _Visit.sign_out_here),
)
