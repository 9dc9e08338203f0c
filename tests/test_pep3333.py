"""PEP 3333: an app behaves in the middleware as it does without it, call by call and byte by byte."""

from __future__ import annotations

import gc
import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from support.app import BASE_URL, SECRET, FakeProvider, ask, browser, echo, make_app
from support.cases import each

from clef_wsgi import ClefMiddleware, MemoryLogoutStore, wrap

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Any]
Headers = list[tuple[str, str]]

TEXT = ("Content-Type", "text/plain")


# -- a server that writes down everything -------------------------------------------------------------------


class Misuse(Exception):
    """An app broke the rules."""


class Server:
    """Serves one request as PEP 3333 wants it, and keeps what was said, in order.

    :param stop_after: chunks after which the client is gone.
    """

    def __init__(self, *, stop_after: int = sys.maxsize) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.started: list[Headers] = []
        self._stop_after = stop_after
        self._has_sent = False

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], Any]:
        if exc_info and self._has_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if self.started and not exc_info:
            raise Misuse("start_response was called twice")
        self.started.append(headers)
        self.said.append(("start", status, sorted(headers), exc_info and exc_info[0]))
        return self.write

    def write(self, data: bytes) -> None:
        self._has_sent = True
        self.said.append(("write", data))

    def serve(self, app: App, environ: Environ) -> list[tuple[Any, ...]]:
        try:
            self._run(app, environ)
        except Exception as error:  # noqa: BLE001 - whatever an app raises is what is compared
            self.said.append(("raised", type(error), str(error)))
        return self.said

    def _run(self, app: App, environ: Environ) -> None:
        body = app({**environ, "test.said": self.said}, self.start_response)
        try:
            for count, chunk in enumerate(body, 1):
                if not self.started:
                    raise Misuse("there is a body, and no status")
                self._has_sent = self._has_sent or bool(chunk)
                self.said.append(("chunk", chunk))
                if count >= self._stop_after:
                    break
        finally:
            getattr(body, "close", lambda: None)()


def request(path: str = "/", method: str = "GET", **more: Any) -> Environ:
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "www.example.com",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        **more,
    }


# -- apps ---------------------------------------------------------------------------------------------------


class Oops(Exception):
    """The exception that the apps raise."""


class Body:
    """An iterator that records its ``close``. It may start late, raise in the middle, and raise in the end."""

    def __init__(
        self,
        said: list[Any],
        *,
        first: Callable[[], Any] | None = None,
        raises_at: int = 99,
        close_raises: bool = False,
    ) -> None:
        self._said, self._first, self._raises_at, self._close_raises = said, first, raises_at, close_raises
        self._count = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._count == 0 and self._first is not None:
            self._first()
        self._count += 1
        if self._count == self._raises_at:
            raise Oops("in the middle")
        if self._count > 3:
            raise StopIteration
        return b"%d" % self._count

    def close(self) -> None:
        self._said.append(("closed",))
        if self._close_raises:
            raise Oops("at the end")


def plain(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT, ("X-Twice", "1"), ("X-Twice", "2")])
    return [b"one", b"", b"two"]


