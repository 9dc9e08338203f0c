"""Every option turns something; every wrong one is refused at birth, all together, each with what to write instead."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import a2wsgi
import flask
import pytest
from support.app import BASE_URL, NOON, SECRET, Browser, FakeClock, FakeProvider, ask, browser, echo, make_app
from support.cases import each

from clef_wsgi import wrap
from clef_wsgi.base.errors import ClefError, ConfigurationError, LoginRefused
from clef_wsgi.middleware import ClefMiddleware
from clef_wsgi.stores.memory import MemoryLogoutStore

JSON = {"Accept": "application/json"}


def refused(visitor: Browser, status: int) -> dict[str, Any]:
    """Return the JSON answer to a login that is refused with this status."""
    answer: dict[str, Any] = visitor.come_back(visitor.start_login("/notes"), headers=JSON, status=status).json
    return answer


# -- paths ------------------------------------------------------------------------------------------------


def test_login_path_moves_the_login() -> None:
    """``login_path``: the login starts there, links point there, and the usual path is the app's."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider, login_path="/in", protect=["/admin"]))
    assert ann.get("/admin").location == BASE_URL + "/in?next=/admin"
    ann.get("/in", status=303)
    assert len(provider.starts) == 1
    assert ann.get("/clef/login").json["path"] == "/clef/login"


def test_callback_path_moves_the_callback() -> None:
    """``callback_path``: the provider sends the browser there, and the usual path is the app's."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider, callback_path="/back"))
    state = ann.start_login()
    assert provider.starts[0][1] == BASE_URL + "/back"
    assert ann.come_back(state).json["path"] == "/clef/callback"
    ann.get(f"/back?code=ann&state={state}", status=303)
    assert provider.finishes[0][2] == BASE_URL + "/back"
    assert ann.user is not None


def test_webhook_path_moves_the_webhook() -> None:
    """``webhook_path``: notifications are taken there, and the usual path is the app's."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider, webhook_path="/hook"))
    ann.sign_in("ann")
    token = {"logout_token": provider.logout_token("ann")}
    assert ann.post("/clef/webhook", token).json["path"] == "/clef/webhook"
    assert ann.user is not None
    ann.post("/hook", token, status=200)
    assert ann.get("/").json["login_id"] is None


def test_logout_path_moves_the_logout() -> None:
    """``logout_path``: sign-outs are taken there, and the usual path is the app's."""
    ann = browser(make_app(logout_path="/out"))
    ann.sign_in("ann")
    assert ann.sign_out().json["path"] == "/clef/logout"
    page = ann.get("/out", status=405)
    assert page.form.action == BASE_URL + "/out"


# -- ages -------------------------------------------------------------------------------------------------


@each("age", [60, 60.0, timedelta(minutes=1)], ids=repr)
def test_max_login_age_ends_a_login(age: Any) -> None:
    """``max_login_age``: seconds or a timedelta, after which a login is over."""
    clock = FakeClock()
    ann = browser(make_app(clock=clock, max_login_age=age))
    ann.sign_in("ann")
    clock.advance(59)
    assert ann.user is not None
    clock.advance(1)
    assert ann.user is None


def test_max_login_age_made_shorter_counts_for_logins_there_are() -> None:
    """``max_login_age``: a stricter site does not wait for old logins, a laxer one revives none."""
    clock, store, provider = FakeClock(), MemoryLogoutStore(), FakeProvider()
    common: dict[str, Any] = {"clock": clock, "store": store, "provider": provider}
    ann = browser(make_app(max_login_age=600, **common))
    ann.sign_in("ann")
    clock.advance(61)
    strict, lax = make_app(max_login_age=60, **common), make_app(max_login_age=6000, **common)
    assert ask(lax, HTTP_COOKIE=ann.cookie).json["user"] is not None
    clock.advance(600)
    assert ask(lax, HTTP_COOKIE=ann.cookie).json["user"] is None
    ann.sign_in("ann")
    clock.advance(60)
    assert ask(strict, HTTP_COOKIE=ann.cookie).json["user"] is None


def test_max_login_age_is_the_age_of_the_cookie() -> None:
    """``max_login_age``: the session cookie of ``wrap`` lives as long as a login can."""
    ann = browser(make_app(max_login_age=timedelta(days=3)))
    header = ann.get("/clef/login").headers["Set-Cookie"]
    expires = next(part[8:] for part in header.split("; ") if part.lower().startswith("expires="))
    days = (parsedate_to_datetime(expires).timestamp() - time.time()) / 86400
    assert days == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("lifetime", [60, timedelta(minutes=1)], ids=repr)
