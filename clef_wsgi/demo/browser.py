"""A browser of a walk: cookies, redirects, ``Refresh``, and the buttons of a page.

Whatever comes instead is ``Unexpected``.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import requests

TIMEOUT_SECONDS = 10.0
BUTTON = "/demo/continue"
"""Path of the demo's own button (see button.py, which needs an extra)."""


class Unexpected(Exception):
    """A step did not go well. Both halves go into one sentence: expected this, but that came."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(expected, came)
        self.expected = expected
        self.came = came


def expect(holds: bool, expected: str, came: str) -> None:
    """:raises Unexpected: it does not hold."""
    if not holds:
        raise Unexpected(expected, came)


class Browser:
    """A browser with cookies, at the site of that address.

    :param login_form: begins the address of the login server's form.
    """

    def __init__(self, site_url: str, login_form: str = BUTTON) -> None:
        self.site_url = site_url
        self._login_form = login_form
        self.http = requests.Session()
        self.http.trust_env = False

    def get(self, url: str) -> requests.Response:
        return self._send("GET", url, {})

    def press(self, page: requests.Response, action: str) -> requests.Response:
        """Send the form of ``page`` whose address begins with ``action``, as it stands there."""
        found = form_for(page, action)
        expect(found is not None, f"a form for {action}", "the page has none")
        address, fields = found or ("", {})
        return self._send("POST", urljoin(page.url, address), fields)

    def user(self) -> dict[str, Any] | None:
        """Return the site's ``clef.user`` for this browser."""
        answer = self.get(f"{self.site_url}/whoami")
        expect(answer.status_code == 200, "status 200 from /whoami", f"it was {answer.status_code}")
        try:
            user = answer.json()
        except ValueError:
            user = "no JSON"
        expect(user is None or isinstance(user, dict), "clef.user as JSON from /whoami", "something else came")
        return user  # type: ignore[no-any-return]

    def log_in(self) -> None:
        """Log in: from the page for members to the server, and back to that page."""
        page = self.get(f"{self.site_url}/account")
        expect(not page.url.startswith(self.site_url), "to be sent to the login server", "the site answered itself")
        back = self.press(page, self._login_form)
        came = f"status {back.status_code} came from {back.url.partition('?')[0]}"
        expect((back.status_code, back.url) == (200, f"{self.site_url}/account"), "the page for members", came)
        self.expect_signed_in()

    def expect_signed_in(self) -> None:
        """:raises Unexpected: nobody is."""
        expect(self.user() is not None, "somebody to be signed in", "nobody was")

    def expect_signed_out(self) -> None:
        """:raises Unexpected: somebody is."""
        expect(self.user() is None, "nobody to be signed in", "somebody was")

    def _send(self, method: str, url: str, form: dict[str, str]) -> requests.Response:
        origin = {"Origin": "/".join(url.split("/", 3)[:3])} if method == "POST" else {}
        try:
            answer = self.http.request(method, url, data=form, headers=origin, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            raise Unexpected("an answer", f"there was a {type(error).__name__}") from error
        _, leads_on, next_url = answer.headers.get("Refresh", "").partition("; url=")
        return self.get(next_url) if leads_on else answer


def form_for(page: requests.Response, action: str) -> tuple[str, dict[str, str]] | None:
    """Return address and hidden fields of the page's first form whose address begins with ``action``."""
    reader = _Forms()
    reader.feed(page.text)
    return next((found for found in reader.found if found[0].startswith(action)), None)


class _Forms(HTMLParser):
    """Collect each form's address and hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append((given.get("action", ""), {}))
        elif tag == "input" and given.get("type") == "hidden" and self.found:
            self.found[-1][1][given.get("name", "")] = given.get("value", "")
