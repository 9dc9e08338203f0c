"""Behaviour of browsers: the back/forward cache, prefetches, and many tabs restored at once."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from support.app import BASE_URL, SECRET, FakeProvider, ask, browser, is_at_home, make_app, state_of

from clef_wsgi import MemoryLogoutStore, wrap

DOCUMENTS = ("text/html", "text/html; charset=utf-8", "Application/XHTML+XML", "TEXT/HTML ;x=y", None)
OTHERS = ("application/json", "image/png", "text/css", "text/plain", "text/html-sandboxed")


def answering(media_type: str | None, status: str = "200 OK", **more: str) -> Callable[..., Any]:
    """An app whose every answer has this Content-Type, or none."""
    headers = [(name.replace("_", "-"), value) for name, value in more.items()]
    if media_type is not None:
        headers.append(("content-TYPE", media_type))

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, list(headers))
        return []

    return app


def site(app: Callable[..., Any], **options: Any) -> Any:
    """A wrapped app without validators: some of these send no Content-Type, which wsgiref's does not let pass."""
    session = {"type": "memory", "secret": SECRET}
    stores: dict[str, Any] = {"provider": FakeProvider(), "logout_store": MemoryLogoutStore()}
    return wrap(app, base_url=BASE_URL, session=session, **stores, **options)


def cache_of(media_type: str | None, path: str, status: str = "200 OK", *, spoken: str = "", **options: Any) -> Any:
    """The ``Cache-Control`` that somebody signed in gets."""
    more = {"Cache_Control": spoken} if spoken else {}
    ann = browser(site(answering(media_type, status, **more), **options))
    ann.sign_in()
    return ask(ann.app, path, HTTP_COOKIE=ann.cookie).header("Cache-Control")


# -- Back -------------------------------------------------------------------------------------------------


def test_row_81_a_protected_document_is_not_stored() -> None:
    """Row 81: under ``protect`` what a browser shows as a page is ``no-store``; all else is private."""
    for media_type in DOCUMENTS:
        assert cache_of(media_type, "/album/1", protect=["/album"]) == "no-store", media_type
    for media_type in OTHERS:
        assert cache_of(media_type, "/album/1", protect=["/album"]) == "private", media_type


def test_row_81_a_public_document_goes_by_signed_in_cache() -> None:
    """Row 81: elsewhere, also under ``public``, documents are private, or ``no-store`` if the site says so."""
    rules: dict[str, Any] = {"protect": ["/album"], "public": ["/album/free"]}
    for path in ("/other", "/album/free/1"):
        assert cache_of("text/html", path, **rules) == "private"
        assert cache_of("text/html", path, signed_in_cache="no-store", **rules) == "no-store"
        assert cache_of("image/png", path, signed_in_cache="no-store", **rules) == "private"
    assert cache_of("text/html", "/album/1", signed_in_cache="private", **rules) == "no-store"


def test_row_81_the_app_has_the_last_word() -> None:
    """Row 81: a ``Cache-Control`` of the app stays as it is, under ``protect`` too."""
    assert cache_of("text/html", "/album", spoken="private, max-age=60", protect=["/"]) == "private, max-age=60"


def test_row_81_an_answer_that_says_not_modified_forbids_nothing() -> None:
    """A 304 has no Content-Type, and would put its ``no-store`` on a picture that is kept already (RFC 9111, 4.3.4)."""
    assert cache_of(None, "/album/1.png", "304 Not Modified", protect=["/album"]) == "private"


def test_row_81_nobody_signed_in_is_told_nothing_new() -> None:
    """An anonymous visitor gets the app's own headers, with ``Vary`` alone added."""
    app = site(answering("text/html"), protect=["/album"], signed_in_cache="no-store")
    assert ask(app, "/other").header("Cache-Control") is None


# -- asking ahead -----------------------------------------------------------------------------------------

AHEAD = (
    {"HTTP_SEC_PURPOSE": "prefetch"},
    {"HTTP_SEC_PURPOSE": "prefetch;prerender"},
    {"HTTP_SEC_PURPOSE": "Prefetch ; anonymous-client-ip"},
    {"HTTP_PURPOSE": "prefetch"},
    {"HTTP_X_MOZ": "prefetch"},
    {"HTTP_SEC_PURPOSE": "", "HTTP_PURPOSE": "prefetch, x"},
    {"HTTP_SEC_PURPOSE": "prefetch prerender"},
)
NOT_AHEAD: tuple[dict[str, Any], ...] = (
    {"HTTP_SEC_PURPOSE": "prerender;prefetch"},
    {"HTTP_PURPOSE": "prefetcher"},
    {"HTTP_X_MOZ": "no prefetch"},
)


