"""docs/by-hand.md: both sites of the page run, and each line of its comparison is played against both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import webtest
from support import doc_runner
from support.app import SAME_ORIGIN, FakeClock
from support.doc_runner import BY_NAME, ROOT

from clef_wsgi.testing import LocalClef

SITE_URL = "http://localhost:8000"
PAGE = ROOT / "docs" / "by-hand.md"


class Site:
    """One of the two sites, its one visitor's browser, and the login service."""

    def __init__(self, name: str, clef: LocalClef, clock: FakeClock, patience: float = 5.0) -> None:
        self.name, self.clef, self.clock = name, clef, clock
        block = BY_NAME[name]
        if name == "with_us":
            text = _changed(block.text, '"logouts.db"', '"logouts.db", clock=clock')
            block = replace(block, text=_changed(text, '["SERVER_URL"]', '["SERVER_URL"], timeout_seconds=patience'))
        namespace = doc_runner.execute(block, clock=clock, patience=patience)
        namespace["time"] = SimpleNamespace(time=clock)
        self.app = namespace["app"]
        self.browser = webtest.TestApp(self.app)

    def start(self, path: str = "/account") -> str:
        """Request the page for members; return the login service's address."""
        answer = self.browser.get(path)
        while urlsplit(answer.location).netloc != urlsplit(self.clef.url).netloc:
            answer = self.browser.get(_path(answer.location))
        return str(answer.location)

    def come_back(self, login_url: str) -> webtest.TestResponse:
        """Ann agrees at the login service, and her browser goes back to the site."""
        return self.browser.get(_path(self.clef.approve(login_url, "Ann")), expect_errors=True)

    def sign_in(self) -> None:
        self.clock.advance(1)
        assert self.come_back(self.start()).status_int in (302, 303)
        assert self.whether_signed_in() == "signed in"

    def notify(self, token: str) -> None:
        """Send the login service's notification, from outside of the browser."""
        webtest.TestApp(self.app).post("/clef/webhook", {"logout_token": token}, status=200)

    def whether_signed_in(self) -> str:
        answer = self.browser.get("/account", status="*")
        if answer.status_int != 200:
            return "logged out"
        assert str(answer.json["id"]) == str(self.clef.clef_id("Ann"))
        return "signed in"


def _changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def _path(address: str) -> str:
    parts = urlsplit(address)
    return parts.path + ("?" + parts.query if parts.query else "")


@pytest.fixture(params=["by_hand", "with_us"])
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    with LocalClef() as clef:
        values = {"APP_ID": clef.app_id, "APP_SECRET": clef.app_secret, "SERVER_URL": clef.url, "SITE_URL": SITE_URL}
        for name, value in {**values, "SESSION_SECRET": "a secret for tests alone, 32 bytes or more"}.items():
            monkeypatch.setenv(name, value)
        yield Site(request.param, clef, FakeClock())


def test_both_sites_work(site: Site) -> None:
    """R1, R9: both let Ann in, and let go of her when she logs out at the service."""
    assert site.whether_signed_in() == "logged out"
    site.sign_in()
    site.notify(site.clef.logout_token("Ann"))
    assert site.whether_signed_in() == "logged out"


# -- what happens, in the words of the page's table -------------------------------------------------------


def _an_old_cookie(site: Site) -> str:
    site.sign_in()
    cookies = "; ".join(f"{name}={value}" for name, value in site.browser.cookies.items())
    site.browser.post("/clef/logout", headers=SAME_ORIGIN)
    assert site.whether_signed_in() == "logged out"
    site.browser.reset()
    site.browser.extra_environ["HTTP_COOKIE"] = cookies
    return site.whether_signed_in()


def _two_tabs(site: Site) -> str:
    older, _newer = site.start(), site.start()
    answer = site.come_back(older)
    return f"status {answer.status_int}" if answer.status_int >= 400 else site.whether_signed_in()


def _a_logout_in_between(site: Site) -> str:
    token = site.clef.logout_token("Ann")
    login_url = site.start()
    site.clef.answer("info", during=lambda: site.notify(token))
    answer = site.come_back(login_url)
    if answer.status_int < 400:
        return site.whether_signed_in()
    assert site.whether_signed_in() == "logged out"
    return f"status {answer.status_int}, nobody signed in"


def _an_old_notification(site: Site) -> str:
    token = site.clef.logout_token("Ann")
    site.sign_in()
    site.notify(token)
    site.sign_in()
    site.notify(token)
    return site.whether_signed_in()


def _a_clock_set_back(site: Site) -> str:
    site.sign_in()
    site.clock.advance(-3600)
    site.notify(site.clef.logout_token("Ann"))
    return site.whether_signed_in()


def _no_answer(site: Site) -> str:
    site = Site(site.name, site.clef, site.clock, patience=0.2)
    login_url = site.start()
    site.clef.answer("authorize", delay=0.4)
    answer = site.come_back(login_url)
    if answer.status_int < 400:
        return "waits as long as it takes"
    return f"status {answer.status_int} after `timeout_seconds`"


def _a_refused_code(site: Site) -> str:
    state = parse_qs(urlsplit(site.start()).query)["state"][0]
    answer = site.browser.get("/clef/callback", {"code": "nonsense", "state": state}, expect_errors=True)
    has_way_on = "/clef/login" in answer.text
    return f"{'a page with a way on' if has_way_on else f'`{answer.text}`'}, with status {answer.status_int}"


def _a_page_asked_for(site: Site) -> str:
    return f"comes back to `{_path(site.come_back(site.start('/account?page=2')).location)}`"


EVENTS: dict[str, Callable[[Site], str]] = {
    'a cookie from before "log out here" is sent again': _an_old_cookie,
    "two tabs start a login, the older one finishes": _two_tabs,
    "a logout comes in while the code is exchanged": _a_logout_in_between,
    "an old notification is repeated after a new login": _an_old_notification,
    "the clock is set back between login and logout": _a_clock_set_back,
    "the login service does not answer": _no_answer,
    "a code is refused": _a_refused_code,
    "`/account?page=2` asks for a login": _a_page_asked_for,
}
ROWS: list[list[str]] = next(rows for _, rows in doc_runner.tables(PAGE))


def test_every_line_is_played() -> None:
    """The table's lines are those that are played."""
    assert [row[0] for row in ROWS] == list(EVENTS)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_comparison(site: Site, row: list[str], request: pytest.FixtureRequest) -> None:
    """Each site behaves as the page's table says (rows 12, 32, 38, 49 and 50; R10)."""
    told: dict[Any, str] = dict(zip(("by_hand", "with_us"), row[1:], strict=True))
    assert EVENTS[row[0]](site) == told[request.node.callspec.params["site"]]
