"""Checks on every request and headers of every answer: host, origin, CSRF token, rate limits, cookies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from flask import Response
from support.cases import each
from support.login_server import CALLBACK, ORIGIN, SAME_ORIGIN, Browser, Server, make_server, sent_back_to, token_of
from support.passkeys import enrolled

from clef_wsgi.server import Limits, tokens
from clef_wsgi.server.database.schema import deliveries, sessions
from clef_wsgi.server.options import Options
from clef_wsgi.server.web.support import cookies as browser_room
from clef_wsgi.server.web.support.client_address import client_address
from clef_wsgi.server.web.support.rate_limit import MAX_COUNTERS, Limiter, TooManyRequests

KEPT = ("/static/", "/v1/", "/v2/", "/v3/", "/v3.1/", "/logo")
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for this file."""
    server = make_server(tmp_path_factory.mktemp("shared") / "clef.db")
    yield server
    server.close()


@pytest.fixture
def server(shared: Server) -> Server:
    """It, empty."""
    shared.clear()
    return shared


def made(tmp_path: Path, **options: Any) -> Server:
    return make_server(tmp_path / "clef.db", **options)


def paths(server: Server, method: str) -> list[str]:
    """Every address of the server that takes this method, the API aside."""
    rules = [rule for rule in server.app.url_map.iter_rules() if method in (rule.methods or ()) and not rule.arguments]
    return [str(rule) for rule in rules if not str(rule).startswith("/api/")]


# --- headers


def test_every_page_has_every_header(tmp_path: Path) -> None:
    """Whatever the page and whatever its status: no framing, no sniffing, no referrer, HSTS, nothing inline."""
    (tmp_path / "logo.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    server = made(tmp_path, logo=tmp_path / "logo.svg")
    ann = server.add_person()
    seen = 0
    for browser in (server.browser(), server.browser(signed_in=ann)):
        for path in [*paths(server, "GET"), f"/iframes/qr?{server.add_site().ask()}", "/static/style.css", "/nothing"]:
            answer = browser.get(path)
            assert answer.status_int < 500, path
            for name, value in HEADERS.items():
                assert answer.headers.getall(name) == [value], (path, name)
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
            form = '<form method="post"' in answer.text
            assert answer.headers.getall("Referrer-Policy") == ["same-origin" if form else "no-referrer"], path
            policy = answer.headers["Content-Security-Policy"]
            for part in ("default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"):
                assert part in policy.split("; "), path
            assert "unsafe" not in policy
            assert "*" not in policy
            assert (answer.headers["Cache-Control"] == "no-store") != path.startswith(KEPT), path
            seen += 1
    assert seen > 10


@each("path", ["/", "/api/v1/info", "/nothing", "/log-out"])
def test_refusals_carry_the_headers_too(server: Server, path: str) -> None:
    """A wrong host, a wrong method, a body too large: the same headers."""
    browser = server.browser()
    for answer in (
        browser.web.get(path, headers={"Host": "evil.example"}, expect_errors=True),
        browser.web.delete(path, headers={"Host": "login.example.com"}, expect_errors=True),
        browser.web.post(path, b"x" * 70_000, expect_errors=True),
    ):
        assert answer.status_int in range(400, 500)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"


def test_on_plain_http_nothing_promises_tls(tmp_path: Path) -> None:
    """On loopback there is no HSTS."""
    server = made(tmp_path, origin="http://localhost:8400")
    assert "Strict-Transport-Security" not in server.browser().get("/").headers


def test_no_page_holds_anything_inline(server: Server) -> None:
    """Script and style come from files: what an attacker writes into a page does not run."""
    browser = server.browser(signed_in=server.add_person())
    for path in [
        *paths(server, "GET"),
        f"/iframes/qr?{server.add_site().ask()}",
        f"/iframes/switch?{server.add_site().ask()}",
    ]:
        page = browser.get(path)
        if page.content_type != "text/html":
            continue
        assert not re.search(r"<script(?![^>]*\ssrc=)(?![^>]*type=\"application/json\")", page.text), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page.text), path
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//(?!login\.example\.com)", page.text), path


