"""``environ["clef.login"]``: what each method gives, what it writes, and when it must not be called."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.app import (
    BASE_URL,
    SAME_ORIGIN,
    Answer,
    Browser,
    FakeClock,
    FakeProvider,
    ask,
    browser,
    make_app,
    state_of,
)
from support.cases import each
from webtest import TestResponse

from clef_wsgi import EVERYONE, MemoryLogoutStore, StoreUnavailable

LOGIN = BASE_URL + "/clef/login?next="
HOME = BASE_URL + "/"


def shows(draw: Callable[[Any], object], *headers: tuple[str, str]) -> Any:
    """An app that draws something with ``clef.login`` and shows it."""

    def app(environ: Any, start_response: Any) -> Any:
        drawn = str(draw(environ["clef.login"])).encode()
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), *headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [drawn]

    return app


def drawn(draw: Callable[[Any], object], path: str = "/", **request: Any) -> str:
    """Return the page of such an app for this request."""
    return ask(make_app(shows(draw)), path, **request).body.decode()


def state_in(page: str) -> str:
    found = re.search(r'data-state="([^"]+)"', page)
    assert found
    return found[1]


# -- is_active --------------------------------------------------------------------------------------------


class FailingStore(MemoryLogoutStore):
    """Counts look-ups, and can be taken away."""

    is_there, asked = True, 0

    def newest_logout(self, keys: Any) -> int:
        self.asked += 1
        if not self.is_there:
            raise StoreUnavailable
        return super().newest_logout(keys)


class Stream:
    """An app that streams whether the login is active, each time after ``start_response``, and its browser."""

    def __init__(self, **options: Any) -> None:
        self.provider, self.store, self.clock = FakeProvider(), FailingStore(), FakeClock()
        self.kept: list[Any] = []
        self.ann = browser(make_app(self._app, provider=self.provider, store=self.store, clock=self.clock, **options))

    def _app(self, environ: Any, start_response: Any) -> Any:
        login = environ["clef.login"]
        self.kept.append(login)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(login.is_active()).encode()]

    def login(self) -> Any:
        """``clef.login`` of a request that is over, as a stream has it long after its beginning."""
        self.ann.get("/", status=200)
        return self.kept[-1]


def test_row_101_is_active_until_the_logout() -> None:
    """Row 101: True while the login lives, False from the webhook's answer on, and False for nobody."""
    stream = Stream()
    assert stream.ann.get("/").text == "False"
    stream.ann.sign_in("ann")
    assert stream.ann.get("/").text == "True"
    login = stream.login()
    assert login.is_active()
    stream.ann.notify(stream.provider.logout_token("bob"), status=200)
    assert login.is_active()
    stream.ann.notify(stream.provider.logout_token("ann"), status=200)
    assert not login.is_active()
    stream.ann.sign_in("ann")
    assert not login.is_active()
    assert stream.login().is_active()


@each(
    "end",
    [
        lambda stream, login: stream.ann.sign_out(),
        lambda stream, login: login.end(),
        lambda stream, login: stream.store.record_logout([EVERYONE]),
        lambda stream, login: stream.ann.sign_in("bob"),
        lambda stream, login: stream.clock.advance(30 * 24 * 3600),
    ],
    ids=["signed out here", "end()", "everyone", "replaced", "too old"],
)
def test_row_101_whatever_ends_a_login_ends_the_stream(end: Callable[[Stream, Any], object]) -> None:
    """Row 101: every way in which a login ends, its age included."""
    stream = Stream()
    stream.ann.sign_in("ann")
    login = stream.login()
    assert login.is_active()
    end(stream, login)
    assert not login.is_active()


def test_row_101_it_asks_the_store_alone_from_any_thread() -> None:
    """Row 101: one look-up a call; the session is not read, even where it has gone."""
    stream = Stream()
    stream.ann.sign_in("ann")
    login = stream.login()
    stream.ann.cookies.clear()
    asked = stream.store.asked
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: login.is_active(), range(40))) == {True}
    assert stream.store.asked == asked + 40


