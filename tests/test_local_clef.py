"""LocalClef speaks the wire protocol as the service did, stays on this machine, and does what a test says."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from http.cookiejar import DefaultCookiePolicy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
import requests
import webtest
from support.cases import each

from clef_wsgi import ClefProvider
from clef_wsgi.base.errors import ConfigurationError, LogoutRefused
from clef_wsgi.testing import LocalClef, Person

SITE = "http://localhost:8401"
CALLBACK = f"{SITE}/clef/callback"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}

HTTP = requests.Session()
HTTP.trust_env = False
HTTP.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
"""Asks without cookies, and without a proxy."""


class Site:
    """A relying party's webhook: exchanges each notification's token, then answers as scripted."""

    def __init__(self, clef: LocalClef) -> None:
        self.statuses: list[int] = []
        self.retry_after = ""
        self.asks = True
        self.notifications: list[tuple[bytes, dict[str, str]]] = []
        self.exchanges: list[dict[str, Any]] = []
        self.arrived = threading.Event()
        self.hold = self.arrived  # what an answer waits for
        self._clef = clef
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://localhost:{self._server.server_port}"
        self.app = clef.add_app(self.url)

    def login(self, person: str = "Ann", **more: str) -> requests.Response:
        """The whole way of a login, without a browser."""
        login_url = ask_url(self._clef, self.app.app_id, f"{self.url}/clef/callback")
        code = field(self._clef.approve(login_url, person), "code")
        return authorize(self._clef, code, app_id=self.app.app_id, app_secret=self.app.app_secret, **more)

    def heard(self, body: bytes, headers: dict[str, str]) -> int:
        self.notifications.append((body, headers))
        self.arrived.set()
        if not self.hold.wait(10):
            return 504
        if self.asks:
            token = field("?" + body.decode(), "logout_token")
            answer = exchange(self._clef, token, self.app.app_id, self.app.app_secret)
            self.exchanges.append(answer.json())
        return self.statuses.pop(0) if self.statuses else 200

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(site) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = site.heard(body, dict(self.headers))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                if status == 503:
                    self.send_header("Retry-After", site.retry_after)
                self.end_headers()
                if status != 204:
                    self.wfile.write(b"bye")

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        return Handler


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def clef(clock: Clock) -> Iterator[LocalClef]:
    with LocalClef(clock=clock) as clef:
        yield clef


@pytest.fixture
def new_site(clef: LocalClef) -> Iterator[Callable[[], Site]]:
    sites: list[Site] = []

    def start() -> Site:
        sites.append(Site(clef))
        return sites[-1]

    yield start
    for site in sites:
        site.close()


@pytest.fixture
def site(new_site: Callable[[], Site]) -> Site:
    return new_site()


def ask_url(clef: LocalClef, app_id: str, redirect_url: str = CALLBACK, **more: str) -> str:
    return f"{clef.url}/iframes/qr?" + urlencode({"app_id": app_id, "redirect_url": redirect_url, **more})


def field(url: str, name: str) -> str:
    return parse_qs(urlsplit(url).query, strict_parsing=True)[name][0]


def new_code(clef: LocalClef, person: str = "Ann") -> str:
    return field(clef.approve(ask_url(clef, clef.app_id), person), "code")


def authorize(clef: LocalClef, code: str, **more: str) -> requests.Response:
    form = {"code": code, "app_id": clef.app_id, "app_secret": clef.app_secret, **more}
    return HTTP.post(f"{clef.url}/api/v1/authorize", data=form, timeout=5)


def info(clef: LocalClef, token: str) -> requests.Response:
    return HTTP.get(f"{clef.url}/api/v1/info", params={"access_token": token}, timeout=5)


def exchange(clef: LocalClef, token: str, app_id: str, app_secret: str) -> requests.Response:
    form = {"logout_token": token, "app_id": app_id, "app_secret": app_secret}
    return HTTP.post(f"{clef.url}/api/v1/logout", data=form, timeout=5)


def press(page: requests.Response, browser: requests.Session, button: str) -> requests.Response:
    """Press the button whose text holds ``button``, as a browser would."""
    for action, form in re.findall(r'<form method="post" action="([^"]*)">(.*?)</form>', page.text, re.DOTALL):
        for name, value, text in re.findall(
            r'<button[^>]*name="(\w+)" value="([^"]*)".*?>(.*?)</button>', form, re.DOTALL
        ):
            if button in re.sub("<[^>]*>", "", text):
                address = requests.compat.urljoin(page.url, unescape(action))
                return browser.post(
                    address, {name: unescape(value)}, headers=SAME_ORIGIN, allow_redirects=False, timeout=5
                )
    raise AssertionError(f"no button {button!r}")


# --- the browser's way


@pytest.mark.parametrize("path", ["/iframes/qr", "/iframes/login"])
def test_approve_in_a_browser(clef: LocalClef, path: str) -> None:
    """S1: the person approves, and the browser goes back with a code and the same state."""
    with requests.Session() as browser:
        page = browser.get(ask_url(clef, clef.app_id, state="xyz").replace("/iframes/qr", path), timeout=5)
        back = press(page, browser, "Ann")
    assert back.status_code == 303
    assert back.headers["Location"].startswith(f"{CALLBACK}?code=")
    assert field(back.headers["Location"], "state") == "xyz"
    assert authorize(clef, field(back.headers["Location"], "code")).json()["success"] is True


@each(
    ("redirect_url", "pattern"),
    [
        ("http://localhost/cb?redirect_state=A", r"http://localhost/cb\?redirect_state=A&code=\w+&state=s"),
        ("http://localhost/?login", r"http://localhost/\?login&code=\w+&state=s"),
        ("http://localhost/cb?", r"http://localhost/cb\?code=\w+&state=s"),
        ("http://127.0.0.1:9/cb", r"http://127\.0\.0\.1:9/cb\?code=\w+&state=s"),
    ],
)
def test_a_query_is_kept(clef: LocalClef, redirect_url: str, pattern: str) -> None:
    """S2, S3: what stood in the redirect URL's query stays as it was, and the answer is added."""
    assert re.fullmatch(pattern, clef.approve(ask_url(clef, clef.app_id, redirect_url, state="s"), "Bo"))


