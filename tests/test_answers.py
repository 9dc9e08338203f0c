"""Responses: pages, their JSON forms, and the headers for caches and browsers."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from support.app import BASE_URL, Answer, FakeProvider, ask, browser, make_app, state_of
from support.cases import each

from clef_wsgi.base.errors import CodeRejected, LoginRefused, ProviderUnavailable

HOME = BASE_URL + "/"


def unknown_state(app: Any, **environ: Any) -> Answer:
    """The answer to a callback that nobody started."""
    return ask(app, "/clef/callback", query="code=C0DE&state=ST4TE", **environ)


class Page(HTMLParser):
    """A page's tags and links, and what would be loaded from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input", "br"):
            self.stack.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "background") or (tag == "link" and name == "href"):
                self.loads.append(value or "")
            elif name in ("href", "action"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def refusals() -> dict[str, Answer]:
    """One answer of each kind that a person may see."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    found = {"unknown state": unknown_state(app)}
    ann = browser(app)
    ann.sign_in("ann")
    found["cross origin"] = ask(app, "/clef/logout", method="POST", HTTP_COOKIE=ann.cookie)
    found["a visit"] = ask(app, "/clef/logout", HTTP_COOKIE=ann.cookie)
    state = ann.start_login("/notes?<x>=\"'&y")
    provider.raises = ProviderUnavailable()
    found["provider away"] = ask(app, "/clef/callback", query=f"code=C0DE&state={state}", HTTP_COOKIE=ann.cookie)
    return found


# -- pages ------------------------------------------------------------------------------------------------


@each(("kind", "status"), [("unknown state", 400), ("cross origin", 403), ("a visit", 405), ("provider away", 503)])
def test_a_page_is_whole_accessible_and_loads_nothing(kind: str, status: int) -> None:
    """A small page: language, title, one heading, tags closed, a way on, nothing loaded, nothing of the code."""
    answer = refusals()[kind]
    html = answer.body.decode()
    page = Page(html)
    assert answer.status == status
    assert answer.header("Content-Type") == "text/html; charset=utf-8"
    assert html.startswith("<!doctype html>")
    assert '<html lang="en">' in html
    assert 'name="viewport"' in html
    assert html.count("<h1>") == html.count("<title>") == html.count("<main>") == 1
    assert page.stack == []
    assert page.loads == []
    assert "C0DE" not in html
    assert "ST4TE" not in html
    assert page.links
    assert all(link.startswith(HOME) for link in page.links)


@each("kind", ["unknown state", "cross origin", "a visit", "provider away"])
def test_a_page_is_kept_by_nobody_framed_by_nobody_and_says_nothing_to_others(kind: str) -> None:
    """Row 36, RFC 9700, sections 4.2 and 4.16: no-store, no-referrer, no framing, no script, no guessing of types."""
    answer = refusals()[kind]
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Vary") == "Accept-Language, Cookie"
    assert answer.header("Referrer-Policy") == ("same-origin" if b"<form" in answer.body else "no-referrer")
    assert (b"<form" in answer.body) == (kind == "a visit")
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("X-Frame-Options") == "DENY"
    policy = dict(part.split(" ", 1) for part in (answer.header("Content-Security-Policy") or "").split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert "script-src" not in policy


def test_the_policy_allows_the_pages_own_style_and_no_other() -> None:
    """The style's hash in the policy is the one of the style in the page (CSP Level 3, section 6.7.2.3)."""
    answer = unknown_state(make_app())
    styles = re.findall(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert len(styles) == 1
    assert f"style-src 'sha256-{digest}'" in (answer.header("Content-Security-Policy") or "")
    assert b"style=" not in answer.body


def test_a_message_is_text_not_html() -> None:
    """The text of an app's refusal is escaped."""

    def refuse(environ: Any, user: Any) -> None:
        raise LoginRefused("<script>alert('&')</script>")

    ann = browser(make_app(on_login=refuse))
    text = ann.come_back(ann.start_login(), status=400).text
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in text
    assert "<script" not in text


def test_the_way_on_is_a_new_login_to_the_same_page() -> None:
    """The button of an error page starts again where this login would have led; the callback's URL is in no link."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    state = ann.start_login("/notes?page=2")
    provider.raises = CodeRejected()
    page = ann.come_back(state, "C0DE", status=400)
    assert Page(page.text).links == [BASE_URL + "/clef/login?next=/notes%3Fpage%3D2", HOME]
    provider.raises = None
    state = state_of(page.click("Try again").location)
    assert ann.come_back(state, status=303).location == BASE_URL + "/notes?page=2"


@pytest.mark.parametrize("address", [None, "//evil.example"])
def test_the_way_on_without_a_return_address_leads_home_not_to_the_callback(address: str | None) -> None:
    """A login started without a (good) return address is tried again with the front page, never with its code."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    state = ann.start_login(address)
    provider.raises = CodeRejected()
    page = ann.come_back(state, "C0DE", status=400)
    assert Page(page.text).links == [BASE_URL + "/clef/login?next=/", HOME]


def test_the_way_on_from_a_login_that_cannot_start_is_the_login() -> None:
    """The provider is away at the start: try again, to the same page."""
    provider = FakeProvider()
    provider.raises = ProviderUnavailable()
    ann = browser(make_app(provider=provider))
    for query, back in (("?next=/notes", "/notes"), ("?next=//evil.example", "/"), ("", "/")):
        page = ann.get("/clef/login" + query, status=503)
        assert Page(page.text).links == [BASE_URL + "/clef/login?next=" + back, HOME]


def test_the_reference_of_a_page_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Eight characters, new each time, in the page and in its one log line."""
    app = make_app()
    pages = [unknown_state(app).body.decode() for _ in range(2)]
    references = [re.findall(r"Reference: ([0-9a-f]{8})<", page) for page in pages]
    assert [len(found) for found in references] == [1, 1]
    assert references[0] != references[1]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    for record, [reference] in zip(caplog.records, references, strict=True):
        assert reference in record.getMessage()
        assert vars(record)["reference"] == reference
        assert vars(record)["reason"] == "state_mismatch"


# -- JSON -------------------------------------------------------------------------------------------------


@each(
    "accept", ["application/json", "application/json, text/plain", "text/html;q=0.5, application/json", "application/*"]
)
def test_who_prefers_json_gets_json(accept: str) -> None:
    """``{"error", "message", "reference"}``, with the page's status."""
    answer = unknown_state(make_app(), HTTP_ACCEPT=accept)
    assert (answer.status, answer.header("Content-Type")) == (400, "application/json; charset=utf-8")
    assert set(answer.json) == {"error", "message", "reference"}
    assert answer.json["error"] == "state_mismatch"
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Vary")


@each("accept", [None, "", "*/*", "text/html", "text/html, application/json;q=0.9", "image/png", ";;", "é"])
def test_everybody_else_gets_the_page(accept: str | None) -> None:
    """A browser, a missing or garbled ``Accept``, and who takes neither get HTML."""
    answer = unknown_state(make_app(), HTTP_ACCEPT=accept)
    assert (answer.status, answer.header("Content-Type")) == (400, "text/html; charset=utf-8")


@each("path", ["/clef/callback", "/clef/login", "/clef/webhook"])
def test_a_wrong_method_is_json_with_allow(path: str) -> None:
    """405 of what only machines do by mistake: JSON and ``Allow``, no body for HEAD."""
    answer = ask(make_app(), path, method="DELETE")
    assert (answer.status, answer.json["error"]) == (405, "method_not_allowed")
    assert answer.header("Allow") in ("GET", "POST")
    assert ask(make_app(), path, method="HEAD").body == b""


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_retry_after_is_said_with_503_alone(accept: str) -> None:
    """A 503 says when to come back, as page and as JSON; a 400 does not."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    state = ann.start_login()
    provider.raises = ProviderUnavailable(retry_after=11)
    query = f"code=ann&state={state}"
    answer = ask(app, "/clef/callback", query=query, HTTP_COOKIE=ann.cookie, HTTP_ACCEPT=accept)
    assert (answer.status, answer.header("Retry-After")) == (503, "11")
    assert unknown_state(app, HTTP_ACCEPT=accept).header("Retry-After") is None


# -- the app's own answers ----------------------------------------------------------------------------------


def with_headers(*headers: tuple[str, str]) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain"), *headers])
        return [b"x"]

    return app


def signed_in(app: Any) -> Answer:
    wrapped = make_app(app)
    ann = browser(wrapped)
    ann.sign_in("ann")
    return ask(wrapped, HTTP_COOKIE=ann.cookie)


def test_row_36_an_answer_for_somebody_is_private_and_varies() -> None:
    """Row 36: ``Vary: Cookie`` and ``Cache-Control: private`` when someone is signed in."""
    answer = signed_in(with_headers())
    assert answer.headers == [("Content-Type", "text/plain"), ("Vary", "Cookie"), ("Cache-Control", "private")]


def test_row_36_an_answer_for_nobody_varies() -> None:
    """Row 36: a shared cache may keep it, for requests with the same cookie."""
    assert ask(make_app(with_headers())).headers == [("Content-Type", "text/plain"), ("Vary", "Cookie")]


@each("spoken", ["public, max-age=60", "no-cache", "no-store"])
@each("name", ["Cache-Control", "cache-control", "CACHE-CONTROL"])
def test_row_36_what_the_app_says_about_caches_stays(name: str, spoken: str) -> None:
    """Row 36: unless the app spoke itself."""
    answer = signed_in(with_headers((name, spoken)))
    assert answer.header("Cache-Control") == spoken


@each("spoken", ["Cookie", "cookie", "Accept, Cookie", "Accept,cookie ,Origin", "*"])
def test_row_36_what_varies_by_cookie_already_is_not_marked_again(spoken: str) -> None:
    """Row 36: one ``Vary`` that names the cookie is enough."""
    assert ask(make_app(with_headers(("vary", spoken)))).header("Vary") == spoken


@each("spoken", ["Accept", "Cookies, X-Cookie", "Accept-Encoding, Origin"])
def test_row_36_what_varies_by_something_else_varies_by_cookie_too(spoken: str) -> None:
    """Row 36: the app's own ``Vary`` stays beside ours (RFC 9110, section 5.3)."""
    headers = ask(make_app(with_headers(("Vary", spoken)))).headers
    assert [value for name, value in headers if name == "Vary"] == [spoken, "Cookie"]


def test_row_53_a_list_of_headers_shared_by_all_answers_leaks_no_cookie() -> None:
    """Row 53: an app with one list for all answers: nobody gets another's cookie, and the list stays as it was."""
    shared = [("Content-Type", "text/plain")]

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/write":
            environ["beaker.session"]["x"] = "y"
            environ["beaker.session"].save()
        start_response("200 OK", shared)
        return [b"x"]

    wrapped = make_app(app)
    first = ask(wrapped, "/write")
    assert first.header("Set-Cookie")
    assert ask(wrapped, "/read").header("Set-Cookie") is None
    assert shared == [("Content-Type", "text/plain")]


def test_row_36_a_redirect_to_the_login_is_kept_by_nobody() -> None:
    """Row 36: a cached redirect would lead people out who are signed in."""
    answer = ask(make_app(protect=["/"]))
    assert answer.status == 303
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Vary") == "Cookie"


def test_an_answer_to_somebody_who_signed_out_in_the_app_is_still_private() -> None:
    """The page that says goodbye is about one person as well."""

    def goodbye(environ: Any, start_response: Any) -> Any:
        environ["clef.login"].end()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"Goodbye"]

    assert signed_in(goodbye).header("Cache-Control") == "private"