@each("store_failure", ["unavailable", "anonymous"])
def test_row_101_a_store_that_cant_be_asked_raises(store_failure: str) -> None:
    """Row 101: no answer is no True, whatever happens to pages; afterwards the stream could go on."""
    stream = Stream(store_failure=store_failure)
    stream.ann.sign_in("ann")
    login = stream.login()
    stream.store.is_there = False
    with pytest.raises(StoreUnavailable):
        login.is_active()
    stream.store.is_there = True
    assert login.is_active()


def test_row_101_nobody_is_asked_about_nobody() -> None:
    """Anonymous visitors and ignored paths: False, without a look-up, store or not."""
    stream = Stream(ignore=["/static"])
    stream.store.is_there = False
    asked = stream.store.asked
    assert stream.ann.get("/").text == "False"
    stream.ann.get("/static")
    assert not stream.kept[-1].is_active()
    assert stream.store.asked == asked


# -- url --------------------------------------------------------------------------------------------------


@each(
    ("path", "query", "expected"),
    [
        ("/", "", "/"),
        ("/notes", "", "/notes"),
        ("/notes", "page=2&q=a%20b", "/notes%3Fpage%3D2%26q%3Da%2520b"),
        ("/a b/\xc3\xa9", "", "/a%2520b/%25C3%25A9"),
        ("/what?", "", "/what%253F"),
        ("/100%", "", "/100%2525"),
    ],
)
def test_url_is_this_page_without_more(path: str, query: str, expected: str) -> None:
    """``.url()``: the login that comes back to the page of this request, query included."""
    assert drawn(lambda login: login.url(), path, query=query) == LOGIN + expected


def test_url_keeps_the_path_that_a_router_mounted_at() -> None:
    """A prefix moved from PATH_INFO into SCRIPT_NAME by a router (PEP 3333) is part of the return address."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["clef.login"].url().encode()]

    def router(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/sub", environ["PATH_INFO"].removeprefix("/sub")
        return app(environ, start_response)

    assert browser(make_app(router)).get("/sub/page?x=1").text == f"{LOGIN}/sub/page%3Fx%3D1"


def test_url_is_this_page_for_head_and_the_front_page_for_a_form() -> None:
    """``.url()``: what was posted can't be come back to."""
    seen: list[str] = []
    app = make_app(shows(lambda login: seen.append(login.url())))
    for method in ("GET", "HEAD", "POST", "PUT"):
        ask(app, "/notes", method=method)
    assert seen == [LOGIN + "/notes", LOGIN + "/notes", LOGIN + "/", LOGIN + "/"]


def test_url_takes_a_return_address() -> None:
    """``.url(next)``: a path as the browser shows it; encoded so that nothing of it gets loose."""
    assert drawn(lambda login: login.url("/x?a=1&b=2#c")) == LOGIN + "/x%3Fa%3D1%26b%3D2%23c"


def test_url_under_a_prefix_is_what_the_browser_shows() -> None:
    """``.url()``: mounted at /app, both the login and the way back carry the prefix."""
    app = make_app(shows(lambda login: login.url()), base_url="https://www.example.com/app")
    answer = ask(app, "/notes", SCRIPT_NAME="/app")
    assert answer.body == b"https://www.example.com/app/clef/login?next=/app/notes"


@each("address", ["//evil.example", "https://evil.example/", "\\\\evil.example", "/\r\nX: y", "é\ud800"])
def test_url_with_a_bad_return_address_is_harmless_and_leads_home(address: str) -> None:
    """``.url(next)``: plain ASCII whatever it is given; the login decides, and leads home."""
    app = make_app(shows(lambda login: login.url(address)))
    ann = browser(app)
    url = ann.get("/").text
    assert url.startswith(LOGIN)
    assert url.isascii()
    assert url.isprintable()
    state = state_of(ann.get(url.removeprefix(BASE_URL), status=303).location)
    assert ann.come_back(state, status=303).location == HOME