@pytest.mark.parametrize("headers", AHEAD)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_row_82_a_prefetch_makes_and_consumes_nothing(headers: Any, method: str) -> None:
    """Row 82: 204 and ``no-store`` at login, callback and logout; the state still leads to a login afterwards."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    state = ann.start_login("/album")
    for path, query in (
        ("/clef/login", "next=/"),
        ("/clef/callback", f"code=ann&state={state}"),
        ("/clef/logout", ""),
        ("/clef/logout", "state=o.Lw"),
    ):
        answer = ask(ann.app, path, method=method, query=query, HTTP_COOKIE=ann.cookie, **headers)
        assert (answer.status, answer.header("Cache-Control"), answer.body) == (204, "no-store", b""), path
        assert answer.header("Set-Cookie") is None
    assert len(provider.starts) == 1
    assert provider.finishes == []
    assert ann.come_back(state, status=303).location == f"{BASE_URL}/album"


def test_row_82_what_is_no_prefetch_goes_on() -> None:
    """Row 82: only the first token counts, and a browser that says something else starts its login."""
    for headers in NOT_AHEAD:
        assert ask(make_app(), "/clef/login", **headers).status == 303


def test_row_82_the_header_changes_nothing_at_the_webhook_or_for_a_post() -> None:
    """Row 82: a notification is recorded, and a sign-out ends the login, whatever the header says."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in()
    ann.post(
        "/clef/webhook", {"logout_token": provider.logout_token("ann")}, headers={"Sec-Purpose": "prefetch"}, status=200
    )
    assert ann.user is None
    ann.sign_in()
    ann.post("/clef/logout", headers={"Sec-Purpose": "prefetch", "Sec-Fetch-Site": "same-origin"}, status=303)
    assert ann.user is None


# -- many tabs --------------------------------------------------------------------------------------------


def test_row_80_five_restored_tabs_each_land_on_their_own_page() -> None:
    """Row 80: each answer set a cookie of its own and the last one won; all the same each tab finds its page."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider, protect=["/album"]))
    pages = [f"/album/{number}?size=large&n={number}" for number in range(5)]
    states = []
    for page in pages:
        ann.reset()  # the tabs asked before any answer had come: none had a cookie
        login_url = ann.get(page, status=303).location
        states.append(state_of(ann.get(login_url.removeprefix(BASE_URL), status=303).location))
    landed = []
    for state in states:
        answer = ann.come_back(state, status=303)
        if not is_at_home(answer.location):  # it starts over once, and comes back with the same page
            answer = ann.come_back(state_of(answer.location), status=303)
        landed.append(answer.location)
    assert landed == [BASE_URL + page for page in pages]
    assert ann.user["id"] == "ann"


def test_row_80_a_login_that_starts_over_keeps_its_page() -> None:
    """Row 80: also when the browser's session no longer holds that login."""
    ann = browser(make_app())
    state = ann.start_login("/album/7")
    ann.reset()
    ann.start_login("/other")
    again = ann.come_back(state, status=303)
    assert ann.come_back(state_of(again.location), status=303).location == f"{BASE_URL}/album/7"


def test_row_80_a_long_address_stays_in_the_session() -> None:
    """Row 80: a state has at most 1,024 characters; beyond that the session alone keeps the address."""
    ann = browser(make_app())
    for length in (700, 720, 735, 760, 1900):
        page = "/album/" + "x" * (length - 7)
        state = ann.start_login(page)
        assert len(state) <= 1024
        assert ann.come_back(state, status=303).location == BASE_URL + page
    assert len(ann.start_login("/album/" + "x" * 1900)) < 64


@pytest.mark.parametrize(
    "page",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/clef/logout",
        "/clef/Callback/",
        "/a\r\nX: y",
        "/%0d",
    ],
)
def test_row_80_a_state_that_somebody_made_leads_to_a_page_of_this_site_alone(page: str) -> None:
    """Row 80: the address that comes back is judged as any other, signed in or starting over: no open redirect."""
    made = "x" * 43 + "." + base64.urlsafe_b64encode(page.encode()).decode().rstrip("=")
    ann = browser(make_app())
    ann.start_login()
    again = ann.come_back(made, status=303)
    assert ann.come_back(state_of(again.location), status=303).location == f"{BASE_URL}/"
    for state in (made, "r." + made):
        assert ann.come_back(state, status=303).location == f"{BASE_URL}/"


def test_row_80_a_state_that_somebody_made_signs_nobody_in() -> None:
    """Row 80: no login CSRF: what the state carries chooses a page, and the code beside it is never sent on."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    made = "x" * 43 + "." + base64.urlsafe_b64encode(b"/album").decode().rstrip("=")
    ann.come_back(made, "mallory", status=400)
    ann.start_login()
    ann.come_back(made, "mallory", status=303)
    assert provider.finishes == []
    assert ann.user is None
    ann.sign_in()
    assert ann.come_back(made, "mallory", status=303).location == f"{BASE_URL}/album"
    assert ann.get("/").json["user"]["id"] == "ann"


@pytest.mark.parametrize("tail", [".", "..", ".!", ".\u00e9", ".Lw=", "." + "A" * 2000, ".gICA", "." + quote("/a")])
def test_row_80_garbage_behind_the_dot_is_no_address(tail: str) -> None:
    """Row 80: a plain answer, and the front page."""
    ann = browser(make_app())
    ann.sign_in()
    answer = ann.come_back("x" * 43 + tail, expect_errors=True)
    assert answer.status_int == 400 or answer.location == f"{BASE_URL}/"


def test_the_button_is_nothing_for_robots() -> None:
    """``rel=nofollow``: what follows every link on a page starts no login."""
    shown: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        shown.append(environ["clef.login"].button("/"))
        start_response("200 OK", [])
        return []

    ask(site(app))
    assert 'rel="nofollow"' in shown[0]
