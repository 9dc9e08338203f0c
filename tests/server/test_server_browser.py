"""The server's pages in a real Chromium with a virtual authenticator: the ceremonies, and who can use the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.chromium import Page, open_page

from clef_wsgi import ClefProvider, MemoryLogoutStore, wrap
from clef_wsgi.server.database.schema import passkeys
from clef_wsgi.server.records import deactivation
from clef_wsgi.server.records.enrolments import RECOVER

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("server")) as page:
        yield page


@pytest.fixture
def page(shared: Page) -> Iterator[Page]:
    """A browser that nobody is signed in in, with a device that knows no passkey."""
    shared.open("/static/key.svg")
    shared.driver.delete_all_cookies()
    shared.driver.remove_all_credentials()
    shared.driver.set_user_verified(True)
    shared.set_size(1280)
    shared.complaints()
    yield shared
    assert shared.complaints() == []


def sign_in(page: Page) -> None:
    page.open("/")
    page.press("#sign-in button")
    page.wait("form[action='/log-out']")


def test_enrol_and_sign_in_at_a_site(page: Page) -> None:
    """A link, a passkey, and a login by a site's script button; the second login there is one click, as whom."""
    ann = page.server.add_person("Ann", email="ann@example.com")
    page.enrol(ann)
    page.driver.delete_all_cookies()

    url = page.stage.url
    site = page.server.add_site("Photos", callback=f"{url}/clef/callback", webhooks=[])
    page.stage.app = wrap(
        _greeting,
        provider=ClefProvider(app_id=site.app_id, app_secret=site.secret, server_url=page.server.origin),
        logout_store=MemoryLogoutStore(),
        base_url=url,
        session={"secret": "a secret for tests alone, 32 bytes or more", "type": "memory"},
    )
    page.open(url)
    page.press("a.clef-button-link")
    assert "Photos" in page.wait("h1").text
    page.press("#sign-in button")
    page.wait_for_url(f"{url}/album")
    assert page.find("body").text == "Hello, Ann"
    for cookie in page.driver.get_cookies():
        if not cookie["name"].endswith(page.server.origin[-5:]):  # the site forgets the browser alone
            page.driver.delete_cookie(cookie["name"])
    page.open(url)
    page.press("a.clef-button-link")
    page.wait("form[action^='/iframes/approve']")
    assert "You are signed in as Ann." in page.find("main").text
    page.press("form button")
    page.wait_for_url(f"{url}/album")