@pytest.mark.parametrize(("next", "back"), [("/notes", "/notes"), (None, "/")])
def test_url_on_the_callback_is_never_its_own_url_with_its_code(next: str | None, back: str) -> None:
    """``.url()`` and the quiet buttons on our own endpoints: the page that the login would have led to."""
    seen: list[str] = []

    def on_refusal(environ: Any, error: Any) -> Any:
        login = environ["clef.login"]
        seen.extend([login.url(), login.button(), login.sign_out_button()])

    provider = FakeProvider()
    ann = browser(make_app(provider=provider, on_refusal=on_refusal))
    state = ann.start_login(next)
    ann.get(f"/clef/callback?code=C0DE&error=x&state={state}", status=400)
    ann.get("/clef/callback?code=C0DE&state=ST4TE&error=x", status=400)
    assert seen[::3] == [LOGIN + back, LOGIN + "/"]
    assert not any(word in text for text in seen for word in ("C0DE", "ST4TE", state, "callback"))


# -- what writes nothing ------------------------------------------------------------------------------------

QUIET: dict[str, Callable[[Any], object]] = {
    "url": lambda login: login.url(),
    "button": lambda login: login.button("/x", "Come in"),
    "sign_out_button": lambda login: login.sign_out_button("/x", "Go"),
}


@each("draw", QUIET.values(), ids=QUIET)
def test_url_and_buttons_write_nothing(draw: Callable[[Any], object]) -> None:
    """``.url``, ``.button`` and ``.sign_out_button`` need no session, start nothing, and may be cached."""
    provider = FakeProvider()
    answer = ask(make_app(shows(draw), provider=provider))
    assert [name for name, _ in answer.headers] == ["Content-Type", "Vary"]
    assert provider.starts == []