def test_no_state_given(clef: LocalClef) -> None:
    """S4: without a state there is none in the answer."""
    assert "state" not in clef.approve(ask_url(clef, clef.app_id), "Ann")


def test_an_unescaped_redirect_url(clef: LocalClef) -> None:
    """S1: some clients send redirect_url unescaped, and response_type beside it."""
    asked = f"{clef.url}/iframes/qr?app_id={clef.app_id}&redirect_url={CALLBACK}&response_type=code&state=s"
    assert clef.approve(asked, "Ann").startswith(f"{CALLBACK}?code=")


@each("state", ["a+/=&% #?b", "é☃\u202e", "line\r\nbreak", '"><b>', ""])
def test_any_state_comes_back(clef: LocalClef, state: str) -> None:
    """S5: the state comes back the same after decoding, through the page and its form."""
    with requests.Session() as browser:
        page = browser.get(ask_url(clef, clef.app_id, state=state), timeout=5)
        back = press(page, browser, "Ann").headers["Location"]
    assert parse_qs(urlsplit(back).query, keep_blank_values=True)["state"] == [state]


def test_raw_bytes_in_the_address(clef: LocalClef) -> None:
    """S5: an address that was not encoded at all is read as UTF-8, and is text on the page."""
    with socket.create_connection(("127.0.0.1", int(clef.url.rpartition(":")[2])), timeout=5) as client:
        address = ask_url(clef, clef.app_id)[len(clef.url) :]
        client.sendall(f'GET {address}&state="><script>é HTTP/1.0\r\n\r\n'.encode())
        page = b"".join(iter(lambda: client.recv(4096), b"")).decode()
    assert "state=&quot;&gt;&lt;script&gt;%C3%A9" in page
    assert "<script>" not in page


def test_a_state_that_is_no_text_comes_back(clef: LocalClef) -> None:
    """S5: bytes that are no UTF-8 come back as they came."""
    back = clef.approve(ask_url(clef, clef.app_id) + "&state=%ff%fe", "Ann")
    assert back.endswith("&state=%FF%FE")


HOSTILE = [
    "https://localhost:8401/clef/callback",
    "http://localhost:8402/clef/callback",
    "http://evil.example/clef/callback",
    "//evil.example/clef/callback",
    "http://localhost:8401.evil.example/clef/callback",
    "http://localhost.evil.example:8401/clef/callback",
    "http://user@localhost:8401/clef/callback",
    "http://localhost:8401@evil.example/clef/callback",
    "http://localhost:8401/elsewhere",
    "http://localhost:8401/clef/callback/../other",
    "http://localhost:8401/clef/callback/",
    "http://localhost:8401/CLEF/callback",
    "http://localhost:8401/clef/callback#part",
    "http://localhost:8401/clef/callback?code=mine",
    "http://localhost:8401/clef/callback?%73tate=mine",
    "http://localhost:8401\\@evil.example/clef/callback",
    "http://localhost:8401\t/clef/callback",
    "http://localhost:8401/clef/callback\r\nSet-Cookie: a=b",
    "http://[localhost:8401/clef/callback",
    "http://localhost:port/clef/callback",
    "javascript:alert(1)",
    "/clef/callback",
    "",
]


@each("redirect_url", HOSTILE)
def test_a_foreign_redirect_url_is_an_error_page(clef: LocalClef, redirect_url: str) -> None:
    """S6, row 61: another host, port, scheme or path is an error page, never a redirect; posted or not."""
    app = clef.add_app(SITE)
    address = ask_url(clef, app.app_id, redirect_url)
    page = HTTP.get(address, allow_redirects=False, timeout=5)
    posted = HTTP.post(
        address.replace("/iframes/qr", "/approve"),
        {"person": "Ann"},
        headers=SAME_ORIGIN,
        allow_redirects=False,
        timeout=5,
    )
    for answer in (page, posted):
        assert (answer.status_code, "Location" in answer.headers) == (400, False)
        assert "Invalid redirect URL." in answer.text
    with pytest.raises(ValueError, match="Invalid redirect URL"):
        clef.approve(address, "Ann")


@each(
    "redirect_url",
    [
        "http://example.com/cb",
        "http://192.168.0.1/cb",
        "http://localhost.example/cb",
        "http://a;b.localhost/cb",
        "ftp://localhost/cb",
        "http://u@localhost/cb",
    ],
)
def test_without_a_site_url_loopback_alone_is_allowed(clef: LocalClef, redirect_url: str) -> None:
    """S6: an app without a registered address is sent to this machine and nowhere else."""
    with pytest.raises(ValueError, match="Invalid redirect URL"):
        clef.approve(ask_url(clef, clef.app_id, redirect_url), "Ann")


