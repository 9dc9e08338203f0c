"""``challenge=True``: an app's own 401 leads a page of nobody to the login, and everything else is as without it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import flask
import pytest
from support.app import BASE_URL, SECRET, Browser, FakeProvider, ask, browser, make_app
from support.cases import each
from support.example_sites import SwitchableStore
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from clef_wsgi import MemoryLogoutStore, wrap
from clef_wsgi.challenge import _HeldStart, with_challenge

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
TEXT = ("Content-Type", "text/plain")
COOKIE = ("Set-Cookie", "basket=oars")
SCRIPT = {"Sec-Fetch-Mode": "cors"}


class Body:
    """An iterable that counts how often it was closed, and on which the app's start may wait."""

    def __init__(self, blocks: Iterable[bytes], before: Callable[[], object] = lambda: None) -> None:
        self._blocks, self._before = blocks, before
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        self._before()
        yield from self._blocks

    def close(self) -> None:
        self.closed += 1


class App:
    """An app that refuses in one of the ways that PEP 3333 leaves it; ``bodies`` are those that it returned."""

    def __init__(self, way: str, status: str = "401 Unauthorized", headers: Headers | None = None) -> None:
        self.way, self.status, self.headers = way, status, headers or []
        self.bodies: list[Body] = []

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(*exc_info: Any) -> Any:
            return start_response(self.status, [TEXT, COOKIE, *self.headers], *exc_info)

        blocks = [] if environ["REQUEST_METHOD"] == "HEAD" else [b"no", b"body"]
        if self.way == "eager":
            start()
            return self._body(blocks)
        if self.way == "lazy":
            return self._body(blocks, start)
        if self.way == "write":
            write = start()
            for block in blocks:
                write(block)
            return self._body([])
        start_response("200 OK", [TEXT, ("X-First", "yes")])  # then something fails
        try:
            raise LookupError("while the page was made")
        except LookupError as error:
            start((type(error), error, error.__traceback__))
        return self._body(blocks)

    def _body(self, blocks: Iterable[bytes], before: Callable[[], object] = lambda: None) -> Body:
        self.bodies.append(Body(blocks, before))
        return self.bodies[-1]


WAYS = ["eager", "lazy", "write", "exc_info"]


def visitor(app: Any, **options: Any) -> Browser:
    return browser(make_app(app, **{"challenge": True, **options}))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("way", WAYS)
def test_a_page_of_nobody_is_led_to_the_login(way: str, method: str) -> None:
    """However the app refuses: 303 to the login and back, nothing of its answer is left, its body is closed once."""
    app = App(way)
    answer = visitor(app).request("/notes?page=2", method=method, status=303)
    assert answer.location == f"{BASE_URL}/clef/login?next=/notes%3Fpage%3D2"
    assert answer.headers.getall("Cache-Control") == ["no-store"]
    assert "Cookie" in answer.headers["Vary"]
    assert not {"Set-Cookie", "X-First"} & {*answer.headers}
    assert answer.body == b""
    assert [body.closed for body in app.bodies] == [1]


@pytest.mark.parametrize("way", WAYS)
def test_all_else_passes(way: str) -> None:
    """A script, a form, another status, and a challenge of the app's own: answered as without the option."""
    for app, request in (
        (App(way), {"headers": SCRIPT}),
        (App(way), {"method": "POST"}),
        (App(way, "403 Forbidden"), {}),
        (App(way, "404 Not Found"), {}),
        (App(way, headers=[("www-authenticate", 'Basic realm="x"')]), {}),
    ):
        answers = []
        for challenge in (True, False):
            answer = visitor(app, challenge=challenge).request("/notes", status="*", **request)
            answers.append((answer.status, sorted(answer.headerlist), answer.body))
        assert answers[0] == answers[1]
        assert answers[0][0] == app.status
        assert [body.closed for body in app.bodies] == [1, 1]


@pytest.mark.parametrize("way", WAYS)
def test_a_401_to_somebody_who_is_signed_in_passes(way: str) -> None:
    """The login could not help, and would lead back here for ever."""
    person = visitor(App(way))
    person.sign_in("ann")
    assert person.get("/notes", status=401).text == "nobody"


def test_the_way_back_is_the_page() -> None:
    """After the login the person returns to the page that refused, and it opens."""
    app = flask.Flask("notes")
    app.add_url_rule("/notes", view_func=lambda: flask.request.environ["clef.user"] or flask.abort(401))
    person = visitor(app.wsgi_app)
    led = person.get("/notes", status=303)
    state = person.get(led.location, status=303).location
    assert "state=" in state
    assert person.sign_in("ann", next="/notes").location == f"{BASE_URL}/notes"
    assert person.get("/notes").json["id"] == "ann"


def test_protect_decides_first() -> None:
    """Under ``protect`` the app is not asked at all; under ``ignore`` its 401 is its own."""
    app = App("eager")
    visitor(app, protect=["/notes"]).get("/notes", status=303)
    assert app.bodies == []
    visitor(app, ignore=["/notes"]).get("/notes", status=401)


def test_while_logins_cannot_be_checked_the_401_passes(tmp_path: Any) -> None:
    """Row 43: with ``store_failure="anonymous"`` nobody can say that nobody is signed in."""
    store = SwitchableStore(tmp_path / "logouts.db", off=tmp_path / "off")
    person = visitor(App("eager"), store=store, store_failure="anonymous")
    person.sign_in("ann")
    (tmp_path / "off").touch()
    person.get("/notes", status=401)