@each("draw", QUIET.values(), ids=QUIET)
def test_url_and_buttons_work_after_start_response(draw: Callable[[Any], object]) -> None:
    """The quiet ones may be called while the body is being made."""

    def lazy(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        return iter([str(draw(environ["clef.login"])).encode()])

    assert b"/clef/" in ask(make_app(lazy)).body


def test_button_is_a_plain_link() -> None:
    """``.button(next, label)``: a link to ``login_path``, escaped, ready for templates."""
    html = drawn(lambda login: login.button('/x?"<&', '<b>"In"</b> & out'))
    assert html == (
        f'<a class="clef-login" rel="nofollow" href="{LOGIN}/x%3F%22%3C%26">'
        "&lt;b&gt;&quot;In&quot;&lt;/b&gt; &amp; out</a>"
    )
    assert (
        drawn(lambda login: login.button(), "/notes")
        == f'<a class="clef-login" rel="nofollow" href="{LOGIN}/notes">Log in</a>'
    )


@each("name", ["button", "sign_out_button", "script_button"])
def test_buttons_are_html_already(name: str) -> None:
    """A template that honours ``__html__`` does not escape a button again."""
    assert drawn(lambda login: getattr(login, name)().__html__()).startswith("<")


def test_button_leads_to_a_login_and_back() -> None:
    """``.button()``: a click signs in, and shows the same page."""
    ann = browser(make_app(shows(lambda login: login.button())))
    provider = ann.get("/notes?x=1").click("Log in")
    assert ann.come_back(state_of(provider.location), status=303).location == BASE_URL + "/notes?x=1"


def test_sign_out_button_is_a_form_that_signs_out() -> None:
    """``.sign_out_button(next, label)``: posted by a page of this site, it signs out and shows the page asked for."""
    ann = browser(make_app(shows(lambda login: login.sign_out_button("/bye?x=\"'<&", "<Bye>"))))
    ann.sign_in("ann")
    page = ann.get("/")
    assert page.form.method == "post"
    assert page.form.action == BASE_URL + "/clef/logout"
    assert "&lt;Bye&gt;</button>" in page.text
    assert "'<&" not in page.text
    answer: TestResponse = page.form.submit(headers=SAME_ORIGIN, status=303)
    assert answer.location == BASE_URL + "/bye?x=%22'%3C&"


def test_sign_out_button_leads_back_to_this_page_without_more() -> None:
    """``.sign_out_button()``: the page of this request."""
    ann = browser(make_app(shows(lambda login: login.sign_out_button())))
    assert ann.get("/notes?x=1").form.submit(headers=SAME_ORIGIN, status=303).location == BASE_URL + "/notes?x=1"


# -- script_button ----------------------------------------------------------------------------------------


def script_page(ann: Browser, path: str = "/") -> TestResponse:
    return ann.get(path, status=200)


def test_script_button_is_the_providers_tag_with_a_fresh_state() -> None:
    """``.script_button()``: its state leads back to the page it was drawn on; the next page has another."""
    provider = FakeProvider()
    ann = browser(make_app(shows(lambda login: login.script_button()), provider=provider))
    states = [state_in(script_page(ann, "/notes?x=1").text) for _ in range(2)]
    assert states[0] != states[1]
    assert min(map(len, states)) >= 43
    assert 'data-redirect-url="https://www.example.com/clef/callback"' in script_page(ann).text
    assert ann.come_back(states[0], status=303).location == BASE_URL + "/notes?x=1"
    assert provider.finishes[0][1] == {}


@pytest.mark.parametrize(("address", "back"), [("/x", "/x"), ("//evil.example", "/")])
def test_script_button_takes_a_return_address(address: str, back: str) -> None:
    """``.script_button(next)``: the return address is proven like any other."""
    ann = browser(make_app(shows(lambda login: login.script_button(address))))
    assert ann.come_back(state_in(script_page(ann).text), status=303).location == BASE_URL + back


def test_row_36_a_page_with_a_script_button_is_kept_by_nobody() -> None:
    """Row 36: one cached page would serve its state to all: no-store, whatever the app said."""
    said = [("Cache-Control", "public, max-age=60"), ("cache-control", "immutable")]
    answer = ask(make_app(shows(lambda login: login.script_button(), *said)))
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Vary") == "Cookie"
    assert answer.header("Set-Cookie")


def test_script_button_after_start_response_raises_one_clear_sentence() -> None:
    """``.script_button()``: it writes the session, so later it says what to use instead, and starts nothing."""
    errors: list[str] = []

    def lazy(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        try:
            environ["clef.login"].script_button()
        except RuntimeError as error:
            errors.append(str(error))
        return [b"x"]

    answer: Answer = ask(make_app(lazy))
    assert len(errors) == 1
    assert "must be called before start_response" in errors[0]
    assert "use button()" in errors[0]
    assert answer.header("Set-Cookie") is None


def test_script_button_of_a_provider_without_one_says_so() -> None:
    """``.script_button()``: only the Clef provider has such a button."""

    class Plain:
        def __init__(self) -> None:
            fake = FakeProvider()
            self.start_login, self.finish_login = fake.start_login, fake.finish_login
            self.read_logout, self.user_key = fake.read_logout, fake.user_key

    errors: list[str] = []

    def draw(login: Any) -> str:
        with pytest.raises(RuntimeError) as caught:
            login.script_button()
        errors.append(str(caught.value))
        return "x"

    answer = ask(make_app(shows(draw), provider=Plain()))
    assert errors == ["This provider has no script button: use button()."]
    assert [name for name, _ in answer.headers] == ["Content-Type", "Vary"]


def test_script_button_of_a_tab_disturbs_no_other_tab() -> None:
    """R3: a page with a button and a login by redirect, side by side."""
    ann = browser(make_app(shows(lambda login: login.script_button())))
    first = ann.start_login("/first")
    second = state_in(script_page(ann, "/second").text)
    assert ann.come_back(first, status=303).location == BASE_URL + "/first"
    assert ann.come_back(second, status=303).location == BASE_URL + "/second"


# -- end, id, error ---------------------------------------------------------------------------------------


def ends(seen: list[Any]) -> Any:
    """An app that signs out at /end, and says before and after who is there."""

    def draw(environ: Any) -> object:
        login = environ["clef.login"]
        seen.append((environ["clef.user"] and environ["clef.user"]["id"], login.id))
        if environ["PATH_INFO"] == "/end":
            login.end()
            seen.append((environ["clef.user"], login.id))
        return "x"

    def app(environ: Any, start_response: Any) -> Any:
        draw(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x"]

    return app


def test_end_signs_out_now() -> None:
    """``.end()``: nobody is there afterwards, in this request and the next, and the old cookie is worth nothing."""
    seen: list[Any] = []
    ann = browser(make_app(ends(seen)))
    ann.sign_in("ann")
    cookie = ann.cookie
    ann.get("/end")
    ann.get("/")
    ask(ann.app, HTTP_COOKIE=cookie)
    assert seen[0][0] == "ann"
    assert seen[0][1]
    assert seen[1:] == [(None, None)] * 3


def test_end_leaves_other_browsers_alone() -> None:
    """``.end()``: this browser's login, no other of the same person."""
    seen: list[Any] = []
    app = make_app(ends(seen))
    phone, desk = browser(app), browser(app)
    phone.sign_in("ann")
    desk.sign_in("ann")
    phone.get("/end")
    desk.get("/")
    assert seen[-1][0] == "ann"


def test_end_empties_the_session() -> None:
    """R11: ``.end()`` leaves nothing in the Beaker session."""
    contents: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> Any:
        session = environ["beaker.session"]
        if environ["PATH_INFO"] == "/end":
            session["diary"] = "secret"
            session.save()
            environ["clef.login"].end()
        contents.append({name: value for name, value in session.items() if not name.startswith("_")})
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x"]

    ann = browser(make_app(app))
    ann.sign_in("ann")
    ann.get("/end")
    ann.get("/")
    assert contents == [{}, {}]


def test_end_for_nobody_is_nothing() -> None:
    """``.end()``: without a login nothing is written."""
    seen: list[Any] = []
    answer = ask(make_app(ends(seen)), "/end")
    assert seen == [(None, None), (None, None)]
    assert answer.header("Set-Cookie") is None


def test_id_tells_logins_apart_and_repr_tells_nothing() -> None:
    """``.id``: opaque; ``repr`` says whether somebody is there, and not who."""
    seen: list[tuple[str, str]] = []
    ann = browser(make_app(shows(lambda login: seen.append((str(login.id), repr(login))))))
    ann.get("/")
    ann.sign_in("ann")
    ann.get("/")
    assert seen[0] == ("None", "<ClefLogin nobody>")
    assert seen[1][1] == "<ClefLogin signed in>"
    assert "ann" not in seen[1][0]
    assert len(seen[1][0]) > 32


def test_error_is_none_where_nothing_went_wrong() -> None:
    """``.error``: None for anybody who is, or is not, signed in as they should be."""
    ann = browser(make_app(shows(lambda login: login.error)))
    assert ann.get("/").text == "None"
    ann.sign_in("ann")
    assert ann.get("/").text == "None"


def test_on_an_ignored_path_only_what_needs_no_session_works() -> None:
    """Ignored: ``.url`` and buttons lead home; ``.script_button`` and ``.end`` say in one sentence that they can't."""
    seen: list[str] = []

    def draw(login: Any) -> str | None:
        seen.append(login.url())
        for call in (login.script_button, login.end):
            with pytest.raises(RuntimeError):
                call()
        end_url: str | None = login.end_url()
        return end_url

    app = make_app(shows(draw), ignore=["/static"])
    ann = browser(app)
    ann.sign_in("ann")
    answer = ask(app, "/static/x", HTTP_COOKIE=ann.cookie)
    assert (answer.status, answer.body) == (200, b"None")
    state = state_of(ann.get(seen[0].removeprefix(BASE_URL), status=303).location)
    assert ann.come_back(state, status=303).location in (HOME, BASE_URL + "/static/x")