@each(
    "change",
    [
        ("app_id=", "app_id=0"),
        ("&redirect_url", "&redirect_url=x&redirect_url"),
        ("app_id=", "state=a&state=b&app_id="),
    ],
)
def test_unknown_app_or_a_field_twice(clef: LocalClef, change: tuple[str, str]) -> None:
    """S6: an unknown app, or a redirect URL given twice, is an error page."""
    answer = HTTP.get(ask_url(clef, clef.app_id).replace(*change), allow_redirects=False, timeout=5)
    assert (answer.status_code, "Location" in answer.headers) == (400, False)


def test_a_site_url_is_the_only_one_allowed() -> None:
    """S6: with site_url, the app's own callback is the only address, and its webhook the one beside it."""
    with LocalClef(site_url=f"{SITE}/app/", app_id="a" * 32, app_secret="b" * 32) as clef:
        assert (clef.app_id, clef.app_secret) == ("a" * 32, "b" * 32)
        assert clef.approve(ask_url(clef, clef.app_id, f"{SITE}/app/clef/callback"), "Ann")
        with pytest.raises(ValueError, match="Invalid redirect URL"):
            clef.approve(ask_url(clef, clef.app_id, CALLBACK), "Ann")


def test_a_known_browser_needs_one_click(clef: LocalClef) -> None:
    """A person who is signed in at Clef in this browser gets the next site with one click; others stay on offer."""
    with requests.Session() as browser:
        ask = ask_url(clef, clef.app_id)
        pressed = press(browser.get(ask, timeout=5), browser, "Bo")
        assert pressed.headers["Set-Cookie"].endswith("; Path=/; HttpOnly; SameSite=Lax")
        page = browser.get(ask, timeout=5)
        assert press(page, browser, "Continue as Bo").status_code == 303
        assert press(page, browser, "Ann").status_code == 303
        clef.log_out_everywhere("Ann")
        assert "Continue as" not in browser.get(ask, timeout=5).text


def test_the_button_script(clef: LocalClef) -> None:
    """Every old path serves the button's script, with the global that pages call."""
    for path in ("/v1/clef.js", "/v2/clef.js", "/v3/clef.js", "/v3.1/clef.js"):
        answer = HTTP.get(clef.url + path, timeout=5)
        assert answer.headers["Content-Type"].startswith("text/javascript")
        assert "window.ClefButton" in answer.text


# --- the API


def test_authorize_and_info(clef: LocalClef) -> None:
    """S1: the code gives a token, the token gives the person; the id is an integer in [2^30, 2^31)."""
    token = authorize(clef, new_code(clef, "Ann")).json()["access_token"]
    answer = info(clef, token)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "success": True,
        "info": {
            "id": clef.clef_id("Ann"),
            "first_name": "Ann",
            "last_name": "Archer",
            "email": "ann@example.com",
            "phone_number": "+44 20 7946 0101",
        },
    }
    assert 2**30 <= clef.clef_id("Ann") < 2**31


def test_what_is_not_known_is_left_out(clef: LocalClef) -> None:
    """Names, e-mail and phone are left out when they are not set, never null."""
    token = authorize(clef, new_code(clef, "Cleo")).json()["access_token"]
    assert info(clef, token).json()["info"] == {"id": clef.clef_id("Cleo"), "first_name": "Cleo"}


def test_an_id_is_of_one_app(clef: LocalClef) -> None:
    """Two apps know one person by two ids, and each always by the same."""
    other = clef.add_app("http://localhost:9")
    assert clef.clef_id("Ann", other.app_id) != clef.clef_id("Ann")
    assert clef.clef_id("Ann") == LocalClef(app_id=clef.app_id).clef_id("Ann")


@each(
    ("changes", "status", "text"),
    [
        ({"app_id": "0" * 32}, 403, "Invalid App ID."),
        ({"app_id": ""}, 403, "Invalid App ID."),
        ({"app_secret": "wrong"}, 403, "Invalid App Secret."),
        ({"app_secret": ""}, 403, "Invalid App Secret."),
        ({"app_secret": "é"}, 403, "Invalid App Secret."),
        ({"code": "unknown"}, 403, "Invalid OAuth Code."),
        ({"code": ""}, 403, "Invalid OAuth Code."),
        ({"logout_hook": "http://evil.example/x"}, 400, "Invalid logout hook URL."),
        ({"logout_hook": "http://localhost:8402/x"}, 400, "Invalid logout hook URL."),
        ({"logout_hook": "x"}, 400, "Invalid logout hook URL."),
        ({"logout_hook": "http://["}, 400, "Invalid logout hook URL."),
        ({"logout_hook": f"{SITE}/x#part"}, 400, "Invalid logout hook URL."),
    ],
)
def test_authorize_refuses(clef: LocalClef, changes: dict[str, str], status: int, text: str) -> None:
    """S7, S8: each failure has its exact string, and the code is not consumed by it."""
    code = new_code(clef)
    refused = authorize(clef, **{"code": code, **changes})
    assert (refused.status_code, refused.json()) == (status, {"success": False, "error": text})
    assert authorize(clef, code).status_code == 200