def _greeting(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    user = environ["clef.user"]
    body = f"Hello, {user['first_name']}" if user else environ["clef.login"].script_button("/album")
    start_response("200 OK", [("Content-Type", "text/html")])
    return [f"<!doctype html><body>{body}".encode()]


def test_second_passkey_and_removal(page: Page) -> None:
    """A second passkey, and the first one removed: both with a signature of one that is there."""
    ann = page.server.add_person("Ann")
    page.enrol(ann)
    page.open("/passkeys")
    page.press("#add button")
    assert "This device has a passkey for you already" in page.problem()
    # from here on a device that does not look at the list of known passkeys; it replaces the one that it has
    page.run(
        "const make = navigator.credentials.create.bind(navigator.credentials);"
        "navigator.credentials.create = (asked) => {"
        "  delete asked.publicKey.excludeCredentials;"
        "  return make(asked);"
        "};"
    )
    page.press("#add button")
    first = page.wait("li:nth-of-type(2)") and page.find("li:nth-of-type(1)")
    first.find_element("css selector", "summary").click()
    first.find_element("css selector", "button.danger").click()
    page.until(lambda: page.server.count(passkeys, passkeys.c.person_id == ann.id) == 1, "one passkey")
    page.driver.delete_all_cookies()
    sign_in(page)


def test_recovery(page: Page) -> None:
    """A recovery link says that the older passkeys are gone, and makes a new one; the old one is refused."""
    ann = page.server.add_person("Ann")
    page.enrol(ann)
    with page.server.database.writing() as connection:
        deactivation.revoke_credentials(connection, ann.id, now=page.server.clock())
    page.open("/")
    page.press("#sign-in button")
    assert "The passkey was not accepted." in page.problem()
    page.driver.remove_all_credentials()
    page.enrol(ann, RECOVER)
    page.driver.delete_all_cookies()
    sign_in(page)


def test_user_verification_is_refused(page: Page) -> None:
    """Without user verification the login is refused: the page says why, and the person can try again."""
    ann = page.server.add_person("Ann")
    page.enrol(ann)
    page.driver.delete_all_cookies()
    page.driver.set_user_verified(False)
    page.open("/")
    page.press("#sign-in button")
    assert "cancelled, or no passkey was found" in page.problem()
    page.driver.set_user_verified(True)
    page.press("#sign-in button")
    page.wait("form[action='/log-out']")


def test_cancelled_and_without_support(page: Page) -> None:
    """A prompt that is closed, and a browser without passkeys: each has its sentence, in the visitor's language."""
    page.open("/")
    page.run("navigator.credentials.get = async () => { throw new DOMException('', 'NotAllowedError'); };")
    page.press("#sign-in button")
    assert "you can try again" in page.problem()
    page.run("delete window.PublicKeyCredential")
    page.press("#sign-in button")
    page.until(lambda: "This browser can't use passkeys" in page.problem(), "the sentence")
    assert page.find("#problem").get_attribute("role") == "alert"


def test_a_link_that_is_spent(page: Page) -> None:
    """A spent link shows a sentence and no form; a link without its secret, too."""
    for fragment in ("", f"#{'x' * 43}"):
        page.open(f"/enrol{fragment}")
        assert "This link does not work" in page.problem()
        assert not page.find("#enrol").is_displayed()
        assert page.find("#other a").is_displayed()
        assert page.find("#other a").text == "Have you made your passkey already? Sign in."


@contextmanager
def between(page: Page, change: Callable[[Any, dict[str, Any], Any], Any]) -> Iterator[None]:
    """Something stands between the browser and the server: it takes the server's app, environ and start_response."""
    app = page.server.app
    inner = app.wsgi_app
    app.wsgi_app = lambda environ, start_response: change(inner, environ, start_response)  # type: ignore[method-assign]
    try:
        yield
    finally:
        app.wsgi_app = inner  # type: ignore[method-assign]


EARLY = """
const button = document.querySelector("#sign-in button");
window.early = [button.disabled, getComputedStyle(button).cursor];
button.click();
button.form.dispatchEvent(new SubmitEvent("submit", {cancelable: true, submitter: button}));
await import("/static/sign_in.js?now");
"""


def test_row_107_a_press_before_the_script_has_come_waits(page: Page) -> None:
    """Row 107: the button can't be pressed until the script has taken it; then it works, and nothing was said."""

    def early(inner: Any, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/static/sign_in.js" or environ["QUERY_STRING"]:
            return inner(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/javascript")])
        return [EARLY.encode()]

    page.enrol(page.server.add_person("Ann"))
    page.driver.delete_all_cookies()
    with between(page, early):
        page.open("/")
        page.wait("#sign-in button:enabled")
        assert page.run("return window.early") == [True, "default"]
        assert page.find("#problem").text == ""
        page.press("#sign-in button")
        page.wait("form[action='/log-out']")


def test_a_browser_without_passkeys_is_told_before_the_press(page: Page) -> None:
    """On each page with such a button, which stays as it is; what needs no passkey goes on."""
    page.enrol(page.server.add_person("Ann"))
    without = {"source": "delete window.PublicKeyCredential;"}
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", without)
    try:
        for path in ("/passkeys", f"/enrol#{'x' * 43}"):
            page.open(path)
            assert "This browser can't use passkeys" in page.problem()
            assert page.run("return document.querySelector('button.strong').disabled") is True
        page.open("/")
        page.press("form[action='/log-out'] button")
        page.open("/")
        assert "This browser can't use passkeys" in page.problem()
        assert page.run("return document.querySelector('button.strong').disabled") is True
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.parametrize("answer", ["404 Not Found", "200 OK"])
def test_a_script_that_does_not_come_is_said_too(page: Page, answer: str) -> None:
    """It is missing, or of a language that the browser can't read: a sentence, and no button that does nothing."""

    def broken(inner: Any, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/static/passkeys.js":
            return inner(environ, start_response)
        start_response(answer, [("Content-Type", "text/javascript")])
        return [b"of the year 2050 :-)"]

    with between(page, broken):
        page.run("caches.keys()")
        page.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        page.open("/")
        assert "Please load this page again" in page.problem()
        assert page.run("return document.querySelector('#sign-in button').disabled") is True
    page.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": False})
    page.complaints()


def test_row_106_the_callback_may_lead_to_another_origin(page: Page) -> None:
    """Row 106: the site's callback redirects to an origin unknown here, and the browser arrives."""
    page.enrol(page.server.add_person("Ann"))
    url = page.stage.url
    other = url.replace("localhost", "127.0.0.1")

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        location = [("Location", f"{other}/arrived")] if environ["PATH_INFO"] == "/callback" else []
        start_response("303 See Other" if location else "200 OK", [("Content-Type", "text/html"), *location])
        return [f"<!doctype html><p>{environ.get('HTTP_REFERER', 'nobody')}".encode()]

    page.stage.app = app
    site = page.server.add_site("Albums", callback=f"{url}/callback")
    page.open(f"/iframes/qr?{site.ask(state='xyz')}")
    page.press("form button")
    assert page.wait_for_url(f"{other}/arrived")
    assert page.find("p").text == "nobody"  # the address of the page before held the state


def test_row_105_without_sec_fetch_headers_every_form_works(page: Page) -> None:
    """Row 105: as Safari before 16.4 sends them: a passkey is made, names are saved, and the way out works."""

    def stripped(inner: Any, environ: dict[str, Any], start_response: Any) -> Any:
        kept = {name: value for name, value in environ.items() if not name.startswith("HTTP_SEC_FETCH_")}
        return inner(kept, start_response)

    with between(page, stripped):
        page.enrol(page.server.add_person("Ann"))
        page.press("form[action='/names'] button")
        page.wait_for_url(f"{page.server.origin}/#saved")
        page.press("form[action='/log-out'] button")
        page.wait_for_url(f"{page.server.origin}/receipts")
        sign_in(page)


def test_without_javascript(page: Page) -> None:
    """Without JavaScript the page says so, and shows no button that would do nothing."""
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open("/")
        assert "Passkeys need JavaScript" in page.find("main").text
        assert not page.find("#sign-in button").is_displayed()
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