def test_row_106_no_form_leads_away_and_a_page_does(server: Server) -> None:
    """Row 106: form-action is this server alone; who says yes gets a page that leads on, wherever the site leads."""
    browser = server.browser(signed_in=server.add_person())
    for callback in (CALLBACK, "myapp://clef"):
        page = browser.get(f"/iframes/qr?{server.add_site(callback=callback).ask(state='<a&b>')}")
        assert page.headers["Content-Security-Policy"].endswith("form-action 'self'")
        answer = browser.submit(page)
        assert sent_back_to(answer).startswith(f"{callback}?code=")
        assert (answer.headers["Cache-Control"], answer.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
        assert "Location" not in answer.headers
        assert "<form" not in answer.text


def test_the_policy_has_nothing_that_an_engine_does_not_know(server: Server) -> None:
    """WebKit complains of manifest-src; there is no manifest, and default-src covers it."""
    assert "manifest-src" not in server.browser().get("/").headers["Content-Security-Policy"]


def test_a_hostile_name_is_text(server: Server) -> None:
    """Names of sites and people are escaped wherever they stand."""
    site = server.add_site('<img src=x onerror="alert(1)">')
    browser = server.browser(signed_in=server.add_person('"><script>alert(2)</script>'))
    for path in ("/", f"/iframes/qr?{site.ask(state=chr(34) + '><script>')}"):
        text = browser.get(path).text
        assert "<img src=x" not in text
        assert "<script>" not in text


# --- host


@each(
    "host",
    [
        "evil.example",
        "login.example.com.evil.example",
        "login.example.com:8443",
        "LOGIN",
        "a@b",
        "",
        ".",
        "login.example.com..",
        "login.example.com:",
        "login.example.com:80",
        "login.example.com:0443x",
        ".login.example.com",
        "login.example.com:443:443",
    ],
)
def test_pages_answer_to_their_own_name_alone(server: Server, host: str) -> None:
    """A name of somebody's that leads here gets a 421, and no page whose forms would be same-origin with it."""
    site = server.add_site()
    for path in ("/", f"/iframes/qr?{site.ask()}"):
        answer = server.browser().web.get(path, headers={"Host": host}, expect_errors=True)
        assert answer.status_int == 421, path
        assert 'name="token"' not in answer.text
        assert "Location" not in answer.headers


def test_the_wrong_host_and_the_right_one_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On the page and in the log, there once for each host and for twenty of them; what is no host is not repeated."""
    server = made(tmp_path)
    for host, shown in (("clef.internal:8400", "clef.internal:8400"), ("<b>x</b>", "?"), ("{own}", "?")):
        for _ in range(2):
            answer = server.browser().web.get("/", headers={"Host": host}, expect_errors=True)
            assert f"You asked for {shown}, and this server is login.example.com." in answer.text
        assert f"asked for as {shown}, and the server is login.example.com" in caplog.text
    assert len(caplog.records) == 2
    for number in range(30):
        server.browser().web.get("/", headers={"Host": f"x{number}.example"}, expect_errors=True)
    assert len(caplog.records) == 20


@each(
    "host",
    ["login.example.com", "login.example.com:443", "LOGIN.Example.com", "login.example.com.", "Login.example.com.:443"],
)
def test_row_96_the_same_host_in_other_words(server: Server, host: str) -> None:
    """Row 96: the default port, capitals and a final dot are the same host."""
    assert server.browser().web.get("/", headers={"Host": host}).status_int == 200


def test_the_api_may_be_asked_under_any_name(server: Server) -> None:
    """A site may reach it inside a network; nothing there depends on the name."""
    answer = server.browser().web.get("/api/v1/info", headers={"Host": "clef.internal:8400"}, expect_errors=True)
    assert answer.status_int == 403


def test_row_19_redirects_do_not_go_by_forwarded_names(server: Server) -> None:
    """Row 19: X-Forwarded-Host and its like change nothing."""
    ann = server.add_person()
    browser = server.browser(signed_in=ann)
    forged = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "Forwarded": "host=evil.example",
        **SAME_ORIGIN,
    }
    answer = browser.post("/log-out", {"token": browser.form_token()}, headers=forged)
    assert (answer.status_int, answer.headers["Location"]) == (303, "/receipts")


# --- origin and token


SENDERS = [
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "none"}, False),
    ({"Sec-Fetch-Site": ""}, False),
    ({"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN}, False),
    ({"Origin": ORIGIN}, True),
    ({"Origin": "null"}, False),
    ({"Origin": ""}, False),
    ({"Origin": "http://login.example.com"}, False),
    ({"Origin": "https://login.example.com.evil.example"}, False),
    ({"Origin": "https://login.example.com:8443"}, False),
    ({"Origin": "https://evil.example", "Referer": ORIGIN + "/"}, False),
    ({"Referer": ORIGIN + "/"}, True),
    ({"Referer": ORIGIN + "/iframes/qr?x"}, True),
    ({"Referer": "https://evil.example/" + ORIGIN}, False),
    ({"Referer": ORIGIN + "@evil.example/"}, False),
    ({"Referer": "["}, False),
    ({}, False),
]


@each(("headers", "passes"), SENDERS)
def test_row_64_a_post_comes_from_a_page_of_this_server(server: Server, headers: dict[str, str], passes: bool) -> None:
    """Row 64: with the right token, but from elsewhere or nowhere: 403, and nothing is done."""
    server.clear()
    browser = server.browser(signed_in=server.add_person())
    answer = browser.post("/log-out", {"token": browser.form_token()}, headers=headers)
    assert answer.status_int == (303 if passes else 403)
    assert server.count(sessions, sessions.c.ended_at.is_not(None)) == (1 if passes else 0)


def test_row_64_no_address_takes_a_post_without_a_token(server: Server) -> None:
    """Row 64: same origin, signed in, no token: 403 at each address that takes a POST."""
    browser = server.browser(signed_in=server.add_person())
    browser.form_token()
    found = paths(server, "POST")
    assert {"/log-out", "/iframes/approve"} <= set(found)
    for path in found:
        answer = browser.post(path, {}, headers=SAME_ORIGIN)
        assert answer.status_int == 403, path
        assert browser.post(path, {}, headers={**SAME_ORIGIN, "X-Clef-Token": ""}).status_int == 403, path
    assert server.count(sessions, sessions.c.ended_at.is_not(None)) == 0


def test_row_64_a_token_is_one_browsers_own(server: Server) -> None:
    """Row 64: another browser's, a cut one, text, the cookie itself: 403."""
    ann = server.add_person()
    mine, yours = server.browser(signed_in=ann), server.browser(signed_in=ann)
    token, other = mine.form_token(), yours.form_token()
    cookie = mine.web.cookies["__Host-clef-browser"].strip('"')
    for wrong in (other, token[:-1], token + "x", "", "é", cookie, "\0"):
        assert mine.post("/log-out", {"token": wrong}, headers=SAME_ORIGIN).status_int == 403
        assert server.count(sessions, sessions.c.ended_at.is_not(None)) == 0
    assert mine.post("/log-out", {"token": token}, headers=SAME_ORIGIN).status_int == 303


def test_row_64_without_the_browsers_cookie_no_token_is_right(server: Server) -> None:
    """Row 64: also not the one that would belong to an empty or a made-up cookie."""
    browser = server.browser(signed_in=server.add_person())
    for cookie in ("", "x", "y" * 44):
        browser.web.set_cookie("__Host-clef-browser", cookie)
        answer = browser.post("/log-out", {"token": tokens.derived(cookie, "form")}, headers=SAME_ORIGIN)
        assert answer.status_int == 403
        assert browser.post("/log-out", {"token": ""}, headers=SAME_ORIGIN).status_int == 403


def test_row_64_a_script_sends_the_token_in_a_header(server: Server) -> None:
    """Row 64: for fetch; a refusal is JSON then."""
    browser = server.browser(signed_in=server.add_person())
    refused = browser.post("/log-out", headers={**SAME_ORIGIN, "X-Clef-Token": "wrong"})
    assert (refused.status_int, refused.json["error"]) == (403, "old_page")
    assert browser.post("/log-out", headers={**SAME_ORIGIN, "X-Clef-Token": browser.form_token()}).status_int == 303


def test_row_64_a_get_does_nothing(server: Server) -> None:
    """Row 64: no link, picture or preview logs anybody out or in."""
    site, browser = server.add_site(), server.browser(signed_in=server.add_person())
    for path in ("/log-out", f"/iframes/approve?{site.ask()}"):
        for method in ("GET", "HEAD"):
            answer = browser.web.request(path, method=method, headers={"Host": "login.example.com"}, expect_errors=True)
            assert (answer.status_int, set(answer.headers["Allow"].split(", "))) == (405, {"OPTIONS", "POST"})
    assert server.count(sessions, sessions.c.ended_at.is_not(None)) == server.count(deliveries) == 0


def test_the_api_needs_neither(server: Server) -> None:
    """Sites have no cookie and no page: the API is open to them, and sets no cookie."""
    site, browser = server.add_site(), server.browser(signed_in=server.add_person())
    form = {**site.credentials, "code": browser.approve(site.ask())["code"]}
    answer = server.browser().post("/api/v1/authorize", form, headers={"Origin": "https://photos.example.com"})
    assert answer.status_int == 200
    assert "Set-Cookie" not in answer.headers


# --- browsers without Sec-Fetch headers (Safari before 16.4)


def sent_as_an_older_browser(page: Any) -> dict[str, str]:
    """Return the ``Origin`` that such a browser sends with a form, by the page's policy (Fetch, section 3.2)."""
    policy = page.headers["Referrer-Policy"]
    return {"Origin": {"no-referrer": "null", "same-origin": ORIGIN}[policy]}


def test_row_105_every_form_of_ours_works_in_an_older_browser(server: Server) -> None:
    """Row 105: each page with a form lets it say where it comes from; one from elsewhere says null, and is refused."""
    site, ann = server.add_site(), server.add_person()
    enrolled(server, ann)
    for number, (path, action) in enumerate(
        [
            ("/", "/names"),
            ("/", "/stay"),
            ("/", "/log-out"),
            ("/passkeys", "/passkeys/1/rename"),
            (f"/iframes/qr?{site.ask(state='xyz')}", f"/iframes/approve?{site.ask(state='xyz')}"),
            (f"/iframes/switch?{site.ask()}", "/sign-in/options"),
            ("/enrol", "/enrol/look"),
        ]
    ):
        browser = server.browser(signed_in=ann)
        page = browser.get(path)
        fields = {"token": token_of(page), "stay": "day"}
        elsewhere = browser.post(action, fields, headers={"Origin": "null"})
        assert (elsewhere.status_int, "did not come from here" in elsewhere.text) == (403, True), number
        here = browser.post(action, fields, headers=sent_as_an_older_browser(page))
        assert "did not come from here" not in here.text, number


@each("path", ["/receipts", "/nothing", "/iframes/qr?state=secret", "/?code=secret&state=secret"])
def test_a_page_without_a_form_sends_no_referrer(server: Server, path: str) -> None:
    """Its address may hold a code, a state or a token: no referrer is sent, not even to this server."""
    page = server.browser().get(path)
    policy = "same-origin" if "<form" in page.text else "no-referrer"
    assert page.headers["Referrer-Policy"] == policy
    assert ("<form" in page.text) == path.startswith("/?")  # that one is the page to sign in


# --- too much


def test_more_than_64_kib_are_not_read(server: Server) -> None:
    """413: a page for people, JSON with words for sites."""
    browser = server.browser()
    page = browser.web.post("/log-out", b"token=" + b"x" * 70_000, headers=SAME_ORIGIN, expect_errors=True)
    call = browser.web.post("/api/v1/authorize", b"code=" + b"x" * 70_000, expect_errors=True)
    assert (page.status_int, page.content_type) == (413, "text/html")
    assert (call.status_int, call.json["error"]) == (413, "Too much was sent.")


@each("length", ["abc", "-5", "", "1e3", "٣", "99999999999999999999"])
def test_row_21_a_wrong_length_is_a_clean_refusal(server: Server, length: str) -> None:
    """Row 21: a Content-Length that is none, or too large: 4xx at once, for pages and calls."""
    for path in ("/log-out", "/api/v1/authorize"):
        answer = server.app.test_client().post(
            path, base_url=ORIGIN, headers=SAME_ORIGIN, environ_overrides={"CONTENT_LENGTH": length}
        )
        assert answer.status_code in (400, 403, 413), path
        assert answer.is_json == path.startswith("/api/")


def test_a_thousand_fields_are_one_refusal(server: Server) -> None:
    """Many fields in query or body are a 4xx."""
    many = "&".join(f"f{number}=1" for number in range(5000))
    browser = server.browser()
    assert browser.get(f"/iframes/qr?{many}").status_int == 400
    assert browser.web.post("/api/v1/authorize", many.encode(), expect_errors=True).status_int in (403, 413)


@each(
    "path",
    ["/%ff", "/iframes/qr?%ff=%ff", "/iframes/qr?app_id=%ff", "/api/v1/info?access_token=%ff", "/%00", "/a%0d%0ab"],
)
def test_bytes_that_are_no_text_are_a_clean_refusal(server: Server, path: str) -> None:
    """Undecodable paths and queries: 4xx, and no header made of them."""
    answer = server.browser().get(path)
    assert answer.status_int in (400, 403, 404)


def test_an_accept_header_decides_on_json(server: Server) -> None:
    """A script gets {"error": ..., "message": ...}; a browser a page in its language."""
    browser = server.browser()
    script = browser.get("/nothing", headers={"Accept": "application/json"})
    assert script.json["error"] == "not_found"


@each(
    ("wanted", "found"),
    [
        ("de", "de"),
        ("de-AT, en;q=0.5", "de"),
        ("en;q=0.5, DE-ch;q=0.7", "de"),
        ("fr, en;q=0.3, de;q=0.2", "en"),
        ("de;q=0", "en"),
        ("fr", "en"),
        ("*", "en"),
        ("", "en"),
        (";;q=x,,", "en"),
    ],
)
def test_pages_speak_the_visitors_language(server: Server, wanted: str, found: str) -> None:
    """The one that is wanted most and is there, whatever the country; else English."""
    assert f'lang="{found}"' in server.browser().get("/nothing", headers={"Accept-Language": wanted}).text


def test_a_bug_is_a_page_without_a_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception is a 500 with a reference that stands in the log, on pages and in the API."""
    server = made(tmp_path)
    server.app.config["PROPAGATE_EXCEPTIONS"] = False

    def broken() -> str:
        raise RuntimeError("inner secret")

    server.app.add_url_rule("/broken", view_func=broken)
    server.app.add_url_rule("/api/v1/broken", endpoint="api-broken", view_func=broken)
    page, call = server.browser().get("/broken"), server.browser().get("/api/v1/broken")
    reference = re.search(r"\b[0-9a-f]{8}\b", page.text)
    assert page.status_int == call.status_int == 500
    assert reference is not None
    assert reference[0] in caplog.text
    assert "inner secret" not in page.text + call.text
    assert page.headers["X-Frame-Options"] == "DENY"


# --- limits


def refused_call(browser: Browser, **headers: str) -> Any:
    return browser.get("/api/v1/info", headers=headers)


def test_refused_calls_are_counted_by_address(tmp_path: Path) -> None:
    """Three, then 429 with Retry-After and in words; another address is not meant; a minute later it is over."""
    server = made(tmp_path, limits=Limits(refused_calls=3))
    browser = server.browser()
    assert [refused_call(browser).status_int for _ in range(3)] == [403] * 3
    flood = refused_call(browser)
    assert (flood.status_int, flood.json["error"]) == (429, "Too many requests.")
    assert 1 <= int(flood.headers["Retry-After"]) <= 60
    other = server.browser()
    other.web.extra_environ["REMOTE_ADDR"] = "192.0.2.8"
    assert refused_call(other).status_int == 403
    server.clock.advance(int(flood.headers["Retry-After"]))
    assert refused_call(browser).status_int == 403


def test_calls_that_succeed_are_never_counted(tmp_path: Path) -> None:
    """All people of a site come from the site's one address."""
    server = made(tmp_path, limits=Limits(refused_calls=1, refused_calls_of_an_app=1))
    site, browser = server.add_site(), server.browser(signed_in=server.add_person())
    for _ in range(3):
        server.log_in(site, browser)


@pytest.mark.slow
def test_row_109_strangers_at_a_sites_address_do_not_lock_the_site_out(tmp_path: Path) -> None:
    """Row 109: 240 calls without a secret, or with a wrong one, are refused at last; the site's own are not."""
    server = made(tmp_path)
    site, browser = server.add_site(), server.browser(signed_in=server.add_person())
    token, wrong = server.log_in(site, browser), {**site.credentials, "app_secret": "wrong", "code": "x"}
    anybody = server.browser()
    junk = [refused_call(anybody).status_int for _ in range(240)]
    junk += [anybody.post(f"/api/v1/{call}", wrong).status_int for call in ("authorize", "logout")]
    assert (set(junk[:240]), junk[240:]) == ({403}, [429, 429])
    server.log_in(site, browser)
    assert anybody.get(f"/api/v1/info?access_token={token}").status_int == 200
    assert server.log_out(site, browser).status_int == 200


@pytest.mark.slow
def test_row_85_junk_that_a_site_passes_on_does_not_lock_it_out(tmp_path: Path) -> None:
    """Row 85: 280 junk tokens at a site's webhook, each asked about with the site's secret: its true calls go on."""
    server = made(tmp_path)
    site, browser = server.add_site(), server.browser(signed_in=server.add_person())
    server.log_in(site, browser)
    asked = [browser.post("/api/v1/logout", {**site.credentials, "logout_token": f"junk{n}"}) for n in range(280)]
    assert {answer.status_int for answer in asked} == {400}
    server.log_in(site, browser)
    assert refused_call(browser).status_int == 403  # nor did that count against the address
    assert server.log_out(site, browser).status_int == 200


def test_a_proven_app_has_a_bound_of_its_own(tmp_path: Path) -> None:
    """Refused calls of an authenticated app are counted per app: beyond the limit 429, while valid calls pass."""
    server = made(tmp_path, limits=Limits(refused_calls_of_an_app=2))
    site, other = server.add_site(), server.add_site(callback="https://wiki.example.com/callback", webhooks=())
    browser = server.browser(signed_in=server.add_person())
    junk = [browser.post("/api/v1/authorize", {**site.credentials, "code": "x"}) for _ in range(3)]
    assert [answer.status_int for answer in junk] == [403, 403, 429]
    assert 1 <= int(junk[2].headers["Retry-After"]) <= 60
    assert browser.post("/api/v1/authorize", {**other.credentials, "code": "x"}).status_int == 403
    server.log_in(site, browser)
    assert server.log_out(site, browser).status_int == 200


def test_approvals_are_counted_by_address(tmp_path: Path) -> None:
    """The fourth click within a minute is a page with 429."""
    server = made(tmp_path, limits=Limits(sign_in=3))
    site, browser = server.add_site(), server.browser(signed_in=server.add_person())
    page = browser.get(f"/iframes/qr?{site.ask()}")
    assert [browser.submit(page).status_int for _ in range(4)] == [200, 200, 200, 429]
    assert 1 <= int(browser.submit(page).headers["Retry-After"]) <= 60


def test_a_home_counts_as_one_address(tmp_path: Path) -> None:
    """IPv6: all of a /64 together, the next one apart; IPv4 written as IPv6 is that IPv4 address."""
    server = made(tmp_path, limits=Limits(refused_calls=2))
    browser = server.browser()

    def status(address: str) -> int:
        browser.web.extra_environ["REMOTE_ADDR"] = address
        return int(refused_call(browser).status_int)

    assert [status(f"2001:db8::{number}") for number in (1, 2, 3)] == [403, 403, 429]
    assert status("2001:db8:0:1::1") == 403
    assert [status("::ffff:192.0.2.9"), status("192.0.2.9"), status("192.0.2.9")] == [403, 403, 429]


def test_the_counters_memory_is_bounded() -> None:
    """The number of rate limit counters is bounded: the oldest are dropped, the newest still count."""
    now = 1_800_000_000_000_000
    limiter = Limiter(Limits(refused_calls=2), lambda: now)
    for number in range(MAX_COUNTERS + 500):
        limiter.hit("refused_calls", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(limiter._counts) == MAX_COUNTERS
    last = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    limiter.hit("refused_calls", last)
    with pytest.raises(TooManyRequests):
        limiter.hit("refused_calls", last)


def test_who_keeps_knocking_is_not_forgotten() -> None:
    """A flood from many addresses does not wash out the counter of one that goes on."""
    limiter = Limiter(Limits(refused_calls=3), lambda: 1_800_000_000_000_000)
    for round_ in range(2):
        limiter.hit("refused_calls", "192.0.2.1")
        for number in range(MAX_COUNTERS - 1):
            limiter.hit("refused_calls", f"10.{round_}.{number >> 8}.{number & 255}")
    limiter.hit("refused_calls", "192.0.2.1")
    with pytest.raises(TooManyRequests):
        limiter.hit("refused_calls", "192.0.2.1")


PROXIED = [
    ("", "192.0.2.7", "203.0.113.9", "192.0.2.7"),  # nobody is trusted: the header is the visitor's
    ("127.0.0.1", "192.0.2.7", "203.0.113.9", "192.0.2.7"),  # not the trusted one
    ("192.0.2.7", "192.0.2.7", "203.0.113.9", "203.0.113.9"),
    ("192.0.2.7", "192.0.2.7", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # what came before is the visitor's
    ("192.0.2.0/24", "192.0.2.7", "198.51.100.1, 203.0.113.9, 192.0.2.99", "203.0.113.9"),  # two proxies
    ("192.0.2.7", "192.0.2.7", "", "192.0.2.7"),
    ("192.0.2.7", "192.0.2.7", "evil", "192.0.2.7"),
    ("192.0.2.7", "192.0.2.7", "203.0.113.9, unknown", "192.0.2.7"),
    ("192.0.2.7", "192.0.2.7", "203.0.113.9:443", "203.0.113.9"),  # row 97
    ("192.0.2.7", "192.0.2.7", "198.51.100.1:1, 203.0.113.9:65535", "203.0.113.9"),
    ("192.0.2.7", "192.0.2.7", "[2001:db8::1]:443", "2001:db8::1"),
    ("192.0.2.7", "192.0.2.7", "[2001:db8::1]", "2001:db8::1"),
    ("192.0.2.7", "192.0.2.7", "[::ffff:203.0.113.9]:443", "203.0.113.9"),
    ("192.0.2.0/24", "192.0.2.7", "203.0.113.9:1, 192.0.2.99:2", "203.0.113.9"),
    ("192.0.2.7", "192.0.2.7", "[203.0.113.9]:443x", "192.0.2.7"),
    ("192.0.2.7", "192.0.2.7", "203.0.113.9:port", "192.0.2.7"),
    ("192.0.2.7", "192.0.2.7", "example.com:443", "192.0.2.7"),
    ("192.0.2.0/24", "192.0.2.7", "192.0.2.8, 192.0.2.9", "192.0.2.8"),
    ("unix", "", "203.0.113.9", "203.0.113.9"),
    ("127.0.0.1", "", "203.0.113.9", ""),
    ("::1", "::1", "2001:db8::5", "2001:db8::5"),
    ("127.0.0.1", "::ffff:127.0.0.1", "203.0.113.9", "203.0.113.9"),
]


@each(("trusted", "peer", "forwarded", "expected"), PROXIED)
def test_forwarded_for_is_believed_of_trusted_proxies_alone(
    trusted: str, peer: str, forwarded: str, expected: str
) -> None:
    """Row 97: the address that counts is the last one that no trusted proxy has, without its port."""
    rest: dict[str, Any] = dict.fromkeys(("rp_id", "logo", "templates", "keep_audit"))
    rest |= {"name": "Clef", "metrics_from": (), "limits": Limits()}
    options = Options(origin=ORIGIN, database="clef.db", trusted_proxy=trusted, **rest)
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}
    assert client_address(environ, options.proxies) == expected


def test_a_spoofed_address_gives_no_second_chance(tmp_path: Path) -> None:
    """Behind a proxy: another made-up X-Forwarded-For at each try is still the one visitor."""
    server = made(tmp_path, limits=Limits(refused_calls=2), trusted_proxy="192.0.2.7")
    browser = server.browser()
    found = [
        refused_call(browser, **{"X-Forwarded-For": f"10.0.0.{number}, 203.0.113.9"}).status_int for number in range(3)
    ]
    assert found == [403, 403, 429]
    assert refused_call(browser, **{"X-Forwarded-For": "203.0.113.10"}).status_int == 403


# --- cookies


def cookies_of(answer: Any) -> dict[str, Any]:
    jar = SimpleCookie()
    for header in answer.headers.getall("Set-Cookie"):
        jar.load(header)
    return dict(jar)


def sign_in(server: Server, person_id: int, cookies: dict[str, str]) -> Response:
    """An answer in which somebody was signed in, as at the end of a ceremony."""
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    with server.app.test_request_context(base_url=server.origin, headers=headers):
        with server.database.writing() as connection:
            browser_room.sign_in(connection, person_id=person_id, passkey_id=None)
        return server.app.process_response(Response())


def session_cookie(answer: Response, name: str = "__Host-clef-session") -> Any:
    jar = SimpleCookie()
    for header in answer.headers.getlist("Set-Cookie"):
        jar.load(header)
    return jar[name]


def test_cookies_on_https(server: Server) -> None:
    """__Host-, Secure, HttpOnly, SameSite=Lax, Path=/, no Domain; both of them."""
    first = cookies_of(server.browser().get("/"))["__Host-clef-browser"]
    second = session_cookie(sign_in(server, server.add_person().id, {}))
    for cookie in (first, second):
        assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
        assert (cookie["path"], cookie["domain"]) == ("/", "")
    assert first["max-age"] == ""
    assert int(second["max-age"]) == 30 * 86400


def test_cookies_on_plain_http_bear_the_port(tmp_path: Path) -> None:
    """Cookies ignore ports, so two servers on localhost would share them."""
    server = made(tmp_path, origin="http://localhost:8400")
    cookie = cookies_of(server.browser().get("/"))["clef-browser-8400"]
    assert not cookie["secure"]
    assert cookie["httponly"]
    assert session_cookie(sign_in(server, server.add_person().id, {}), "clef-session-8400")["httponly"]


def test_row_31_a_sign_in_has_a_new_token_and_the_old_is_dead(server: Server) -> None:
    """Row 31: a cookie that was planted before the sign-in, or copied, sees nobody afterwards."""
    ann = server.add_person()
    before = session_cookie(sign_in(server, ann.id, {})).value
    after = session_cookie(sign_in(server, ann.id, {"__Host-clef-session": before})).value
    planted = session_cookie(sign_in(server, ann.id, {"__Host-clef-session": "p" * 43})).value
    assert len({before, after, planted, "p" * 43}) == 4
    found = {}
    for cookie in (before, after, planted, "p" * 43):
        browser = server.browser()
        browser.web.set_cookie("__Host-clef-session", cookie)
        found[cookie] = "Ann" in browser.get("/").text
    assert found == {before: False, after: True, planted: True, "p" * 43: False}


def test_who_signs_in_in_anothers_browser_ends_their_session_there(server: Server) -> None:
    """The first person's session ends, with its logins at sites; their other browsers stay."""
    ann, bo, site = server.add_person("Ann"), server.add_person("Bo"), server.add_site()
    shared, own = server.browser(signed_in=ann), server.browser(signed_in=ann)
    server.log_in(site, shared)
    cookie = shared.web.cookies["__Host-clef-session"].strip('"')
    sign_in(server, bo.id, {"__Host-clef-session": cookie})
    assert server.count(deliveries) == 1
    assert "Ann" not in shared.get("/").text
    assert "Ann" in own.get("/").text


def test_signing_out_drops_the_cookie_and_ends_the_session(server: Server) -> None:
    """A copy of the cookie is worth nothing afterwards."""
    browser = server.browser(signed_in=server.add_person())
    copied = browser.web.cookies["__Host-clef-session"].strip('"')
    answer = browser.post("/log-out", {"token": browser.form_token()}, headers=SAME_ORIGIN)
    assert cookies_of(answer)["__Host-clef-session"]["max-age"] == "0"
    browser.web.set_cookie("__Host-clef-session", copied)
    assert "Ann" not in browser.get("/").text


@each("cookie", ["x", "é", "x" * 9000, "=;=;", "__Host-clef-session", '"', "__Host-clef-session=" + "x" * 43])
def test_row_30_a_forged_cookie_is_nobody(server: Server, cookie: str) -> None:
    """Row 30: cut, wild or long cookies: an ordinary page for nobody."""
    browser = server.browser()
    answer = browser.web.get("/", headers={"Cookie": cookie.encode().decode("latin-1")}, expect_errors=True)
    assert answer.status_int == 200
    assert 'name="token"' in answer.text


def test_two_tabs_do_not_disturb_each_other(server: Server) -> None:
    """The token of a page that was open before the sign-in still works after it."""
    ann, site = server.add_person(), server.add_site()
    browser = server.browser()
    early = browser.form_token()
    cookies = {name: value.strip('"') for name, value in browser.web.cookies.items()}
    session = session_cookie(sign_in(server, ann.id, cookies)).value
    browser.web.set_cookie("__Host-clef-session", session)
    answer = browser.post(f"/iframes/approve?{site.ask()}", {"token": early}, headers=SAME_ORIGIN)
    assert "code=" in sent_back_to(answer)