def test_a_code_works_once(clef: LocalClef) -> None:
    """S8: a used code is refused."""
    code = new_code(clef)
    assert [authorize(clef, code).status_code for _ in range(2)] == [200, 403]


def test_a_code_of_another_app(clef: LocalClef) -> None:
    """S8: a code works for the app it was made for, and stays usable there."""
    other = clef.add_app(SITE)
    code = new_code(clef)
    refused = authorize(clef, code, app_id=other.app_id, app_secret=other.app_secret)
    assert refused.json() == {"success": False, "error": "Invalid OAuth Code."}
    assert authorize(clef, code).status_code == 200


@pytest.mark.parametrize(("seconds", "status"), [(59.9, 200), (60, 403)])
def test_a_code_expires(clef: LocalClef, clock: Clock, seconds: float, status: int) -> None:
    """S8: a code lives for less than 60 seconds."""
    code = new_code(clef)
    clock.now += seconds
    assert authorize(clef, code).status_code == status


@pytest.mark.parametrize(("seconds", "status"), [(599, 200), (600, 403)])
def test_an_access_token_expires(clef: LocalClef, clock: Clock, seconds: float, status: int) -> None:
    """An access token lives for ten minutes; an unknown one is refused with the exact string."""
    token = authorize(clef, new_code(clef)).json()["access_token"]
    clock.now += seconds
    assert info(clef, token).status_code == status
    assert info(clef, "unknown").json() == {"success": False, "error": "Invalid token."}


def test_parallel_calls_with_one_code(clef: LocalClef) -> None:
    """S9: of two calls at once with one code, exactly one is 200."""
    with ThreadPoolExecutor(4) as pool:  # more than can wait at its door would wait for a second
        for _ in range(10):
            code = new_code(clef)
            answers = pool.map(lambda code: authorize(clef, code).status_code, [code] * 4)
            assert sorted(answers) == [200] + [403] * 3


def test_other_spellings(clef: LocalClef) -> None:
    """OAuth's field names, HTTP Basic and a Bearer token are understood too."""
    address = f"{clef.url}/api/v1/authorize"
    grant = {"grant_type": "authorization_code", "redirect_uri": CALLBACK}
    client = {"client_id": clef.app_id, "client_secret": clef.app_secret}
    plain = HTTP.post(address, {**grant, **client, "code": new_code(clef)}, timeout=5)
    basic = HTTP.post(address, {**grant, "code": new_code(clef)}, auth=(clef.app_id, clef.app_secret), timeout=5)
    assert (plain.status_code, basic.status_code) == (200, 200)
    bearer = {"Authorization": f"Bearer {plain.json()['access_token']}"}
    assert HTTP.get(f"{clef.url}/api/v1/info", headers=bearer, timeout=5).json()["success"] is True


@each(
    ("call", "method"),
    [("authorize", "GET"), ("authorize", "PUT"), ("logout", "GET"), ("logout", "DELETE"), ("info", "POST")],
)
def test_a_wrong_method_is_json(clef: LocalClef, call: str, method: str) -> None:
    """A wrong method is a JSON 4xx that says so, never a redirect or 5xx."""
    answer = HTTP.request(method, f"{clef.url}/api/v1/{call}", allow_redirects=False, timeout=5)
    assert answer.status_code == 405
    assert answer.json()["error"].startswith("This call does not work that way")


@each("body", [b"", b"\xff\xfe=%ff", b"app_id=a&app_id=b"], ids=["empty", "bytes", "twice"])
def test_any_body_is_answered(clef: LocalClef, body: bytes) -> None:
    """A body that is no form of ours is refused in JSON."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = HTTP.post(f"{clef.url}/api/v1/authorize", body, headers=headers, timeout=5)
    assert (answer.status_code, answer.json()) == (403, {"success": False, "error": "Invalid App ID."})


def test_a_body_is_capped(clef: LocalClef) -> None:
    """Row 21: a body of more than 64 KiB is not looked at."""
    refused = authorize(clef, new_code(clef), padding="x" * 65_536)
    assert (refused.status_code, refused.json()) == (413, {"success": False, "error": "Too much was sent."})


# --- logout


def test_one_notification_for_each_app(clef: LocalClef, new_site: Callable[[], Site]) -> None:
    """S10: each app gets one POST, however many logins, with the token and nothing else."""
    sites = [new_site(), new_site()]
    for site in (*sites, *sites):
        site.login()
    sites[0].login("Bo")
    deliveries = clef.log_out_everywhere("Ann")
    assert sorted(delivery.site for delivery in deliveries) == sorted(site.url for site in sites)
    assert all(delivery.confirmed for delivery in deliveries)
    for site in sites:
        [(body, headers)] = site.notifications
        assert re.fullmatch(rb"logout_token=[\w.-]+", body)
        assert headers["User-Agent"].startswith("Clef/1.0 (")
        assert "Cookie" not in headers
        assert "Authorization" not in headers
    assert clef.log_out_everywhere("Ann") == []
    assert [delivery.site for delivery in clef.log_out_everywhere("Bo")] == [sites[0].url]


def test_the_site_asks_back_while_the_notification_is_open(clef: LocalClef, site: Site) -> None:
    """S11: the exchange works inside the handler, and names the person as info did."""
    person = info(clef, site.login().json()["access_token"]).json()["info"]
    clef.log_out_everywhere("Ann")
    assert site.exchanges == [{"success": True, "clef_id": person["id"]}]


@pytest.mark.parametrize(
    ("status", "confirmed"), [(200, True), (204, True), (299, True), (302, True), (400, False), (500, False)]
)
def test_an_answer_and_an_exchange_are_a_confirmation(
    clef: LocalClef, site: Site, status: int, confirmed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S12: 2xx and 3xx confirm, whatever the body; no redirect is followed, and no proxy asked."""
    site.statuses = [status]
    site.login()
    monkeypatch.setenv("HTTP_PROXY", "http://localhost:9")
    [delivery] = clef.log_out_everywhere("Ann")
    assert (delivery.status, delivery.confirmed, len(site.notifications)) == (status, confirmed, 1)


