"""Walk the whole loop over real HTTP, as a person with two browsers would try it.

It takes two addresses, of the demo's server and of the example site.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from clef_wsgi.demo.browser import BUTTON, Browser, Unexpected, expect, form_for

PATIENCE_SECONDS = 10.0
"""Time limit for the server to notify the site of a logout; it usually takes a moment."""


def walk(
    server_url: str,
    site_url: str,
    say: Callable[[str], object] = print,
    *,
    login_form: str = BUTTON,
    logout_form: str | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> int:
    """Take every step, and say how each went, and how long it took.

    :param server_url: of the demo's server, without a trailing slash.
    :param site_url: of the example site.
    :param say: takes each line.
    :param login_form: begins the address of the form at the server that logs the demo person in.
    :param logout_form: begins the address of the form that ends the server's own session, where a logout at the site
        leads there.
    :param patience_seconds: how long the site may take to hear of a logout.
    :returns: the exit code: 0, or 1 at the first step that failed.
    """
    visit = _Visit(server_url, site_url, login_form, logout_form or "", patience_seconds)
    steps = (*_STEPS, _WAY_BACK) if logout_form else _STEPS
    try:
        return 0 if all(_step_went_well(visit, sentence, step, say) for sentence, step in steps) else 1
    finally:
        visit.close()


def _step_went_well(visit: _Visit, sentence: str, step: Callable[[_Visit], None], say: Callable[[str], object]) -> bool:
    began = time.perf_counter()
    try:
        step(visit)
    except Unexpected as error:
        say(f"FAIL {time.perf_counter() - began:5.2f} s  {sentence}")
        say(f"              expected {error.expected}, but {error.came}")
        return False
    say(f"ok   {time.perf_counter() - began:5.2f} s  {sentence}")
    return True


class _Visit:
    """Yield the steps, in order; each builds on those before."""

    def __init__(
        self, server_url: str, site_url: str, login_form: str, logout_form: str, patience_seconds: float
    ) -> None:
        self.front_page = f"{server_url}/"
        self.login_form, self.logout_form = login_form, f"{server_url}{logout_form}"
        self.patience_seconds = patience_seconds
        self.first, self.second, self.thief = (Browser(site_url, login_form) for _ in range(3))

    def close(self) -> None:
        for browser in (self.first, self.second, self.thief):
            browser.http.close()

    def stay_anonymous(self) -> None:
        page = self.first.get(self.first.site_url)
        expect(page.status_code == 200, "status 200", f"it was {page.status_code}")
        self.first.expect_signed_out()

    def log_in(self) -> None:
        self.first.log_in()
        self.thief.http.cookies.update(self.first.http.cookies)

    def look_at_user(self) -> None:
        user = self.first.user() or {}
        missing = [name for name in ("id", "first_name", "logged_in_at") if not user.get(name)]
        expect(not missing, "id, first_name and logged_in_at in clef.user", f"{', '.join(missing)} was missing")

    def log_in_elsewhere(self) -> None:
        self.second.log_in()
        self.first.expect_signed_in()

    def log_out_everywhere(self) -> None:
        done = self.second.press(self.second.get(self.front_page), "/log-out")
        expect(done.status_code == 200, "status 200", f"it was {done.status_code}")
        is_in = form_for(self.second.get(self.front_page), "/log-out") is not None
        expect(not is_in, "the login server to end its own session", "it did not")

    def find_both_out(self) -> None:
        until = time.monotonic() + self.patience_seconds
        while self.second.user() is not None and time.monotonic() < until:
            time.sleep(0.02)  # the notification is on its way
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
        self.left = self.first.press(page, f"{self.first.site_url}/clef/logout")
        self.first.expect_signed_out()
        self.thief.expect_signed_out()
        self.second.expect_signed_in()

    def log_out_at_the_server(self) -> None:
        back = self.first.press(self.left, self.logout_form)
        came = f"status {back.status_code} came from {back.url.partition('?')[0]}"
        expect((back.status_code, back.url) == (200, f"{self.first.site_url}/"), "to be led back to the site", came)
        asked = self.first.get(f"{self.first.site_url}/account")
        expect(form_for(asked, self.login_form) is not None, "the login server to ask who it is", "it did not")


_STEPS: tuple[tuple[str, Callable[[_Visit], None]], ...] = (
    ("anonymous: the public page is there, and nobody is logged in", _Visit.stay_anonymous),
    ("a browser logs in", _Visit.log_in),
    ("clef.user says who it is", _Visit.look_at_user),
    ("a second browser logs in", _Visit.log_in_elsewhere),
    ("log out everywhere, at the login server", _Visit.log_out_everywhere),
    ("the site has heard of it: both browsers are out", _Visit.find_both_out),
    ("the cookie of before the logout, sent again, is refused", _Visit.replay_the_old_cookie),
    ("who logs in again stays in", _Visit.log_in_again),
    ("log out at the site: this browser is out, the other stays", _Visit.sign_out_here),
)

_WAY_BACK = (
    "log out at the login server, too: it leads back to the site, and asks next time",
    _Visit.log_out_at_the_server,
)