def generator(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    try:
        start_response("200 OK", [TEXT])
        yield b"one"
        yield b"two"
    finally:
        environ["test.said"].append(("closed",))


def lazy_start(environ: Environ, start_response: StartResponse) -> Body:
    return Body(environ["test.said"], first=lambda: start_response("200 OK", [TEXT]))


def early_start(environ: Environ, start_response: StartResponse) -> Body:
    start_response("200 OK", [TEXT])
    return Body(environ["test.said"])


def writes(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [TEXT])
    write(b"one")
    write(b"two")
    return [b"three"]


def error_before_headers(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    try:
        raise Oops("before the headers")
    except Oops:
        start_response("500 Oops", [TEXT, ("X-Error", "yes")], sys.exc_info())
    return [b"an error page"]


def error_after_write(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])(b"one")
    try:
        raise Oops("after the headers")
    except Oops:
        start_response("500 Oops", [TEXT], sys.exc_info())
    return [b"never sent"]


def error_after_chunk(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    try:
        start_response("200 OK", [TEXT])
        yield b"one"
        try:
            raise Oops("after the headers")
        except Oops:
            start_response("500 Oops", [TEXT], sys.exc_info())
        yield b"never sent"
    finally:
        environ["test.said"].append(("closed",))


def raises_at_once(_environ: Environ, _start_response: StartResponse) -> Iterable[bytes]:
    raise Oops("at once")


def raises_after_start(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    raise Oops("after the start")


def raises_in_the_middle(environ: Environ, start_response: StartResponse) -> Body:
    start_response("200 OK", [TEXT])
    return Body(environ["test.said"], raises_at=2)


def raises_at_the_first(environ: Environ, start_response: StartResponse) -> Body:
    start_response("200 OK", [TEXT])
    return Body(environ["test.said"], raises_at=1)


def close_raises(environ: Environ, start_response: StartResponse) -> Body:
    start_response("200 OK", [TEXT])
    return Body(environ["test.said"], close_raises=True)


def nothing_at_all(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT, ("Content-Length", "0")])
    return ()


def no_content(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def not_modified(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("304 Not Modified", [("ETag", '"1"')])
    return []


def file_wrapper(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    body: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"the file"), 4)
    return body


def redirect(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response(
        "302 Found", [("Location", "//elsewhere.example"), TEXT, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    )
    return [b""]


APPS = [
    plain,
    generator,
    lazy_start,
    early_start,
    writes,
    error_before_headers,
    error_after_write,
    error_after_chunk,
    raises_at_once,
    raises_after_start,
    raises_in_the_middle,
    raises_at_the_first,
    close_raises,
    nothing_at_all,
    no_content,
    not_modified,
    file_wrapper,
    redirect,
]


# -- as if we were not there --------------------------------------------------------------------------------

PROVIDER, STORE = FakeProvider(), MemoryLogoutStore()
IGNORE = ("/static",)


def bare(app: App) -> Any:
    """In both layers, without validators: what comes out is what went in."""
    return wrap(
        app,
        provider=PROVIDER,
        logout_store=STORE,
        base_url=BASE_URL,
        session={"secret": SECRET},
        ignore=IGNORE,
    )


def validated(app: App) -> Any:
    return validator(bare(validator(app)))


def signed_in_cookie() -> str:
    ann = browser(bare(echo))
    ann.sign_in("ann")
    return ann.cookie


SIGNED_IN = signed_in_cookie()
VISITORS = [
    pytest.param(request, [("Vary", "Cookie")], id="anonymous"),
    pytest.param(
        lambda: request(HTTP_COOKIE=SIGNED_IN),
        [("Vary", "Cookie"), ("Cache-Control", "private")],
        id="signed in",
    ),
    pytest.param(lambda: request("/static/x", HTTP_COOKIE=SIGNED_IN), [], id="ignored"),
]


def marked(said: list[tuple[Any, ...]], marks: Headers) -> list[tuple[Any, ...]]:
    """Return the app's recorded calls with the middleware's headers added."""
    return [(*e[:2], sorted([*e[2], *marks]), e[3]) if e[0] == "start" else e for e in said]


@each("stop_after", [99, 1], ids=["to the end", "client gone"])
@each(("visitor", "marks"), VISITORS)
@each("app", APPS)
def test_row_52_the_same_bytes_and_calls(
    app: App, visitor: Callable[[], Environ], marks: Headers, stop_after: int
) -> None:
    """Every call to the server, every chunk, write, close and exception: as unwrapped, but for the marks."""
    alone = Server(stop_after=stop_after).serve(app, request())
    assert Server(stop_after=stop_after).serve(bare(app), visitor()) == marked(alone, marks)


BREAK_THE_VALIDATOR = (raises_at_once, error_after_write)
"""It would complain that nothing was closed, where there was nothing to close."""


@each(("visitor", "marks"), VISITORS)
@each("app", [app for app in APPS if app not in BREAK_THE_VALIDATOR])
def test_row_52_valid_on_both_sides(app: App, visitor: Callable[[], Environ], marks: Headers) -> None:
    """wsgiref.validate finds nothing, neither in what the server sees nor in what the app sees."""
    alone = Server().serve(app, request())
    assert Server().serve(validated(app), visitor()) == marked(alone, marks)


@each(("visitor", "marks"), VISITORS)
@each("stop_after", [1, 2, 99])
@each("app", [lazy_start, early_start, raises_in_the_middle, raises_at_the_first, close_raises])
def test_row_52_close_is_called_exactly_once(
    app: App, visitor: Callable[[], Environ], marks: Headers, stop_after: int
) -> None:
    """At the end, after an exception, and when the client is gone."""
    assert Server(stop_after=stop_after).serve(bare(app), visitor()).count(("closed",)) == 1


@each(("visitor", "marks"), VISITORS)
@each("app", [plain, generator, early_start, file_wrapper, no_content])
def test_row_52_the_body_is_the_apps_own_object(app: App, visitor: Callable[[], Environ], marks: Headers) -> None:
    """A server knows its file_wrapper by its type, so the very object comes out."""
    bodies: list[Any] = []

    def remember(environ: Environ, start_response: StartResponse) -> Any:
        bodies.append(app(environ, start_response))
        return bodies[-1]

    environ = {**visitor(), "test.said": []}
    assert bare(remember)(environ, Server().start_response) is bodies[0]


def test_row_52_write_is_the_servers_own() -> None:
    """The app gets the very object that the server's ``start_response`` returned."""
    server = Server()
    given: list[Any] = []

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        given.append(start_response("200 OK", [TEXT]))
        return []

    server.serve(bare(app), request())
    assert given == [server.write]


def test_row_52_a_second_start_without_exc_info_is_the_servers_to_refuse() -> None:
    """An app that breaks the rules meets the server's own complaint."""

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        start_response("200 OK", [TEXT])
        return []

    assert Server().serve(bare(app), request())[-1] == ("raised", Misuse, "start_response was called twice")


def test_row_52_an_app_that_never_starts_is_the_servers_to_refuse() -> None:
    """Nothing is made up in its place."""
    said = Server().serve(bare(lambda _environ, _start_response: [b"body"]), request())
    assert said == [("raised", Misuse, "there is a body, and no status")]


@each("path", ["/", "/page", "/clef/login"])
def test_row_52_head_has_no_body_and_goes_to_the_app(path: str) -> None:
    """HEAD reaches the app as HEAD; our own answers to it have no body."""
    answer = ask(make_app(), path, method="HEAD")
    assert answer.body == b""
    assert answer.status == (405 if path.startswith("/clef/") else 200)


@each(
    ("method", "path"),
    [
        *[("GET", path) for path in ("/clef/login", "/clef/callback", "/clef/webhook", "/clef/logout", "/private")],
        *[("POST", path) for path in ("/clef/login", "/clef/callback", "/clef/webhook", "/clef/logout", "/private")],
    ],
)
def test_row_52_our_own_answers_are_valid(method: str, path: str) -> None:
    """With a validator outside; the app behind is never called."""

    def never(_environ: Environ, _start_response: StartResponse) -> Iterable[bytes]:
        raise AssertionError("the app was called")

    app = make_app(never, protect=["/private"])
    answer = ask(
        app, path, method=method, HTTP_ACCEPT="text/html", CONTENT_LENGTH="0", HTTP_SEC_FETCH_SITE="same-origin"
    )
    assert 300 <= answer.status < 500
    assert answer.header("Cache-Control") == "no-store"
    if "Content-Length" in dict(answer.headers):
        assert answer.header("Content-Length") == str(len(answer.body))


# -- what nobody asked us to touch --------------------------------------------------------------------------


def test_an_ignored_path_gets_the_servers_own_start_response() -> None:
    """Nothing is read, asked or marked: not a header, not the session, which need not even be there."""
    seen: list[Any] = []
    headers = [TEXT]

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.extend([start_response, environ["clef.user"]])
        start_response("200 OK", headers)
        return []

    server = Server()
    options = {"provider": PROVIDER, "logout_store": STORE, "base_url": BASE_URL, "ignore": IGNORE}
    server.serve(ClefMiddleware(app, **options), request("/static/x"))  # type: ignore[arg-type]
    assert seen == [server.start_response, None]
    assert server.started[0] is headers


def session_seen_by(environ: Environ) -> tuple[bool, Headers]:
    """Return True if the session was touched, and the headers of the answer."""
    seen: list[Any] = []

    def app(inner: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        seen.append(inner["beaker.session"].accessed())
        return []

    server = Server()
    server.serve(bare(app), environ)
    return seen[0], server.started[0]


@each("cookie", [None, "other=1", "beaker.session.id=" + "0" * 72, "clef=1; __Host-clef=2"])
def test_an_anonymous_request_touches_no_session(cookie: str | None) -> None:
    """Without this site's session cookie nothing is loaded, written or sent."""
    environ = request() if cookie is None else request(HTTP_COOKIE=cookie)
    assert session_seen_by(environ) == (False, [TEXT, ("Vary", "Cookie")])


def test_an_ignored_path_touches_no_session() -> None:
    """Not even with the cookie of somebody signed in."""
    assert session_seen_by(request("/static/x", HTTP_COOKIE=SIGNED_IN)) == (False, [TEXT])


def test_a_signed_in_request_gets_no_cookie_again() -> None:
    """Reading a session is no reason to send its cookie."""
    was_touched, headers = session_seen_by(request(HTTP_COOKIE=SIGNED_IN))
    assert was_touched
    assert "set-cookie" not in {name.lower() for name, _ in headers}


QUERIES = ["%", ";", "%zz", "\xff", "a=1;b=%ff&&=", "next=%00", "&" * 500, None]


@each("is_signed_in", [False, True])
@each("path", ["\xff", "/\xff\xfe", "", "/%", "/a//b/../c;d", "/\x00\x1f", "/" + "x" * 9000, None])
def test_row_54_odd_paths_and_queries_reach_the_app_untouched(path: str | None, is_signed_in: bool) -> None:
    """PATH_INFO and QUERY_STRING as the server gave them, missing ones stay missing; the button has a link."""
    seen: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append({name: environ[name] for name in ("PATH_INFO", "QUERY_STRING", "SCRIPT_NAME") if name in environ})
        seen.append(environ["clef.login"].url())
        start_response("200 OK", [TEXT])
        return [b"app"]

    for query in QUERIES:
        odd = {"SCRIPT_NAME": "/mount", "PATH_INFO": path, "QUERY_STRING": query}
        given = {name: value for name, value in odd.items() if value is not None}
        environ = {
            name: value for name, value in {**request(), **odd, **cookie_if(is_signed_in)}.items() if value is not None
        }
        seen.clear()
        assert ("chunk", b"app") in Server().serve(bare(app), environ)
        assert seen[0] == given
        assert seen[1].startswith(BASE_URL + "/clef/login?next=")
        assert seen[1].isascii()


# -- row 53: one list of headers for all --------------------------------------------------------------------

HEADERS: Headers = [TEXT]


def careless(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """An app with one list for all its answers; who asks for it gets a session, hence a cookie."""
    if environ["PATH_INFO"] == "/begin":
        environ["beaker.session"]["a"] = 1
        environ["beaker.session"].save()
    start_response("200 OK", HEADERS)
    return [b""]


def test_row_53_a_module_level_list_of_headers_leaks_no_cookie() -> None:
    """Beaker appends its cookie to the list it gets: the next visitor must not find it there."""
    app = make_app(careless)
    assert ask(app, "/begin").header("Set-Cookie") is not None
    assert ask(app, "/").header("Set-Cookie") is None
    assert HEADERS == [TEXT]


def test_row_53_the_answer_to_a_refusal_leaks_no_cookie_either() -> None:
    """on_refusal hands in an app of one's own, with a list of its own."""
    app = make_app(on_refusal=lambda environ, _error: careless)
    visitor = browser(app)
    visitor.get("/session?a=1")
    for _ in range(2):
        ask(app, "/clef/callback", HTTP_COOKIE=visitor.cookie)
    assert HEADERS == [TEXT]


# -- marks --------------------------------------------------------------------------------------------------


def answer_with(headers: Headers, *, user: bool = False, draw: bool = False) -> Headers:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if draw:
            environ["clef.login"].script_button()
        start_response("200 OK", [TEXT, *headers])
        return [b""]

    return ask(make_app(app, provider=PROVIDER, store=STORE), **cookie_if(user)).headers


def cookie_if(user: bool) -> Environ:
    return {"HTTP_COOKIE": SIGNED_IN} if user else {}


def values(headers: Headers, name: str) -> list[str]:
    """All values of a header, of lists each entry."""
    return [entry.strip() for found, value in headers if found.lower() == name for entry in value.split(",")]


@each(
    ("given", "expected"),
    [
        ([], ["Cookie"]),
        ([("Vary", "Accept")], ["Accept", "Cookie"]),
        ([("vary", "X-Cookie")], ["X-Cookie", "Cookie"]),
        ([("Vary", "")], ["", "Cookie"]),
        ([("Vary", "Cookie")], ["Cookie"]),
        ([("VARY", "accept , cOOkie")], ["accept", "cOOkie"]),
        ([("Vary", "*")], ["*"]),
        ([("Vary", "Accept"), ("Vary", "Origin")], ["Accept", "Origin", "Cookie"]),
        ([("Vary", "Accept"), ("Vary", "Cookie")], ["Accept", "Cookie"]),
        ([("Vary", "Accept"), ("Vary", "*")], ["Accept", "*"]),
    ],
)
@each("user", [False, True])
def test_vary_names_the_cookie_once(given: Headers, expected: list[str], user: bool) -> None:
    """CVE-2023-30861: each answer says that it depends on the cookie, beside what the app says itself."""
    assert values(answer_with(given, user=user), "vary") == expected


@each("given", [["public, max-age=60"], ["max-age=0"], ["no-store"], [""], ["public", "max-age=60"]])
@each("user", [False, True])
def test_the_apps_own_cache_control_is_respected(given: list[str], user: bool) -> None:
    """The app's own Cache-Control is kept as it is."""
    headers = answer_with([("cache-CONTROL", value) for value in given], user=user)
    assert [value for name, value in headers if name.lower() == "cache-control"] == given


def test_private_is_for_somebody_signed_in() -> None:
    """An anonymous page may be kept by a cache for all; a person's page may not."""
    assert values(answer_with([]), "cache-control") == []
    assert values(answer_with([], user=True), "cache-control") == ["private"]


@each("given", [[], ["public, max-age=60"], ["public", "max-age=60"], ["no-store"]])
@each("user", [False, True])
def test_a_page_with_a_state_is_never_stored(given: list[str], user: bool) -> None:
    """One cached page would serve its state to all: no-store, whatever the app said."""
    headers = answer_with([("Cache-Control", value) for value in given], user=user, draw=True)
    assert values(headers, "cache-control") == ["no-store"]


def test_a_button_drawn_lazily_is_not_stored_either() -> None:
    """A generator that draws it before it starts the response is in time."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        tag = environ["clef.login"].script_button()
        start_response("200 OK", [TEXT])
        yield tag.encode()

    answer = ask(make_app(app))
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Set-Cookie") is not None


def test_a_button_drawn_too_late_is_one_clear_sentence() -> None:
    """After start_response a session can't be written any more."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        environ["clef.login"].script_button()
        return []

    with pytest.raises(RuntimeError, match="before start_response"):
        ask(make_app(app, validated=False))


def test_an_error_page_of_the_app_is_marked_too() -> None:
    """start_response with exc_info is an answer as any other: marked, and in a copy."""
    server = Server()
    server.serve(bare(error_before_headers), request(HTTP_COOKIE=SIGNED_IN))
    for headers in server.started:
        assert values(headers, "vary") == ["Cookie"]
        assert values(headers, "cache-control") == ["private"]


def test_signing_out_in_the_app_leaves_the_answer_private() -> None:
    """The request began as somebody's: what it shows may still be theirs."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ["clef.login"].end()
        start_response("200 OK", [TEXT])
        return [b""]

    ann = browser(bare(echo))
    ann.sign_in("ann")
    answer = ask(make_app(app, provider=PROVIDER, store=STORE), HTTP_COOKIE=ann.cookie)
    assert answer.header("Cache-Control") == "private"


# -- nothing is kept ----------------------------------------------------------------------------------------


def test_requests_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """Of thousands of requests, errors included, no object stays: nothing is kept outside of a request's environ."""
    caplog.set_level(logging.CRITICAL, "clef_wsgi")  # pytest itself keeps what is logged
    apps = [bare(app) for app in (plain, raises_in_the_middle, raises_after_start)]
    ann = browser(bare(echo))
    ann.sign_in("ann")
    requests = [
        request(path, method, **({"HTTP_COOKIE": ann.cookie} if has_cookie else {}))
        for path in ("/", "/\xff", "/static/x", "/clef/callback", "/clef/logout", "/clef/webhook")
        for method in ("GET", "POST")
        for has_cookie in (False, True)
    ]

    def objects_after(rounds: int) -> int:
        for _ in range(rounds):
            for environ in requests:
                Server().serve(apps[0], environ)
                Server().serve(apps[1], environ)
                Server().serve(apps[2], environ)
        gc.collect()
        return len(gc.get_objects())

    before = objects_after(2)
    assert objects_after(6) - before < 50