@pytest.mark.parametrize("status", [200, 204, 302])
def test_an_answer_alone_confirms_nothing(clef: LocalClef, site: Site, status: int) -> None:
    """S12: a site that answers and never asks who logged out has a wrong secret; one that asks late, confirms then."""
    site.statuses, site.asks = [status], False
    site.login()
    [delivery] = clef.log_out_everywhere("Ann")
    assert (delivery.status, delivery.answered, delivery.confirmed) == (status, True, False)
    assert exchange(clef, delivery.token, site.app.app_id, "wrong").status_code == 403
    assert not delivery.confirmed
    assert exchange(clef, delivery.token, site.app.app_id, site.app.app_secret).status_code == 200
    assert delivery.confirmed


def test_an_exchange_of_an_earlier_attempt_confirms_nothing(clef: LocalClef, site: Site) -> None:
    """S12: each attempt is confirmed by an exchange after it began."""
    site.statuses = [500, 200]
    site.login()
    [failed] = clef.log_out_everywhere("Ann")
    site.asks = False
    again = clef.send_again(failed)
    assert (again.answered, again.confirmed, len(site.exchanges)) == (True, False, 1)


def test_a_failed_notification_is_sent_again_with_its_token(clef: LocalClef, clock: Clock, site: Site) -> None:
    """S12: a retry carries the same token, which can be exchanged until ten minutes after it is confirmed."""
    site.statuses = [500, 200]
    site.login()
    [failed] = clef.log_out_everywhere("Ann")
    sent = clef.send_again(failed)
    assert (sent.confirmed, sent.attempts) == (True, 2)
    assert [body for body, _ in site.notifications] == [f"logout_token={failed.token}".encode()] * 2
    assert [answer["clef_id"] for answer in site.exchanges] == [clef.clef_id("Ann", site.app.app_id)] * 2
    clock.now += 599
    assert exchange(clef, failed.token, site.app.app_id, site.app.app_secret).status_code == 200
    clock.now += 1
    late = exchange(clef, failed.token, site.app.app_id, site.app.app_secret)
    assert (late.status_code, late.json()) == (400, {"success": False, "error": "Invalid Logout Token."})
    assert clef.send_again(sent) is sent


@pytest.mark.slow
def test_a_busy_site_is_asked_again(clef: LocalClef, site: Site) -> None:
    """A 503 that asks for at most two seconds is no failure, and the repetition no attempt of its own."""
    site.statuses, site.retry_after = [503, 200], "1"
    site.login()
    [delivery] = clef.log_out_everywhere("Ann")
    assert (delivery.confirmed, delivery.attempts, len(site.notifications)) == (True, 1, 2)
    assert delivery.seconds >= 1


def test_a_site_that_is_down_is_not_asked_again(clef: LocalClef, site: Site) -> None:
    """A 503 with a longer wait is for a person to send again."""
    site.statuses, site.retry_after = [503, 200], "60"
    site.login()
    [delivery] = clef.log_out_everywhere("Ann")
    assert (delivery.status, len(site.notifications)) == (503, 1)


def test_a_slow_site_delays_no_other(clef: LocalClef, new_site: Callable[[], Site]) -> None:
    """Row 65: notifications are sent concurrently: here each site answers only when both have been called."""
    first, second = new_site(), new_site()
    first.hold, second.hold = second.arrived, first.arrived
    first.login()
    second.login()
    assert [delivery.confirmed for delivery in clef.log_out_everywhere("Ann")] == [True, True]


@pytest.mark.slow
def test_a_site_that_hangs() -> None:
    """S12: a site that does not answer in time has not confirmed."""
    with LocalClef(delivery_timeout_seconds=0.5) as clef:
        stuck = Site(clef)
        stuck.hold = threading.Event()
        stuck.login()
        [delivery] = clef.log_out_everywhere("Ann")
        stuck.hold.set()
        stuck.close()
    assert (delivery.status, delivery.confirmed, len(stuck.notifications)) == (None, False, 1)
    assert delivery.seconds >= 0.5


def test_a_site_that_is_gone(clef: LocalClef, site: Site) -> None:
    """S12: a refused connection is no confirmation."""
    site.login()
    site.close()
    [delivery] = clef.log_out_everywhere("Ann")
    assert (delivery.status, delivery.confirmed) == (None, False)


def test_a_login_can_name_its_own_webhook(clef: LocalClef, site: Site) -> None:
    """A logout_hook on the app's domain is notified of the logout, its query kept."""
    webhook = f"{site.url}/other?hook=1"
    assert site.login(logout_hook=webhook).status_code == 200
    assert [delivery.url for delivery in clef.log_out_everywhere("Ann")] == [webhook]


