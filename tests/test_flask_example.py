"""The example site: a public page, a page for members, accounts of its own, sign-out, and a logout from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import webtest
from support.services import load_example

from clef_wsgi import ClefProvider, MemoryLogoutStore
from clef_wsgi.testing import LocalClef, Person

SITE = "http://localhost"
SECRET = "a secret for tests alone, 32 bytes or more"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}

NewBrowser = Callable[[], webtest.TestApp]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load_example()


@pytest.fixture
def clef() -> Iterator[LocalClef]:
    with LocalClef(site_url=SITE, people=["Ann", "Bo", Person("<b>Eve</b>")]) as clef:
        yield clef


@pytest.fixture
def new_browser(example: ModuleType, clef: LocalClef, tmp_path: Path) -> NewBrowser:
    """Return a factory of browsers, each with cookies of its own, in front of one site."""
    site = example.create_app(
        provider=ClefProvider(server_url=clef.url, app_id=clef.app_id, app_secret=clef.app_secret),
        logout_store=MemoryLogoutStore(),
        base_url=SITE,
        session={"secret": SECRET, "type": "memory"},
        database_url=f"sqlite:///{tmp_path / 'accounts.db'}",
    )
    return lambda: webtest.TestApp(site)


@pytest.fixture
def browser(new_browser: NewBrowser) -> webtest.TestApp:
    return new_browser()


def log_in(browser: webtest.TestApp, clef: LocalClef, person: str = "Ann") -> Any:
    """From the page for members, over the provider, to where the site sends the browser then."""
    started = browser.get("/account").follow()
    return browser.get(clef.approve(started.location, person)).follow()


def shown(page: Any) -> dict[str, str]:
    """The lines of the account page."""
    return {row.dt.text: row.dd.text for row in page.html.select("dl div")}


def test_the_public_page_is_for_everyone(browser: webtest.TestApp) -> None:
    """The public page has the login button, sets no cookie, and knows nobody."""
    page = browser.get("/")
    assert page.html.select_one("main a.clef-login")["href"] == f"{SITE}/clef/login?next=/"
    assert "Set-Cookie" not in page.headers
    assert browser.get("/whoami").json is None


def test_the_account_page_asks_for_a_login(browser: webtest.TestApp, clef: LocalClef) -> None:
    """The page for members sends a visitor to the provider, and back to itself."""
    page = log_in(browser, clef)
    assert page.request.url == f"{SITE}/account"
    assert "Hello, Ann." in browser.get("/")
    assert browser.get("/whoami").json["id"] == str(clef.clef_id("Ann"))


def test_a_page_that_does_not_exist(browser: webtest.TestApp) -> None:
    """It is one of the site's own: in a language, with a heading, and with a way back."""
    page = browser.get("/nowhere", status=404)
    assert (page.html.html["lang"], page.html.h1.text) == ("en", "There is no such page.")
    assert page.html.main.a["href"] == "/"


def test_an_account_is_found_by_id(new_browser: NewBrowser, clef: LocalClef) -> None:
    """An account is made at the first visit and found again, whatever the person's name is now."""
    first = shown(log_in(new_browser(), clef))
    other = shown(log_in(new_browser(), clef, "Bo"))
    clef.answer("info", body={"success": True, "info": {"id": clef.clef_id("Ann"), "first_name": "Bo"}})
    again = shown(log_in(new_browser(), clef))
    assert (first["Member number"], first["Visits to this page"]) == ("1", "1")
    assert (other["Member number"], other["Visits to this page"]) == ("2", "1")
    assert (again["Member number"], again["Visits to this page"], again["first_name"]) == ("1", "2", "Bo")


def test_the_account_page_shows_what_the_login_service_told(browser: webtest.TestApp, clef: LocalClef) -> None:
    """Everything of clef.user is on the page."""
    page = shown(log_in(browser, clef))
    user = browser.get("/whoami").json
    assert page["email"] == "ann@example.com"
    assert set(user) <= set(page)


def test_names_are_text(browser: webtest.TestApp, clef: LocalClef) -> None:
    """A name that looks like HTML is shown as it is."""
    page = log_in(browser, clef, "<b>Eve</b>")
    assert shown(page)["first_name"] == "<b>Eve</b>"
    assert browser.get("/").html.h1.text == "Hello, <b>Eve</b>."


def test_sign_out(new_browser: NewBrowser, clef: LocalClef) -> None:
    """R9: the sign-out form ends this browser's login, not another's."""
    here, elsewhere = new_browser(), new_browser()
    page = log_in(here, clef)
    log_in(elsewhere, clef)
    assert page.forms[0].submit(headers=SAME_ORIGIN).follow().request.url == f"{SITE}/"
    assert here.get("/whoami").json is None
    assert here.get("/account").status_code == 303
    assert elsewhere.get("/whoami").json is not None


def test_a_logout_from_elsewhere(new_browser: NewBrowser, clef: LocalClef) -> None:
    """R9: after the provider's notification both of a person's browsers are out, and another person's is not."""
    browsers = [new_browser() for _ in range(3)]
    for browser, person in zip(browsers, ("Ann", "Ann", "Bo"), strict=True):
        log_in(browser, clef, person)
    notification = {"logout_token": clef.logout_token("Ann")}
    assert new_browser().post("/clef/webhook", notification).json == {"success": True}
    assert [browser.get("/whoami").json is None for browser in browsers] == [True, True, False]


def test_settings_come_from_the_environment(
    example: ModuleType, clef: LocalClef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example reads its settings from the environment, and keeps its files in DATA_DIR."""
    settings = {
        "CLEF_WSGI_PROVIDER__SERVER_URL": clef.url,
        "CLEF_WSGI_PROVIDER__APP_ID": clef.app_id,
        "CLEF_WSGI_PROVIDER__APP_SECRET": clef.app_secret,
        "CLEF_WSGI_BASE_URL": SITE,
        "CLEF_WSGI_SESSION__SECRET": SECRET,
        "DATA_DIR": str(tmp_path / "data"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    log_in(webtest.TestApp(example.app_from_environ()), clef)
    assert {path.name for path in (tmp_path / "data").iterdir()} >= {"accounts.db", "logouts.db", "sessions"}