def test_state_lifetime_ends_a_started_login(lifetime: Any) -> None:
    """``state_lifetime``: seconds or a timedelta, after which the callback comes too late."""
    clock, provider = FakeClock(), FakeProvider()
    ann = browser(make_app(provider=provider, clock=clock, state_lifetime=lifetime))
    first, second = ann.start_login("/first"), ann.start_login("/second")
    clock.advance(59)
    assert ann.come_back(first, status=303).location == BASE_URL + "/first"
    ann.sign_out(status=303)
    third = ann.start_login("/third")
    clock.advance(60)
    assert ann.come_back(third, status=303).location.startswith("https://login.example.net")
    assert second not in [query["state"] for query, _, _ in provider.finishes]
    assert len(provider.finishes) == 1


def test_clock_is_for_ages() -> None:
    """``clock``: gives ``logged_in_at``."""
    ann = browser(make_app(clock=FakeClock(NOON + 5)))
    ann.sign_in("ann")
    assert ann.user["logged_in_at"] == NOON + 5


# -- on_login ---------------------------------------------------------------------------------------------


def test_on_login_adds_to_the_user_before_the_login_is_written() -> None:
    """``on_login``: gets environ and the user, once at each login, and may add JSON values."""
    calls: list[tuple[Any, Any, dict[str, Any]]] = []

    def on_login(environ: Any, user: dict[str, Any]) -> None:
        calls.append((environ["PATH_INFO"], environ["clef.user"], dict(user)))
        user["roles"] = ["member", {"since": 7, "paid": True, "note": None, "rate": 0.5}]
        user["email"] = "changed@example.org"

    ann = browser(make_app(on_login=on_login))
    ann.sign_in("ann")
    assert calls == [("/clef/callback", None, {"id": "ann", "email": "ann@example.org"})]
    assert ann.user["roles"] == ["member", {"since": 7, "paid": True, "note": None, "rate": 0.5}]
    assert ann.user["email"] == "changed@example.org"
    assert len(calls) == 1


def test_on_login_refuses_with_a_reason_and_a_sentence() -> None:
    """``on_login``: a :class:`LoginRefused` is the answer, and nobody is signed in."""

    def members_only(environ: Any, user: dict[str, Any]) -> None:
        if user["id"] != "bob":
            raise LoginRefused("Members <only>.", reason="not_a_member")

    ann = browser(make_app(on_login=members_only))
    answer = refused(ann, 400)
    assert (answer["error"], answer["message"]) == ("not_a_member", "Members <only>.")
    assert "Members &lt;only&gt;." in ann.come_back(ann.start_login(), status=400).text
    assert ann.user is None
    ann.sign_in("bob")
    assert ann.get("/").json["user"]["id"] == "bob"


def test_on_login_may_choose_the_status_of_its_refusal() -> None:
    """``on_login``: ``status`` is a detail of the error like any other."""

    def closed(environ: Any, user: dict[str, Any]) -> None:
        raise LoginRefused("Closed.", reason="closed", status=403)

    assert refused(browser(make_app(on_login=closed)), 403)["error"] == "closed"


def fails(environ: Any, user: dict[str, Any]) -> None:
    raise KeyError("S3CRET")


def fails_as_we_do(environ: Any, user: dict[str, Any]) -> None:
    raise ClefError("S3CRET")


def nests(environ: Any, user: dict[str, Any]) -> None:
    user["self"] = user


def digs(environ: Any, user: dict[str, Any]) -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    user["deep"] = value


def removes_the_id(environ: Any, user: dict[str, Any]) -> None:
    del user["id"]


def empties(environ: Any, user: dict[str, Any]) -> None:
    user.clear()


def sets(name: Any, value: Any) -> Callable[[Any, dict[str, Any]], None]:
    def on_login(environ: Any, user: dict[str, Any]) -> None:
        user[name] = value

    return on_login


BROKEN = {
    "raises": fails,
    "raises an error of ours": fails_as_we_do,
    "changes the id": sets("id", "eve"),
    "changes the case of the id": sets("id", "Ann"),
    "makes the id a list": sets("id", ["ann"]),
    "removes the id": removes_the_id,
    "empties the user": empties,
    "adds NaN": sets("score", float("nan")),
    "adds infinity": sets("score", [float("inf")]),
    "adds a tuple": sets("roles", ("a", "b")),
    "adds an object": sets("account", object()),
    "adds a set": sets("roles", {"a"}),
    "adds bytes": sets("picture", b"x"),
    "adds a date": sets("since", timedelta(1)),
    "adds a name that is no text": sets(7, "x"),
    "adds a number as a name further in": sets("limits", {7: "x"}),
    "adds the user to itself": nests,
    "adds a hundred thousand lists": digs,
}