@each(
    ("redirect_url", "webhook"),
    [(CALLBACK, f"{SITE}/clef/webhook"), (f"{SITE}/in", None), (f"{SITE}/x/callback?a=b", f"{SITE}/x/webhook")],
)
def test_the_webhook_beside_the_callback(clef: LocalClef, redirect_url: str, webhook: str | None) -> None:
    """Without a site_url the webhook is the one beside the callback; without either, no notification is sent."""
    authorize(clef, field(clef.approve(ask_url(clef, clef.app_id, redirect_url), "Ann"), "code"))
    [delivery] = clef.log_out_everywhere("Ann")
    assert (delivery.url, delivery.confirmed) == (webhook, False)


def test_logout_refuses(clef: LocalClef) -> None:
    """The exchange refuses an unknown token, another app's, and a wrong app, each with its exact string."""
    token = clef.logout_token("Ann")
    other = clef.add_app(SITE)
    assert exchange(clef, "1234567890", clef.app_id, clef.app_secret).status_code == 400
    for refused in (
        exchange(clef, "1234567890", clef.app_id, clef.app_secret),
        exchange(clef, "", clef.app_id, clef.app_secret),
        exchange(clef, token, other.app_id, other.app_secret),
    ):
        assert (refused.status_code, refused.json()) == (400, {"success": False, "error": "Invalid Logout Token."})
    assert exchange(clef, token, "x", "y").json() == {"success": False, "error": "Invalid App ID."}
    assert exchange(clef, token, clef.app_id, "y").json() == {"success": False, "error": "Invalid App Secret."}


def test_a_token_for_the_test_itself(clef: LocalClef) -> None:
    """A logout token can be exchanged any number of times."""
    token = clef.logout_token("Bo")
    for _ in range(2):
        answer = exchange(clef, token, clef.app_id, clef.app_secret).json()
        assert answer == {"success": True, "clef_id": clef.clef_id("Bo")}


def test_its_tokens_are_signed(clef: LocalClef, site: Site) -> None:
    """Each app's own: a provider that verifies signatures takes them, another app's does not."""
    token = clef.logout_token("Ann", site.app.app_id)
    theirs, first = (
        ClefProvider(app_id=app_id, app_secret=secret, server_url=clef.url, signed_tokens=True)
        for app_id, secret in ((site.app.app_id, site.app.app_secret), (clef.app_id, clef.app_secret))
    )
    user_id = str(clef.clef_id("Ann", site.app.app_id))
    assert theirs.read_logout({"logout_token": token}).keys == (theirs.user_key(user_id),)
    with pytest.raises(LogoutRefused) as caught:
        first.read_logout({"logout_token": token})
    assert caught.value.reason == "token_not_signed"


def test_a_logout_ends_codes_under_way(clef: LocalClef) -> None:
    """Row 50: a code given before a logout gives no login after it; another person's does."""
    anns, bos = new_code(clef, "Ann"), new_code(clef, "Bo")
    clef.log_out_everywhere("Ann")
    assert (authorize(clef, anns).status_code, authorize(clef, bos).status_code) == (403, 200)


# --- the pages


def test_log_out_in_a_browser(clef: LocalClef, site: Site) -> None:
    """The page shows who is signed in where; after the press, whether each site confirmed; and sends again."""
    site.statuses = [503, 200]
    site.login()
    with requests.Session() as browser:
        page = browser.get(clef.url + "/", timeout=5)
        assert site.url in page.text
        done = browser.get(clef.url + press(page, browser, "Log Ann out everywhere").headers["Location"], timeout=5)
        assert "answered 503" in done.text
        done = browser.get(clef.url + press(done, browser, "Send again").headers["Location"], timeout=5)
        assert "confirmed" in done.text
        assert "Send again" not in done.text
        assert "Nobody is signed in" in browser.get(clef.url + "/", timeout=5).text


def test_the_page_names_a_site_without_a_webhook(clef: LocalClef) -> None:
    """A site without a webhook is shown as not notified, not as confirmed."""
    authorize(clef, field(clef.approve(ask_url(clef, clef.app_id, f"{SITE}/in"), "Ann"), "code"))
    with requests.Session() as browser:
        pressed = press(browser.get(clef.url, timeout=5), browser, "Log Ann out")
        done = browser.get(clef.url + pressed.headers["Location"], timeout=5)
    assert "not notified" in done.text
    assert "confirmed" not in done.text


@each("path", ["/approve", "/log-out", "/send-again"])
@each(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Referer": "http://evil.example/"},
    ],
    ids=str,
)
def test_another_page_can_not_press(clef: LocalClef, site: Site, path: str, headers: dict[str, str]) -> None:
    """Row 64: a post that no page of this server sent is refused, and nothing happens."""
    site.login()
    query = urlsplit(ask_url(clef, clef.app_id)).query
    answer = HTTP.post(
        f"{clef.url}{path}?{query}", {"person": "Ann"}, headers=headers, allow_redirects=False, timeout=5
    )
    assert (answer.status_code, "Location" in answer.headers, site.notifications) == (403, False, [])


@pytest.mark.parametrize("name", ["Origin", "Referer"])
def test_older_browsers_can_press(clef: LocalClef, name: str) -> None:
    """Without Sec-Fetch-Site, Origin or else Referer says where a post comes from."""
    answer = HTTP.post(
        f"{clef.url}/log-out", {"person": "Ann"}, headers={name: clef.url}, allow_redirects=False, timeout=5
    )
    assert answer.status_code == 303


