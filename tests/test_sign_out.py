"""Signing out: who may ask for it, what it ends, and that nothing of one person is left for the next."""

from __future__ import annotations

from typing import Any

from support.app import BASE_URL, SAME_ORIGIN, Browser, FakeClock, FakeProvider, ask, browser, echo, make_app
from support.cases import each

from clef_wsgi.stores.memory import MemoryLogoutStore

LOGOUT = "/clef/logout"
HOME = BASE_URL + "/"
DAY = 24 * 3600.0


def post(app: Any, cookie: str | None, **environ: Any) -> int:
    """The status of a sign-out made by hand, with these headers and no others."""
    given = {"CONTENT_LENGTH": "0", **environ}
    return ask(app, LOGOUT, method="POST", HTTP_COOKIE=cookie, **given).status


def kept(visitor: Browser) -> Any:
    """Return the app's data in the Beaker session."""
    return visitor.get("/session").json["session"]


# -- who may ask ------------------------------------------------------------------------------------------

OURS = [
    {"HTTP_SEC_FETCH_SITE": "same-origin"},
    {"HTTP_SEC_FETCH_SITE": "same-origin", "HTTP_ORIGIN": "https://evil.example"},
    {"HTTP_SEC_FETCH_SITE": "same-origin", "HTTP_REFERER": "https://evil.example/"},
    {"HTTP_ORIGIN": BASE_URL},
    {"HTTP_ORIGIN": BASE_URL, "HTTP_REFERER": "https://evil.example/"},
    {"HTTP_REFERER": BASE_URL + "/"},
    {"HTTP_REFERER": BASE_URL + "/notes?x=https://evil.example"},
    {"HTTP_REFERER": BASE_URL},
    {"HTTP_REFERER": "https://www.example.com:443/notes"},
]
NOT_OURS = [
    {},
    {"HTTP_SEC_FETCH_SITE": "same-site"},
    {"HTTP_SEC_FETCH_SITE": "cross-site"},
    {"HTTP_SEC_FETCH_SITE": "none"},
    {"HTTP_SEC_FETCH_SITE": ""},
    {"HTTP_SEC_FETCH_SITE": "same-origin, cross-site"},
    {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_ORIGIN": BASE_URL, "HTTP_REFERER": BASE_URL + "/"},
    {"HTTP_ORIGIN": "null"},
    {"HTTP_ORIGIN": ""},
    {"HTTP_ORIGIN": "null", "HTTP_REFERER": BASE_URL + "/"},
    {"HTTP_ORIGIN": "https://evil.example", "HTTP_REFERER": BASE_URL + "/"},
    {"HTTP_ORIGIN": "http://www.example.com"},
    {"HTTP_ORIGIN": BASE_URL + ":8443"},
    {"HTTP_ORIGIN": BASE_URL + ".evil.example"},
    {"HTTP_ORIGIN": BASE_URL + "/"},
    {"HTTP_REFERER": ""},
    {"HTTP_REFERER": "https://evil.example/"},
    {"HTTP_REFERER": "https://evil.example/?" + BASE_URL},
    {"HTTP_REFERER": BASE_URL + ".evil.example/"},
    {"HTTP_REFERER": BASE_URL + "@evil.example/"},
    {"HTTP_REFERER": BASE_URL + ":8443/"},
    {"HTTP_REFERER": BASE_URL + ":x/"},
    {"HTTP_REFERER": "http://www.example.com/"},
    {"HTTP_REFERER": "//www.example.com/"},
    {"HTTP_REFERER": "https://[::1/"},
    {"HTTP_HOST": "evil.example", "HTTP_ORIGIN": "https://evil.example"},
]


@each("headers", OURS, ids=repr)
def test_a_page_of_this_origin_can_sign_out(headers: dict[str, str]) -> None:
    """Same origin: ``Sec-Fetch-Site`` decides, else ``Origin``, else the ``Referer``'s origin."""
    ann = browser(make_app())
    ann.sign_in("ann")
    assert post(ann.app, ann.cookie, **headers) == 303
    assert ann.user is None


@each("headers", NOT_OURS, ids=repr)
def test_nobody_else_can_sign_out(headers: dict[str, str]) -> None:
    """Same origin: what says nothing, ``null`` or another origin is 403, and the login lives."""
    ann = browser(make_app())
    ann.sign_in("ann")
    assert post(ann.app, ann.cookie, **headers) == 403
    assert ann.user is not None


def test_the_origin_is_compared_without_the_prefix() -> None:
    """An origin has no path: mounted at /app, it is the host's."""
    app = make_app(base_url="http://localhost:8000/app")
    assert post(app, None, HTTP_ORIGIN="http://localhost:8000") == 303
    assert post(app, None, HTTP_ORIGIN="http://localhost:8000/app") == 403
    assert post(app, None, HTTP_REFERER="http://localhost:8000/other") == 303
    assert post(app, None, HTTP_REFERER="http://localhost/app/") == 403


def test_the_refusal_of_a_stranger_says_so() -> None:
    """A cross-origin sign-out is ``cross_origin``, and offers the page that can do it."""
    app = make_app()
    answer = browser(app).post(LOGOUT, headers={"Accept": "application/json"}, status=403)
    assert answer.json["error"] == "cross_origin"
    page = browser(app).post(LOGOUT, status=403)
    assert f'href="{BASE_URL}{LOGOUT}"' in page.text


# -- methods and forms ------------------------------------------------------------------------------------


def test_a_visit_signs_nobody_out_but_offers_a_form_that_does() -> None:
    """GET is 405 with Allow and a small form; submitting the form signs out."""
    ann = browser(make_app())
    ann.sign_in("ann")
    page = ann.get(LOGOUT, status=405)
    assert page.headers["Allow"] == "POST"
    assert ann.user is not None
    assert page.form.submit(headers=SAME_ORIGIN, status=303).location == HOME
    assert ann.user is None


def test_row_105_the_form_works_in_a_browser_without_sec_fetch() -> None:
    """Row 105: the page lets its form say where it comes from (Fetch, "append a request Origin header"): Safari before
    16.4 says nothing else. From a page of somebody else it is ``null``, and 403."""
    ann = browser(make_app())
    ann.sign_in("ann")
    page = ann.get(LOGOUT, status=405)
    sent = {"no-referrer": "null", "same-origin": BASE_URL}[page.headers["Referrer-Policy"]]
    page.form.submit(headers={"Origin": "null"}, status=403)
    assert ann.user is not None
    assert page.form.submit(headers={"Origin": sent}, status=303).location == HOME
    assert ann.user is None


@each("method", ["HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_post_signs_out(method: str) -> None:
    """Any other method is 405, same origin or not."""
    ann = browser(make_app())
    ann.sign_in("ann")
    answer = ann.request(LOGOUT, method=method, headers=SAME_ORIGIN, status=405)
    assert answer.headers["Allow"] == "POST"
    assert ann.user is not None


FORMS = {
    "JSON": ({"CONTENT_TYPE": "application/json"}, b"{}", 415),
    "multipart": ({"CONTENT_TYPE": "multipart/form-data; boundary=x"}, b"--x--", 415),
    "too long": ({}, b"x=" + b"y" * 8191, 413),
    "no length": ({"CONTENT_LENGTH": None}, b"x=y", 411),
    "cut off": ({"CONTENT_LENGTH": "4"}, b"x=y", 400),
    "not UTF-8": ({}, b"next=%ff", 400),
    "too many fields": ({}, b"&".join([b"a="] * 101), 400),
}


@each(("headers", "body", "status"), FORMS.values(), ids=FORMS)
def test_a_form_that_makes_no_sense_signs_nobody_out(headers: dict[str, Any], body: bytes, status: int) -> None:
    """Rows 21, 22: the same caps as for a notification; the login lives, and the answer says so."""
    ann = browser(make_app())
    ann.sign_in("ann")
    environ = {"HTTP_SEC_FETCH_SITE": "same-origin", **headers}
    answer = ask(ann.app, LOGOUT, method="POST", body=body, HTTP_COOKIE=ann.cookie, **environ)
    assert answer.status == status
    assert ann.user is not None


def test_signing_out_twice_or_signed_in_never_does_no_harm() -> None:
    """Nobody is signed in: 303 all the same, without a session."""
    app = make_app()
    stranger = browser(app)
    assert stranger.sign_out(status=303).location == HOME
    assert stranger.cookies == {}
    ann = browser(app)
    ann.sign_in("ann")
    assert [ann.sign_out().status_int, ann.sign_out().status_int] == [303, 303]


# -- what it ends -----------------------------------------------------------------------------------------


def test_signing_out_ends_this_browsers_login_and_no_other() -> None:
    """The login's own key: another browser of the same person stays signed in, and so do others."""
    app = make_app()
    phone, desk, bob = browser(app), browser(app), browser(app)
    for visitor, person in ((phone, "ann"), (desk, "ann"), (bob, "bob")):
        visitor.sign_in(person)
    phone.sign_out(status=303)
    assert phone.user is None
    assert desk.user is not None
    assert bob.user is not None


def test_row_32_the_cookie_of_before_is_worth_nothing() -> None:
    """Row 32: a replayed cookie sees nobody, after a sign-out and after the next login."""
    app = make_app()
    ann = browser(app)
    ann.sign_in("ann")
    old_cookie = ann.cookie
    ann.sign_out(status=303)
    assert ask(app, HTTP_COOKIE=old_cookie).json["user"] is None
    ann.sign_in("ann")
    assert ask(app, HTTP_COOKIE=old_cookie).json["user"] is None
    assert ann.user is not None


def test_deleting_is_a_courtesy_the_store_is_the_mechanism() -> None:
    """Row 33: a slow request that writes the old session back when it ends brings nobody back."""
    inside: list[Any] = []

    def slow(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/slow":
            session = environ["beaker.session"]
            session["seen"] = "yes"
            inside.pop()()
            session.save()
        return echo(environ, start_response)

    ann = browser(make_app(slow))
    ann.sign_in("ann")
    login = ann.get("/").json["login_id"]
    inside.append(lambda: post(ann.app, ann.cookie, HTTP_SEC_FETCH_SITE="same-origin"))
    assert ann.get("/slow").json["login_id"] == login
    assert ann.user is None


def test_a_login_that_was_replaced_is_ended_in_the_store_too() -> None:
    """Row 33: a slow request writes back the session that a new login left: its cookie sees nobody."""
    inside: list[Any] = []

    def slow(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/slow":
            environ["beaker.session"]["seen"] = "yes"
            inside.pop()()
            environ["beaker.session"].save()
        return echo(environ, start_response)

    app = make_app(slow)
    ann = browser(app)
    ann.sign_in("ann")
    old_cookie = ann.cookie
    inside.append(lambda: ann.sign_in("ann"))
    assert ask(app, "/slow", HTTP_COOKIE=old_cookie).json["user"] is not None
    assert ann.user is not None
    assert ask(app, HTTP_COOKIE=old_cookie).json["user"] is None


def test_a_login_ends_after_its_longest_age() -> None:
    """After ``max_login_age`` a login is dead, and its session emptied."""
    clock = FakeClock()
    ann = browser(make_app(clock=clock))
    ann.sign_in("ann")
    ann.get("/session?basket=apples")
    clock.advance(30 * DAY - 1)
    assert ann.user is not None
    clock.advance(1)
    assert ann.user is None
    assert kept(ann) == {}


def test_the_red_button_ends_every_login() -> None:
    """A logout of ``everyone`` ends all logins; new ones live."""
    store = MemoryLogoutStore()
    app = make_app(store=store)
    visitors = [browser(app), browser(app)]
    for visitor, person in zip(visitors, ("ann", "bob"), strict=True):
        visitor.sign_in(person)
    store.record_logout(["everyone"])
    assert [visitor.user for visitor in visitors] == [None, None]
    visitors[0].sign_in("ann")
    assert visitors[0].user is not None


# -- R11: nothing is left for the next --------------------------------------------------------------------


def by_notification(ann: Browser, provider: FakeProvider) -> None:
    ann.notify(provider.logout_token("ann"), status=200)


def by_form(ann: Browser, provider: FakeProvider) -> None:
    ann.sign_out(status=303)


def by_nothing(ann: Browser, provider: FakeProvider) -> None:
    pass


@each("ends", [by_notification, by_form, by_nothing])
def test_r11_the_next_person_in_a_browser_finds_nothing_of_the_last(ends: Any) -> None:
    """R11: ann is logged out by a notification, by herself, or not at all; bob signs in: her session is emptied."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    ann.get("/session?diary=secret")
    assert kept(ann) == {"diary": "secret"}
    ends(ann, provider)
    ann.sign_in("bob")
    assert ann.user["id"] == "bob"
    assert kept(ann) == {}


def test_r11_an_anonymous_visitor_finds_nothing_of_the_last_person() -> None:
    """R11: at the first request after the notification the whole session is emptied."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    ann.get("/session?diary=secret")
    by_notification(ann, provider)
    assert kept(ann) == {}


def test_r11_the_cookie_of_the_last_person_finds_nothing_either() -> None:
    """R11: under the session id of before a change of person, nothing of the last one is left."""
    app = make_app()
    ann = browser(app)
    ann.sign_in("ann")
    ann.get("/session?diary=secret")
    old_cookie = ann.cookie
    ann.sign_in("bob")
    answer = ask(app, "/session", HTTP_COOKIE=old_cookie).json
    assert (answer["user"], answer["session"]) == (None, {})


def test_the_same_person_again_keeps_what_was_there() -> None:
    """A second login of the person who is signed in is not a change of person."""
    ann = browser(make_app())
    ann.sign_in("ann")
    ann.get("/session?basket=apples")
    ann.sign_in("ann")
    assert kept(ann) == {"basket": "apples"}


def test_the_same_person_again_after_a_logout_starts_afresh() -> None:
    """The session of an ended login is emptied, whoever logs in next."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    ann.get("/session?basket=apples")
    by_notification(ann, provider)
    ann.sign_in("ann")
    assert kept(ann) == {}


def test_r11_an_app_that_follows_the_recipe_keeps_nothing_in_a_session_of_its_own() -> None:
    """R11: the app compares ``clef.login.id`` with what it kept, and clears when it changed."""
    own: dict[str, Any] = {}  # the app's own session of this browser

    def with_a_session_of_its_own(environ: Any, start_response: Any) -> Any:
        if own.get("login") != environ["clef.login"].id:
            own.clear()
            own["login"] = environ["clef.login"].id
        own.setdefault("seen", []).append(environ["PATH_INFO"])
        return echo(environ, start_response)

    provider = FakeProvider()
    ann = browser(make_app(with_a_session_of_its_own, provider=provider))
    ann.sign_in("ann")
    ann.get("/diary")
    ann.get("/diary/2")
    assert own["seen"] == ["/diary", "/diary/2"]
    by_notification(ann, provider)
    ann.sign_in("bob")
    ann.get("/")
    assert own["seen"] == ["/"]