@pytest.mark.parametrize("on_login", BROKEN.values(), ids=BROKEN)
def test_on_login_that_breaks_its_promise_is_a_503_without_a_login(
    on_login: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """``on_login``: any other exception, another id, or what JSON can't hold: 503, no login, a traceback logged."""
    ann = browser(make_app(on_login=on_login))
    answer = refused(ann, 503)
    assert answer["error"] == "on_login_failed"
    assert "S3CRET" not in str(answer)
    assert ann.user is None
    assert [record.message for record in caplog.records if record.exc_info] == ["on_login failed"]


def test_on_login_is_not_asked_about_a_login_that_is_refused_before() -> None:
    """``on_login``: whom the provider refuses never reaches the app's code."""
    provider, calls = FakeProvider(), []
    ann = browser(make_app(provider=provider, on_login=lambda environ, user: calls.append(user)))
    provider.people["ann"] = {"id": True}
    refused(ann, 400)
    assert calls == []


def test_on_login_can_not_sign_in_whom_a_logout_ended_meanwhile() -> None:
    """``on_login``: a logout while it runs wins, like one during the exchange (row 50)."""
    provider, store = FakeProvider(), MemoryLogoutStore()

    def slow(environ: Any, user: dict[str, Any]) -> None:
        store.record_logout([provider.user_key(user["id"])])

    ann = browser(make_app(provider=provider, store=store, on_login=slow))
    assert refused(ann, 400)["error"] == "logged_out_meanwhile"
    assert ann.user is None


# -- on_refusal -------------------------------------------------------------------------------------------


def test_on_refusal_answers_in_place_of_the_page() -> None:
    """``on_refusal``: gets environ and the error, and its app is the answer, which nobody may keep."""
    errors: list[ClefError] = []

    def on_refusal(environ: Any, error: ClefError) -> Any:
        errors.append(error)
        assert environ["clef.login"].error is error
        return teapot

    def teapot(environ: Any, start_response: Any) -> Any:
        start_response("418 I'm a teapot", [("Content-Type", "text/plain"), ("Cache-Control", "public")])
        return [b"our own page"]

    ann = browser(make_app(on_refusal=on_refusal))
    answer = ann.come_back("unknown", status=418)
    assert answer.body == b"our own page"
    assert answer.headers["Cache-Control"] == "no-store"
    assert [(error.reason, error.status) for error in errors] == [("state_mismatch", 400)]


def raises(environ: Any, error: ClefError) -> Any:
    raise KeyError("S3CRET")


@pytest.mark.parametrize("on_refusal", [raises, lambda environ, error: None], ids=["raises", "None"])
def test_on_refusal_that_raises_or_says_none_leaves_the_built_in_page(on_refusal: Any) -> None:
    """``on_refusal``: where it does not answer, the built-in page does."""
    answer = browser(make_app(on_refusal=on_refusal)).come_back("unknown", status=400)
    assert "This login was not started here" in answer.text
    assert "S3CRET" not in answer.text


def test_on_refusal_hears_of_every_refusal_a_person_sees() -> None:
    """``on_refusal``: for the callback, the start and the sign-out; a notification's sender, a machine, gets JSON."""
    reasons: list[str] = []
    provider = FakeProvider()
    ann = browser(make_app(provider=provider, on_refusal=lambda environ, error: reasons.append(error.reason)))
    ann.come_back("unknown", status=400)
    ann.post("/clef/logout", status=403)
    ann.notify("not genuine", status=400)
    provider.raises = LoginRefused(reason="not_today")
    ann.get("/clef/login", status=400)
    assert reasons == ["state_mismatch", "cross_origin", "not_today"]


# -- remote_user ------------------------------------------------------------------------------------------

FORGED: dict[str, Any] = {"REMOTE_USER": "root", "AUTH_TYPE": "Basic"}


def test_remote_user_names_the_key_of_user() -> None:
    """``remote_user``: this value of ``clef.user`` is put into REMOTE_USER."""
    app = make_app(remote_user="email")
    ann = browser(app)
    ann.sign_in("ann")
    seen = ask(app, HTTP_COOKIE=ann.cookie, **FORGED).json
    assert (seen["remote_user"], seen["auth_type"]) == ("ann@example.org", None)


@pytest.mark.parametrize("path", ["/", "/static/x"])
def test_remote_user_of_the_request_is_dropped_for_nobody(path: str) -> None:
    """``remote_user``: an incoming REMOTE_USER and AUTH_TYPE never reach the app, ignored paths included."""
    app = make_app(remote_user="id", ignore=["/static"])
    seen = ask(app, path, **FORGED).json
    assert (seen["remote_user"], seen["auth_type"]) == (None, None)


@each("value", [None, "", 7, True, ["root"], {"a": 1}, "a\nb", "a\x00", "\x7f", "a\u2028b", "\x85", "\u0416"])
def test_remote_user_is_only_ever_plain_text(value: Any) -> None:
    """``remote_user``: what is empty, no text, holds a control character or is not latin-1 is not set at all."""
    app = make_app(remote_user="name", on_login=sets("name", value))
    ann = browser(app)
    ann.sign_in("ann")
    assert ask(app, HTTP_COOKIE=ann.cookie, **FORGED).json["remote_user"] is None


@each("value", ["Ann \u0100", "\u0416", "a\nb", "", 7])
def test_remote_user_that_no_server_can_carry_is_told_once(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    """``remote_user``: one line a login says why it is missing, without anybody's name in it."""
    caplog.clear()
    ann = browser(make_app(remote_user="name", on_login=sets("name", value)))
    ann.sign_in("ann")
    for _ in range(3):
        assert ann.get("/").json["remote_user"] is None
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "no REMOTE_USER" in line
    assert "Ann" not in line


@each("value", ["ann", "Zo\u00eb", None])
def test_remote_user_that_is_fine_or_not_there_tells_nothing(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    """``remote_user``: latin-1 is set as it is; a person without that value is nothing to warn of."""
    caplog.clear()
    ann = browser(make_app(remote_user="name", on_login=sets("name", value)))
    ann.sign_in("ann")
    assert ann.get("/").json["remote_user"] == value
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_remote_user_that_is_not_there_is_not_set() -> None:
    """``remote_user``: a person without that value has no REMOTE_USER."""
    app = make_app(remote_user="phone_number")
    ann = browser(app)
    ann.sign_in("ann")
    assert ask(app, HTTP_COOKIE=ann.cookie, **FORGED).json["remote_user"] is None


def test_without_remote_user_the_servers_own_stays() -> None:
    """``remote_user`` not given: what the server says is the app's business."""
    seen = ask(make_app(), **FORGED).json
    assert (seen["remote_user"], seen["auth_type"]) == ("root", "Basic")


# -- session_key ------------------------------------------------------------------------------------------


def test_session_key_is_where_the_session_is() -> None:
    """``session_key``: both layers use it."""

    def looking(environ: Any, start_response: Any) -> Any:
        assert "beaker.session" not in environ
        assert "my.session" in environ
        return echo(environ, start_response)

    ann = browser(make_app(looking, session_key="my.session"))
    ann.sign_in("ann")
    assert ann.user is not None


def bare(**options: Any) -> ClefMiddleware:
    given = {"provider": FakeProvider(), "logout_store": MemoryLogoutStore(), "base_url": BASE_URL, **options}
    return ClefMiddleware(echo, **given)


@each("session", [None, {}, "session"], ids=repr)
def test_a_missing_session_is_one_clear_sentence_at_the_first_request(session: Any) -> None:
    """Without Beaker around it, or with something else in its place, the middleware says what to use."""
    environ = {} if session is None else {"beaker.session": session}
    with pytest.raises(
        ConfigurationError, match=r"no Beaker session in environ\['beaker.session'\]: use clef_wsgi.wrap"
    ):
        ask(bare(), **environ)


# -- faults -----------------------------------------------------------------------------------------------

FAULTS: list[tuple[str, Any, str]] = [
    ("provider", FakeProvider, "provider must be an instance of an IdentityProvider, not the class FakeProvider"),
    ("provider", None, "provider must be an instance"),
    ("provider", object(), "provider must be an instance"),
    ("logout_store", MemoryLogoutStore, "logout_store must be an instance of a LogoutStore, not the class Memory"),
    ("logout_store", "sqlite", "logout_store must be an instance of a LogoutStore, not str"),
    *(("base_url", value, "base_url must be an address like https://") for value in ("", None, 7, "www.example.com")),
    *(
        ("base_url", value, "base_url must be an address like https://")
        for value in ("https://", "ftp://x.example", "//x")
    ),
    *(
        ("base_url", value, "base_url must be an address like")
        for value in ("https://x/?y", "https://x/#y", "https://a@x/")
    ),
    *(
        ("base_url", value, "base_url must be an address like")
        for value in ("https://é.example", "https://x /", "https://x:y")
    ),
    *(
        ("base_url", value, "base_url's path must be plain")
        for value in ("https://x/a//b", "https://x/..", "https://x/%61")
    ),
    *(
        ("base_url", value, "https:// (plain http is for localhost only)")
        for value in ("http://x.example", "http://10.0.0.1")
    ),
    *(
        (option, value, f"{option} must be a plain path such as /clef/login")
        for option in ("login_path", "logout_path", "callback_path", "webhook_path")
        for value in (
            "clef",
            "",
            "/",
            "/x/",
            "/x?y",
            "/x#y",
            "/x y",
            "//x",
            "/x/../y",
            "/x;y",
            "/%78",
            "/x\\y",
            "/\x00",
            7,
            None,
        )
    ),
    ("login_path", "/clef/callback", "must be four different paths"),
    *(
        (option, value, f'{option} must be a list of plain paths, such as ["/admin", "/account"]')
        for option in ("protect", "public", "ignore")
        for value in (
            "/",
            "/admin",
            b"/admin",
            7,
            None,
            ["admin"],
            [""],
            ["/a", None],
            ["/a?b"],
            ["/a/../b"],
            ["/a b"],
            [b"/a"],
            [["/a"]],
        )
    ),
    *(
        (option, value, f"{option} must be a positive timedelta or number of seconds")
        for option in ("max_login_age", "state_lifetime")
        for value in (0, -1, timedelta(0), timedelta(-1), "30d", None, True, float("nan"), float("inf"), [60])
    ),
    *(
        ("store_failure", value, "store_failure must be 'unavailable' or 'anonymous'")
        for value in ("open", None, True, "")
    ),
    *(
        (option, value, f"{option} must be a function")
        for option in ("on_login", "on_refusal")
        for value in ("x", 7, [7])
    ),
    ("clock", 7, "clock must be a function, not int"),
    *(("challenge", value, "challenge must be True or False") for value in (None, 1, "yes")),
    *(
        (option, value, f"{option} must be a name")
        for option in ("remote_user", "session_key")
        for value in ("", 7, ["email"])
    ),
]


@each(("option", "value", "sentence"), FAULTS, ids=lambda value: re.sub(" at 0x.*", "", repr(value))[:24])
def test_a_wrong_option_is_refused_at_birth(option: str, value: Any, sentence: str) -> None:
    """Every option is checked in the constructor: one sentence, with what to write instead."""
    with pytest.raises(ConfigurationError) as caught:
        bare(**{option: value})
    [fault] = caught.value.faults
    assert sentence in fault
    assert isinstance(caught.value, ValueError)


GOOD: list[tuple[str, Any]] = [
    *(
        ("base_url", value)
        for value in ("http://localhost", "http://localhost:8000", "http://127.0.0.1:1", "http://[::1]:8000")
    ),
    *(
        ("base_url", value)
        for value in ("http://app.localhost", "https://x", "https://x/", "https://x/app", "https://x/app/")
    ),
    ("protect", {"/a"}),
    ("protect", ("/",)),
    ("protect", iter(["/a", "/b/c/"])),
    ("protect", ["/über", "/日本/"]),
    ("public", ["/", "/a"]),
    *(("max_login_age", value) for value in (1, 0.5)),
    ("max_login_age", timedelta(seconds=1)),
]


@each(("option", "value"), GOOD, ids=lambda value: re.sub(" at 0x.*", "", repr(value))[:24])
def test_a_good_option_is_taken(option: str, value: Any) -> None:
    """An option as documented is accepted."""
    assert bare(**{option: value})


class AsgiApp:
    """An ASGI app with the interface of FastAPI, Starlette, Quart and Django's ``get_asgi_application``."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        user = scope["wsgi_environ"]["clef.user"]
        body = json.dumps({"user": user}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})


@each(
    ("app", "sentence"),
    [
        (None, "app must be a WSGI app, not NoneType"),
        ("mysite", "app must be a WSGI app, not str"),
        (AsgiApp(), "AsgiApp is an ASGI app: write wrap(a2wsgi.ASGIMiddleware(app), ...)"),
        (AsgiApp().__call__, "is an ASGI app"),
        (flask.Flask("site"), "For Flask write app.wsgi_app = wrap(app.wsgi_app, ...): app.run() would go past"),
    ],
    ids=["none", "text", "asgi", "asgi function", "flask"],
)
def test_what_is_no_app_to_wrap_is_refused_at_birth(app: Any, sentence: str) -> None:
    """Nothing, an ASGI app, and Flask's object, whose ``run()`` would serve it without the middleware."""
    with pytest.raises(ConfigurationError) as caught:
        make_wrapped(app)
    [fault] = caught.value.faults
    assert sentence in fault


def make_wrapped(app: Any) -> Any:
    common: dict[str, Any] = {"provider": FakeProvider(), "logout_store": MemoryLogoutStore(), "base_url": BASE_URL}
    return wrap(app, **common, session={"secret": SECRET, "type": "memory"})


def test_what_the_refusals_say_to_write_works() -> None:
    """Flask's ``wsgi_app``, and an ASGI app behind a2wsgi: each sees who is signed in."""
    site = flask.Flask("site")
    site.add_url_rule("/", view_func=lambda: {"user": flask.request.environ["clef.user"]})
    site.wsgi_app = make_wrapped(site.wsgi_app)  # type: ignore[method-assign]
    for app in (site, make_wrapped(a2wsgi.ASGIMiddleware(AsgiApp()))):
        ann = browser(app)
        assert ann.get("/").json == {"user": None}
        ann.sign_in("ann")
        assert ann.user["id"] == "ann"


def test_all_faults_are_said_at_once() -> None:
    """Seventeen wrong options and a wrong session are a sentence each in one error, of both layers."""
    wrong: dict[str, Any] = {
        "provider": None,
        "logout_store": None,
        "login_path": "in",
        "callback_path": "back",
        "webhook_path": "webhook",
        "logout_path": "out",
        "protect": "/admin",
        "public": "/about",
        "ignore": "/static",
        "max_login_age": "30d",
        "state_lifetime": 0,
        "store_failure": "open",
        "on_login": 7,
        "on_refusal": 7,
        "remote_user": "",
        "session_key": "",
        "clock": 7,
    }
    with pytest.raises(ConfigurationError) as caught:
        wrap(echo, base_url="http://www.example.com", session={"secret": "short"}, **wrong)
    faults = caught.value.faults
    assert len(faults) == len(set(faults)) == len(wrong) + 2
    for option in [*wrong, "base_url"]:
        assert [fault for fault in faults if fault.startswith(option)], option
    assert "secret must have at least 32 bytes" in faults[-1]
    assert all(fault in str(caught.value) for fault in faults)


@each("session", [{}, {"secret": ""}, {"secret": "x" * 31}, {"secret": SECRET, "type": "cookie"}, None, "x"])
def test_wrap_refuses_a_session_that_a_login_can_not_stand_on(session: Any) -> None:
    """``session``: needs a secret of 32 bytes and a place on the server; the sentence says how to get one."""
    with pytest.raises(ConfigurationError, match=r"session"):
        wrap(echo, provider=FakeProvider(), logout_store=MemoryLogoutStore(), base_url=BASE_URL, session=session)


def test_an_unknown_option_is_a_type_error() -> None:
    """There is no second list of options: Python itself refuses a misspelt one."""
    with pytest.raises(TypeError, match="protects"):
        make_app(protects=["/admin"])


def test_no_fault_repeats_a_value() -> None:
    """A constructor's sentence never holds what was passed in: it may be a secret in the wrong place."""
    with pytest.raises(ConfigurationError) as caught:
        wrap(
            echo,
            provider=FakeProvider(),
            logout_store="S3CRET",  # type: ignore[arg-type]
            base_url="https://S3CRET@x",
            session={"secret": "S3CRET"},
            protect="S3CRET",
            max_login_age="S3CRET",
            remote_user=b"S3CRET",
        )
    assert "S3CRET" not in str(caught.value)


def test_a_secret_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """A whole login and logout leaves the session's secret and its id in no log line."""
    caplog.set_level(logging.DEBUG)
    ann = browser(make_app())
    ann.sign_in("ann")
    cookie = ann.cookie.partition("=")[2]
    ann.sign_out()
    assert caplog.records
    assert SECRET not in caplog.text
    assert cookie[40:] not in caplog.text