def test_another_name_is_not_served(clef: LocalClef) -> None:
    """A foreign name that resolves to this machine gets nothing (DNS rebinding)."""
    answer = HTTP.get(clef.url, headers={"Host": "evil.example"}, timeout=5)
    assert answer.status_code == 421


def test_pages_are_not_kept_and_load_nothing(clef: LocalClef) -> None:
    """Each page is no-store, can't be framed, sends no Referer away, and names nothing to load."""
    for address in (clef.url, ask_url(clef, clef.app_id), f"{clef.url}/nowhere"):
        page = HTTP.get(address, timeout=5)
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"<(script|img|iframe)|@import|url\(|src=|style=", page.text)
        assert re.findall(r"<link[^>]*>", page.text) == ['<link rel="icon" href="data:,">']


def test_row_106_the_form_may_lead_to_the_site_and_on(clef: LocalClef) -> None:
    """Row 106: form-action would cover each redirect that follows, those of the callback too."""
    policy = HTTP.get(ask_url(clef, clef.app_id), timeout=5).headers["Content-Security-Policy"]
    assert "form-action" not in policy
    assert "form-action 'self'" in HTTP.get(clef.url, timeout=5).headers["Content-Security-Policy"]


def test_what_comes_from_outside_is_escaped() -> None:
    """A name or a state that holds HTML is text on the page."""
    odd = Person("<i>&\"'", "x", '"><script>')
    with LocalClef(people=[odd]) as clef, requests.Session() as browser:
        page = browser.get(ask_url(clef, clef.app_id) + "&state=" + quote('"><script>', safe='"><'), timeout=5)
        assert "<i>" not in page.text
        assert "<script>" not in page.text
        assert '"true">&lt;</span>' in page.text
        code = field(press(page, browser, "&lt;i&gt;").headers["Location"], "code")
        authorize(clef, code)
        overview = browser.get(clef.url, timeout=5)
        assert "<i>" not in overview.text
        assert press(overview, browser, "out everywhere").status_code == 303


@each(
    ("path", "form"),
    [("/log-out", {"person": "Zoe"}), ("/send-again", {"name": "x"}), ("/approve", {}), ("/nowhere", {})],
)
def test_unknown_people_and_pages(clef: LocalClef, path: str, form: dict[str, str]) -> None:
    """Unknown people and pages get a page with a 4xx."""
    query = urlsplit(ask_url(clef, clef.app_id)).query
    answer = HTTP.post(f"{clef.url}{path}?{query}", form, headers=SAME_ORIGIN, allow_redirects=False, timeout=5)
    assert answer.status_code in (400, 404)
    assert HTTP.get(f"{clef.url}/log-out?name=x", timeout=5).status_code == 404


# --- what a test can make it do


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"\x1f\x8b", "text/html"), ("<html>", "text/html"), ({"error": "x"}, "application/json")],
)
def test_answers_can_be_changed(clef: LocalClef, body: Any, kind: str) -> None:
    """A changed answer is given as often as was said, does nothing, and then the real one comes back."""
    clef.answer("authorize", status=500, body=body, times=2)
    code = new_code(clef)
    answers = [authorize(clef, code) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 500, 200]
    assert answers[0].headers["Content-Type"].startswith(kind)
    assert [call.status for call in clef.requests] == [500, 500, 200]


def test_changed_answers_come_in_order(clef: LocalClef) -> None:
    """Several changes are used in the order in which they were made; a body alone is a 200."""
    clef.answer("info", status=503)
    clef.answer("info", body=[])
    answers = [info(clef, "x") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 200, 403]
    assert answers[1].json() == []


def test_something_can_happen_during_an_answer(clef: LocalClef, site: Site) -> None:
    """Row 50: a logout can be put between the exchange of a code and its answer."""
    deliveries: list[object] = []
    clef.answer("authorize", during=lambda: deliveries.extend(clef.log_out_everywhere("Ann")))
    assert site.login().status_code == 200
    assert len(deliveries) == len(site.notifications) == 1


def test_a_delay_ends_with_the_server(capfd: pytest.CaptureFixture[str]) -> None:
    """A client of a slow answer waits; the end of the server ends the wait, at once and without a traceback."""
    with LocalClef() as clef, ThreadPoolExecutor(1) as pool:
        began = threading.Event()
        clef.answer("info", during=began.set, delay=60)
        waiting = pool.submit(info, clef, "x")
        assert began.wait(5)
        ends = time.perf_counter()
        clef.stop()
        assert time.perf_counter() - ends < 5
        with pytest.raises(requests.ConnectionError):
            waiting.result(5)
        clef.start()
        clef.answer("info", delay=60)
        with pytest.raises(requests.Timeout):
            HTTP.get(f"{clef.url}/api/v1/info", timeout=0.1)
    assert capfd.readouterr().err == ""


def test_the_end_waits_for_its_threads() -> None:
    """An answer that is being made when the server ends is made to its end: no thread is left."""
    began, made = threading.Event(), threading.Event()

    def take_a_while() -> None:
        began.set()
        threading.Event().wait(0.2)
        made.set()

    with ThreadPoolExecutor(1) as pool:
        with LocalClef() as clef:
            clef.answer("info", during=take_a_while)
            asked = pool.submit(info, clef, "x")
            assert began.wait(5)
        assert made.is_set()
        assert isinstance(asked.exception(5), requests.ConnectionError)