class Server:
    """A server that keeps the order of what is said to it."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        if exc_info and any(isinstance(each, bytes) for each in self.said):
            raise exc_info[1]
        if not exc_info and any(isinstance(each, str) for each in self.said):
            raise AssertionError("called twice")
        self.said.append(status)
        return self.said.append

    def serve(self, app: Callable[..., Any], **environ: Any) -> list[Any]:
        made: Environ = {"REQUEST_METHOD": "GET", **environ}
        body = with_challenge(app, lambda: _login)(made, self.start_response)
        try:
            for block in body:
                self.said.append(block)
        finally:
            getattr(body, "close", lambda: None)()
        return self.said


def _login(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    start_response("303 See Other", [TEXT])
    return []


def _raised() -> Any:
    try:
        raise LookupError("x")
    except LookupError as error:
        return (type(error), error, error.__traceback__)


def test_a_401_when_part_of_the_body_is_out_passes() -> None:
    """Bytes already sent can't be taken back: the server raises the app's error, as it does without the middleware."""

    def written(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [TEXT])(b"part")
        start_response("401 Unauthorized", [TEXT], _raised())
        return []

    def yielded(environ: Environ, start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b"part"
        start_response("401 Unauthorized", [TEXT], _raised())

    for app in (written, yielded):
        server = Server()
        with pytest.raises(LookupError):
            server.serve(app)
        assert server.said == ["200 OK", b"part"]


def test_an_error_after_the_401_is_the_answer() -> None:
    """An app that starts with 401 and fails while it makes the page answers 500 by ``exc_info``, and that is sent."""

    def app(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        write = start_response("401 Unauthorized", [TEXT])
        write(b"dropped")
        start_response("500 Oops", [TEXT], _raised())
        return [b"sorry"]

    assert Server().serve(app) == ["500 Oops", b"sorry"]


def test_a_second_start_is_the_servers_to_refuse() -> None:
    """Two starts without an error are the app's fault, after a 401 too."""

    def app(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        start_response("401 Unauthorized", [TEXT])
        start_response("200 OK", [TEXT])
        return []

    with pytest.raises(AssertionError, match="called twice"):
        Server().serve(app)


def test_a_body_without_close_is_dropped() -> None:
    """A list has nothing to close: the login answers in its place."""

    def app(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        start_response("401 Unauthorized", [TEXT])
        return [b"no body"]

    assert Server().serve(app) == ["303 See Other"]


@pytest.mark.parametrize("starts_first", [False, True])
def test_a_generator_that_raises(starts_first: bool) -> None:
    """Its error comes out, and its body is closed once, since no server was given it."""
    bodies: list[Body] = []

    def app(environ: Environ, start_response: Callable[..., Any]) -> Body:
        def fail() -> None:
            if starts_first:
                start_response("401 Unauthorized", [TEXT])
            raise LookupError("in the generator")

        bodies.append(Body([b"x"], fail))
        return bodies[-1]

    with pytest.raises(LookupError):
        Server().serve(app)
    assert [body.closed for body in bodies] == [1]


@each("blocks", [[], [b""], [b"", b"a", b"b"], [b"a"]])
def test_a_lazy_body_is_the_same_blocks(blocks: list[bytes]) -> None:
    """The first block was taken to see the start: it is the first that the server gets."""

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield from blocks

    assert Server().serve(app) == ["200 OK", *blocks]


def test_an_eager_body_is_the_apps_own_object() -> None:
    """A response that has started is passed on unwrapped: a server may know its type (``wsgi.file_wrapper``)."""
    app = App("eager", "200 OK")
    body = with_challenge(app, lambda: _login)({"REQUEST_METHOD": "GET"}, lambda *_: lambda data: None)
    assert body is app.bodies[0]


@pytest.mark.parametrize("challenge", [False, True])
def test_without_the_option_the_app_is_called_by_itself(challenge: bool) -> None:
    """Not one more call: no start_response of ours is between the app's and the one that marks its headers."""
    seen: list[bool] = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        seen.append(isinstance(getattr(start_response, "__self__", None), _HeldStart))
        start_response("200 OK", [TEXT])
        return [b""]

    common: dict[str, Any] = {"provider": FakeProvider(), "logout_store": MemoryLogoutStore(), "base_url": BASE_URL}
    ask(wrap(app, **common, session={"secret": SECRET, "type": "memory"}, challenge=challenge))
    assert seen == [challenge]


def test_wsgiref_finds_nothing_wrong_in_a_generator() -> None:
    """Row 52: a generator between two validators, which complain when a body is collected without its close."""

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("401 Unauthorized", [TEXT])
        yield b"nobody"

    visitor(validator(app)).get("/notes", status=303)
    gc.collect()


def test_a_mounted_app_leads_back_to_its_mount() -> None:
    """A router cuts off what it mounted at: the way back keeps it."""
    inside = flask.Flask("inside")
    inside.add_url_rule("/refuse", view_func=lambda: flask.abort(401))
    person = visitor(DispatcherMiddleware(inside.wsgi_app, {"/sub": inside.wsgi_app}))
    assert person.get("/sub/refuse", status=303).location == f"{BASE_URL}/clef/login?next=/sub/refuse"