def test_a_bug_is_shown(clef: LocalClef, capfd: pytest.CaptureFixture[str]) -> None:
    """An exception inside an answer is printed, and the client gets a 500."""
    clef.answer("info", during=lambda: 1 / 0)
    assert info(clef, "x").status_code == 500
    clef.stop()
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_the_log_holds_names_only(clef: LocalClef) -> None:
    """The log of calls has the names of the fields, never a code, a token or a secret."""
    code = new_code(clef)
    token = authorize(clef, code).json()["access_token"]
    info(clef, token)
    calls = clef.requests
    assert [(call.name, call.method, call.status) for call in calls] == [
        ("authorize", "POST", 200),
        ("info", "GET", 200),
    ]
    assert calls[0].fields == ("app_id", "app_secret", "code")
    assert not {code, token, clef.app_secret} & set(re.findall(r"\w+", repr(calls) + repr(clef.add_app(SITE))))


@pytest.mark.parametrize("wrong", ["Zoe", Person("Zoe")])
def test_unknown_names_are_refused(clef: LocalClef, wrong: str | Person) -> None:
    """A person, a call or a page that does not exist is named at once."""
    with pytest.raises(ValueError, match="no such person"):
        clef.log_out_everywhere(wrong)
    with pytest.raises(ValueError, match='"authorize", "info" or "logout"'):
        clef.answer("authorise")
    with pytest.raises(ValueError, match="times"):
        clef.answer("info", times=0)
    for address in (f"{clef.url}/", "http://localhost:1" + ask_url(clef, clef.app_id)[len(clef.url) :]):
        with pytest.raises(ValueError, match="no login page"):
            clef.approve(address, "Ann")


# --- where it runs


def test_it_is_a_wsgi_application() -> None:
    """A test client calls it without a socket, pages and API alike; every answer keeps PEP 3333."""
    clef = LocalClef()
    browser = webtest.TestApp(clef)
    page = browser.get(ask_url(clef, clef.app_id, state="s"))
    back = page.form.submit("person", value="Bo", headers=SAME_ORIGIN)
    code = field(back.location, "code")
    credentials = {"app_id": clef.app_id, "app_secret": clef.app_secret}
    token = browser.post("/api/v1/authorize", {"code": code, **credentials}).json["access_token"]
    assert browser.get(f"/api/v1/info?access_token={token}").json["info"]["first_name"] == "Bo"
    assert "Continue as Bo" in browser.get(ask_url(clef, clef.app_id)).text
    assert browser.head("/api/v1/info", status=403).body == b""
    browser.get("/", headers={"Host": "evil.example"}, status=421)
    webtest.TestApp(LocalClef(port=80)).get("/", headers={"Host": "localhost"})  # so say browsers of port 80


@each(("scheme", "status"), [("https", 303), ("http", 403)])
def test_same_origin_is_of_one_scheme(scheme: str, status: int) -> None:
    """Row 64: a page that came by http is another origin than one by https."""
    browser = webtest.TestApp(LocalClef(), extra_environ={"wsgi.url_scheme": "https", "HTTP_HOST": "localhost:80"})
    headers = {"Origin": f"{scheme}://localhost:80"}
    browser.post("/log-out", {"person": "Ann"}, headers=headers, status=status)


def test_all_faults_at_once() -> None:
    """Unusable arguments are refused at construction, all in one error; the host must be this machine."""
    with pytest.raises(ConfigurationError) as caught:
        LocalClef(host="0.0.0.0", port=70_000, people=["Ann", "Ann"], site_url="https://www.example.com")
    assert len(caught.value.faults) == 4
    for host in ("", "::", "192.168.1.1", "example.com", "a.localhost"):
        with pytest.raises(ConfigurationError, match="localhost"):
            LocalClef(host=host)
    with pytest.raises(ConfigurationError, match="site_url"):
        LocalClef().add_app("http://localhost:8401/?a=b")


def test_names_are_people_too() -> None:
    """A first name is enough for a person, and gives an e-mail address."""
    with LocalClef(people=["Dee"]) as clef:
        token = authorize(clef, new_code(clef, "Dee")).json()["access_token"]
        assert info(clef, token).json()["info"]["email"] == "dee@example.com"


@each("host", ["localhost", "127.0.0.1", "::1"])
def test_it_ends_and_starts_again(host: str) -> None:
    """A stop leaves no thread and no open port; a new start has the same address, app and people."""
    before = threading.active_count()
    clef = LocalClef(host=host)
    with clef:
        address, code = clef.url, new_code(clef)
        assert HTTP.get(address, timeout=5).status_code == 200
    assert threading.active_count() == before
    with pytest.raises(requests.ConnectionError):
        HTTP.get(address, timeout=5)
    with clef:
        assert clef.url == address
        assert authorize(clef, code).status_code == 200
    clef.stop()


def test_a_taken_port_is_an_error(clef: LocalClef) -> None:
    """Two servers on one port: the second says so and leaves no thread."""
    before = threading.active_count()
    with pytest.raises(OSError, match="in use"), LocalClef(port=int(clef.url.rpartition(":")[2])):
        pass
    assert threading.active_count() == before
